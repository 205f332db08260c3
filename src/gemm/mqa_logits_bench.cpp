// The indexer's scores on the CPU against the machine's multiply peak, in one run.
//
// The peak is a loop of vdpbf16ps on registers, on all threads, measured before and after every
// turn, so that a neighbour's load slows both; what is printed is the median of the ratios. Only
// products of keys within a range count as work. Every answer is checked against the oracle.
//
// HADAL_BENCH_THREADS=1 measures one core, by the CPU time of its thread.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "base/bench_limits.h"
#include "base/check.h"
#include "base/rng.h"
#include "base/threads.h"
#include "cpu/cpu.h"
#include "gemm/check.h"
#include "gemm/mqa_cases.h"
#include "gemm/mqa_plan.h"
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
  const auto now = [] {
    if (pool().size() == 1) return thread_seconds();
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(time).count();
  };
  const double start = now();
  work();
  return now() - start;
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

/// FLOP of vdpbf16ps on this thread, from registers: 12 independent sums of 16 lanes.
double burn_bf16(int64_t iterations) {
#if defined(__x86_64__)
  int64_t n = iterations;
  asm volatile(
      "1:\n"
      ".irp r, 2,3,4,5,6,7,8,9,10,11,12,13\n"
      "vdpbf16ps %%zmm0, %%zmm1, %%zmm\\r\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : "+r"(n)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13");
#endif
  return static_cast<double>(iterations) * 12 * 16 * 4;
}

/// FLOP/s of all threads, over about 2 ms.
double peak_rate() {
  std::vector<double> flop(pool().size());
  const double time = seconds([&] {
    pool().parallel_for(pool().size(), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) flop[i] = burn_bf16(600'000);
    });
  });
  double total = 0;
  for (const double f : flop) total += f;
  return total / time;
}

/// A few elements of the answer against the oracle: a small case of the same kind is judged whole.
std::string problem_of(const Context& context, MqaCase c) {
  c.spec.keys = std::min<int64_t>(c.spec.keys, 300);
  c.spec.queries = std::min<int64_t>(c.spec.queries, 8);
  c.ks.resize(c.spec.queries);
  c.ke.resize(c.spec.queries, 300);
  const int64_t requests = std::min<int64_t>(std::ssize(c.context_lens), c.spec.queries);
  c.context_lens.resize(requests);
  Result<MqaData> data = make_data(c, 1);
  if (!data) return data.error().message;
  if (const Result<> run = run_case(context, c, *data); !run) return run.error().message;
  return judge(c, *data, 0x1p-20).problem;
}

void measure(benchmark::State& state, const MqaCase& c) {
  if (!cpu::has(cpu::Isa::kAvx512Bf16)) return state.SkipWithError("needs AVX-512 BF16");
  const Context context = *Context::cpu({.threads = num_threads()});
  if (const std::string problem = problem_of(context, c); !problem.empty()) {
    return state.SkipWithError(problem.c_str());
  }
  Result<MqaData> data = make_data(c, 1);
  const Result<MqaPlan> plan = plan_mqa_logits(context, c.spec);
  CHECK(data.has_value() && plan.has_value());
  AlignedBytes workspace(plan->workspace_bytes());
  MqaArgs args = data->args();
  args.workspace = workspace.span();
  double keys = 0;
  for (int64_t i = 0; i < data->spec.queries; ++i) {
    const MqaRange range = keys_of(data->spec, args, i);
    keys += static_cast<double>(range.end - range.begin);
  }
  const double flop = 2 * keys * c.spec.heads * c.spec.head_dim;
  std::vector<double> rate, of_peak;
  for ([[maybe_unused]] auto _ : state) {
    for (int i = 0; i < 7; ++i) {
      const double before = peak_rate();
      const double time = seconds([&] { CHECK(plan->run(args)); });
      const double peak = std::max(before, peak_rate());
      rate.push_back(flop / time);
      of_peak.push_back(flop / time / peak);
    }
  }
  state.counters["GFLOP/s"] = 1e-9 * median(rate);
  state.counters["of_peak_limit"] = median(of_peak);
}

MqaCase prefill(int64_t queries, int64_t keys, int heads, int head_dim, bool causal) {
  MqaCase c;
  c.spec = {.queries = queries, .heads = heads, .head_dim = head_dim, .keys = keys};
  c.fill = Fill::kNormal;
  for (int64_t i = 0; i < queries; ++i) {
    c.ks.push_back(0);
    c.ke.push_back(static_cast<int32_t>(causal ? keys - queries + i + 1 : keys));
  }
  return c;
}

MqaCase decode(int64_t requests, int next_n, int64_t keys, int heads) {
  MqaCase c;
  c.spec = {.queries = requests * next_n,
            .heads = heads,
            .head_dim = 128,
            .keys = keys,
            .paged = true,
            .next_n = next_n,
            .max_blocks = ceil_div(keys, 64)};
  c.spec.num_blocks = requests * c.spec.max_blocks;
  c.fill = Fill::kNormal;
  c.context_lens.assign(requests, static_cast<int32_t>(keys));
  return c;
}

void add_benchmarks() {
  const auto add = [](const std::string& name, const MqaCase& c) {
    const MqaSpec& s = c.spec;
    const std::string full = fmt::format("mqa_logits/{}/{}x{}/heads={}/depth={}", name, s.queries,
                                         s.keys, s.heads, s.head_dim);
    benchmark::RegisterBenchmark(full.c_str(), [c](benchmark::State& state) { measure(state, c); })
        ->Iterations(1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const int heads : {32, 64}) {
    for (const int head_dim : {32, 64, 128}) {
      add("prefill", prefill(256, 4096, heads, head_dim, false));
    }
  }
  add("causal", prefill(1024, 1024, 64, 128, true));
  add("decode", decode(1, 1, 8192, 64));
  add("decode", decode(16, 1, 8192, 64));
  add("decode", decode(16, 2, 8192, 64));
}

// Google Benchmark's main() knows only what was registered before it.
const bool kAdded = (add_benchmarks(), true);
}  // namespace

}  // namespace hadal::gemm
