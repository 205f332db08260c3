#include "eplb/plan_file.h"

#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::eplb {
namespace {

int below(Rng& rng, int bound) {
  return static_cast<int>(rng.below(bound));
}

double any_double(Rng& rng) {
  return rng.chance(0.2) ? 0 : rng.uniform() * std::pow(10.0, 30 * rng.uniform() - 15);
}

/// A valid plan with everything in it: unequal and empty GPUs, empty slots, weights, qualities.
Plan random_plan(Rng& rng) {
  Plan plan;
  plan.num_layers = 1 + below(rng, 4);
  plan.num_groups = 1 + below(rng, 3);
  plan.num_experts = plan.num_groups * (1 + below(rng, 5));
  plan.num_slots = plan.num_experts + below(rng, 12);
  plan.num_nodes = 1 + below(rng, 3);
  plan.num_gpus = plan.num_nodes * (1 + below(rng, 4));
  plan.policy =
      std::vector{Policy::kReference, Policy::kOptimal, Policy::kIncremental}[below(rng, 3)];
  plan.scope = rng.chance(0.5) ? Scope::kGlobal : Scope::kHierarchical;
  plan.cut_short = rng.chance(0.5);
  plan.gpu_first_slot = {0};
  for (int gpu = 1; gpu < plan.num_gpus; ++gpu) {
    plan.gpu_first_slot.push_back(below(rng, plan.num_slots + 1));
  }
  plan.gpu_first_slot.push_back(plan.num_slots);
  std::sort(plan.gpu_first_slot.begin(), plan.gpu_first_slot.end());
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    std::vector<int32_t> slots(plan.num_slots);
    for (int slot = 0; slot < plan.num_slots; ++slot) {
      slots[slot] = slot < plan.num_experts ? slot : below(rng, plan.num_experts + 1) - 1;
    }
    shuffle(std::span<int32_t>(slots), rng);
    plan.phy2log.insert(plan.phy2log.end(), slots.begin(), slots.end());
    plan.quality.push_back({any_double(rng), any_double(rng), any_double(rng), any_double(rng),
                            any_double(rng), below(rng, 1000)});
  }
  EXPECT_TRUE(index_plan(plan).has_value());
  // Any order of the replicas is a valid index, not just that of index_plan().
  for (size_t row = 0; row < plan.logcnt.size(); ++row) {
    shuffle(std::span<int32_t>(plan.log2phy).subspan(row * plan.max_count, plan.logcnt[row]), rng);
  }
  if (rng.chance(0.5)) {
    plan.dispatch = Dispatch::kWeighted;
    plan.dispatch_weight.resize(plan.phy2log.size());
    for (int layer = 0; layer < plan.num_layers; ++layer) {
      for (int expert = 0; expert < plan.num_experts; ++expert) {
        float left = 1;
        for (const int slot : plan.slots(layer, expert)) {
          const float share = left * static_cast<float>(rng.uniform());
          plan.dispatch_weight[static_cast<size_t>(layer) * plan.num_slots + slot] = share;
          left -= share;
        }
        const int last = plan.slots(layer, expert).back();
        plan.dispatch_weight[static_cast<size_t>(layer) * plan.num_slots + last] += left;
      }
    }
  }
  return plan;
}

void expect_equal(const Plan& a, const Plan& b) {
  EXPECT_EQ(a.num_layers, b.num_layers);
  EXPECT_EQ(a.num_experts, b.num_experts);
  EXPECT_EQ(a.num_slots, b.num_slots);
  EXPECT_EQ(a.num_groups, b.num_groups);
  EXPECT_EQ(a.num_nodes, b.num_nodes);
  EXPECT_EQ(a.num_gpus, b.num_gpus);
  EXPECT_EQ(a.max_count, b.max_count);
  EXPECT_EQ(a.gpu_first_slot, b.gpu_first_slot);
  EXPECT_EQ(a.phy2log, b.phy2log);
  EXPECT_EQ(a.log2phy, b.log2phy);
  EXPECT_EQ(a.logcnt, b.logcnt);
  EXPECT_EQ(a.dispatch_weight, b.dispatch_weight);
  EXPECT_EQ(a.policy, b.policy);
  EXPECT_EQ(a.scope, b.scope);
  EXPECT_EQ(a.dispatch, b.dispatch);
  EXPECT_EQ(a.cut_short, b.cut_short);
  ASSERT_EQ(a.quality.size(), b.quality.size());
  for (size_t i = 0; i < a.quality.size(); ++i) {
    EXPECT_EQ(a.quality[i].max, b.quality[i].max);
    EXPECT_EQ(a.quality[i].mean, b.quality[i].mean);
    EXPECT_EQ(a.quality[i].imbalance, b.quality[i].imbalance);
    EXPECT_EQ(a.quality[i].lower_bound, b.quality[i].lower_bound);
    EXPECT_EQ(a.quality[i].gap, b.quality[i].gap);
    EXPECT_EQ(a.quality[i].moves, b.quality[i].moves);
  }
}

TEST(PlanFile, WhatIsWrittenReadsBackTheSame) {
  Rng rng(3);
  for (int round = 0; round < 300; ++round) {
    const Plan plan = random_plan(rng);
    ASSERT_TRUE(validate(plan).has_value()) << validate(plan).error().message;
    const std::string text = plan_to_json(plan);
    const Result<Plan> read = plan_from_json(text);
    ASSERT_TRUE(read.has_value()) << read.error().message << "\n" << text;
    expect_equal(plan, *read);
    EXPECT_EQ(plan_to_json(*read), text);
    if (HasFailure()) FAIL() << text;
  }
}

TEST(PlanFile, TextIsStable) {
  Plan plan;
  plan.num_layers = 2;
  plan.num_experts = 2;
  plan.num_slots = 3;
  plan.gpu_first_slot = {0, 3};
  plan.phy2log = {0, 1, 0, 1, 0, -1};
  plan.quality = {{3, 1.5, 2, 1, 2, 0},
                  {1e-9, 0.1, 1, 0, std::numeric_limits<double>::infinity(), 4}};
  ASSERT_TRUE(index_plan(plan).has_value());
  EXPECT_EQ(plan_to_json(plan), R"({
  "hadal_plan": 1,
  "policy": "reference",
  "scope": "global",
  "dispatch": "equal",
  "num_layers": 2,
  "num_experts": 2,
  "num_replicas": 3,
  "num_groups": 1,
  "num_nodes": 1,
  "num_gpus": 1,
  "gpu_first_slot": [0,3],
  "phy2log": [
    [0,1,0],
    [1,0,-1]
  ],
  "log2phy": [
    [[0,2],[1,-1]],
    [[1,-1],[0,-1]]
  ],
  "logcnt": [
    [2,1],
    [1,1]
  ],
  "cut_short": false,
  "layers": [
    {"max": 3, "mean": 1.5, "imbalance": 2, "lower_bound": 1, "gap": 2, "moves": 0},
    {"max": 1e-09, "mean": 0.1, "imbalance": 1, "lower_bound": 0, "gap": null, "moves": 4}
  ]
}
)");
  EXPECT_EQ(plan_from_json(plan_to_json(plan))->quality[1].gap, 0) << "null is the default";
}

TEST(PlanFile, BarePlacement) {
  const Plan plan = plan_from_json(R"({"num_gpus": 2, "policy": "hierarchical", "layers": 2,
      "log2phy": 5, "num_logical_experts": 3, "phy2log": [[0,1,2,0,-1],[2,1,0,1,1]]})")
                        .value();
  EXPECT_EQ(plan.num_layers, 2);
  EXPECT_EQ(plan.num_slots, 5);
  EXPECT_EQ(plan.num_nodes, 1);
  EXPECT_EQ(plan.gpu_first_slot, (std::vector<int32_t>{0, 3, 5}));
  EXPECT_EQ(plan.max_count, 3);
  EXPECT_EQ(plan.quality.size(), 2u);
}

TEST(PlanFile, ErrorsNameTheField) {
  Plan plan = plan_from_json(R"({"num_gpus": 1, "num_experts": 2, "phy2log": [[0,1,0]]})").value();
  const std::string good = plan_to_json(plan);
  const auto replaced = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const Result<Plan> read = plan_from_json(text);
    return read ? "no error" : read.error().message;
  };
  EXPECT_EQ(replaced("\"hadal_plan\": 1", "\"hadal_plan\": 2"),
            "hadal_plan is 2; this program reads version 1");
  EXPECT_EQ(replaced("\"policy\": \"reference\"", "\"policy\": \"best\""),
            "policy is something else than one of reference, optimal, incremental");
  EXPECT_EQ(replaced("\"scope\"", "\"skope\""), "the plan has no scope");
  EXPECT_EQ(replaced("[0,1,0]", "[0,1,2]"),
            "phy2log[0][2] is 2; it must be an expert below 2, or -1 for an empty slot");
  EXPECT_EQ(replaced("[0,1,0]", "[0,1,0.5]"),
            "phy2log has the value 0.5; it must be a whole number of 31 bits");
  EXPECT_EQ(replaced("[0,1,0]", "[0,1,null]"), "phy2log[0][2] is null; it must be a whole number");
  EXPECT_EQ(replaced("[0,1,0]", "[0,1]"), "num_replicas is 3, but phy2log has 2 slots a layer");
  EXPECT_EQ(replaced("[0,3]", "[0,2]"),
            "gpu_first_slot goes from 0 to 2; it must go from 0 to num_replicas 3");
  EXPECT_EQ(replaced("[[0,2],[1,-1]]", "[[0,1],[1,-1]]"),
            "log2phy[0][0][1] is 1; it must be another slot that holds the expert");
  EXPECT_EQ(replaced("[[0,2],[1,-1]]", "[0,2]"),
            "log2phy must have 3 dimensions (layers, experts, replicas)");
  EXPECT_EQ(replaced("\"moves\": 0", "\"moves\": -1"),
            "layers[0].moves is -1; it must be a whole number >= 0");
  EXPECT_EQ(replaced("\"moves\"", "\"movez\""), "layers[0] has no moves");
  EXPECT_EQ(replaced("\"cut_short\": false", "\"cut_short\": 1"),
            "cut_short is 1; it must be true or false");
  EXPECT_EQ(plan_from_json(R"({"num_experts": 2, "phy2log": [[0,1,0]]})").error().message,
            "the plan has no num_gpus");
  EXPECT_EQ(plan_from_json("[1]").error().message,
            "the input is a JSON array; it must be an object");
  EXPECT_EQ(plan_from_json(R"({"num_experts": 1, "num_gpus": 2000000000, "phy2log": [[0]]})")
                .error()
                .message,
            "num_gpus is 2000000000; it must be at most the 1 slots of phy2log");
  EXPECT_EQ(read_plan("/dev/null").error().message, "/dev/null: the input is empty");
}

}  // namespace
}  // namespace hadal::eplb
