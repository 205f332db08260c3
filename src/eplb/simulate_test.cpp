#include "eplb/simulate.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace hadal::eplb {
namespace {

/// A planner good enough to test the plumbing: replicates the largest share, places it on the least
/// loaded GPU. kIncremental keeps the previous plan unless it is worse by a tenth.
Result<Plan> greedy(const Problem& problem, const Options& options, const Plan* previous) {
  if (options.policy == Policy::kIncremental && previous == nullptr) {
    return fail(Code::kInvalidArgument, "incremental needs a previous plan");
  }
  Plan plan;
  plan.num_layers = problem.num_layers;
  plan.num_experts = problem.num_experts;
  plan.num_slots = problem.num_replicas;
  plan.num_gpus = problem.num_gpus;
  plan.num_nodes = problem.num_nodes;
  plan.policy = options.policy;
  const int room = problem.num_replicas / problem.num_gpus;
  for (int g = 0; g <= problem.num_gpus; ++g) plan.gpu_first_slot.push_back(g * room);
  for (int layer = 0; layer < problem.num_layers; ++layer) {
    const auto load =
        problem.load.subspan(static_cast<size_t>(layer) * problem.num_experts, problem.num_experts);
    std::vector<int> count(problem.num_experts, 1);
    std::vector<int> replicas(problem.num_experts);
    std::iota(replicas.begin(), replicas.end(), 0);
    const auto share = [&](int e) { return load[e] / count[e]; };
    while (static_cast<int>(replicas.size()) < problem.num_replicas) {
      int best = 0;
      for (int e = 1; e < problem.num_experts; ++e) best = share(e) > share(best) ? e : best;
      ++count[best];
      replicas.push_back(best);
    }
    std::ranges::sort(replicas, {}, [&](int e) { return std::pair(-share(e), e); });
    std::vector<int32_t> row(problem.num_replicas);
    std::vector<int> used(problem.num_gpus);
    std::vector<double> busy(problem.num_gpus);
    for (const int e : replicas) {
      int best = -1;
      for (int g = 0; g < problem.num_gpus; ++g) {
        if (used[g] < room && (best < 0 || busy[g] < busy[best])) best = g;
      }
      row[best * room + used[best]++] = e;
      busy[best] += share(e);
    }
    plan.phy2log.insert(plan.phy2log.end(), row.begin(), row.end());
  }
  if (options.policy == Policy::kIncremental && problem.load[0] > 0.5) plan = *previous;
  return plan;
}

DriftOptions small() {
  DriftOptions options;
  options.num_windows = 20;
  options.num_layers = 2;
  options.num_experts = 64;
  options.seed = 7;
  return options;
}

Problem shape(int replicas = 72, int gpus = 8) {
  Problem problem;
  problem.num_layers = 2;
  problem.num_experts = 64;
  problem.num_replicas = replicas;
  problem.num_gpus = gpus;
  problem.num_nodes = 2;
  return problem;
}

TEST(DriftingLoads, AreDeterministicAndHaveTheAskedForShape) {
  DriftOptions options = small();
  options.num_experts = 4000;
  options.num_layers = 1;
  options.num_windows = 2;
  const std::vector<double> loads = drifting_loads(options).value();
  EXPECT_EQ(loads, drifting_loads(options).value());
  double sum = 0;
  double squares = 0;
  double steps = 0;
  for (int e = 0; e < 4000; ++e) {
    sum += std::log(loads[e]);
    squares += std::log(loads[e]) * std::log(loads[e]);
    steps += std::pow(std::log(loads[4000 + e] / loads[e]), 2);
  }
  EXPECT_NEAR(sum / 4000, 0, 0.06);
  EXPECT_NEAR(squares / 4000, 1, 0.08);
  EXPECT_NEAR(std::sqrt(steps / 4000), 0.05, 0.003);
  options.seed = 8;
  EXPECT_NE(loads, drifting_loads(options).value());

  options.shape = DriftOptions::Shape::kUniform;
  const std::vector<double> uniform = drifting_loads(options).value();
  EXPECT_TRUE(std::all_of(uniform.begin(), uniform.begin() + 4000,
                          [](double w) { return w == std::floor(w) && w >= 1 && w <= 999; }));
  options.shape = DriftOptions::Shape::kZipf;
  std::vector<double> zipf = drifting_loads(options).value();
  zipf.resize(4000);
  EXPECT_FALSE(std::ranges::is_sorted(zipf, std::greater{}));
  std::ranges::sort(zipf, std::greater{});
  EXPECT_NEAR(zipf[9] / zipf[0], std::pow(10, -0.8), 1e-12);
}

TEST(DriftingLoads, ASwitchPermutesAFractionOfTheExperts) {
  DriftOptions options = small();
  options.drift = 0;
  options.switch_windows = {5};
  options.switch_fraction = 0.25;
  const std::vector<double> loads = drifting_loads(options).value();
  const auto row = [&](int window, int layer) {
    const auto first = loads.begin() + (window * 2 + layer) * 64;
    return std::vector<double>(first, first + 64);
  };
  for (int layer = 0; layer < 2; ++layer) {
    EXPECT_EQ(row(0, layer), row(4, layer));
    EXPECT_EQ(row(5, layer), row(19, layer));
    std::vector<double> before = row(4, layer);
    std::vector<double> after = row(5, layer);
    int changed = 0;
    for (int e = 0; e < 64; ++e) changed += before[e] != after[e];
    EXPECT_EQ(changed, 16);
    std::ranges::sort(before);
    std::ranges::sort(after);
    EXPECT_EQ(before, after);
  }
}

TEST(DriftingLoads, NamesWhatIsWrong) {
  DriftOptions options = small();
  options.drift = -1;
  EXPECT_EQ(drifting_loads(options).error().message,
            "drift is -1; it must be finite and 0 or more");
  options = small();
  options.num_windows = 0;
  EXPECT_FALSE(drifting_loads(options));
  options = small();
  options.switch_fraction = 1.5;
  EXPECT_FALSE(drifting_loads(options));
}

TEST(Simulate, PlansOnAWindowAndScoresOnTheNext) {
  // Two windows, two experts, two GPUs: the plan sees window 0 only.
  SimulationOptions options;
  options.shape.num_layers = 1;
  options.shape.num_experts = 2;
  options.shape.num_replicas = 2;
  options.shape.num_gpus = 2;
  const std::vector<double> loads = {1, 1, 3, 1};
  options.loads = loads;
  options.num_windows = 2;
  options.policies = {{.name = "each", .options = {}}};
  const SimulationResult result = simulate(options, greedy).value();
  ASSERT_EQ(result.policies.size(), 1u);
  EXPECT_EQ(result.policies[0].imbalance, (std::vector<double>{1.5}));
  EXPECT_EQ(result.policies[0].moves, (std::vector<int64_t>{0}));
  EXPECT_EQ(result.policies[0].plans, 1);
}

TEST(Simulate, PoliciesDifferAsTheyShould) {
  DriftOptions drift = small();
  drift.switch_windows = {10};
  drift.switch_fraction = 0.5;
  const std::vector<double> loads = drifting_loads(drift).value();
  SimulationOptions options;
  options.shape = shape();
  options.loads = loads;
  options.num_windows = drift.num_windows;
  options.policies = standard_policies(7);
  const SimulationResult result = simulate(options, greedy).value();
  ASSERT_EQ(result.policies.size(), 6u);
  const auto& fixed = result.policies[0];
  const auto& reference = result.policies[1];
  const auto& aligned = result.policies[2];
  const auto& triggered = result.policies[5];
  EXPECT_EQ(fixed.total_moves, 0);
  EXPECT_GT(fixed.mean_imbalance, reference.mean_imbalance);
  for (size_t i = 0; i < 19; ++i) {  // renaming does not change balance
    EXPECT_NEAR(reference.imbalance[i], aligned.imbalance[i], 1e-12);
  }
  EXPECT_LT(aligned.total_moves, reference.total_moves);
  EXPECT_EQ(reference.plans, 19);
  EXPECT_EQ(reference.moves.size(), 19u);
  EXPECT_LT(triggered.plans, 19);
  EXPECT_EQ(std::accumulate(reference.moves.begin(), reference.moves.end(), int64_t{0}),
            reference.total_moves);
  EXPECT_EQ(simulate(options, greedy).value().policies[5].moves, triggered.moves);
}

TEST(Simulate, StaticPlacementHandlesUnevenShapes) {
  DriftOptions drift = small();
  const std::vector<double> loads = drifting_loads(drift).value();
  SimulationOptions options;
  options.shape = shape(67, 6);
  options.loads = loads;
  options.num_windows = drift.num_windows;
  options.policies = {{.name = "static", .kind = SimulatedPolicy::Kind::kStatic, .options = {}}};
  EXPECT_GT(simulate(options, greedy).value().policies[0].mean_imbalance, 1);
}

TEST(Simulate, NamesWhatIsWrong) {
  SimulationOptions options;
  options.shape = shape();
  const std::vector<double> loads(128 * 2, 1.0);
  options.loads = loads;
  options.num_windows = 3;
  options.policies = {{.name = "each", .options = {}}};
  EXPECT_EQ(simulate(options, greedy).error().message, "loads has 256 values; it must have 384");
  options.num_windows = 1;
  EXPECT_FALSE(simulate(options, greedy));
  options.num_windows = 2;
  const Planner broken = [](const Problem&, const Options&, const Plan*) -> Result<Plan> {
    return fail(Code::kTimeout, "no plan");
  };
  EXPECT_EQ(simulate(options, broken).error().message, "policy each, window 0: no plan");
  const Planner wrong = [](const Problem&, const Options&, const Plan*) -> Result<Plan> {
    return Plan{};
  };
  EXPECT_EQ(simulate(options, wrong).error().code, Code::kInvalidArgument);
  options.trigger.balanced_us = 0;
  EXPECT_FALSE(simulate(options, greedy));
}

TEST(Simulate, ReportsAreWellFormed) {
  DriftOptions drift = small();
  const std::vector<double> loads = drifting_loads(drift).value();
  SimulationOptions options;
  options.shape = shape();
  options.loads = loads;
  options.num_windows = drift.num_windows;
  options.policies = standard_policies(7);
  options.policies[0].name = "<static & \"plain\">";
  const SimulationResult result = simulate(options, greedy).value();
  const auto json = nlohmann::json::parse(to_json(result));
  EXPECT_EQ(json["windows"], 20);
  EXPECT_EQ(json["policies"].size(), 6u);
  EXPECT_EQ(json["policies"][1]["imbalance"].size(), 19u);
  EXPECT_EQ(json["policies"][1]["total_moves"], result.policies[1].total_moves);
  const std::string svg = to_svg(result);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_NE(svg.find("&lt;static &amp; &quot;plain&quot;&gt;"), std::string::npos);
  size_t lines = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos;
       at = svg.find("<polyline", at + 1))
    ++lines;
  EXPECT_EQ(lines, 12u);
  // Nothing to show is no reason to divide by zero.
  EXPECT_EQ(to_svg({}).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace hadal::eplb
