// What a log line costs: disabled (against an empty loop) and written to a file (against the
// write() system call that the flush of every line needs).
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include "base/bench_limits.h"
#include "base/log.h"

namespace hadal {
namespace {

void disabled(benchmark::State& state) {
  const Log log = *Log::open({.level = LogLevel::kWarn, .to_stderr = false});
  int i = 0;
  const double loop = seconds_per_call([&] { benchmark::DoNotOptimize(++i); });
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(++i);
    log.debug("chunk {} holds {} bytes", i, 4096);
  }
  state.counters["empty_loop_ns"] = loop * 1e9;
}

void enabled(benchmark::State& state, LogLevel level) {
  const Log log = *Log::open({.level = LogLevel::kDebug, .to_stderr = false, .file = "/dev/null"});
  constexpr std::string_view kLine =
      "2026-03-01T12:30:45.123456Z info  chunk 12345 holds 4096 bytes\n";
  const int fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  const double write_seconds =
      seconds_per_call([&] { benchmark::DoNotOptimize(::write(fd, kLine.data(), kLine.size())); });
  ::close(fd);
  int i = 0;
  for ([[maybe_unused]] auto _ : state) {
    if (level == LogLevel::kInfo) {
      log.info("chunk {} holds {} bytes", ++i, 4096);
    } else {
      log.debug("chunk {} holds {} bytes", ++i, 4096);
    }
  }
  state.counters["write_ns"] = write_seconds * 1e9;
  const auto capture = std::make_shared<LogCapture>();
  Log::open({.to_stderr = false, .capture = capture})->info("chunk {} holds {} bytes", 1, 4096);
  if (capture->lines()[0].message != "chunk 1 holds 4096 bytes") state.SkipWithError("wrong line");
}

BENCHMARK(disabled)->Name("log/disabled");
BENCHMARK_CAPTURE(enabled, info, LogLevel::kInfo)->Name("log/info_flushed");
BENCHMARK_CAPTURE(enabled, debug, LogLevel::kDebug)->Name("log/debug_buffered");

}  // namespace
}  // namespace hadal
