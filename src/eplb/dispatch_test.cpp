#include "eplb/dispatch.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::eplb {
namespace {

struct Instance {
  Placement placement;
  std::vector<double> load;
  std::vector<double> speed;
  int gpus() const { return static_cast<int>(placement.gpu_first_slot.size()) - 1; }
};

/// Experts with random replicas on random GPUs, duplicates and empty slots included.
Instance random_instance(Rng& rng, int experts_max, int gpus_max) {
  Instance out;
  const int gpus = 1 + static_cast<int>(rng.below(gpus_max));
  const int experts = 1 + static_cast<int>(rng.below(experts_max));
  out.placement.num_experts = experts;
  std::vector<std::vector<int32_t>> held(gpus);
  for (int e = 0; e < experts; ++e) {
    const int replicas = 1 + static_cast<int>(rng.below(3));
    for (int k = 0; k < replicas; ++k) held[rng.below(gpus)].push_back(e);
    const bool integral = rng.chance(0.5);
    const double load = integral ? static_cast<double>(rng.below(20)) : std::exp(2 * rng.normal());
    out.load.push_back(rng.chance(0.1) ? 0.0 : load);
  }
  out.placement.gpu_first_slot.push_back(0);
  for (int g = 0; g < gpus; ++g) {
    if (rng.chance(0.2)) held[g].push_back(-1);
    shuffle(std::span(held[g]), rng);
    auto& slots = out.placement.slot_expert;
    slots.insert(slots.end(), held[g].begin(), held[g].end());
    out.placement.gpu_first_slot.push_back(static_cast<int32_t>(slots.size()));
    out.speed.push_back(rng.chance(0.5) ? 1.0 : 0.25 + rng.uniform());
  }
  return out;
}

/// The definition: over all sets of GPUs, the load hosted by the set alone over its speed.
double brute_force(const Instance& in) {
  std::vector<unsigned> hosts(in.load.size());
  for (int g = 0; g < in.gpus(); ++g) {
    for (int s = in.placement.gpu_first_slot[g]; s < in.placement.gpu_first_slot[g + 1]; ++s) {
      if (in.placement.slot_expert[s] >= 0) hosts[in.placement.slot_expert[s]] |= 1u << g;
    }
  }
  double worst = 0;
  for (unsigned set = 1; set < 1u << in.gpus(); ++set) {
    double load = 0;
    double speed = 0;
    for (int g = 0; g < in.gpus(); ++g) {
      if ((set >> g & 1) != 0) speed += in.speed[g];
    }
    for (size_t e = 0; e < hosts.size(); ++e) {
      if ((hosts[e] & ~set) == 0) load += in.load[e];
    }
    worst = std::max(worst, load / speed);
  }
  return worst;
}

/// Shares are shares, GPU times are what they say, and the tight set proves the bound.
void check_split(const Instance& in, const Splitter& splitter) {
  std::vector<double> sum(in.load.size());
  std::vector<double> gpu(in.gpus());
  std::vector<uint8_t> confined(in.load.size(), 1);
  for (int g = 0; g < in.gpus(); ++g) {
    for (int s = in.placement.gpu_first_slot[g]; s < in.placement.gpu_first_slot[g + 1]; ++s) {
      const int32_t e = in.placement.slot_expert[s];
      ASSERT_GE(splitter.weights()[s], 0);
      if (e < 0) {
        ASSERT_EQ(splitter.weights()[s], 0);
        continue;
      }
      sum[e] += splitter.weights()[s];
      gpu[g] += splitter.weights()[s] * in.load[e] / in.speed[g];
      if (splitter.gpu_is_tight()[g] == 0) confined[e] = 0;
    }
  }
  for (const double s : sum) ASSERT_NEAR(s, 1, 1e-12);
  double load = 0;
  double speed = 0;
  for (size_t e = 0; e < sum.size(); ++e) load += confined[e] != 0 ? in.load[e] : 0;
  for (int g = 0; g < in.gpus(); ++g) {
    ASSERT_NEAR(gpu[g], splitter.gpu_time()[g], 1e-11 * (1 + splitter.time()));
    ASSERT_LE(gpu[g], splitter.time() * (1 + 1e-12));
    speed += splitter.gpu_is_tight()[g] != 0 ? in.speed[g] : 0;
  }
  if (splitter.time() > 0) {
    ASSERT_NEAR(load / speed, splitter.bound(), 1e-12 * splitter.time());
  }
  ASSERT_NEAR(splitter.time(), splitter.bound(), 1e-10 * splitter.time());
}

TEST(Splitter, EqualsTheBruteForceOverAllSetsOfGpus) {
  Rng rng(1);
  Splitter splitter;
  for (int trial = 0; trial < 20000; ++trial) {
    const Instance in = random_instance(rng, 8, 5);
    ASSERT_TRUE(splitter.bind(in.placement, in.speed)) << trial;
    const double time = splitter.split(in.load).value();
    ASSERT_NEAR(time, brute_force(in), 1e-11 * time) << trial;
    ASSERT_NO_FATAL_FAILURE(check_split(in, splitter)) << trial;
  }
}

TEST(Splitter, WarmStartReachesTheSameTime) {
  Rng rng(2);
  for (int trial = 0; trial < 300; ++trial) {
    Instance in = random_instance(rng, 30, 12);
    Splitter warm;
    ASSERT_TRUE(warm.bind(in.placement, in.speed));
    for (int batch = 0; batch < 10; ++batch) {
      for (double& load : in.load) {
        load = batch == 5 ? 100 * rng.uniform() : load * std::exp(0.2 * rng.normal());
      }
      const double time = warm.split(in.load).value();
      ASSERT_NO_FATAL_FAILURE(check_split(in, warm));
      Splitter cold;
      ASSERT_TRUE(cold.bind(in.placement, in.speed));
      ASSERT_NEAR(cold.split(in.load).value(), time, 1e-10 * time);
    }
  }
}

TEST(Splitter, LongChainsOfReplicas) {
  // Expert e lives on GPUs e and e+1; all load is on the first, and must spread to the far end.
  const int n = 200;
  Instance in;
  in.placement.num_experts = n;
  in.placement.gpu_first_slot.push_back(0);
  for (int g = 0; g <= n; ++g) {
    if (g > 0) in.placement.slot_expert.push_back(g - 1);
    if (g < n) in.placement.slot_expert.push_back(g);
    in.placement.gpu_first_slot.push_back(static_cast<int32_t>(in.placement.slot_expert.size()));
  }
  in.load.assign(n, 1.0);
  in.load[0] = 2.0;
  in.speed.assign(n + 1, 1.0);
  Splitter splitter;
  ASSERT_TRUE(splitter.bind(in.placement));
  EXPECT_NEAR(splitter.split(in.load).value(), 1.0, 1e-12);
  check_split(in, splitter);
}

TEST(Splitter, ReplicasOnOneGpuShareEqually) {
  Splitter splitter;
  const std::vector<int32_t> experts = {0, 0, 1, 0};
  const std::vector<int32_t> offsets = {0, 2, 4};
  ASSERT_TRUE(splitter.bind(2, experts, offsets));
  EXPECT_NEAR(splitter.split(std::vector<double>{8, 4}).value(), 6, 1e-12);
  EXPECT_NEAR(splitter.weights()[0], 0.375, 1e-12);
  EXPECT_NEAR(splitter.weights()[1], 0.375, 1e-12);
  EXPECT_NEAR(splitter.weights()[3], 0.25, 1e-12);
  EXPECT_EQ(splitter.split(std::vector<double>{0, 0}).value(), 0);
  EXPECT_NEAR(splitter.weights()[0], 1.0 / 3, 1e-12);
}

TEST(Splitter, NamesWhatIsWrong) {
  Splitter splitter;
  const std::vector<int32_t> offsets = {0, 1, 2};
  EXPECT_EQ(splitter.bind(2, std::vector<int32_t>{0, 2}, offsets).error().message,
            "slot 1 holds expert 2; allowed are -1 to 1");
  EXPECT_EQ(splitter.bind(2, std::vector<int32_t>{0, -1}, offsets).error().message,
            "expert 1 has no slot; every expert needs one");
  EXPECT_FALSE(splitter.bind(2, std::vector<int32_t>{0, 1, 1}, offsets));
  EXPECT_FALSE(splitter.bind(2, std::vector<int32_t>{0, 1}, offsets, std::vector<double>{1, 0}));
  ASSERT_TRUE(splitter.bind(2, std::vector<int32_t>{0, 1}, offsets));
  EXPECT_EQ(splitter.split(std::vector<double>{1, -1}).error().message,
            "load[1] is -1; it must be finite and >= 0");
  EXPECT_FALSE(splitter.split(std::vector<double>{1, std::nan("")}));
  EXPECT_FALSE(splitter.split(std::vector<double>{1}));
  EXPECT_FALSE(splitter.split(std::vector<double>{1.7e308, 1.7e308}));
}

TEST(SplitPlan, FillsWeightsAndQuality) {
  Plan plan;
  plan.num_layers = 2;
  plan.num_experts = 2;
  plan.num_slots = 3;
  plan.num_gpus = 2;
  plan.gpu_first_slot = {0, 2, 3};
  plan.phy2log = {0, 1, 0, 1, 0, 1};
  plan.quality.resize(2);
  plan.quality[0].lower_bound = 4;
  ASSERT_TRUE(split_plan(plan, std::vector<double>{6, 2, 1, 9}));
  EXPECT_EQ(plan.dispatch, Dispatch::kWeighted);
  EXPECT_EQ(plan.dispatch_weight.size(), 6u);
  EXPECT_NEAR(plan.dispatch_weight[2], 4.0 / 6, 1e-6);
  EXPECT_NEAR(plan.quality[0].max, 4, 1e-9);
  EXPECT_NEAR(plan.quality[0].gap, 0, 1e-9);
  EXPECT_NEAR(plan.quality[1].imbalance, 1, 1e-9);
  EXPECT_FALSE(split_plan(plan, std::vector<double>{6, 2}));
}

/// The best weighted time over all placements, by trying every one.
double best_placement(const std::vector<double>& load, const std::vector<int32_t>& offsets,
                      const std::vector<double>& speed) {
  const int slots = offsets.back();
  const int experts = static_cast<int>(load.size());
  std::vector<int32_t> held(slots, 0);
  Splitter splitter;
  double best = INFINITY;
  while (true) {
    if (splitter.bind(experts, held, offsets, speed)) {
      best = std::min(best, splitter.split(load).value());
    }
    int i = 0;
    while (i < slots && ++held[i] == experts) held[i++] = 0;
    if (i == slots) return best;
  }
}

TEST(WeightedBound, IsNeverAboveTheBestPlacement) {
  Rng rng(3);
  int tight = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<int32_t> offsets = {0};
    std::vector<int32_t> capacity;
    std::vector<double> speed;
    const bool same = rng.chance(0.6);
    const int gpus = 1 + static_cast<int>(rng.below(3));
    for (int g = 0; g < gpus; ++g) {
      capacity.push_back(1 + static_cast<int32_t>(rng.below(gpus < 3 ? 3 : 2)));
      offsets.push_back(offsets.back() + capacity.back());
      speed.push_back(same ? 1 : 0.3 + rng.uniform());
    }
    std::vector<double> load(1 + rng.below(std::min(4, offsets.back())));
    for (double& w : load)
      w = rng.chance(0.5) ? 1.0 + static_cast<double>(rng.below(4)) : std::exp(rng.normal());
    const double best = best_placement(load, offsets, speed);
    const double bound = weighted_bound(load, capacity, speed).value();
    ASSERT_LE(bound, best * (1 + 1e-8)) << trial;
    tight += bound > best * (1 - 1e-8) ? 1 : 0;
  }
  EXPECT_GT(tight, 100);
}

TEST(WeightedBound, CountsLargeParts) {
  // Three equal experts on two GPUs of two slots: one expert may be split, and that reaches the
  // mean.
  EXPECT_NEAR(weighted_bound(std::vector<double>{2, 2, 2}, std::vector<int32_t>{2, 2}).value(), 3,
              1e-8);
  // Without a spare slot two of the three share a GPU.
  EXPECT_NEAR(weighted_bound(std::vector<double>{2, 2, 2}, std::vector<int32_t>{2, 1}).value(), 4,
              1e-8);
  // One slot per GPU: the largest part.
  EXPECT_NEAR(weighted_bound(std::vector<double>{9, 1}, std::vector<int32_t>{1, 1, 1}).value(), 4.5,
              1e-8);
  EXPECT_FALSE(weighted_bound(std::vector<double>{9, 1}, std::vector<int32_t>{1}));
  EXPECT_FALSE(weighted_bound(std::vector<double>{-1}, std::vector<int32_t>{1}));
  EXPECT_EQ(weighted_bound(std::vector<double>{0, 0}, std::vector<int32_t>{2}).value(), 0);
}

TEST(ImproveWeighted, ReachesTheOptimumOfSmallInstances) {
  Rng rng(4);
  int reached = 0;
  for (int trial = 0; trial < 60; ++trial) {
    const std::vector<int32_t> offsets = {0, 2, 4, 6};
    std::vector<double> load(4);
    for (double& w : load) w = std::exp(rng.normal());
    Placement placement{
        .num_experts = 4, .slot_expert = {0, 1, 2, 3, 0, 0}, .gpu_first_slot = offsets};
    Splitter splitter;
    ASSERT_TRUE(splitter.bind(placement));
    const double before = splitter.split(load).value();
    const double after =
        improve_weighted(placement, load, {}, {.steps_max = 400, .seed = 7}).value();
    ASSERT_LE(after, before * (1 + 1e-12));
    ASSERT_TRUE(splitter.bind(placement));
    ASSERT_NEAR(splitter.split(load).value(), after, 1e-10 * after);
    reached += after < best_placement(load, offsets, {1, 1, 1}) * (1 + 1e-9) ? 1 : 0;
  }
  EXPECT_GE(reached, 50);
}

TEST(ReplicaChooser, FollowsTheWeightsCloselyFromAnyStart) {
  Rng rng(5);
  for (int trial = 0; trial < 200; ++trial) {
    const int replicas = 1 + static_cast<int>(rng.below(6));
    std::vector<int32_t> experts(replicas, 0);
    std::vector<double> weights;
    weights.reserve(replicas);
    for (int k = 0; k < replicas; ++k) weights.push_back(rng.chance(0.2) ? 0.0 : rng.uniform());
    weights[rng.below(replicas)] = 1.0;
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    ReplicaChooser chooser;
    ASSERT_TRUE(chooser.bind(1, experts, weights));
    std::vector<double> count(replicas);
    const uint64_t start = rng.next();
    for (uint64_t n = 1; n <= 5000; ++n) {
      ++count[chooser.choose(0, start + n)];
      for (int k = 0; k < replicas; ++k) {
        if (weights[k] == 0) {
          ASSERT_EQ(count[k], 0);
        }
        ASSERT_NEAR(count[k], weights[k] / sum * n, 2 + std::log2(n) / 2);
      }
    }
  }
}

TEST(ReplicaChooser, IsTheSameEverywhere) {
  ReplicaChooser chooser;
  ASSERT_TRUE(chooser.bind(3, std::vector<int32_t>{0, 1, 0, 2, -1, 0},
                           std::vector<double>{.5, 1, .25, 1, 0, .25}));
  // Golden: another value on some rank would route a token to two replicas.
  std::vector<int32_t> slots(16);
  const std::vector<int32_t> experts = {0, 1, 0, 2, 0, -1, 0, 1, 0, 2, 0, 1, 0, 0, 0, 0};
  ASSERT_TRUE(chooser.route(experts, 2, 1000, slots));
  EXPECT_EQ(slots, (std::vector<int32_t>{2, 1, 0, 3, 5, -1, 0, 1, 5, 3, 2, 1, 0, 0, 5, 5}));
  EXPECT_FALSE(chooser.route(experts, 3, 0, slots));
  EXPECT_FALSE(chooser.route(std::vector<int32_t>{3, 0}, 2, 0, std::span(slots).first(2)));
  EXPECT_FALSE(chooser.bind(1, std::vector<int32_t>{0}, std::vector<double>{0}));
  EXPECT_FALSE(chooser.bind(1, std::vector<int32_t>{0}, std::vector<double>{1, 2}));
}

}  // namespace
}  // namespace hadal::eplb
