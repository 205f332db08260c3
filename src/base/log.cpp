#include "base/log.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <utility>

#include <fcntl.h>
#include <fmt/args.h>
#include <fmt/core.h>
#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include "base/clock.h"

namespace hadal {
namespace {

// Only spdlog's sinks are used: the level is ours (the time of spdlog's own line object is
// settable, its level and name are put into the text here), and so is the type erasure.
constexpr char kPattern[] = "%Y-%m-%dT%H:%M:%S.%fZ %v";

/// Appends the formatted line.
void format_line(fmt::memory_buffer& out, std::string_view format,
                 std::span<const LogArgument> arguments) {
  fmt::dynamic_format_arg_store<fmt::format_context> store;
  store.reserve(arguments.size(), 0);
  for (const LogArgument& argument : arguments) {
    std::visit([&](const auto& value) { store.push_back(value); }, argument.value());
  }
  const size_t start = out.size();
  try {
    fmt::vformat_to(fmt::appender(out), fmt::string_view(format.data(), format.size()), store);
  } catch (const std::exception& e) {
    // A {:spec} that does not fit its argument. The line matters more than its looks.
    out.resize(start);
    fmt::format_to(fmt::appender(out), "{} (not formatted: {})", format, e.what());
  }
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

/// One entry is one line, whatever a file name or a peer put into it: escapes what follows `start`.
void escape_control(fmt::memory_buffer& out, size_t start) {
  if (std::none_of(out.begin() + start, out.end(), is_control)) return;
  const std::string raw(out.begin() + start, out.end());
  out.resize(start);
  for (const char c : raw) {
    if (c == '\n') {
      out.append(std::string_view("\\n"));
    } else if (is_control(c)) {
      fmt::format_to(fmt::appender(out), "\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
}

}  // namespace

struct Log::Sinks {
  std::vector<spdlog::sink_ptr> list;
  std::shared_ptr<LogCapture> capture;
  const Clock* clock = nullptr;
};

void LogCapture::add(Line line) {
  const std::lock_guard lock(mutex_);
  lines_.push_back(std::move(line));
}

std::vector<LogCapture::Line> LogCapture::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

Log::Log() = default;
Log::~Log() = default;

Log::Log(Log&& other) noexcept
    : sinks_(std::move(other.sinks_)),
      name_(std::move(other.name_)),
      level_(other.level_.exchange(LogLevel::kOff)) {}

Log& Log::operator=(Log&& other) noexcept {
  sinks_ = std::move(other.sinks_);
  name_ = std::move(other.name_);
  level_ = other.level_.exchange(LogLevel::kOff);
  return *this;
}

Result<Log> Log::open(const LogOptions& options) {
  auto sinks = std::make_shared<Sinks>();
  sinks->clock = options.clock;
  if (options.to_stderr) sinks->list.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (!options.file.empty()) {
    // Opened once by hand: the error code that spdlog's exception carries is only text.
    const int fd = ::open(options.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) {
      return std::unexpected(
          os_error(errno, fmt::format("cannot write the log to {}", options.file)));
    }
    ::close(fd);
    try {
      sinks->list.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file));
    } catch (const spdlog::spdlog_ex& e) {
      return fail(Code::kIo, fmt::format("cannot write the log to {}: {}", options.file, e.what()));
    }
  }
  for (const spdlog::sink_ptr& sink : sinks->list) {
    sink->set_formatter(
        std::make_unique<spdlog::pattern_formatter>(kPattern, spdlog::pattern_time_type::utc));
  }
  sinks->capture = options.capture;
  Log log;
  log.sinks_ = std::move(sinks);
  log.level_ = options.level;
  return log;
}

Log Log::named(std::string name) const {
  Log log;
  log.sinks_ = sinks_;
  log.name_ = std::move(name);
  log.level_ = level_.load();
  return log;
}

void Log::write(LogLevel level, std::string_view format,
                std::span<const LogArgument> arguments) const {
  if (!sinks_) return;
  const int64_t wall_ns =
      sinks_->clock != nullptr ? sinks_->clock->wall_ns() : RealClock().wall_ns();
  fmt::memory_buffer text;
  fmt::format_to(fmt::appender(text), "{:<5} {}{}", kLogLevelNames[static_cast<size_t>(level)],
                 name_, name_.empty() ? "" : ": ");
  const size_t start = text.size();
  format_line(text, format, arguments);
  if (sinks_->capture) {
    sinks_->capture->add({level, name_, std::string(text.begin() + start, text.end()), wall_ns});
  }
  escape_control(text, start);

  spdlog::details::log_msg line;
  line.payload = spdlog::string_view_t(text.data(), text.size());
  line.level = spdlog::level::info;
  line.time = spdlog::log_clock::time_point(std::chrono::nanoseconds(wall_ns));
  for (const spdlog::sink_ptr& sink : sinks_->list) {
    try {
      sink->log(line);
      if (level < LogLevel::kDebug) sink->flush();
    } catch (const std::exception&) {
      // A full disk must not stop what is being logged, and there is nowhere better to say so.
      static_cast<void>(::write(STDERR_FILENO, "log: cannot write\n", 18));
    }
  }
}

}  // namespace hadal
