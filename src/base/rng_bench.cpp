// Random numbers per call, against std::mt19937_64 from the standard library in the same run.
#include <cstdint>
#include <random>

#include "base/bench_limits.h"
#include "base/rng.h"

namespace hadal {
namespace {

template <typename F>
void measure(benchmark::State& state, F draw) {
  Rng check(42);
  if (check.next() != 0xd0764d4f4476689f) state.SkipWithError("wrong generator");
  std::mt19937_64 mt(42);
  const double mt_seconds = seconds_per_call([&] { benchmark::DoNotOptimize(mt()); });
  Rng rng(42);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(draw(rng));
  state.counters["mt19937_64_ns"] = mt_seconds * 1e9;
}

void next(benchmark::State& state) {
  measure(state, [](Rng& rng) { return rng.next(); });
}
void below(benchmark::State& state) {
  measure(state, [](Rng& rng) { return rng.below(1000); });
}
void uniform(benchmark::State& state) {
  measure(state, [](Rng& rng) { return rng.uniform(); });
}
void fork(benchmark::State& state) {
  measure(state, [](Rng& rng) { return rng = rng.fork(1); });
}

BENCHMARK(next)->Name("rng/next");
BENCHMARK(below)->Name("rng/below");
BENCHMARK(uniform)->Name("rng/uniform");
BENCHMARK(fork)->Name("rng/fork");

}  // namespace
}  // namespace hadal
