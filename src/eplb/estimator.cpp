#include "eplb/estimator.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/core.h>

namespace hadal::eplb {
namespace {

Result<> require(bool holds, std::string_view field, double value, std::string_view allowed) {
  if (holds) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{} is {}; it must be {}", field, value, allowed));
}

bool at_least(double value, double least) {
  return value >= least && std::isfinite(value);
}

}  // namespace

LoadEstimator::LoadEstimator(const EstimatorOptions& options)
    : options_(options),
      size_(static_cast<size_t>(options.num_layers) * options.num_experts),
      decay_(std::exp2(-1 / options.half_life)) {
  for (Average& phase : phases_) {
    phase.sum.assign(size_, 0.0);
    if (options.mode == EstimatorOptions::Mode::kWindow)
      phase.recent.assign(size_ * options.window, 0);
  }
}

Result<LoadEstimator> LoadEstimator::create(const EstimatorOptions& options) {
  TRY(require(options.num_layers >= 0, "num_layers", options.num_layers, "0 or more"));
  TRY(require(options.num_experts >= 0, "num_experts", options.num_experts, "0 or more"));
  TRY(require(options.half_life > 0, "half_life", options.half_life, "above 0"));
  TRY(require(options.window > 0, "window", options.window, "1 or more"));
  TRY(require(at_least(options.prefill_weight, 0), "prefill_weight", options.prefill_weight,
              "finite and 0 or more"));
  TRY(require(at_least(options.decode_weight, 0), "decode_weight", options.decode_weight,
              "finite and 0 or more"));
  return LoadEstimator(options);
}

Result<> LoadEstimator::push(std::span<const int64_t> counts, Phase phase) {
  if (counts.size() != size_) {
    return fail(Code::kInvalidArgument,
                fmt::format("counts has {} values; it must have {}", counts.size(), size_));
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0 || counts[i] > std::numeric_limits<uint32_t>::max()) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("counts[{}] is {}; it must be 0 or more and below 2^32", i, counts[i]));
    }
  }
  Average& average = phases_[static_cast<size_t>(phase)];
  if (options_.mode == EstimatorOptions::Mode::kWindow) {
    // Sums of integers below 2^53 are exact, so what enters the window leaves it without a trace.
    uint32_t* slot = &average.recent[size_ * (average.pushes % options_.window)];
    for (size_t i = 0; i < size_; ++i) {
      average.sum[i] += static_cast<double>(counts[i]) - static_cast<double>(slot[i]);
      slot[i] = static_cast<uint32_t>(counts[i]);
    }
    average.weight = std::min(average.weight + 1, static_cast<double>(options_.window));
  } else {
    for (size_t i = 0; i < size_; ++i) {
      average.sum[i] = average.sum[i] * decay_ + static_cast<double>(counts[i]);
    }
    average.weight = average.weight * decay_ + 1;
  }
  ++average.pushes;
  return {};
}

Result<> LoadEstimator::snapshot(std::span<double> load) const {
  if (load.size() != size_) {
    return fail(Code::kInvalidArgument,
                fmt::format("load has {} values; it must have {}", load.size(), size_));
  }
  std::ranges::fill(load, 0.0);
  const double mix[] = {options_.prefill_weight, options_.decode_weight};
  for (size_t p = 0; p < 2; ++p) {
    if (phases_[p].pushes == 0) continue;
    const double scale = mix[p] / phases_[p].weight;
    for (size_t i = 0; i < size_; ++i) load[i] += scale * phases_[p].sum[i];
  }
  return {};
}

std::string_view name(Decision::Reason reason) {
  switch (reason) {
    case Decision::Reason::kWorthIt: return "worth it";
    case Decision::Reason::kTooSoon: return "too soon";
    case Decision::Reason::kGainTooSmall: return "gain too small";
    case Decision::Reason::kCostTooHigh: return "cost too high";
  }
  return "unknown";
}

Trigger::Trigger(const TriggerOptions& options)
    : options_(options), lifetime_(static_cast<double>(options.horizon_steps)) {}

Result<Trigger> Trigger::create(const TriggerOptions& options) {
  TRY(require(options.balanced_us > 0 && std::isfinite(options.balanced_us), "balanced_us",
              options.balanced_us, "finite and above 0"));
  TRY(require(at_least(options.move_us, 0), "move_us", options.move_us, "finite and 0 or more"));
  TRY(require(at_least(options.fixed_us, 0), "fixed_us", options.fixed_us, "finite and 0 or more"));
  TRY(require(options.horizon_steps > 0, "horizon_steps",
              static_cast<double>(options.horizon_steps), "1 or more"));
  TRY(require(options.interval_steps_min >= 0, "interval_steps_min",
              static_cast<double>(options.interval_steps_min), "0 or more"));
  TRY(require(at_least(options.gain_min, 0), "gain_min", options.gain_min, "finite and 0 or more"));
  TRY(require(at_least(options.hysteresis, 0), "hysteresis", options.hysteresis,
              "finite and 0 or more"));
  return Trigger(options);
}

int64_t Trigger::lifetime_steps(int64_t step) const {
  const double waited = any_ ? static_cast<double>(step - last_step_) : 0;
  return std::clamp<int64_t>(std::llround(lifetime_ + waited / 16), 1, options_.horizon_steps);
}

void Trigger::observe(const Situation& situation) {
  if (!any_) return;
  const auto age = static_cast<double>(situation.step - last_step_);
  if (!aged_ && situation.imbalance_now > spoiled_at_) {
    aged_ = true;
    lifetime_ = (lifetime_ + age) / 2;
    // One plan that aged far faster than believed is a lesson of its own.
    lifetime_ = std::min(lifetime_, 4 * age);
  } else if (!aged_) {
    lifetime_ = std::max(lifetime_, age);
  }
}

Result<Decision> Trigger::should_rebalance(const Situation& situation) {
  TRY(require(situation.step >= last_seen_, "step", static_cast<double>(situation.step),
              "no less than the last one"));
  TRY(require(at_least(situation.imbalance_now, 1), "imbalance_now", situation.imbalance_now,
              "finite and 1 or more"));
  TRY(require(at_least(situation.imbalance_candidate, 1), "imbalance_candidate",
              situation.imbalance_candidate, "finite and 1 or more"));
  TRY(require(at_least(situation.moves, 0), "moves", situation.moves, "finite and 0 or more"));
  last_seen_ = situation.step;
  observe(situation);

  Decision decision;
  const double drop = situation.imbalance_now - situation.imbalance_candidate;
  const int64_t lifetime = lifetime_steps(situation.step);
  decision.gain_us = drop * options_.balanced_us * static_cast<double>(lifetime);
  decision.cost_us = options_.fixed_us + options_.move_us * situation.moves;
  const int64_t since = situation.step - last_step_;
  if (any_ && since < options_.interval_steps_min) {
    decision.reason = Decision::Reason::kTooSoon;
    decision.why = fmt::format("the last rebalance was {} steps ago and the least interval is {}",
                               since, options_.interval_steps_min);
  } else if (drop < options_.gain_min || drop <= 0) {
    decision.reason = Decision::Reason::kGainTooSmall;
    decision.why = fmt::format(
        "imbalance would go from {:.4f} to {:.4f}; at least {:.4f} less is "
        "asked for",
        situation.imbalance_now, situation.imbalance_candidate, options_.gain_min);
  } else if (decision.gain_us <= decision.cost_us * (1 + options_.hysteresis)) {
    decision.reason = Decision::Reason::kCostTooHigh;
    decision.why = fmt::format(
        "{:.0f} us gained in {} steps do not exceed {:.0f} us for {:g} moves by "
        "{:.0f}%",
        decision.gain_us, lifetime, decision.cost_us, situation.moves, 100 * options_.hysteresis);
  } else {
    decision.rebalance = true;
    decision.reason = Decision::Reason::kWorthIt;
    decision.why = fmt::format(
        "imbalance goes from {:.4f} to {:.4f}: {:.0f} us gained in {} steps for "
        "{:.0f} us of {:g} moves",
        situation.imbalance_now, situation.imbalance_candidate, decision.gain_us, lifetime,
        decision.cost_us, situation.moves);
  }
  return decision;
}

void Trigger::rebalanced(const Situation& situation) {
  any_ = true;
  aged_ = false;
  last_step_ = situation.step;
  spoiled_at_ = (situation.imbalance_now + situation.imbalance_candidate) / 2;
}

}  // namespace hadal::eplb
