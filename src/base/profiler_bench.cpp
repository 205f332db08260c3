// What recording costs, next to the cost of the clocks it reads in the same run.
#include <algorithm>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/profiler.h"

namespace hadal {
namespace {

constexpr uint32_t kEvents = 1 << 16;  // per profiler: 2 MiB of log, so that its page faults count

int64_t clock_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

uint64_t counter_ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<uint64_t>(clock_ns());
#endif
}

// Nanoseconds of one call of fn: the best of a few batches.
template <typename Fn>
double best_ns(const Fn& fn) {
  constexpr int kCalls = 20'000;
  int64_t best = INT64_MAX;
  for (int batch = 0; batch < 9; ++batch) {
    const int64_t begin = clock_ns();
    for (int i = 0; i < kCalls; ++i) fn();
    best = std::min(best, clock_ns() - begin);
  }
  return static_cast<double>(best) / kCalls;
}

size_t count_of(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

// The floor: no span can cost less than the two time stamps it must take.
void put_limits(benchmark::State& state, double measured_ns) {
  const double ticks_ns = best_ns([] { benchmark::DoNotOptimize(counter_ticks()); });
  state.counters["ns"] = measured_ns;
  state.counters["rdtsc_ns"] = ticks_ns;
  state.counters["clock_gettime_ns"] = best_ns([] { benchmark::DoNotOptimize(clock_ns()); });
  state.counters["limit_ns"] = 2 * ticks_ns;
  state.counters["ratio"] = 2 * ticks_ns / measured_ns;
}

// Records kEvents per iteration into a fresh profiler and divides; verifies that all arrived.
template <typename Fn>
void record(benchmark::State& state, uint32_t slots, std::string_view mark, bool use_tsc,
            const Fn& one) {
  int64_t best = INT64_MAX;
  bool verified = false;
  for (auto _ : state) {
    state.PauseTiming();
    Profiler profiler({.events_per_thread_max = kEvents * slots, .use_tsc = use_tsc});
    state.ResumeTiming();
    {
      const Profiler::Attach attach(&profiler);
      const int64_t begin = clock_ns();
      for (uint32_t i = 0; i < kEvents; ++i) one(i);
      best = std::min(best, clock_ns() - begin);
    }
    state.PauseTiming();
    CHECK(profiler.dropped() == 0);
    if (!std::exchange(verified, true)) {
      CHECK(count_of(profiler.to_json(), mark) == kEvents, "events are missing from the trace");
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kEvents);
  put_limits(state, static_cast<double>(best) / kEvents);
}

void span_on(benchmark::State& state) {
  record(state, 1, "\"ph\":\"X\"", true, [](uint32_t) { const Profiler::Span span("span"); });
}
BENCHMARK(span_on)->Unit(benchmark::kMillisecond);

void span_on_two_args(benchmark::State& state) {
  record(state, 2, "\"ph\":\"X\"", true, [](uint32_t i) {
    const Profiler::Span span("span", {"i", i}, {"twice", 2 * int64_t{i}});
  });
}
BENCHMARK(span_on_two_args)->Unit(benchmark::kMillisecond);

void span_on_clock_gettime(benchmark::State& state) {
  record(state, 1, "\"ph\":\"X\"", false, [](uint32_t) { const Profiler::Span span("span"); });
}
BENCHMARK(span_on_clock_gettime)->Unit(benchmark::kMillisecond);

void instant_on(benchmark::State& state) {
  record(state, 1, "\"ph\":\"i\"", true, [](uint32_t) { Profiler::instant("moment"); });
}
BENCHMARK(instant_on)->Unit(benchmark::kMillisecond);

// A full log: what a run pays that traces for too long.
void span_dropped(benchmark::State& state) {
  Profiler profiler({.events_per_thread_max = 0});
  {
    const Profiler::Attach attach(&profiler);
    for (auto _ : state) {
      const Profiler::Span span("span");
    }
  }
  CHECK(profiler.dropped() == state.iterations());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(span_dropped);

void attach_again(benchmark::State& state) {
  Profiler profiler;
  for (auto _ : state) {
    const Profiler::Attach attach(&profiler);
    benchmark::DoNotOptimize(Profiler::current());
  }
  CHECK(Profiler::current() == nullptr);
}
BENCHMARK(attach_again);

// Nobody attached. The baseline is the same loop without the span.
void span_off(benchmark::State& state) {
  CHECK(Profiler::current() == nullptr);
  for (auto _ : state) {
    const Profiler::Span span("span", {"i", 1});
    benchmark::ClobberMemory();
  }
  const double empty_ns = best_ns([] { benchmark::ClobberMemory(); });
  const double off_ns = best_ns([] {
    const Profiler::Span span("span", {"i", 1});
    benchmark::ClobberMemory();
  });
  state.counters["ns"] = off_ns - empty_ns;
  state.counters["empty_loop_ns"] = empty_ns;
}
BENCHMARK(span_off);

void to_json(benchmark::State& state) {
  Profiler profiler({.events_per_thread_max = kEvents});
  const Profiler::Attach attach(&profiler);
  for (uint32_t i = 0; i < kEvents; ++i) {
    const Profiler::Span span("span");
  }
  size_t bytes = 0;
  for (auto _ : state) {
    const std::string text = profiler.to_json();
    bytes = text.size();
    state.PauseTiming();
    CHECK(count_of(text, "\"ph\":\"X\"") == kEvents);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kEvents);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}
BENCHMARK(to_json)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal
