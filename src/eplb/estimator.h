// What the loads are, and when a new plan is worth its moves.
//
// LoadEstimator turns the token counts of single steps into the loads to plan for. Prefill and
// decode route differently, so each has its own average, over the last pushes of that phase:
// exponential with a half-life, corrected for the missing past, or over a sliding window. They are
// mixed by weight:
//
//   load = prefill_weight * (mean counts of a prefill push) + decode_weight * (mean of a decode
//   push)
//
// Trigger weighs a candidate plan. A step spends balanced_us * imbalance in the experts, so the
// plan earns balanced_us * (imbalance_now - imbalance_candidate) per step, for as long as it stays
// good, and its moves are paid at once. How long a plan stays good is not for the user to know: the
// trigger observes when half of a plan's gain is gone again and believes that lifetime next time.
// Loads that swing to and fro therefore do not make it move experts to and fro. A belief wears off:
// a quarter of the time since the last move counts as well, so one wrong lesson costs little and a
// bad plan is not kept for ever.
//
// No clock inside: time is the caller's count of steps. Deterministic; an object belongs to one
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::eplb {

enum class Phase { kPrefill, kDecode };

struct EstimatorOptions {
  enum class Mode { kExponential, kWindow };
  int num_layers = 0;
  int num_experts = 0;
  Mode mode = Mode::kExponential;
  double half_life = 100;  // kExponential: pushes of a phase after which a push counts half; > 0
  int window = 100;        // kWindow: pushes of a phase; 4 bytes per count are kept
  double prefill_weight = 1;
  double decode_weight = 1;
};

class LoadEstimator {
 public:
  /// Errors (kInvalidArgument) name the option.
  static Result<LoadEstimator> create(const EstimatorOptions& options);

  /// Tokens of one step, [layers][experts], 0 <= count < 2^32. A refused push changes nothing.
  Result<> push(std::span<const int64_t> counts, Phase phase);

  /// Writes the estimate, [layers][experts], in tokens; zeros before the first push. A phase
  /// without pushes counts as zeros.
  Result<> snapshot(std::span<double> load) const;

  int64_t pushes(Phase phase) const { return phases_[static_cast<size_t>(phase)].pushes; }

 private:
  struct Average {
    int64_t pushes = 0;
    double weight = 0;             // kExponential: sum of the weights in `sum`
    std::vector<double> sum;       // [layers * experts]; kWindow: exact, integers below 2^53
    std::vector<uint32_t> recent;  // kWindow: [window][layers * experts], a ring
  };

  explicit LoadEstimator(const EstimatorOptions& options);

  EstimatorOptions options_;
  size_t size_ = 0;
  double decay_ = 0;
  Average phases_[2];
};

struct TriggerOptions {
  double balanced_us = 0;            // expert time of a step, all layers, at imbalance 1; > 0
  double move_us = 0;                // what one unit of moves costs (a stall, or bandwidth taken)
  double fixed_us = 0;               // what a rebalance costs whatever it moves
  int64_t horizon_steps = 10'000;    // the longest that a plan is ever believed to stay good
  int64_t interval_steps_min = 100;  // between two rebalances
  double gain_min = 0.01;            // smallest worthwhile drop of imbalance
  double hysteresis = 0.25;          // the gain must exceed the cost by this fraction
};

struct Situation {
  int64_t step = 0;                // now; never decreases
  double imbalance_now = 1;        // of the plan in force, on the current estimate; >= 1
  double imbalance_candidate = 1;  // of the candidate, on the same; >= 1
  double moves = 0;                // by MoveCost, in the unit that move_us prices
};

struct Decision {
  enum class Reason { kWorthIt, kTooSoon, kGainTooSmall, kCostTooHigh };
  bool rebalance = false;
  Reason reason = Reason::kGainTooSmall;
  double gain_us = 0;  // over the believed lifetime
  double cost_us = 0;
  std::string why;  // one sentence with the numbers
};

std::string_view name(Decision::Reason reason);  // "worth it", "too soon", ...

class Trigger {
 public:
  static Result<Trigger> create(const TriggerOptions& options);

  /// Call it regularly, also when there is no candidate worth mentioning (imbalance_candidate ==
  /// imbalance_now): it learns from imbalance_now how the plan in force ages.
  Result<Decision> should_rebalance(const Situation& situation);

  /// Tells that the candidate of `situation` is now in force.
  void rebalanced(const Situation& situation);

  /// How long a plan made at `step` is believed to stay good.
  int64_t lifetime_steps(int64_t step) const;

 private:
  explicit Trigger(const TriggerOptions& options);
  void observe(const Situation& situation);

  TriggerOptions options_;
  int64_t last_seen_ = 0;
  bool any_ = false;       // a rebalance has happened
  int64_t last_step_ = 0;  // when
  double spoiled_at_ = 0;  // imbalance at which half of its gain is gone
  bool aged_ = true;       // that happened
  double lifetime_ = 0;    // believed, from the past
};

}  // namespace hadal::eplb
