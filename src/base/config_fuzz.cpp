// Any text as a configuration file, or as options (one per line) if it begins with "--". What is
// accepted must print as a document that reads back to the same values.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/config.h"

namespace {

enum class Mode { kFast, kSafe };
constexpr std::string_view kModeNames[] = {"fast", "safe"};

struct Inner {
  std::string path;
  int8_t depth = 1;

  void visit(auto& v) {
    v("path", path, "path");
    v("depth", depth, "depth", {.min = 1, .max = 99});
  }
};

struct Config {
  bool on = false;
  uint64_t size = 1;
  double ratio = 0.5;
  Mode mode = Mode::kFast;
  std::vector<std::string> names;
  std::vector<int64_t> sizes;
  std::vector<double> weights;
  Inner inner;

  void visit(auto& v) {
    v("on", on, "on");
    v("size", size, "size");
    v("ratio", ratio, "ratio");
    v("mode", mode, kModeNames, "mode");
    v("names", names, "names");
    v("sizes", sizes, "sizes", {.max = 1000});
    v("weights", weights, "weights");
    v("inner", inner);
  }
};

hadal::Result<> apply(Config& config, std::string_view text) {
  const auto fields = hadal::config_fields(config);
  if (!text.starts_with("--")) return hadal::apply_toml(fields, text, "fuzz");
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    TRY(hadal::apply_option(fields, text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Config config;
  if (!apply(config, {reinterpret_cast<const char*>(data), size})) return 0;
  const std::string text = hadal::describe_config(config);
  Config again;
  CHECK(hadal::apply_toml(hadal::config_fields(again), text, "described"), text);
  CHECK(hadal::describe_config(again) == text);
  return 0;
}
