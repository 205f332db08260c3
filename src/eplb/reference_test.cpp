// The reference policy against golden output of the published code, and against a slow model
// written straight from its description.
#include "eplb/reference.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "eplb/eplb.h"

namespace hadal::eplb {
namespace {

using Ints = std::vector<int32_t>;

// ---- The slow model ---------------------------------------------------------------------------

struct Model {
  Ints phy2log, log2phy, logcnt;
  int max_count = 0;
};

Ints model_order(const std::vector<float>& loads, Ties ties) {
  std::vector<std::pair<float, int32_t>> items;
  for (size_t i = 0; i < loads.size(); ++i) items.emplace_back(loads[i], i);
  const auto larger = [](const auto& a, const auto& b) { return a.first > b.first; };
  // These tests run on libstdc++, whose std::sort is what Ties::kTorch means.
  if (ties == Ties::kTorch) {
    std::sort(items.begin(), items.end(), larger);
  } else {
    std::stable_sort(items.begin(), items.end(), larger);
  }
  Ints order;
  for (const auto& item : items) order.push_back(item.second);
  return order;
}

void model_pack(const std::vector<float>& loads, int packs, Ties ties, Ints& pack, Ints& rank) {
  const int items = static_cast<int>(loads.size()), capacity = items / packs;
  pack.assign(items, 0);
  rank.assign(items, 0);
  if (capacity == 1) {
    std::iota(pack.begin(), pack.end(), 0);
    return;
  }
  std::vector<float> weight(packs, 0);
  Ints size(packs, 0);
  for (const int item : model_order(loads, ties)) {
    int best = -1;
    for (int p = 0; p < packs; ++p) {
      if (size[p] < capacity && (best < 0 || weight[p] < weight[best])) best = p;
    }
    pack[item] = best;
    rank[item] = size[best]++;
    weight[best] += loads[item];
  }
}

Model slow_model(const Problem& p, Ties ties) {
  const bool grouped = p.num_groups % p.num_nodes == 0;
  const int groups = grouped ? p.num_groups : 1, nodes = grouped ? p.num_nodes : 1;
  const int experts = p.num_experts, slots = p.num_replicas;
  const int group_size = experts / groups, node_experts = experts / nodes;
  const int node_slots = slots / nodes, gpu_slots = slots / p.num_gpus;
  Model out;
  Ints slot_rank(static_cast<size_t>(p.num_layers) * slots);
  out.phy2log.resize(slot_rank.size());
  out.logcnt.resize(static_cast<size_t>(p.num_layers) * experts);
  for (int layer = 0; layer < p.num_layers; ++layer) {
    std::vector<float> w;
    for (int e = 0; e < experts; ++e) {
      w.push_back(static_cast<float>(p.load[static_cast<size_t>(layer) * experts + e]));
    }
    std::vector<float> group_load;
    for (int g = 0; g < groups; ++g) {
      group_load.push_back(torch_sum(std::span(w).subspan(g * group_size, group_size)));
    }
    Ints group_node, group_rank;
    model_pack(group_load, nodes, ties, group_node, group_rank);
    Ints expert_at(experts);
    for (int g = 0; g < groups; ++g) {
      for (int i = 0; i < group_size; ++i) {
        const int at = (group_node[g] * (groups / nodes) + group_rank[g]) * group_size + i;
        expert_at[at] = g * group_size + i;
      }
    }
    for (int node = 0; node < nodes; ++node) {
      const auto id = [&](int local) { return expert_at[node * node_experts + local]; };
      Ints count(node_experts, 1), expert(node_experts), rank(node_experts, 0);
      std::iota(expert.begin(), expert.end(), 0);
      while (static_cast<int>(expert.size()) < node_slots) {
        int best = 0;
        for (int e = 1; e < node_experts; ++e) {
          if (w[id(e)] / static_cast<float>(count[e]) >
              w[id(best)] / static_cast<float>(count[best])) {
            best = e;
          }
        }
        expert.push_back(best);
        rank.push_back(count[best]++);
      }
      std::vector<float> load;
      for (const int e : expert) load.push_back(w[id(e)] / static_cast<float>(count[e]));
      Ints gpu, place;
      model_pack(load, p.num_gpus / nodes, ties, gpu, place);
      for (int r = 0; r < node_slots; ++r) {
        const size_t slot =
            static_cast<size_t>(layer) * slots + node * node_slots + gpu[r] * gpu_slots + place[r];
        out.phy2log[slot] = id(expert[r]);
        slot_rank[slot] = rank[r];
      }
      for (int e = 0; e < node_experts; ++e) {
        out.logcnt[static_cast<size_t>(layer) * experts + id(e)] = count[e];
      }
    }
  }
  out.max_count = *std::max_element(out.logcnt.begin(), out.logcnt.end());
  out.log2phy.assign(out.logcnt.size() * out.max_count, -1);
  for (size_t i = 0; i < slot_rank.size(); ++i) {
    const size_t row = i / slots * experts + out.phy2log[i];
    out.log2phy[row * out.max_count + slot_rank[i]] = static_cast<int32_t>(i % slots);
  }
  return out;
}

Plan plan_or_fail(const Problem& problem, Ties ties, int threads = 1) {
  Options options;
  options.policy = Policy::kReference;
  options.ties = ties;
  options.threads = threads;
  Result<Plan> plan = rebalance(problem, options);
  EXPECT_TRUE(plan.has_value()) << plan.error().message;
  return plan ? *std::move(plan) : Plan{};
}

// ---- Golden output ----------------------------------------------------------------------------

template <typename T>
std::vector<T> flatten(const nlohmann::json& value) {
  std::vector<T> flat;
  if (!value.is_array()) return {value.get<T>()};
  for (const auto& item : value) {
    const auto part = flatten<T>(item);
    flat.insert(flat.end(), part.begin(), part.end());
  }
  return flat;
}

TEST(Reference, ReproducesEveryGoldenPlan) {
  const std::filesystem::path folder = HADAL_SOURCE_DIR "/tests/golden/eplb";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path().filename());
    const auto golden = nlohmann::json::parse(std::ifstream(entry.path()));
    const auto load = flatten<double>(golden["weight"]);
    const Problem problem{.num_layers = static_cast<int>(golden["weight"].size()),
                          .num_experts = static_cast<int>(golden["weight"][0].size()),
                          .num_replicas = golden["num_replicas"],
                          .num_groups = golden["num_groups"],
                          .num_nodes = golden["num_nodes"],
                          .num_gpus = golden["num_gpus"],
                          .load = load,
                          .gpu_capacity = {},
                          .gpu_speed = {},
                          .failed_gpus = {},
                          .pins = {}};
    const Plan plan = plan_or_fail(problem, Ties::kTorch);
    EXPECT_EQ(plan.phy2log, flatten<int32_t>(golden["phy2log"]));
    EXPECT_EQ(plan.log2phy, flatten<int32_t>(golden["log2phy"]));
    EXPECT_EQ(plan.logcnt, flatten<int32_t>(golden["logcnt"]));
    const Plan stable = plan_or_fail(problem, Ties::kStable);
    if (golden.value("stable_sort_gives_same_phy2log", false)) {
      EXPECT_EQ(stable.phy2log, plan.phy2log);
    }
    if (golden.value("stable_sort_gives_same_log2phy", false)) {
      EXPECT_EQ(stable.log2phy, plan.log2phy);
    }
    ++files;
  }
  EXPECT_GE(files, 20);
}

// ---- Random problems --------------------------------------------------------------------------

int pick(Rng& rng, std::initializer_list<int> values) {
  return values.begin()[rng.below(values.size())];
}

std::vector<double> random_load(Rng& rng, size_t size) {
  std::vector<double> load(size);
  const int kind = static_cast<int>(rng.below(7));
  for (double& x : load) {
    switch (kind) {
      case 0: x = static_cast<double>(rng.below(1000)); break;
      case 1: x = static_cast<double>(rng.below(4)); break;  // heavy ties, zeros
      case 2: x = static_cast<double>(rng.below(uint64_t{1} << 40)); break;
      case 3: x = std::exp(rng.normal()); break;
      case 4: x = static_cast<double>(static_cast<float>(rng.uniform())); break;
      case 5: x = rng.below(size) == 0 ? 1e9 : 0; break;  // nearly one-hot
      default: x = 7; break;                              // all equal
    }
  }
  return load;
}

TEST(Reference, MatchesTheSlowModelOnRandomProblems) {
  Rng rng(20);
  int hierarchical = 0;
  for (int round = 0; round < 2500;) {
    SCOPED_TRACE(round);
    const int nodes = pick(rng, {1, 1, 2, 3, 4});
    const int groups = nodes * pick(rng, {1, 2, 3, 4}) + pick(rng, {0, 0, 0, 1});
    const int gpus = nodes * pick(rng, {1, 2, 4, 7});
    const int experts = groups * static_cast<int>(1 + rng.below(pick(rng, {4, 12, 24})));
    if (experts % nodes != 0 && groups % nodes == 0) continue;
    const int slots = static_cast<int>((experts + gpus - 1) / gpus + rng.below(4)) * gpus;
    if (slots > experts * gpus) continue;
    ++round;
    const int layers = static_cast<int>(1 + rng.below(3));
    const auto load = random_load(rng, static_cast<size_t>(layers) * experts);
    Problem problem;
    problem.num_layers = layers;
    problem.num_experts = experts;
    problem.num_replicas = slots;
    problem.num_groups = groups;
    problem.num_nodes = nodes;
    problem.num_gpus = gpus;
    problem.load = load;
    hierarchical += nodes > 1 && groups % nodes == 0;
    for (const Ties ties : {Ties::kStable, Ties::kTorch}) {
      const Model expected = slow_model(problem, ties);
      const Plan plan = plan_or_fail(problem, ties, 1 + static_cast<int>(rng.below(3)));
      ASSERT_EQ(plan.phy2log, expected.phy2log);
      ASSERT_EQ(plan.log2phy, expected.log2phy);
      ASSERT_EQ(plan.logcnt, expected.logcnt);
    }
  }
  EXPECT_GT(hierarchical, 300);
}

// ---- Orders and sums --------------------------------------------------------------------------

TEST(Order, TorchTiesEqualLibstdcxxIntrosort) {
  Rng rng(7);
  OrderScratch scratch;
  for (int round = 0; round < 4000; ++round) {
    const size_t n = 1 + rng.below(round % 10 == 0 ? 3000 : 200);
    const uint64_t values = 1 + rng.below(round % 3 == 0 ? 3 : 2 * n);
    std::vector<float> loads(n);
    for (float& x : loads) x = static_cast<float>(rng.below(values));
    if (round % 7 == 0) std::sort(loads.begin(), loads.end());
    Ints order(n);
    for (const Ties ties : {Ties::kStable, Ties::kTorch}) {
      order_descending(loads, ties, scratch, order);
      ASSERT_EQ(order, model_order(loads, ties)) << "n " << n << " values " << values;
    }
  }
}

// McIlroy's adversary ("A killer adversary for quicksort", 1999): runs introsort with a comparator
// that decides values as late as it can, so that every pivot is bad and the heap sort is reached.
TEST(Order, TorchTiesEqualLibstdcxxOnItsWorstCase) {
  const int n = 2000;
  std::vector<int> value(n, n), items(n);
  std::iota(items.begin(), items.end(), 0);
  int solid = 0, candidate = 0;
  std::sort(items.begin(), items.end(), [&](int a, int b) {
    if (value[a] == n && value[b] == n) value[a == candidate ? a : b] = solid++;
    if (value[a] == n) candidate = a;
    if (value[b] == n) candidate = b;
    return value[a] < value[b];
  });
  std::vector<float> loads(n);
  for (int i = 0; i < n; ++i) loads[i] = static_cast<float>(n - value[i]);
  OrderScratch scratch;
  Ints order(n);
  order_descending(loads, Ties::kTorch, scratch, order);
  EXPECT_EQ(order, model_order(loads, Ties::kTorch));
  for (float& x : loads) x = std::floor(x / 3);  // the same with ties
  order_descending(loads, Ties::kTorch, scratch, order);
  EXPECT_EQ(order, model_order(loads, Ties::kTorch));
}

TEST(TorchSum, IsCloseToTheExactSumAndExactOnSmallIntegers) {
  Rng rng(3);
  for (int n = 0; n < 5000; n = n < 100 ? n + 1 : n * 3 / 2) {
    std::vector<float> values(n);
    double exact = 0;
    for (float& v : values) exact += v = static_cast<float>(rng.below(1000));
    EXPECT_EQ(torch_sum(values), static_cast<float>(exact)) << n;
  }
}

}  // namespace
}  // namespace hadal::eplb
