// Products on the CPU against the machine's peak and oneDNN, in one run.
//
// The peak is measured beside every product: a loop of the instruction that the kernels live on, on
// all threads, so that a neighbour's load slows both. Likewise memory's read rate for products of
// few rows. What is printed is the median of the ratios.
//
// HADAL_BENCH_THREADS=1 OMP_NUM_THREADS=1 measures one core, by the CPU time of its thread: what to
// use on a machine that others are busy on.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <sys/mman.h>

#include "base/bench_limits.h"
#include "base/check.h"
#include "base/rng.h"
#include "base/threads.h"
#include "cpu/cpu.h"
#include "gemm/cases.h"
#include "gemm/gemm.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

int num_threads() {
  const char* given = std::getenv("HADAL_BENCH_THREADS");
  return given != nullptr ? std::stoi(given) : 0;
}

ThreadPool& pool() {
  static ThreadPool made({.threads = num_threads()});
  return made;
}

double seconds(const std::function<void()>& work) {
  const bool alone = pool().size() == 1;
  const auto now = [alone] {
    return alone
               ? thread_seconds()
               : std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
                     .count();
  };
  const double start = now();
  work();
  return now() - start;
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

/// FLOP of vdpbf16ps on this thread, from registers: 24 independent sums of 16 lanes.
double burn_bf16(int64_t iterations) {
#if defined(__x86_64__)
  int64_t n = iterations;
  asm volatile(
      "1:\n"
      ".irp r, 8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
      "vdpbf16ps %%zmm0, %%zmm1, %%zmm\\r\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : "+r"(n)
      :
      : "cc", "xmm0", "xmm1", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#endif
  return static_cast<double>(iterations) * 24 * 16 * 4;
}

/// The same of vpdpbusd.
double burn_int8(int64_t iterations) {
#if defined(__x86_64__)
  int64_t n = iterations;
  asm volatile(
      "1:\n"
      ".irp r, 8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
      "vpdpbusd %%zmm0, %%zmm1, %%zmm\\r\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : "+r"(n)
      :
      : "cc", "xmm0", "xmm1", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#endif
  return static_cast<double>(iterations) * 24 * 16 * 8;
}

/// Operations per second of all threads, over about 2 ms.
double peak_rate(double (*burn)(int64_t) = burn_bf16) {
  std::vector<double> flop(pool().size());
  const double time = seconds([&] {
    pool().parallel_for(pool().size(), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) flop[i] = burn(250'000 / 3);
    });
  });
  double total = 0;
  for (const double f : flop) total += f;
  return total / time;
}

/// Memory in huge pages where the system grants them, as weights are kept.
class Huge {
 public:
  explicit Huge(size_t size) : size_((size + (2 << 20) - 1) >> 21 << 21) {
    data_ = static_cast<std::byte*>(std::aligned_alloc(2 << 20, std::max<size_t>(size_, 2 << 20)));
    madvise(data_, size_, MADV_HUGEPAGE);
  }
  ~Huge() { std::free(data_); }
  Huge(const Huge&) = delete;
  Huge& operator=(const Huge&) = delete;
  std::byte* data() const { return data_; }
  std::span<std::byte> span(size_t size) const { return {data_, size}; }

 private:
  size_t size_;
  std::byte* data_;
};

/// Bytes per second that all threads read.
double read_rate(const std::byte* data, size_t size) {
  std::vector<uint64_t> sums(pool().size());
  const double time = seconds([&] {
    pool().parallel_for(static_cast<int64_t>(size / 4096), [&](int64_t begin, int64_t end, int w) {
      uint64_t s[8] = {};
      for (const std::byte* p = data + begin * 4096; p < data + end * 4096; p += 64) {
        for (int i = 0; i < 8; ++i) s[i] += reinterpret_cast<const uint64_t*>(p)[i];
      }
      for (const uint64_t x : s) sums[w] += x;
    });
  });
  benchmark::DoNotOptimize(sums);
  return static_cast<double>(size) / time;
}

/// Inputs of a product with packed weights; `copies` of these, so that none stays in a cache.
struct Inputs {
  Inputs(int64_t m, int64_t n, int64_t k, int copies, bool int8 = false)
      : spec{.m = m,
             .n = n,
             .k = k,
             .b = {.scale = {.block = kPer128x128}, .packed = true},
             .int8 = int8},
        context(*Context::cpu({.threads = num_threads()})),
        plan(*context.plan(spec)),
        b_bytes(round_up(*context.packed_b_bytes(spec), 4096)),
        b(b_bytes * copies),
        workspace(plan.workspace_bytes()) {
    Case c{.name = "bench", .spec = spec, .fill = Fill::kNormal};
    c.spec.b.packed = false;
    data = *make_data(c, 1);
    for (int i = 0; i < copies; ++i) {
      CHECK(context.pack_b(spec, data.b.data(), data.b_scale.data(),
                           {b.data() + i * b_bytes, static_cast<size_t>(b_bytes)}));
    }
    run(0);
    const Verdict verdict = judge(c, data, 0x1p-20);
    if (!verdict.ok) problem = verdict.problem;
  }

  void run(int copy) {
    GemmArgs args = data.args({.name = "", .spec = spec});
    args.b = b.data() + copy * b_bytes;
    args.workspace = workspace.span(plan.workspace_bytes());
    CHECK(plan.run(args));
  }

  GemmSpec spec;
  Context context;
  Plan plan;
  int64_t b_bytes;
  Huge b, workspace;
  CaseData data;
  std::string problem;
};

/// oneDNN's bf16 product of data that was dequantized and laid out beforehand: its best case; and
/// what it has to do first where weights are kept in FP8.
class OneDnn {
 public:
  OneDnn(int64_t m, int64_t n, int64_t k, int copies) : n_(n), k_(k) {
    using dt = dnnl::memory::data_type;
    using tag = dnnl::memory::format_tag;
    const dnnl::memory::desc a({m, k}, dt::bf16, tag::ab), b({k, n}, dt::bf16, tag::any),
        d({m, n}, dt::bf16, tag::ab);
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(a, b, d), engine_);
    plain_ = dnnl::memory({{k, n}, dt::bf16, tag::ba}, engine_);  // [n][k], as B is
    a_ = dnnl::memory(a, engine_);
    d_ = dnnl::memory(d, engine_);
    fill(a_, m * k);
    fill(plain_, n * k);
    for (int i = 0; i < copies; ++i) {
      b_.emplace_back(pd.weights_desc(), engine_, dnnl_memory_t(nullptr));
      memory_.push_back(std::make_unique<Huge>(pd.weights_desc().get_size()));
      b_.back().set_data_handle(memory_.back()->data());
      dnnl::reorder(plain_, b_.back()).execute(stream_, plain_, b_.back());
    }
    matmul_ = dnnl::matmul(pd);
  }

  void run(int copy) {
    matmul_.execute(stream_,
                    {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_[copy]}, {DNNL_ARG_DST, d_}});
    stream_.wait();
  }

  /// Codes and scales of B to bf16, then into oneDNN's layout.
  void dequantize(const GemmSpec& spec, const CaseData& data) {
    auto* out = static_cast<Bf16*>(plain_.get_data_handle());
    const auto& kernels = cpu::kernels();
    pool().parallel_for(n_, [&](int64_t begin, int64_t end, int) {
      float row[128];
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t at = 0; at < k_; at += 128) {
          const int64_t count = std::min<int64_t>(128, k_ - at);
          const auto* codes = reinterpret_cast<const E4m3*>(data.b.data()) + i * k_ + at;
          kernels.e4m3_to_f32(codes, row, count);
          const float scale = scale_at(spec.b.scale, data.b_scale.data(), 0, i, at);
          for (int64_t j = 0; j < count; ++j) row[j] *= scale;
          kernels.f32_to_bf16(row, out + i * k_ + at, count);
        }
      }
    });
    dnnl::reorder(plain_, b_[0]).execute(stream_, plain_, b_[0]);
    stream_.wait();
  }

 private:
  void fill(dnnl::memory& memory, int64_t count) {
    Rng rng(1);
    auto* x = static_cast<Bf16*>(memory.get_data_handle());
    for (int64_t i = 0; i < count; ++i) x[i] = to_bf16(static_cast<float>(rng.uniform()) - 0.5f);
  }

  int64_t n_, k_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::memory a_, plain_, d_;
  std::vector<dnnl::memory> b_;
  std::vector<std::unique_ptr<Huge>> memory_;
  dnnl::matmul matmul_;
};

void many_rows(benchmark::State& state, int64_t m, int64_t n, int64_t k) {
  if (!cpu::has(cpu::Isa::kAvx512Bf16)) return state.SkipWithError("needs AVX-512 BF16");
  Inputs ours(m, n, k, 1);
  if (!ours.problem.empty()) return state.SkipWithError(ours.problem.c_str());
  OneDnn peer(m, n, k, 1);
  const GemmSpec spec = *resolve({.m = m, .n = n, .k = k});
  const double flop =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  std::vector<double> rate, of_peak, over_peer, over_dequantizing;
  for ([[maybe_unused]] auto _ : state) {
    for (int i = 0; i < 5; ++i) {
      const double peak = peak_rate();
      const double mine = seconds([&] { ours.run(0); });
      const double peak_after = peak_rate();
      const double theirs = seconds([&] { peer.run(0); });
      const double first = seconds([&] { peer.dequantize(spec, ours.data); });
      rate.push_back(flop / mine);
      of_peak.push_back(flop / mine / std::max(peak, peak_after));
      over_peer.push_back(theirs / mine);
      over_dequantizing.push_back((theirs + first) / mine);
    }
  }
  state.counters["GFLOP/s"] = 1e-9 * median(rate);
  state.counters["of_peak_limit"] = median(of_peak);
  state.counters["over_onednn_bf16"] = median(over_peer);
  state.counters["over_onednn_with_dequantizing"] = median(over_dequantizing);
}

/// int8 mode against vpdpbusd alone, and against the exact mode.
void int8_mode(benchmark::State& state, int64_t m, int64_t n, int64_t k) {
  if (!cpu::has(cpu::Isa::kAvx512Bf16)) return state.SkipWithError("needs AVX-512 VNNI");
  Inputs exact(m, n, k, 1), int8(m, n, k, 1, true);
  for (const Inputs* inputs : {&exact, &int8}) {
    if (!inputs->problem.empty()) return state.SkipWithError(inputs->problem.c_str());
  }
  const double ops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  std::vector<double> rate, of_peak, over_exact;
  for ([[maybe_unused]] auto _ : state) {
    for (int i = 0; i < 5; ++i) {
      const double peak = peak_rate(burn_int8);
      const double mine = seconds([&] { int8.run(0); });
      const double peak_after = peak_rate(burn_int8);
      const double slow = seconds([&] { exact.run(0); });
      rate.push_back(ops / mine);
      of_peak.push_back(ops / mine / std::max(peak, peak_after));
      over_exact.push_back(slow / mine);
    }
  }
  state.counters["GOP/s"] = 1e-9 * median(rate);
  state.counters["of_peak_limit"] = median(of_peak);
  state.counters["over_exact"] = median(over_exact);
}

void few_rows(benchmark::State& state, int64_t m, int64_t n, int64_t k) {
  if (!cpu::has(cpu::Isa::kAvx512Bf16)) return state.SkipWithError("needs AVX-512 BF16");
  const int copies = static_cast<int>(ceil_div(192 << 20, n * k));  // six times a 32 MB L3
  Inputs ours(m, n, k, copies);
  if (!ours.problem.empty()) return state.SkipWithError(ours.problem.c_str());
  OneDnn peer(m, n, k, (copies + 1) / 2);
  std::vector<double> rate, of_limit, over_peer;
  for ([[maybe_unused]] auto _ : state) {
    for (int i = 0; i < 4 * copies; ++i) {
      const double limit =
          read_rate(ours.b.data() + (i + copies / 2) % copies * ours.b_bytes, ours.b_bytes);
      const double mine = seconds([&] { ours.run(i % copies); });
      const double theirs = seconds([&] { peer.run(i % ((copies + 1) / 2)); });
      rate.push_back(static_cast<double>(n * k) / mine);
      of_limit.push_back(static_cast<double>(ours.b_bytes) / mine / limit);
      over_peer.push_back(theirs / mine);
    }
  }
  state.counters["GB/s"] = 1e-9 * median(rate);
  state.counters["of_read_limit"] = median(of_limit);
  state.counters["over_onednn_bf16"] = median(over_peer);
}

struct Shape {
  int64_t n, k;
};
constexpr Shape kShapes[] = {{2112, 7168},  {576, 7168},  {24576, 1536}, {32768, 512},
                             {7168, 16384}, {4096, 7168}, {7168, 2048}};

void add_benchmarks() {
  const auto add = [](std::string_view name, auto fn, int64_t m, const Shape& s) {
    benchmark::RegisterBenchmark(fmt::format("gemm/{}/{}x{}x{}", name, m, s.n, s.k).c_str(),
                                 [=](benchmark::State& state) { fn(state, m, s.n, s.k); })
        ->Iterations(1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const Shape& s : kShapes) {
    for (const int64_t m : {96, 128, 384}) {
      add("many_rows", many_rows, m, s);
      add("int8", int8_mode, m, s);
    }
  }
  add("many_rows", many_rows, 4096, {2112, 7168});
  add("many_rows", many_rows, 4096, {576, 7168});
  for (const Shape& s : kShapes) {
    for (const int64_t m : {1, 2, 3}) add("few_rows", few_rows, m, s);
  }
}

// Google Benchmark's main() knows only what was registered before it.
const bool kAdded = (add_benchmarks(), true);
}  // namespace

}  // namespace hadal::gemm
