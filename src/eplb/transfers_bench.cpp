// Aligning and scheduling at the size of DeepSeek-V3: 58 layers of 256 experts in 288 slots, where
// the next plan is the greedy one for loads that drifted by 5%. Counters: rounds over the lower
// bound (1 is optimal), transfers per layer, and how many slots align() saves.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/rng.h"
#include "eplb/transfers.h"

namespace hadal::eplb {
namespace {

constexpr int kLayers = 58;
constexpr int kExperts = 256;

/// One row of phy2log: replicates the largest share, then places the largest share on the least
/// loaded GPU with room.
std::vector<int32_t> place(const std::vector<double>& load, int slots, int gpus) {
  std::vector<int32_t> count(load.size(), 1);
  const auto share = [&](size_t e) { return load[e] / count[e]; };
  for (int extra = static_cast<int>(load.size()); extra < slots; ++extra) {
    size_t best = 0;
    for (size_t e = 1; e < load.size(); ++e) best = share(e) > share(best) ? e : best;
    ++count[best];
  }
  std::vector<int32_t> replicas;
  for (size_t e = 0; e < load.size(); ++e)
    replicas.insert(replicas.end(), count[e], static_cast<int32_t>(e));
  std::ranges::sort(replicas, {}, [&](int e) { return std::pair(-share(e), e); });
  const int room = slots / gpus;
  std::vector<int> used(gpus);
  std::vector<double> busy(gpus);
  std::vector<int32_t> row(slots);
  for (const int32_t e : replicas) {
    int best = -1;
    for (int g = 0; g < gpus; ++g) {
      if (used[g] < room && (best < 0 || busy[g] < busy[best])) best = g;
    }
    row[best * room + used[best]++] = e;
    busy[best] += share(e);
  }
  return row;
}

struct Plans {
  Plan before, after;
};

Plans drifted(int slots, int gpus) {
  Plans out;
  for (Plan* plan : {&out.before, &out.after}) {
    plan->num_layers = kLayers;
    plan->num_experts = kExperts;
    plan->num_slots = slots;
    plan->num_gpus = gpus;
    plan->num_nodes = gpus / 8;
    for (int g = 0; g <= gpus; ++g) plan->gpu_first_slot.push_back(g * (slots / gpus));
  }
  Rng rng(123);
  for (int layer = 0; layer < kLayers; ++layer) {
    std::vector<double> load(kExperts);
    for (double& w : load) w = std::exp(rng.normal());
    const std::vector<int32_t> before = place(load, slots, gpus);
    for (double& w : load) w *= std::exp(0.05 * rng.normal());
    const std::vector<int32_t> after = place(load, slots, gpus);
    out.before.phy2log.insert(out.before.phy2log.end(), before.begin(), before.end());
    out.after.phy2log.insert(out.after.phy2log.end(), after.begin(), after.end());
  }
  return out;
}

int64_t kept(const Plans& plans) {
  int64_t n = 0;
  for (size_t i = 0; i < plans.after.phy2log.size(); ++i) {
    n += plans.before.phy2log[i] == plans.after.phy2log[i];
  }
  return n;
}

void align_plans(benchmark::State& state) {
  const Plans plans = drifted(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  int64_t kept_after = 0;
  for ([[maybe_unused]] auto _ : state) {
    Plan next = plans.after;
    kept_after = align(plans.before, next).value();
  }
  const auto slots = static_cast<double>(plans.after.phy2log.size());
  CHECK(kept_after >= kept(plans));
  state.counters["changed_before"] = 1 - static_cast<double>(kept(plans)) / slots;
  state.counters["changed_after"] = 1 - static_cast<double>(kept_after) / slots;
}
BENCHMARK(align_plans)
    ->Args({288, 32})
    ->Args({288, 144})
    ->Args({320, 320})
    ->ArgNames({"slots", "gpus"})
    ->Unit(benchmark::kMillisecond);

void schedule(benchmark::State& state) {
  Plans plans = drifted(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  CHECK(align(plans.before, plans.after).has_value());
  TransferOptions options;
  options.hazard = state.range(2) != 0 ? Hazard::kInPlace : Hazard::kStaged;
  options.rollout = state.range(3) != 0 ? Rollout::kTogether : Rollout::kByLayer;
  if (state.range(4) != 0) options.move_cost = {.same_gpu = 0, .same_node = 1, .other_node = 9};
  TransferSchedule result;
  for ([[maybe_unused]] auto _ : state)
    result = schedule_transfers(plans.before, plans.after, options).value();
  std::vector<int32_t> table = plans.before.phy2log;
  for (const Transfer& t : result.transfers) {
    if (t.target_slot < plans.after.num_slots) {
      table[static_cast<size_t>(t.layer) * plans.after.num_slots + t.target_slot] = t.expert;
    }
  }
  CHECK(table == plans.after.phy2log);
  state.counters["rounds"] = result.rounds;
  state.counters["over_bound"] = static_cast<double>(result.rounds) / result.rounds_bound;
  state.counters["per_layer"] = static_cast<double>(result.transfers.size()) / kLayers;
  state.counters["local"] = static_cast<double>(result.local) / kLayers;
  state.counters["other_node"] = static_cast<double>(result.other_node) / kLayers;
  state.counters["buffers"] = result.buffers;
}
BENCHMARK(schedule)
    ->ArgsProduct({{288}, {32, 144}, {0, 1}, {0, 1}, {0, 1}})
    ->ArgNames({"slots", "gpus", "in_place", "together", "node_cost"})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::eplb
