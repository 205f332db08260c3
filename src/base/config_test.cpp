#include "base/config.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/files.h"

namespace hadal {
namespace {

enum class Mode : uint8_t { kFast, kSafe };
constexpr std::string_view kModeNames[] = {"fast", "safe"};

struct Disk {
  std::string path = "/data";
  int queue_depth = 32;

  void visit(auto& v) {
    v("path", path, "directory");
    v("queue_depth", queue_depth, "requests in flight", {.min = 1, .max = 1024});
  }
};

struct Server {
  bool verbose = false;
  uint16_t port = 9000;
  uint64_t cache_bytes = uint64_t{1} << 30;
  double ratio = 0.5;
  Mode mode = Mode::kSafe;
  std::vector<std::string> peers;
  std::vector<int64_t> sizes{4096};
  std::vector<double> weights;
  Disk disk;
  std::string name = "a";

  void visit(auto& v) {
    v("verbose", verbose, "more lines");
    v("port", port, "port");
    v("cache_bytes", cache_bytes, "cache", {.min = 4096});
    v("ratio", ratio, "share", {.min = 0, .max = 1});
    v("mode", mode, kModeNames, "how");
    v("peers", peers, "others");
    v("sizes", sizes, "block sizes", {.min = 1});
    v("weights", weights, "weights");
    v("disk", disk);
    v("name", name, "name");
  }

  Result<> validate() const {
    if (name == disk.path) return fail(Code::kInvalidArgument, "name and disk.path are equal");
    return {};
  }
};

/// The message of applying `text`, or "" if that went well.
std::string toml_error(std::string_view text) {
  Server server;
  const Result<> result = apply_toml(config_fields(server), text, "s.toml");
  if (result) return "";
  EXPECT_EQ(result.error().code, Code::kInvalidArgument);
  return result.error().message;
}

std::string option_error(std::string_view option) {
  Server server;
  const Result<> result = apply_option(config_fields(server), option);
  if (result) return "";
  EXPECT_EQ(result.error().code, Code::kInvalidArgument);
  return result.error().message;
}

TEST(Config, TomlFillsEveryKindOfField) {
  Server server;
  const Result<> result = apply_toml(config_fields(server), R"(
    verbose = true
    port = 0x50
    cache_bytes = 1_000_000
    ratio = 1
    mode = "fast"
    peers = ["b:1", "c:2"]
    sizes = [1, 2]
    weights = [0.5, 2]
    name = "ünï"
    [disk]
    path = '/mnt'
    queue_depth = 1
  )",
                                     "s.toml");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(server.verbose);
  EXPECT_EQ(server.port, 80);
  EXPECT_EQ(server.cache_bytes, 1'000'000u);
  EXPECT_EQ(server.ratio, 1.0);
  EXPECT_EQ(server.mode, Mode::kFast);
  EXPECT_EQ(server.peers, (std::vector<std::string>{"b:1", "c:2"}));
  EXPECT_EQ(server.sizes, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(server.weights, (std::vector<double>{0.5, 2}));
  EXPECT_EQ(server.name, "ünï");
  EXPECT_EQ(server.disk.path, "/mnt");
  EXPECT_EQ(server.disk.queue_depth, 1);
}

TEST(Config, ErrorsNameThePlaceTheValueAndWhatIsAllowed) {
  EXPECT_EQ(toml_error("[disk]\n\nqueue_depth = 0\n"),
            "s.toml:3: disk.queue_depth is 0; it must be an integer from 1 to 1024");
  EXPECT_EQ(toml_error("port = 65536"),
            "s.toml:1: port is 65536; it must be an integer from 0 to 65535");
  EXPECT_EQ(toml_error("port = '1'"),
            "s.toml:1: port is \"1\"; it must be an integer from 0 to 65535");
  EXPECT_EQ(toml_error("ratio = 1.5"), "s.toml:1: ratio is 1.5; it must be a number from 0 to 1");
  EXPECT_EQ(toml_error("ratio = nan"), "s.toml:1: ratio is nan; it must be a number from 0 to 1");
  EXPECT_EQ(toml_error("ratio = true"), "s.toml:1: ratio is true; it must be a number from 0 to 1");
  EXPECT_EQ(toml_error("mode = 'slow'"),
            "s.toml:1: mode is \"slow\"; it must be one of fast, safe");
  EXPECT_EQ(toml_error("verbose = 1"), "s.toml:1: verbose is 1; it must be true or false");
  EXPECT_EQ(toml_error("peers = ['a', 1]"),
            "s.toml:1: peers is [\"a\", 1]; it must be a list of texts");
  EXPECT_EQ(toml_error("sizes = [4, 0]"),
            "s.toml:1: sizes is [4, 0]; it must be a list, each an integer of at least 1");
  EXPECT_EQ(toml_error("weights = 3"), "s.toml:1: weights is 3; it must be a list, each a number");
  EXPECT_EQ(toml_error("peers = [[1], 1.5, inf, 2020-01-01]"),
            "s.toml:1: peers is [a list, 1.5, inf, a date or time]; it must be a list of texts");
  EXPECT_EQ(toml_error("disk = 3"), "s.toml:1: disk is 3; it must be a section [disk]");
  EXPECT_EQ(toml_error("[name]\nx = 1"), "s.toml:1: name is a section; it must be text");
  EXPECT_TRUE(toml_error("port = 1\nport = 2").starts_with("s.toml:2: "))
      << toml_error("port=1\nport=2");
  EXPECT_TRUE(toml_error("port = \n").starts_with("s.toml:1: "));
}

TEST(Config, MalformedFilesAreErrors) {
  // The first two tripped an assertion in toml++ 3.3.
  for (const char* text :
       {"[&", "[[[a]]]", "[", "a", "=", "a = \"", "[a]\n[a]", "\xff", "a = [1,"}) {
    EXPECT_TRUE(toml_error(text).starts_with("s.toml:")) << text;
  }
  EXPECT_NE(toml_error("sizes = " + std::string(100'000, '[')), "") << "nesting is bounded";
}

TEST(Config, UnknownKeysSuggestTheNearest) {
  EXPECT_EQ(toml_error("prot = 1"), "s.toml:1: there is no key \"prot\"; did you mean \"port\"?");
  EXPECT_EQ(toml_error("[disk]\nqueue_dept = 1"),
            "s.toml:2: there is no key \"disk.queue_dept\"; did you mean \"disk.queue_depth\"?");
  EXPECT_EQ(toml_error("something_else = 1"),
            "s.toml:1: there is no key \"something_else\"; the keys are verbose, port, "
            "cache_bytes, ratio, "
            "mode, peers, sizes, weights, disk.path, disk.queue_depth, name");
  EXPECT_LT(toml_error(std::string(5000, 'x') + " = 1").size(), 300u);
}

TEST(Config, Options) {
  Server server;
  const auto fields = config_fields(server);
  for (const char* option :
       {"--verbose", "--port=81", "--mode=fast", "--peers=a,b c,", "--sizes=1,2", "--weights=[1.5]",
        "--disk.path=/a=b \"q\"", "--disk.queue-depth=7", "--name="}) {
    const Result<> result = apply_option(fields, option);
    ASSERT_TRUE(result) << result.error().message;
  }
  EXPECT_TRUE(server.verbose);
  EXPECT_EQ(server.port, 81);
  EXPECT_EQ(server.mode, Mode::kFast);
  EXPECT_EQ(server.peers, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(server.sizes, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(server.weights, (std::vector<double>{1.5}));
  EXPECT_EQ(server.disk.path, "/a=b \"q\"");
  EXPECT_EQ(server.disk.queue_depth, 7);
  EXPECT_EQ(server.name, "");
  ASSERT_TRUE(apply_option(fields, "--verbose=false"));
  ASSERT_TRUE(apply_option(fields, "--peers="));
  EXPECT_FALSE(server.verbose);
  EXPECT_TRUE(server.peers.empty());
}

TEST(Config, OptionErrors) {
  EXPECT_EQ(option_error("--port=no"),
            "--port: port is \"no\"; it must be an integer from 0 to 65535");
  EXPECT_EQ(option_error("--port=-1"), "--port: port is -1; it must be an integer from 0 to 65535");
  EXPECT_EQ(option_error("--port=1\nname='x'"),
            "--port: port is \"1\nname='x'\"; it must be an integer from 0 to 65535");
  EXPECT_EQ(option_error("--port"), "--port has no value; it must be an integer from 0 to 65535");
  EXPECT_EQ(option_error("--mode=x"), "--mode: mode is \"x\"; it must be one of fast, safe");
  EXPECT_EQ(option_error("--pory=1"), "--pory: there is no key \"pory\"; did you mean \"port\"?");
  EXPECT_EQ(option_error("port=1"), "\"port\" is not an option; it must be --key=value");
  EXPECT_EQ(option_error("--"), "\"--\" is not an option; it must be --key=value");
  EXPECT_EQ(option_error(""), "\"\" is not an option; it must be --key=value");
  EXPECT_NE(option_error("--name=\xff"), "") << "text is UTF-8";
}

TEST(Config, IntegersHaveTheLimitsOfTheirType) {
  Server server;
  const auto fields = config_fields(server);
  ASSERT_TRUE(apply_option(fields, "--cache_bytes=9223372036854775807"));
  EXPECT_EQ(server.cache_bytes, static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  EXPECT_FALSE(apply_option(fields, "--cache_bytes=9223372036854775808"));
  EXPECT_FALSE(apply_option(fields, "--cache_bytes=-1"));
  EXPECT_FALSE(apply_option(fields, "--cache_bytes=4095"));
}

TEST(Config, DescriptionReadsBack) {
  Server server;
  server.peers = {"a\"b\\c\n\x01", "ü"};
  server.ratio = 0.1;
  server.weights = {1, 1e22, -0.25};
  const std::string text = describe_config(server);
  EXPECT_TRUE(text.starts_with("# more lines: true or false\nverbose = false\n")) << text;
  EXPECT_NE(text.find("\n[disk]\n# directory: text\npath = \"/data\"\n"), std::string::npos)
      << text;
  EXPECT_LT(text.find("name = "), text.find("[disk]")) << "keys without a section come first";
  Server again;
  const Result<> result = apply_toml(config_fields(again), text, "described");
  ASSERT_TRUE(result) << result.error().message << "\n" << text;
  EXPECT_EQ(describe_config(again), text);
  EXPECT_EQ(again.peers, server.peers);
  EXPECT_EQ(again.weights, server.weights);
}

TEST(Config, LoadJoinsFileOptionsAndValidation) {
  const std::string path = testing::TempDir() + "hadal_config_test.toml";
  ASSERT_TRUE(write_file_atomically(path, "port = 1\nname = 'f'\n"));
  Server server;
  ASSERT_TRUE(load_config(server, path, std::vector<std::string>{"--port=2", "--port=3"}));
  EXPECT_EQ(server.port, 3);
  EXPECT_EQ(server.name, "f");
  const Result<> invalid = load_config(server, "", std::vector<std::string>{"--name=/data"});
  ASSERT_FALSE(invalid);
  EXPECT_EQ(invalid.error().message, "name and disk.path are equal");
  const Result<> missing = load_config(server, path + ".none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace hadal
