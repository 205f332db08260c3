// Weighted dispatch at the sizes of DeepSeek-V3: one layer of 256 experts, log-normal loads (sigma
// 1). Counters: time_over_bound is 1 when the certificate is tight (checked), equal_over_weighted
// is what the equal split of the same placement costs, weighted_over_any what the placement leaves
// to gain.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/rng.h"
#include "eplb/dispatch.h"

namespace hadal::eplb {
namespace {

std::vector<double> lognormal(int experts, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> load(experts);
  for (double& w : load) w = std::round(1000 * std::exp(rng.normal()));
  return load;
}

/// Replicates the expert of the largest share until the slots are used, then puts the largest share
/// on the least loaded GPU that has room and no copy.
Placement place(const std::vector<double>& load, int slots, int gpus) {
  std::vector<int32_t> count(load.size(), 1);
  const auto share = [&](size_t e) { return load[e] / count[e]; };
  for (int extra = static_cast<int>(load.size()); extra < slots; ++extra) {
    size_t best = 0;
    for (size_t e = 1; e < load.size(); ++e) best = share(e) > share(best) ? e : best;
    ++count[best];
  }
  std::vector<int32_t> order(load.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](int e) { return std::pair(-share(e), e); });
  std::vector<std::vector<int32_t>> held(gpus);
  std::vector<double> busy(gpus);
  const int room = slots / gpus;
  for (const int32_t e : order) {
    for (int k = 0; k < count[e]; ++k) {
      int best = -1;
      for (int g = 0; g < gpus; ++g) {
        if (static_cast<int>(held[g].size()) == room) continue;
        if (best < 0 || busy[g] + 1e12 * std::ranges::count(held[g], e) <
                            busy[best] + 1e12 * std::ranges::count(held[best], e)) {
          best = g;
        }
      }
      held[best].push_back(e);
      busy[best] += share(e);
    }
  }
  Placement out{
      .num_experts = static_cast<int>(load.size()), .slot_expert = {}, .gpu_first_slot = {0}};
  for (const auto& gpu : held) {
    out.slot_expert.insert(out.slot_expert.end(), gpu.begin(), gpu.end());
    out.gpu_first_slot.push_back(static_cast<int32_t>(out.slot_expert.size()));
  }
  return out;
}

double equal_time(const Placement& p, const std::vector<double>& load) {
  double worst = 0;
  for (size_t g = 0; g + 1 < p.gpu_first_slot.size(); ++g) {
    double time = 0;
    for (int s = p.gpu_first_slot[g]; s < p.gpu_first_slot[g + 1]; ++s) {
      const int32_t e = p.slot_expert[s];
      time += load[e] / static_cast<double>(std::ranges::count(p.slot_expert, e));
    }
    worst = std::max(worst, time);
  }
  return worst;
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->Args({256, 288, 32})->Args({256, 288, 72})->Args({256, 288, 144})->Args({256, 320, 64});
  bench->Args({256, 512, 128})->ArgNames({"experts", "slots", "gpus"});
}

void report(benchmark::State& state, const Placement& p, const std::vector<double>& load,
            const Splitter& splitter) {
  CHECK(splitter.time() <= splitter.bound() * (1 + 1e-10));
  const std::vector<int32_t> capacity(state.range(2),
                                      static_cast<int32_t>(state.range(1) / state.range(2)));
  state.counters["time_over_bound"] = splitter.time() / splitter.bound();
  state.counters["equal_over_weighted"] = equal_time(p, load) / splitter.time();
  state.counters["weighted_over_any"] = splitter.time() / weighted_bound(load, capacity).value();
  state.counters["cuts"] = splitter.iterations();
}

void split_cold(benchmark::State& state) {
  const std::vector<double> load = lognormal(static_cast<int>(state.range(0)), 123);
  const Placement p =
      place(load, static_cast<int>(state.range(1)), static_cast<int>(state.range(2)));
  Splitter splitter;
  for ([[maybe_unused]] auto _ : state) {
    CHECK(splitter.bind(p).has_value());
    benchmark::DoNotOptimize(splitter.split(load).value());
  }
  report(state, p, load, splitter);
}
BENCHMARK(split_cold)->Apply(shapes)->Unit(benchmark::kMicrosecond);

/// A batch whose counts drifted by 20% per expert from those of the placement, and from batch to
/// batch.
void split_batch(benchmark::State& state) {
  const std::vector<double> load = lognormal(static_cast<int>(state.range(0)), 123);
  const Placement p =
      place(load, static_cast<int>(state.range(1)), static_cast<int>(state.range(2)));
  Rng rng(9);
  std::vector<std::vector<double>> batches(64, load);
  for (auto& batch : batches) {
    for (double& w : batch) w = std::round(w * std::exp(0.2 * rng.normal()));
  }
  Splitter splitter;
  CHECK(splitter.bind(p).has_value());
  size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(splitter.split(batches[i]).value());
    i = (i + 1) % batches.size();
  }
  report(state, p, batches[(i + batches.size() - 1) % batches.size()], splitter);
}
BENCHMARK(split_batch)->Apply(shapes)->Unit(benchmark::kMicrosecond);

void bound_any_placement(benchmark::State& state) {
  const std::vector<double> load = lognormal(256, 123);
  const std::vector<int32_t> capacity(144, 2);
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(weighted_bound(load, capacity).value());
}
BENCHMARK(bound_any_placement)->Unit(benchmark::kMicrosecond);

void improve(benchmark::State& state) {
  const std::vector<double> load = lognormal(static_cast<int>(state.range(0)), 123);
  const int gpus = static_cast<int>(state.range(2));
  const Placement start = place(load, static_cast<int>(state.range(1)), gpus);
  Splitter splitter;
  CHECK(splitter.bind(start).has_value());
  const double before = splitter.split(load).value();
  double after = 0;
  for ([[maybe_unused]] auto _ : state) {
    Placement p = start;
    after = improve_weighted(p, load, {}, {.steps_max = 5000}).value();
  }
  const std::vector<int32_t> capacity(gpus, static_cast<int32_t>(state.range(1)) / gpus);
  const double bound = weighted_bound(load, capacity).value();
  CHECK(after <= before * (1 + 1e-9) && after >= bound * (1 - 1e-9));
  state.counters["before_over_bound"] = before / bound;
  state.counters["after_over_bound"] = after / bound;
  state.counters["after_over_mean"] =
      after / (std::accumulate(load.begin(), load.end(), 0.0) / gpus);
}
BENCHMARK(improve)->Apply(shapes)->Unit(benchmark::kMillisecond);

void route(benchmark::State& state) {
  const std::vector<double> load = lognormal(256, 123);
  const Placement p = place(load, 288, 32);
  Splitter splitter;
  CHECK(splitter.bind(p).has_value() && splitter.split(load).has_value());
  ReplicaChooser chooser;
  CHECK(chooser.bind(256, p.slot_expert, splitter.weights()).has_value());
  Rng rng(1);
  std::vector<int32_t> experts(4096 * 8);
  for (int32_t& e : experts) e = static_cast<int32_t>(rng.below(256));
  std::vector<int32_t> slots(experts.size());
  for ([[maybe_unused]] auto _ : state) CHECK(chooser.route(experts, 8, 0, slots).has_value());
  for (size_t i = 0; i < slots.size(); ++i) CHECK(p.slot_expert[slots[i]] == experts[i]);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(experts.size()));
}
BENCHMARK(route)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hadal::eplb
