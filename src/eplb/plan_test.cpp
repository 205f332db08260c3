#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "eplb/eplb.h"

namespace hadal::eplb {
namespace {

/// `num_layers` equal layers of `slots`, on GPUs of `per_gpu` slots each.
Plan make_plan(std::vector<int32_t> slots, int num_layers, int num_experts, int per_gpu,
               int num_nodes = 1) {
  Plan plan;
  plan.num_layers = num_layers;
  plan.num_experts = num_experts;
  plan.num_slots = static_cast<int>(slots.size());
  plan.num_gpus = plan.num_slots / per_gpu;
  plan.num_nodes = num_nodes;
  for (int slot = 0; slot <= plan.num_slots; slot += per_gpu) plan.gpu_first_slot.push_back(slot);
  for (int layer = 0; layer < num_layers; ++layer) {
    plan.phy2log.insert(plan.phy2log.end(), slots.begin(), slots.end());
  }
  plan.quality.resize(num_layers);
  return plan;
}

Plan indexed(Plan plan) {
  const Result<> done = index_plan(plan);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return plan;
}

std::string error_of(const Plan& plan) {
  const Result<> valid = validate(plan);
  return valid ? "" : valid.error().message;
}

TEST(Plan, IndexIsTheInverseInSlotOrder) {
  const Plan plan = indexed(make_plan({2, 0, 1, 2, 2, -1}, 2, 3, 2));
  EXPECT_EQ(plan.max_count, 3);
  EXPECT_EQ(plan.count(1, 2), 3);
  EXPECT_EQ(std::vector<int>(plan.slots(1, 2).begin(), plan.slots(1, 2).end()),
            (std::vector<int>{0, 3, 4}));
  EXPECT_EQ(plan.slots(0, 1).size(), 1u);
  EXPECT_EQ(plan.log2phy[1 * 3 + 1], -1);
  EXPECT_EQ(error_of(plan), "");
}

TEST(Plan, IndexNamesTheExpertWithoutSlot) {
  Plan plan = make_plan({0, 0, 2, 2}, 2, 3, 2);
  const Result<> result = index_plan(plan);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message, "phy2log[0] has no slot with expert 1; every expert needs one");
}

TEST(Plan, GpuOfSkipsGpusWithoutSlots) {
  Plan plan;
  plan.num_slots = 5;
  plan.num_gpus = 5;
  plan.gpu_first_slot = {0, 0, 2, 2, 2, 5};
  const std::vector<int> expected = {1, 1, 4, 4, 4};
  for (int slot = 0; slot < 5; ++slot) EXPECT_EQ(plan.gpu_of(slot), expected[slot]);
}

TEST(Plan, ValidateFindsEveryKindOfDamage) {
  const Plan good = indexed(make_plan({0, 1, 2, 0, 1, -1}, 1, 3, 2));
  const auto damaged = [&](auto damage) {
    Plan plan = good;
    damage(plan);
    return error_of(plan);
  };
  EXPECT_EQ(error_of(good), "");
  EXPECT_EQ(damaged([](Plan& p) { p.num_gpus = 0; }), "num_gpus is 0; it must be at least 1");
  EXPECT_EQ(damaged([](Plan& p) { p.num_nodes = 2; }),
            "num_gpus is 3; it must be a multiple of num_nodes 2");
  EXPECT_EQ(damaged([](Plan& p) { p.num_groups = 2; }),
            "num_experts is 3; it must be a multiple of num_groups 2");
  EXPECT_EQ(damaged([](Plan& p) { p.num_experts = 7; }),
            "num_replicas is 6; it must be at least num_experts 7");
  EXPECT_EQ(damaged([](Plan& p) { p.phy2log.pop_back(); }),
            "phy2log has 5 values; it must have num_layers x num_replicas");
  EXPECT_EQ(damaged([](Plan& p) { p.gpu_first_slot[1] = 5; }),
            "gpu_first_slot falls from 5 to 4 at GPU 1; it must not fall");
  EXPECT_EQ(damaged([](Plan& p) { p.gpu_first_slot.back() = 5; }),
            "gpu_first_slot goes from 0 to 5; it must go from 0 to num_replicas 6");
  EXPECT_EQ(damaged([](Plan& p) { p.phy2log[1] = 3; }),
            "phy2log[0][1] is 3; it must be an expert below 3, or -1 for an empty slot");
  EXPECT_EQ(damaged([](Plan& p) { p.logcnt[2] = 0; }), "logcnt[0][2] is 0; it must be 1 .. 2");
  EXPECT_EQ(damaged([](Plan& p) { p.logcnt[1] = 1; }),
            "log2phy[0][1][1] is 4; it must be -1 behind the 1 replicas");
  EXPECT_EQ(damaged([](Plan& p) { p.log2phy[1] = 0; }),
            "log2phy[0][0][1] is 0; it must be another slot that holds the expert");
  EXPECT_EQ(damaged([](Plan& p) { p.phy2log[5] = 2; }),
            "phy2log[0][5] is 2, but log2phy does not list that slot");
  EXPECT_EQ(damaged([](Plan& p) { p.max_count = 3; }),
            "log2phy has room for 3 replicas; it must be 2, the largest logcnt");
  EXPECT_EQ(damaged([](Plan& p) { p.dispatch_weight = {1}; }),
            "dispatch_weight has 1 values; it must have none with equal dispatch");
  EXPECT_EQ(damaged([](Plan& p) { p.quality.clear(); }),
            "layers has 0 values; it must have num_layers");
  EXPECT_EQ(damaged([](Plan& p) {
              p.dispatch = Dispatch::kWeighted;
              p.dispatch_weight = {0.5, 0.5, 1, 0.25, 0.5, 0};
            }),
            "the dispatch weights of layer 0, expert 0 add up to 0.75; they must add up to 1");
  EXPECT_EQ(damaged([](Plan& p) {
              p.dispatch = Dispatch::kWeighted;
              p.dispatch_weight = {0.5, 0.5, 1, 0.5, 0.5, 0.5};
            }),
            "dispatch_weight[0][5] is 0.5; it must be 0 .. 1, and 0 for an empty slot");
}

TEST(Plan, ValidateAcceptsAPlanWithoutLayers) {
  const Plan plan = indexed(make_plan({0, 1}, 0, 2, 1));
  EXPECT_EQ(error_of(plan), "");
  EXPECT_EQ(plan.max_count, 0);
  EXPECT_EQ(evaluate(plan, {})->gpu.imbalance, 1);
}

TEST(Evaluate, ThreeLevelsByHand) {
  // GPUs: {0, 1} {2, 0} | {3, 3} {1, 2}; loads 12 8 4 6: slots 6 4 2 6 3 3 4 2.
  const Plan plan = indexed(make_plan({0, 1, 2, 0, 3, 3, 1, 2}, 1, 4, 2, 2));
  const std::vector<double> load = {12, 8, 4, 6};
  const Evaluation result = evaluate(plan, load).value();
  EXPECT_EQ(result.gpu_load, (std::vector<double>{10, 8, 6, 6}));
  EXPECT_DOUBLE_EQ(result.gpu.max, 10);
  EXPECT_DOUBLE_EQ(result.gpu.mean, 7.5);
  EXPECT_DOUBLE_EQ(result.gpu.imbalance, 10 / 7.5);
  EXPECT_DOUBLE_EQ(result.gpu.balancedness, 7.5 / 10);
  EXPECT_DOUBLE_EQ(result.node.max, 9);  // 18 on a node of two GPUs: 9 a GPU
  EXPECT_DOUBLE_EQ(result.node.mean, 7.5);
  EXPECT_DOUBLE_EQ(result.slot.max, 6);
  EXPECT_DOUBLE_EQ(result.slot.mean, 30.0 / 8);
  EXPECT_EQ(result.duplicates, 1);
}

TEST(Evaluate, AveragesOverLayers) {
  const Plan plan = indexed(make_plan({0, 1}, 3, 2, 1));
  const Evaluation result = evaluate(plan, std::vector<double>{1, 3, 2, 2, 0, 0}).value();
  EXPECT_EQ(result.imbalance, (std::vector<double>{1.5, 1, 1}));
  EXPECT_DOUBLE_EQ(result.gpu.imbalance, 3.5 / 3);
  EXPECT_DOUBLE_EQ(result.gpu.worst_imbalance, 1.5);
  EXPECT_DOUBLE_EQ(result.gpu.balancedness, 4.0 / 5);
}

TEST(Evaluate, SpeedsAndFailedGpus) {
  Plan plan = indexed(make_plan({0, 1, -1}, 1, 2, 1));
  const std::vector<double> load = {8, 2};
  EXPECT_DOUBLE_EQ(evaluate(plan, load)->gpu.mean, 5) << "GPU 2 holds nothing and does not count";
  const Evaluation result = evaluate(plan, load, std::vector<double>{4, 1, 7}).value();
  EXPECT_EQ(result.gpu_load, (std::vector<double>{2, 2, 0}));
  EXPECT_DOUBLE_EQ(result.gpu.imbalance, 1);
}

TEST(Evaluate, WeightedDispatch) {
  Plan plan = indexed(make_plan({0, 1, 0, 1}, 1, 2, 2));
  plan.dispatch = Dispatch::kWeighted;
  plan.dispatch_weight = {0.75, 1, 0.25, 0};
  EXPECT_EQ(evaluate(plan, std::vector<double>{8, 4})->gpu_load, (std::vector<double>{10, 2}));
}

TEST(Evaluate, RejectsWhatDoesNotFit) {
  const Plan plan = indexed(make_plan({0, 1}, 1, 2, 1));
  const auto message = [&](std::vector<double> load, std::vector<double> speed = {}) {
    return evaluate(plan, load, speed).error().message;
  };
  EXPECT_EQ(message({1}), "load has 1 values; the plan needs 2 (1 layers x 2 experts)");
  EXPECT_EQ(message({1, -2}), "load[0][1] is -2; it must be finite and >= 0");
  EXPECT_EQ(message({1, std::numeric_limits<double>::quiet_NaN()}),
            "load[0][1] is nan; it must be finite and >= 0");
  EXPECT_EQ(message({1, 2}, {1}), "gpu_speed has 1 values; it must have num_gpus 2");
  EXPECT_EQ(message({1, 2}, {1, 0}), "gpu_speed[1] is 0; it must be finite and > 0");
}

/// Total load is conserved whatever the plan: the sum over GPUs is the sum over experts.
TEST(Evaluate, ConservesLoadOnRandomPlans) {
  Rng rng(7);
  for (int round = 0; round < 200; ++round) {
    const int experts = 1 + static_cast<int>(rng.below(12));
    std::vector<int32_t> slots(experts);
    std::iota(slots.begin(), slots.end(), 0);
    while (slots.size() % 4 != 0 || rng.chance(0.8)) {
      slots.push_back(rng.chance(0.1) ? -1 : static_cast<int>(rng.below(experts)));
    }
    shuffle(std::span<int32_t>(slots), rng);
    const Plan plan = indexed(make_plan(slots, 1, experts, 4));
    ASSERT_EQ(error_of(plan), "");
    std::vector<double> load(experts);
    double total = 0;
    for (double& x : load) total += x = static_cast<double>(rng.below(1000));
    const Evaluation result = evaluate(plan, load).value();
    double seen = 0;
    for (const double x : result.gpu_load) seen += x;
    EXPECT_NEAR(seen, total, 1e-9 * (total + 1));
  }
}

TEST(Moves, CountsSlotsWhoseExpertIsNewOnTheGpu) {
  const Plan before = indexed(make_plan({0, 1, 2, 3}, 2, 4, 2));
  EXPECT_EQ(count_moves(before, indexed(make_plan({1, 0, 3, 2}, 2, 4, 2)), 0), 0);
  EXPECT_EQ(count_moves(before, indexed(make_plan({2, 1, 0, 3}, 2, 4, 2)), 1), 2);
  EXPECT_EQ(count_moves(before, indexed(make_plan({2, 3, 0, 1}, 2, 4, 2)), 0), 4);
}

TEST(Names, AreStable) {
  EXPECT_EQ(name(Policy::kIncremental), "incremental");
  EXPECT_EQ(name(Scope::kHierarchical), "hierarchical");
  EXPECT_EQ(name(Ties::kTorch), "torch");
  EXPECT_EQ(name(Dispatch::kWeighted), "weighted");
}

}  // namespace
}  // namespace hadal::eplb
