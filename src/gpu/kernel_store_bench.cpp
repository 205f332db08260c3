// What a kernel costs that is in the cache, beside reading its file alone (the limit) and compiling
// it (the baseline).
#include <cstdlib>
#include <filesystem>

#include <benchmark/benchmark.h>

#include "base/clock.h"
#include "base/files.h"
#include "gpu/kernel_store.h"
#include "gpu/test_kernel.h"

namespace hadal::gpu {
namespace {

/// Microseconds of one call, the least of `rounds`.
template <typename Fn>
double least_us(int rounds, Fn&& fn) {
  const RealClock clock;
  int64_t least_ns = kNever;
  for (int i = 0; i < rounds; ++i) {
    const int64_t start_ns = clock.now_ns();
    fn();
    least_ns = std::min(least_ns, clock.now_ns() - start_ns);
  }
  return static_cast<double>(least_ns) / kMicrosecond;
}

void cached_kernel(benchmark::State& state) {
  std::string folder = (std::filesystem::temp_directory_path() / "hadal-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return state.SkipWithError("no temporary folder");
  {
    KernelStore store(DeviceOptions{.cache_path = folder});
    const KernelSource source = wgmma_kernel();
    const Result<StoredKernel> first = store.get(source);
    if (!first) {
      state.SkipWithError(first.error().message.c_str());
    } else {
      bool right = true;
      for (auto _ : state) {
        const Result<StoredKernel> kernel = store.get(source);
        right = right && kernel && kernel->cached && kernel->cubin == first->cubin;
      }
      if (!right) state.SkipWithError("the cache does not give what was compiled");
      const std::string file = folder + "/" + (*store.cache().list())[0].file;
      const double limit_us = least_us(100, [&] { benchmark::DoNotOptimize(read_file(file)); });
      const double compile_us =
          least_us(3, [&] { benchmark::DoNotOptimize(store.compiler()->compile(source)); });
      state.counters["limit_us (read the file)"] = limit_us;
      state.counters["baseline_us (compile)"] = compile_us;
    }
  }
  std::filesystem::remove_all(folder);
}
BENCHMARK(cached_kernel)->Unit(benchmark::kMicrosecond);

/// What a process pays before its first compile.
void open_nvrtc(benchmark::State& state) {
  for (auto _ : state) {
    const Result<Compiler> compiler = Compiler::open();
    if (!compiler) return state.SkipWithError(compiler.error().message.c_str());
  }
}
BENCHMARK(open_nvrtc)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::gpu
