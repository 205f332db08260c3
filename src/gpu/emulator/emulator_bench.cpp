// What a tile of an FP8 product costs in the emulator (384 fibers, TMA, wgmma, barriers), beside
// plain loops that decode the same numbers. The result is compared in every round.
#include <benchmark/benchmark.h>

#include "base/clock.h"
#include "gpu/emulator/emulator.h"
#include "gpu/emulator/gemm_testing.h"

namespace hadal::gpu {
namespace {

void fp8_tile(benchmark::State& state) {
  const auto k = static_cast<int>(state.range(0));
  const test::GemmProblem p = test::make_problem(128, 128, k, 1);
  const KernelSource source = test::gemm_source<test::Fault::kNone>();
  const std::unique_ptr<Device> device = emulate({.seed = 1});  // every run draws anew
  const RealClock clock;
  int64_t emulated_ns = 0, plain_ns = 0;
  for (auto _ : state) {
    const int64_t start_ns = clock.now_ns();
    if (const Result<> ran = run_gemm(*device, source, p); !ran) {
      return state.SkipWithError(ran.error().message.c_str());
    }
    emulated_ns += clock.now_ns() - start_ns;
  }
  const int64_t start_ns = clock.now_ns();
  benchmark::DoNotOptimize(test::plain_gemm(p));
  plain_ns = clock.now_ns() - start_ns;
  const double each_ns = static_cast<double>(emulated_ns) / static_cast<double>(state.iterations());
  state.counters["baseline_ms (plain loops)"] = static_cast<double>(plain_ns) / kMillisecond;
  state.counters["ratio"] = each_ns / static_cast<double>(plain_ns);
}
BENCHMARK(fp8_tile)->ArgName("k")->Arg(512)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::gpu
