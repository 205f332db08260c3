#include "base/log.h"

#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/files.h"
#include "base/virtual_clock.h"

namespace hadal {
namespace {

struct Captured {
  std::shared_ptr<LogCapture> capture = std::make_shared<LogCapture>();
  Log log;
};

Captured captured(LogLevel level, const Clock* clock = nullptr) {
  Captured c;
  c.log = *Log::open({.level = level, .to_stderr = false, .capture = c.capture, .clock = clock});
  return c;
}

std::string temporary_path(const std::string& name) {
  return std::filesystem::temp_directory_path() / ("hadal_log_" + std::to_string(getpid()) + name);
}

TEST(Log, FormatsEveryKindOfArgument) {
  const Captured c = captured(LogLevel::kDebug);
  const std::string text = "text";
  const Error error{Code::kIo, "disk is gone"};
  c.log.info("{} {} {} {} {} {} {}", true, -5, uint64_t{18446744073709551615u}, 1.5, "literal",
             text, error);
  c.log.info("{:>4}|{:.2f}|{:#x}", 7, 3.14159, uint8_t{255});
  c.log.info("{{}} no arguments");
  c.log.info("{{{}}}", 'x');
  const auto lines = c.capture->lines();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].message, "true -5 18446744073709551615 1.5 literal text disk is gone");
  EXPECT_EQ(lines[1].message, "   7|3.14|0xff");
  EXPECT_EQ(lines[2].message, "{} no arguments");
  EXPECT_EQ(lines[3].message, "{x}");
}

TEST(Log, LevelsSelect) {
  Captured c = captured(LogLevel::kWarn);
  c.log.error("e");
  c.log.warn("w");
  c.log.info("i");
  c.log.debug("d");
  EXPECT_TRUE(c.log.enabled(LogLevel::kWarn));
  EXPECT_FALSE(c.log.enabled(LogLevel::kInfo));
  c.log.set_level(LogLevel::kDebug);
  c.log.debug("now");
  c.log.set_level(LogLevel::kOff);
  c.log.error("no");
  const auto lines = c.capture->lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].level, LogLevel::kError);
  EXPECT_EQ(lines[1].level, LogLevel::kWarn);
  EXPECT_EQ(lines[2].level, LogLevel::kDebug);
}

TEST(Log, TheDefaultLogWritesNothing) {
  Log log;
  EXPECT_FALSE(log.enabled(LogLevel::kError));
  log.error("x");
  log.set_level(LogLevel::kDebug);
  log.error("still nowhere to write");
  Captured c = captured(LogLevel::kInfo);
  const Log moved = std::move(c.log);
  EXPECT_TRUE(moved.enabled(LogLevel::kInfo));
  c.log = Log();
  c.log.error("gone");
  EXPECT_TRUE(c.capture->lines().empty());
}

TEST(Log, NamesAndTimes) {
  VirtualClock clock(1'772'368'245 * kSecond + 123'456'789);
  const Captured c = captured(LogLevel::kInfo, &clock);
  c.log.named("fs.meta").info("x");
  const auto lines = c.capture->lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].name, "fs.meta");
  EXPECT_EQ(lines[0].wall_ns, 1'772'368'245 * kSecond + 123'456'789);
}

TEST(Log, FileLines) {
  const VirtualClock clock(1'772'368'245 * kSecond + 123'456'789);
  const std::string path = temporary_path("lines");
  {
    const Log log = *Log::open({.to_stderr = false, .file = path, .clock = &clock});
    log.info("one");
    log.named("fs").error("two\nlines\x01\x7f {}", "и");
    EXPECT_EQ(read_file(path),
              "2026-03-01T12:30:45.123456Z info  one\n"
              "2026-03-01T12:30:45.123456Z error fs: two\\nlines\\x01\\x7f и\n");
  }
  const Log again = *Log::open({.to_stderr = false, .file = path, .clock = &clock});
  again.warn("appended");
  EXPECT_TRUE(read_file(path)->ends_with("warn  appended\n"));
  std::remove(path.c_str());
}

TEST(Log, AFileThatCannotBeOpenedIsAnError) {
  const auto log = Log::open({.to_stderr = false, .file = "/nonexistent/directory/log"});
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code, Code::kNotFound);
  EXPECT_NE(log.error().message.find("/nonexistent/directory/log"), std::string::npos);
}

TEST(Log, AFullDiskDoesNotStopTheProgram) {
  testing::internal::CaptureStderr();
  const Log log = *Log::open({.to_stderr = false, .file = "/dev/full"});
  log.info("x");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "log: cannot write\n");
}

TEST(Log, ASpecThatDoesNotFitStillGivesALine) {
  const Captured c = captured(LogLevel::kInfo);
  c.log.info("{:.3f}", "text");
  const auto lines = c.capture->lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(lines[0].message.starts_with("{:.3f} (not formatted: ")) << lines[0].message;
}

TEST(Log, StderrByDefault) {
  testing::internal::CaptureStderr();
  const Log log = *Log::open({});
  log.warn("seen");
  EXPECT_TRUE(testing::internal::GetCapturedStderr().ends_with(" warn  seen\n"));
}

TEST(Log, ThreadsDoNotMixLines) {
  const std::string path = temporary_path("threads");
  const Log log = *Log::open({.level = LogLevel::kDebug, .to_stderr = false, .file = path});
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&log, t] {
        for (int i = 0; i < 250; ++i) log.debug("thread {} line {} end", t, i);
      });
    }
  }
  log.info("flush");
  const std::string text = *read_file(path);
  size_t lines = 0, whole = 0;
  for (size_t at = 0; at < text.size(); ++lines) {
    const size_t end = text.find('\n', at);
    whole += text.substr(at, end - at).ends_with(" end") ? 1 : 0;
    at = end + 1;
  }
  EXPECT_EQ(lines, 1001u);
  EXPECT_EQ(whole, 1000u);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace hadal
