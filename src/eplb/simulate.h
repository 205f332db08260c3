// Simulation: what a balancing policy would have cost and gained over time.
//
// Loads come in windows [W][L][E], replayed or drawn by drifting_loads(). Every policy plans on
// window i and is scored on window i+1, as in service, where a plan is always made from the past.
// The score is the imbalance at GPU level (largest GPU load over the mean), averaged over layers;
// the price is the number of slots whose expert was not on that GPU before.
//
//   SimulationOptions options{.shape = problem, .loads = loads, .num_windows = 64};
//   options.policies = standard_policies(0.05 * num_layers * num_slots);
//   SimulationResult result = TRY(simulate(options, [](const Problem& p, const Options& o,
//                                                      const Plan* before) {
//     return rebalance(p, o, before);
//   }));
//   write(to_svg(result));
//
// The planner is a parameter so that any planner can be compared, also one that is not ours. All is
// deterministic if the planner is.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "eplb/eplb.h"
#include "eplb/estimator.h"

namespace hadal::eplb {

struct DriftOptions {
  enum class Shape { kLogNormal, kZipf, kUniform };
  int num_windows = 64;
  int num_layers = 1;
  int num_experts = 256;
  Shape shape = Shape::kLogNormal;
  double sigma = 1;           // kLogNormal: load = exp(sigma * N(0,1))
  double exponent = 0.8;      // kZipf: load = 1 / rank^exponent, ranks shuffled per layer
  int64_t uniform_max = 999;  // kUniform: integers 1 .. uniform_max
  double drift = 0.05;  // from window to window every load is multiplied by exp(drift * N(0,1))
  std::vector<int> switch_windows = {};  // in these the loads of some experts are permuted
  double switch_fraction = 0.1;          // how many of a layer's experts
  uint64_t seed = 0;
};

/// Loads [windows][layers][experts], > 0. Uses base/rng.h, one stream per layer.
Result<std::vector<double>> drifting_loads(const DriftOptions& options);

/// One line of the plot.
struct SimulatedPolicy {
  enum class Kind {
    kStatic,     // no balancing: experts contiguous, one replica each
    kEach,       // a new plan after every window
    kTriggered,  // a plan after every window, adopted if the trigger says so
  };
  std::string name;
  Kind kind = Kind::kEach;
  Options
      options;  // for the planner; kIncremental without a previous plan is asked for as kOptimal
  bool align = false;  // align() the new plan with the old before moves are counted
};

/// Static; reference, reference aligned and optimal each window; incremental each window with
/// `moves_max` (as in Options, all layers together); triggered, with the same limit.
std::vector<SimulatedPolicy> standard_policies(double moves_max);

/// May leave log2phy and logcnt empty.
using Planner = std::function<Result<Plan>(const Problem& problem, const Options& options,
                                           const Plan* previous)>;

struct SimulationOptions {
  Problem shape;                  // its load is ignored
  std::span<const double> loads;  // [num_windows][num_layers][num_experts]
  int num_windows = 0;            // >= 2
  std::vector<SimulatedPolicy> policies;
  /// For kTriggered; a window is one step, so balanced_us is the expert time of a whole window.
  TriggerOptions trigger{
      .balanced_us = 1, .move_us = 1e-4, .horizon_steps = 32, .interval_steps_min = 1};
};

struct PolicyHistory {
  std::string name;
  /// Per scored window 1 .. W-1, with the plan made from the window before.
  std::vector<double> imbalance;
  std::vector<int64_t> moves;  // to bring that plan into force; the first plan is free
  double mean_imbalance = 1;
  double worst_imbalance = 1;
  int64_t total_moves = 0;
  int plans = 0;  // brought into force, the first included
};

struct SimulationResult {
  int num_windows = 0;
  int num_layers = 0;
  int num_slots = 0;
  std::vector<PolicyHistory> policies;
};

/// Errors: kInvalidArgument for the options, and the planner's own with the policy and window in
/// front.
Result<SimulationResult> simulate(const SimulationOptions& options, const Planner& planner);

/// Imbalance over time above, moves per window below, one line per policy: a self-contained
/// document with styles for light and dark pages.
std::string to_svg(const SimulationResult& result);

/// {"windows", "layers", "slots", "policies": [{"name", "mean_imbalance", "worst_imbalance",
/// "total_moves", "plans", "imbalance": [...], "moves": [...]}]}
std::string to_json(const SimulationResult& result);

}  // namespace hadal::eplb
