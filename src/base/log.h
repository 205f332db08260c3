// Log lines for people who run hadal.
//
//   Log log = TRY(Log::open({.level = LogLevel::kInfo}));
//   log.warn("target {} answers after {} ms, the limit is {}", name, ms, limit);
//
// What each level means: error = an operator must look, warn = hadal works but worse, info = a
// state changed, debug = one line per object. A thing is logged once, where it is first detected,
// and then either handled or returned as an Error, not logged again on the way up.
//
// A Log is passed to what needs it; there is none by default. Below its level a call costs a
// compare of an integer and formats nothing. Above it the arguments go, type-erased, to one
// function that formats them in fmt's syntax and writes through spdlog; this header includes
// neither. The number of placeholders is checked at compile time. A line is written and flushed
// before the call returns (debug lines excepted, which are flushed with the next line of a higher
// level), so a crash loses none.
//
//   2026-03-01T12:30:45.123456Z warn  fs.meta: target t3 answers after 812 ms, the limit is 500
//
// Thread-safe throughout; lines of different threads do not mix.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/error.h"

namespace hadal {

class Clock;

enum class LogLevel : uint8_t { kOff, kError, kWarn, kInfo, kDebug };

/// "off", "error", "warn", "info", "debug": in the order of the enum, for configurations and
/// options.
inline constexpr std::string_view kLogLevelNames[] = {"off", "error", "warn", "info", "debug"};

/// Keeps lines in memory: for tests.
class LogCapture {
 public:
  struct Line {
    LogLevel level;
    std::string name;
    std::string message;
    int64_t wall_ns;
  };

  void add(Line line);
  std::vector<Line> lines() const;

 private:
  mutable std::mutex mutex_;
  std::vector<Line> lines_;
};

/// One argument of a line: a number, bool, character, text or Error.
class LogArgument {
 public:
  using Value = std::variant<bool, char, int64_t, uint64_t, double, std::string_view>;

  LogArgument(bool value) : value_(value) {}
  LogArgument(char value) : value_(value) {}
  LogArgument(const char* text) : value_(std::string_view(text)) {}
  LogArgument(const Error& error) : value_(std::string_view(error.message)) {}
  template <std::convertible_to<std::string_view> T>
  LogArgument(const T& text) : value_(std::string_view(text)) {}
  template <std::integral T>
  LogArgument(T value)
      : value_(static_cast<std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>(value)) {}
  template <std::floating_point T>
  LogArgument(T value) : value_(static_cast<double>(value)) {}

  const Value& value() const { return value_; }

 private:
  Value value_;
};

/// A format string with as many {} or {:spec} as there are arguments; anything else does not
/// compile.
template <typename... Args>
class LogFormat {
 public:
  template <std::convertible_to<std::string_view> T>
  consteval LogFormat(const T& format) : text_(format) {
    if (count_placeholders(text_) != sizeof...(Args)) placeholders_and_arguments_differ_in_number();
  }
  std::string_view text() const { return text_; }

 private:
  static void placeholders_and_arguments_differ_in_number() {
  }  // not constexpr: ends the compilation

  static consteval size_t count_placeholders(std::string_view format) {
    size_t count = 0;
    for (size_t i = 0; i < format.size(); ++i) {
      if (format[i] != '{') continue;
      if (i + 1 < format.size() && format[i + 1] == '{') {
        ++i;
      } else {
        ++count;
      }
    }
    return count;
  }

  std::string_view text_;
};

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  bool to_stderr = true;
  std::string file = {};                     // appended to; empty for none
  std::shared_ptr<LogCapture> capture = {};  // as well
  const Clock* clock = nullptr;  // for the time of a line; must outlive every Log. Null: real time
};

class Log {
 public:
  /// Fails if the file cannot be opened: kNotFound, kPermissionDenied, ...
  static Result<Log> open(const LogOptions& options);

  /// Writes nothing, at no level.
  Log();
  ~Log();
  Log(Log&&) noexcept;
  Log& operator=(Log&&) noexcept;

  /// A log with the same sinks and the present level, whose lines begin with `name`, as in
  /// "fs.meta".
  Log named(std::string name) const;

  bool enabled(LogLevel level) const { return level <= level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }

  template <typename... Args>
  void error(LogFormat<std::type_identity_t<Args>...> format, const Args&... args) const {
    log(LogLevel::kError, format.text(), args...);
  }
  template <typename... Args>
  void warn(LogFormat<std::type_identity_t<Args>...> format, const Args&... args) const {
    log(LogLevel::kWarn, format.text(), args...);
  }
  template <typename... Args>
  void info(LogFormat<std::type_identity_t<Args>...> format, const Args&... args) const {
    log(LogLevel::kInfo, format.text(), args...);
  }
  template <typename... Args>
  void debug(LogFormat<std::type_identity_t<Args>...> format, const Args&... args) const {
    log(LogLevel::kDebug, format.text(), args...);
  }

 private:
  struct Sinks;

  template <typename... Args>
  void log(LogLevel level, std::string_view format, const Args&... args) const {
    if (!enabled(level)) [[likely]]
      return;
    if constexpr (sizeof...(Args) == 0) {
      write(level, format, {});
    } else {
      const LogArgument list[] = {LogArgument(args)...};
      write(level, format, list);
    }
  }

  void write(LogLevel level, std::string_view format, std::span<const LogArgument> arguments) const;

  std::shared_ptr<Sinks> sinks_;
  std::string name_;
  std::atomic<LogLevel> level_{LogLevel::kOff};
};

}  // namespace hadal
