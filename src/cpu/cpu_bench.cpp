// Bulk conversions of every instruction set, against the speed of memcpy.
//
// A conversion can at best be as fast as its loads and stores, so the limit is memcpy with the same
// bytes read and written in total, timed in the same benchmark right after it. Counters: GB/s read
// plus written, the same for the copy, and their ratio. The copy reads as much as it writes and a
// conversion does not, so ratios somewhat above 1 are possible. Sizes are bytes read plus written:
// 24 KiB stays in the L1 cache, 384 KiB in the L2, 256 MiB in none.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "base/check.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "cpu/isa_flag.h"
#include "tensor/view.h"

namespace hadal::cpu {
namespace {

struct Size {
  const char* name;
  int64_t bytes;
};
constexpr Size kSizes[] = {{"l1", 24 << 10}, {"l2", 384 << 10}, {"dram", 256 << 20}};

/// Numbers as they occur in models, most of them in e4m3's range; a code is any but NaN.
void fill(float* items, int64_t n) {
  Rng rng(1);
  for (int64_t i = 0; i < n; ++i) items[i] = static_cast<float>((rng.uniform() - 0.5) * 16);
}
template <typename T>
void fill(T* items, int64_t n) {
  Rng rng(1);
  for (int64_t i = 0; i < n; ++i) items[i].bits = static_cast<decltype(T::bits)>(rng.below(0x70));
}

/// Bytes read plus written per second by memcpy: the best of several passes over about 1/20 s.
double copy_bytes_per_second(int64_t bytes_moved) {
  const int64_t bytes = bytes_moved / 2;
  const Tensor<unsigned char, 1> from({bytes});
  Tensor<unsigned char, 1> to({bytes});
  const int64_t repeats = std::max<int64_t>(1, (8 << 20) / bytes);
  double best_seconds = 1e9;
  for (int pass = 0; pass < 10; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < repeats; ++i) {
      std::memcpy(to.data(), from.data(), static_cast<size_t>(bytes));
      benchmark::ClobberMemory();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best_seconds = std::min(best_seconds, seconds.count() / static_cast<double>(repeats));
  }
  return static_cast<double>(2 * bytes) / best_seconds;
}

template <typename In, typename Out>
void run(benchmark::State& state, void (*reference)(const In*, Out*, size_t),
         void (*kernel)(const In*, Out*, size_t), int64_t bytes_moved) {
  const int64_t n = bytes_moved / static_cast<int64_t>(sizeof(In) + sizeof(Out));
  Tensor<In, 1> in({n});
  Tensor<Out, 1> out({n});
  Tensor<Out, 1> wanted({n});
  fill(in.data(), n);
  for (auto _ : state) {
    kernel(in.data(), out.data(), static_cast<size_t>(n));
    benchmark::ClobberMemory();
  }
  reference(in.data(), wanted.data(), static_cast<size_t>(n));
  if (std::memcmp(out.data(), wanted.data(), static_cast<size_t>(n) * sizeof(Out)) != 0) {
    state.SkipWithError("the result differs from the scalar reference");
    return;
  }
  const double copy = copy_bytes_per_second(bytes_moved);
  const double moved = static_cast<double>(state.iterations()) *
                       static_cast<double>(n * static_cast<int64_t>(sizeof(In) + sizeof(Out)));
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(moved / 1e9, Counter::kIsRate);
  state.counters["copy_GB/s"] = copy / 1e9;
  state.counters["of_copy"] = Counter(moved / copy, Counter::kIsRate);
  state.counters["Gelem/s"] = Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(n) / 1e9, Counter::kIsRate);
}

template <typename In, typename Out>
void add(const char* conversion, void (*Kernels::*member)(const In*, Out*, size_t), Isa isa) {
  for (const Size& size : kSizes) {
    const std::string label = fmt::format("{}/{}/{}", conversion, name(isa), size.name);
    const Kernels& table = **kernels(isa);
    benchmark::RegisterBenchmark(label.c_str(),
                                 [&table, member, bytes = size.bytes](benchmark::State& state) {
                                   run(state, kScalarKernels.*member, table.*member, bytes);
                                 });
  }
}

void add_all(Isa isa) {
  add("f32_to_bf16", &Kernels::f32_to_bf16, isa);
  add("f32_to_f16", &Kernels::f32_to_f16, isa);
  add("f32_to_e4m3", &Kernels::f32_to_e4m3, isa);
  add("f32_to_e5m2", &Kernels::f32_to_e5m2, isa);
  add("bf16_to_f32", &Kernels::bf16_to_f32, isa);
  add("f16_to_f32", &Kernels::f16_to_f32, isa);
  add("e4m3_to_f32", &Kernels::e4m3_to_f32, isa);
  add("e5m2_to_f32", &Kernels::e5m2_to_f32, isa);
  add("e4m3_to_bf16", &Kernels::e4m3_to_bf16, isa);
}

Result<> add_benchmarks(int* argc, char** argv) {
  for (const Isa isa : TRY(isas_to_run(TRY(take_isa_flag(argc, argv))))) add_all(isa);
  return {};
}

}  // namespace
}  // namespace hadal::cpu

int main(int argc, char** argv) {
  const hadal::Result<> added = hadal::cpu::add_benchmarks(&argc, argv);
  if (!added) {
    std::fprintf(stderr, "%s: --isa: %s\n", argv[0], added.error().message.c_str());
    return hadal::exit_code(added.error());
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
