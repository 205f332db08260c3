#include "base/files.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hadal {
namespace {

namespace fs = std::filesystem;

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "hadal_files_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ / name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory_), {}));
  }

  fs::path directory_;
};

Code code_of(const Result<>& result) {
  return result ? Code::kInternal : result.error().code;
}

TEST_F(FilesTest, WritesAndReadsBack) {
  std::string content(100'000, 'x');
  content[500] = '\0';
  for (const std::string& text : {std::string(), std::string("a\n"), content}) {
    ASSERT_TRUE(write_file_atomically(path("f"), text));
    EXPECT_EQ(read_file(path("f")), text);
  }
  EXPECT_EQ(entries(), 1u) << "no temporary file is left";
}

TEST_F(FilesTest, ReadsWhatTheSystemCannotSizeBeforehand) {
  const Result<std::string> status = read_file("/proc/self/status");
  ASSERT_TRUE(status);
  EXPECT_NE(status->find("VmRSS"), std::string::npos);
}

TEST_F(FilesTest, ReadErrorsNameTheFile) {
  const auto missing = read_file(path("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_EQ(missing.error().message, "cannot read " + path("none") + ": No such file or directory");
  const auto directory = read_file(directory_);
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code, Code::kInvalidArgument);
  EXPECT_NE(directory.error().message.find("is a directory"), std::string::npos);
}

TEST_F(FilesTest, ReadIsBounded) {
  ASSERT_TRUE(write_file_atomically(path("f"), "12345"));
  EXPECT_EQ(read_file(path("f"), 5), "12345");
  const auto large = read_file(path("f"), 4);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Code::kInvalidArgument);
  const auto endless = read_file("/dev/zero", 100'000);
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().code, Code::kInvalidArgument);
}

TEST_F(FilesTest, KeepsPermissionsAndFollowsLinks) {
  ASSERT_TRUE(write_file_atomically(path("f"), "one"));
  ASSERT_EQ(chmod(path("f").c_str(), 0640), 0);
  fs::create_symlink("f", path("link"));
  ASSERT_TRUE(write_file_atomically(path("link"), "two"));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("f")), "two");
  struct stat status{};
  ASSERT_EQ(stat(path("f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(FilesTest, RefusesWhatIsNotARegularFile) {
  EXPECT_EQ(code_of(write_file_atomically("/dev/null", "x")), Code::kInvalidArgument);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_EQ(code_of(write_file_atomically(directory_, "x")), Code::kInvalidArgument);
  fs::create_symlink("nowhere", path("dangling"));
  EXPECT_EQ(code_of(write_file_atomically(path("dangling"), "x")), Code::kInvalidArgument);
  EXPECT_EQ(code_of(write_file_atomically(path("no/such/f"), "x")), Code::kNotFound);
}

TEST_F(FilesTest, RefusesADirectoryWithoutPermission) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ASSERT_EQ(chmod(directory_.c_str(), 0500), 0);
  EXPECT_EQ(code_of(write_file_atomically(path("f"), "x")), Code::kPermissionDenied);
  ASSERT_EQ(chmod(directory_.c_str(), 0700), 0);
}

TEST_F(FilesTest, AFailedWriteLeavesTheOldFileAndNothingElse) {
  ASSERT_TRUE(write_file_atomically(path("f"), "old"));
  // A limit on the file size makes write() fail half way, as a full disk would.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Result<> result = write_file_atomically(path("f"), std::string(5000, 'n'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(code_of(result), Code::kIo);
  EXPECT_EQ(read_file(path("f")), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST(Files, CommandsWriteToPipesAndDevicesInPlace) {
  const std::string path = testing::TempDir() + "hadal_write_output_test";
  ASSERT_TRUE(write_output(path, "one").has_value());
  EXPECT_EQ(read_input(path), "one");
  EXPECT_TRUE(write_output("/dev/null", "x").has_value());
  EXPECT_EQ(write_output("/dev/full", "x").error().code, Code::kNoSpace);
  EXPECT_EQ(shown_path("-"), "standard input");
  EXPECT_EQ(shown_path("a"), "a");
  std::remove(path.c_str());
}

}  // namespace
}  // namespace hadal
