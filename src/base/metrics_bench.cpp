// What an event costs, against the same atomic addition on a plain variable.
#include <atomic>
#include <cstdint>

#include "base/bench_limits.h"
#include "base/metrics.h"

namespace hadal {
namespace {

void report(benchmark::State& state) {
  std::atomic<uint64_t> plain{0};
  const double seconds = seconds_per_call([&] { plain.fetch_add(1, std::memory_order_relaxed); });
  state.counters["limit_ns"] = benchmark::Counter(seconds * 1e9, benchmark::Counter::kAvgThreads);
  state.counters["of_limit"] = benchmark::Counter(seconds * static_cast<double>(state.iterations()),
                                                  benchmark::Counter::kIsRate);
}

void counter(benchmark::State& state) {
  Metrics metrics;
  Counter& counter = metrics.counter("c_total", "");
  for ([[maybe_unused]] auto _ : state) counter.add();
  if (counter.value() != static_cast<uint64_t>(state.iterations()))
    state.SkipWithError("lost events");
  report(state);
}

void histogram(benchmark::State& state) {
  Metrics metrics;
  Histogram& histogram = metrics.histogram("h", "", exponential_bounds(1e-6, 2, 24));
  double value = 1e-6;
  for ([[maybe_unused]] auto _ : state) {
    histogram.observe(value);
    value = value > 1 ? 1e-6 : value * 1.5;
  }
  uint64_t count = 0;
  for (size_t i = 0; i <= 24; ++i) count += histogram.count(i);
  if (count != static_cast<uint64_t>(state.iterations())) state.SkipWithError("lost events");
  report(state);
}

void lookup(benchmark::State& state) {
  Metrics metrics;
  for ([[maybe_unused]] auto _ : state)
    metrics.counter("c_total", "help", {{"disk", "nvme0"}, {"op", "read"}}).add();
  report(state);
}

void text(benchmark::State& state) {
  Metrics metrics;
  for (int i = 0; i < 1000; ++i) metrics.counter("c_total", "", {{"i", std::to_string(i)}}).add();
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(metrics.text());
}

BENCHMARK(counter)->Name("metrics/counter");
BENCHMARK(histogram)->Name("metrics/histogram_24_buckets");
BENCHMARK(lookup)->Name("metrics/lookup_and_add");
BENCHMARK(text)->Name("metrics/text_1000_series");

}  // namespace
}  // namespace hadal
