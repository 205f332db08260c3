// Bulk conversions of every instruction set, against the speed of memcpy.
//
// A conversion can at best be as fast as its loads and stores, so the limit is memcpy with the same
// bytes read and written in total, timed in the same benchmark right after it. Counters: GB/s read
// plus written, the same for the copy, and their ratio. The copy reads as much as it writes and a
// conversion does not, so ratios somewhat above 1 are possible. Sizes are bytes read plus written:
// 24 KiB stays in the L1 cache, 384 KiB in the L2, 256 MiB in none.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <string>

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "base/rng.h"
#include "cpu/cpu.h"
#include "cpu/isa_flag.h"
#include "tensor/tensor.h"

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

/// CPU time of this thread, in seconds: other work on the machine does not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Seconds of one call of f, from `repeats` calls.
template <typename F>
double time_of(int64_t repeats, F&& f) {
  const double begin = thread_seconds();
  for (int64_t i = 0; i < repeats; ++i) {
    f();
    benchmark::ClobberMemory();
  }
  return (thread_seconds() - begin) / static_cast<double>(repeats);
}

template <typename In, typename Out>
void run(benchmark::State& state, void (*reference)(const In*, Out*, size_t),
         void (*kernel)(const In*, Out*, size_t), int64_t bytes_moved) {
  const auto n = static_cast<size_t>(bytes_moved) / (sizeof(In) + sizeof(Out));
  Tensor<In, 1> in({static_cast<int64_t>(n)});
  Tensor<Out, 1> out(in.shape());
  Tensor<Out, 1> wanted(in.shape());
  fill(in.data(), in.size());
  const Tensor<unsigned char, 1> from({bytes_moved / 2});
  Tensor<unsigned char, 1> to(from.shape());

  // Conversion and copy take turns, so that both see the same state of a shared machine.
  const int64_t repeats = std::max<int64_t>(1, (8 << 20) / bytes_moved);
  double seconds = std::numeric_limits<double>::infinity();
  double copy_seconds = seconds;
  for (auto _ : state) {
    const double time = time_of(repeats, [&] { kernel(in.data(), out.data(), n); });
    state.SetIterationTime(time * static_cast<double>(repeats));
    seconds = std::min(seconds, time);
    const auto copy = [&] { std::memcpy(to.data(), from.data(), from.span().size()); };
    copy_seconds = std::min(copy_seconds, time_of(repeats, copy));
  }

  reference(in.data(), wanted.data(), n);
  if (std::memcmp(out.data(), wanted.data(), n * sizeof(Out)) != 0) {
    state.SkipWithError("the result differs from the scalar reference");
    return;
  }
  state.counters["GB_per_s"] = static_cast<double>(bytes_moved) / seconds / 1e9;
  state.counters["copy_GB_per_s"] = static_cast<double>(bytes_moved) / copy_seconds / 1e9;
  state.counters["of_copy"] = copy_seconds / seconds;
  state.counters["Gelements_per_s"] = static_cast<double>(n) / seconds / 1e9;
}

template <typename In, typename Out>
void add(const char* conversion, void (*Kernels::*member)(const In*, Out*, size_t), Isa isa) {
  for (const Size& size : kSizes) {
    const std::string label = fmt::format("{}/{}/{}", conversion, name(isa), size.name);
    const Kernels& table = **kernels(isa);
    benchmark::RegisterBenchmark(label.c_str(), [&table, member,
                                                 bytes = size.bytes](benchmark::State& state) {
      run(state, kScalarKernels.*member, table.*member, bytes);
    })->UseManualTime();
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

}  // namespace

void add_benchmarks(Isa isa) {
  add_all(isa);
}

}  // namespace hadal::cpu
