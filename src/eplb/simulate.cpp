#include "eplb/simulate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/core.h>

#include "base/rng.h"
#include "eplb/transfers.h"

namespace hadal::eplb {
namespace {

Result<> check_drift(const DriftOptions& options) {
  const auto require = [](bool holds, std::string_view field, double value,
                          std::string_view allowed) -> Result<> {
    if (holds) return {};
    return fail(Code::kInvalidArgument,
                fmt::format("{} is {}; it must be {}", field, value, allowed));
  };
  const auto finite = [](double x) { return x >= 0 && std::isfinite(x); };
  TRY(require(options.num_windows >= 1, "num_windows", options.num_windows, "1 or more"));
  TRY(require(options.num_layers >= 1, "num_layers", options.num_layers, "1 or more"));
  TRY(require(options.num_experts >= 1, "num_experts", options.num_experts, "1 or more"));
  TRY(require(finite(options.sigma), "sigma", options.sigma, "finite and 0 or more"));
  TRY(require(finite(options.exponent), "exponent", options.exponent, "finite and 0 or more"));
  TRY(require(options.uniform_max >= 1, "uniform_max", static_cast<double>(options.uniform_max),
              "1 or more"));
  TRY(require(finite(options.drift), "drift", options.drift, "finite and 0 or more"));
  TRY(require(options.switch_fraction >= 0 && options.switch_fraction <= 1, "switch_fraction",
              options.switch_fraction, "from 0 to 1"));
  return {};
}

void draw_loads(const DriftOptions& options, std::span<double> row, Rng& rng) {
  for (size_t e = 0; e < row.size(); ++e) {
    switch (options.shape) {
      case DriftOptions::Shape::kLogNormal: row[e] = std::exp(options.sigma * rng.normal()); break;
      case DriftOptions::Shape::kZipf:
        row[e] = std::pow(static_cast<double>(e + 1), -options.exponent);
        break;
      case DriftOptions::Shape::kUniform:
        row[e] = 1.0 + static_cast<double>(rng.below(static_cast<uint64_t>(options.uniform_max)));
        break;
    }
  }
  if (options.shape == DriftOptions::Shape::kZipf) shuffle(row, rng);
}

/// Hands the loads of a random set of experts round in a ring, so that each of them gets another's.
void switch_regime(std::span<double> row, double fraction, Rng& rng) {
  const auto count = static_cast<size_t>(std::llround(fraction * static_cast<double>(row.size())));
  std::vector<size_t> chosen(row.size());
  std::iota(chosen.begin(), chosen.end(), size_t{0});
  shuffle(std::span(chosen), rng);
  for (size_t i = 0; i + 1 < count; ++i) std::swap(row[chosen[i]], row[chosen[i + 1]]);
}

/// Imbalance at GPU level.
Result<double> score(const Plan& plan, const Problem& shape, std::span<const double> load) {
  return TRY(evaluate(plan, load, shape.gpu_speed)).gpu.imbalance;
}

int64_t moved_slots(const Plan& before, const Plan& after) {
  int64_t moves = 0;
  for (int layer = 0; layer < after.num_layers; ++layer) moves += count_moves(before, after, layer);
  return moves;
}

/// One replica each, contiguous; the first E mod D GPUs hold one more, the other slots are empty.
Plan static_plan(const Problem& shape) {
  Plan plan;
  plan.num_layers = shape.num_layers;
  plan.num_experts = shape.num_experts;
  plan.num_slots = shape.num_replicas;
  plan.num_groups = shape.num_groups;
  plan.num_nodes = shape.num_nodes;
  plan.num_gpus = shape.num_gpus;
  plan.max_count = 1;
  plan.gpu_first_slot = {0};
  std::vector<int32_t> row;
  int32_t next = 0;
  for (int g = 0; g < shape.num_gpus; ++g) {
    const int even =
        shape.num_replicas / shape.num_gpus + (g < shape.num_replicas % shape.num_gpus);
    const int room = shape.gpu_capacity.empty() ? even : shape.gpu_capacity[g];
    const int share = shape.num_experts / shape.num_gpus + (g < shape.num_experts % shape.num_gpus);
    for (int s = 0; s < room; ++s) row.push_back(s < share ? next++ : -1);
    plan.gpu_first_slot.push_back(static_cast<int32_t>(row.size()));
  }
  plan.num_slots = static_cast<int>(row.size());
  std::vector<int32_t> slot_of(static_cast<size_t>(shape.num_experts), -1);
  for (size_t s = 0; s < row.size(); ++s) {
    if (row[s] >= 0) slot_of[row[s]] = static_cast<int32_t>(s);
  }
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    plan.phy2log.insert(plan.phy2log.end(), row.begin(), row.end());
    plan.log2phy.insert(plan.log2phy.end(), slot_of.begin(), slot_of.end());
  }
  plan.logcnt.assign(plan.log2phy.size(), 1);
  plan.quality.resize(shape.num_layers);
  return plan;
}

Result<> check_simulation(const SimulationOptions& options) {
  const Problem& shape = options.shape;
  if (shape.num_layers < 1 || shape.num_experts < 1 || shape.num_gpus < 1 ||
      shape.num_replicas < shape.num_experts) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("the shape has {} layers, {} experts, {} replicas and {} GPUs; it must have "
                    "one of each or more, and a replica per expert",
                    shape.num_layers, shape.num_experts, shape.num_replicas, shape.num_gpus));
  }
  if (options.num_windows < 2) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("num_windows is {}; it must be 2 or more: a plan is scored on the window "
                    "after the one it is made from",
                    options.num_windows));
  }
  const size_t wanted =
      static_cast<size_t>(options.num_windows) * shape.num_layers * shape.num_experts;
  if (options.loads.size() != wanted) {
    return fail(Code::kInvalidArgument,
                fmt::format("loads has {} values; it must have {}", options.loads.size(), wanted));
  }
  for (size_t i = 0; i < wanted; ++i) {
    if (options.loads[i] >= 0 && std::isfinite(options.loads[i])) continue;
    return fail(Code::kInvalidArgument,
                fmt::format("loads[{}] is {}; it must be finite and >= 0", i, options.loads[i]));
  }
  return {};
}

Result<> check_planned(const Plan& plan, const Problem& shape) {
  const size_t slots = static_cast<size_t>(std::max(0, plan.num_layers)) * plan.num_slots;
  if (plan.num_layers == shape.num_layers && plan.num_experts == shape.num_experts &&
      plan.num_gpus == shape.num_gpus && plan.phy2log.size() == slots &&
      plan.gpu_first_slot.size() == static_cast<size_t>(plan.num_gpus) + 1 &&
      plan.gpu_first_slot.back() == plan.num_slots) {
    return {};
  }
  return fail(Code::kInvalidArgument, "the planner returned a plan of another shape");
}

/// One policy over all windows.
class Run {
 public:
  Run(const SimulationOptions& options, const SimulatedPolicy& policy, const Planner& planner,
      const Trigger& trigger)
      : options_(options), policy_(policy), planner_(planner), trigger_(trigger) {}

  Result<PolicyHistory> run() {
    PolicyHistory out{.name = policy_.name, .imbalance = {}, .moves = {}};
    for (int window = 0; window + 1 < options_.num_windows; ++window) {
      Result<int64_t> moves = advance(window);
      if (!moves) {
        return std::unexpected(
            std::move(moves).error().in(fmt::format("policy {}, window {}", policy_.name, window)));
      }
      out.plans += changed_;
      out.moves.push_back(*moves);
      out.total_moves += *moves;
      out.imbalance.push_back(TRY(score(plan_, options_.shape, load(window + 1))));
      out.worst_imbalance = std::max(out.worst_imbalance, out.imbalance.back());
    }
    out.mean_imbalance = std::accumulate(out.imbalance.begin(), out.imbalance.end(), 0.0) /
                         static_cast<double>(out.imbalance.size());
    return out;
  }

 private:
  std::span<const double> load(int window) const {
    const size_t size = static_cast<size_t>(options_.shape.num_layers) * options_.shape.num_experts;
    return options_.loads.subspan(size * window, size);
  }

  /// Brings the plan made from `window` into force, and returns its moves.
  Result<int64_t> advance(int window) {
    changed_ = false;
    if (policy_.kind == SimulatedPolicy::Kind::kStatic) {
      if (window == 0) plan_ = static_plan(options_.shape);
      changed_ = window == 0;
      return 0;
    }
    Problem problem = options_.shape;
    problem.load = load(window);
    Options options = policy_.options;
    if (window == 0 && options.policy == Policy::kIncremental) options.policy = Policy::kOptimal;
    Plan next = TRY(planner_(problem, options, window == 0 ? nullptr : &plan_));
    TRY(check_planned(next, options_.shape));
    if (next.logcnt.empty()) TRY(index_plan(next));
    int64_t moves = 0;
    if (window > 0) {
      if (policy_.align) {
        TRY(align(plan_, next,
                  {.gpu_speed = options_.shape.gpu_speed,
                   .failed_gpus = options_.shape.failed_gpus,
                   .pins = options_.shape.pins}));
      }
      moves = moved_slots(plan_, next);
      if (policy_.kind == SimulatedPolicy::Kind::kTriggered) {
        const Situation situation{
            .step = window,
            .imbalance_now = TRY(score(plan_, options_.shape, load(window))),
            .imbalance_candidate = TRY(score(next, options_.shape, load(window))),
            .moves = static_cast<double>(moves)};
        const Decision decision = TRY(trigger_.should_rebalance(situation));
        if (!decision.rebalance) return 0;
        trigger_.rebalanced(situation);
      }
    }
    changed_ = true;
    plan_ = std::move(next);
    return moves;
  }

  const SimulationOptions& options_;
  const SimulatedPolicy& policy_;
  const Planner& planner_;
  Trigger trigger_;
  Plan plan_;
  bool changed_ = false;
};

}  // namespace

Result<std::vector<double>> drifting_loads(const DriftOptions& options) {
  TRY(check_drift(options));
  const size_t experts = static_cast<size_t>(options.num_experts);
  const size_t window_size = experts * options.num_layers;
  std::vector<double> loads(window_size * options.num_windows);
  const Rng root(options.seed);
  for (int layer = 0; layer < options.num_layers; ++layer) {
    Rng rng = root.fork(static_cast<uint64_t>(layer));
    std::vector<double> row(experts);
    draw_loads(options, row, rng);
    for (int window = 0; window < options.num_windows; ++window) {
      if (window > 0) {
        for (double& w : row) w *= std::exp(options.drift * rng.normal());
      }
      if (std::ranges::find(options.switch_windows, window) != options.switch_windows.end()) {
        switch_regime(row, options.switch_fraction, rng);
      }
      std::ranges::copy(
          row, loads.begin() + static_cast<ptrdiff_t>(window * window_size + layer * experts));
    }
  }
  return loads;
}

std::vector<SimulatedPolicy> standard_policies(double moves_max) {
  using Kind = SimulatedPolicy::Kind;
  std::vector<SimulatedPolicy> out;
  out.push_back({.name = "static", .kind = Kind::kStatic, .options = {}});
  Options options;
  options.policy = Policy::kReference;
  out.push_back({.name = "reference", .kind = Kind::kEach, .options = options});
  out.push_back(
      {.name = "reference, aligned", .kind = Kind::kEach, .options = options, .align = true});
  options.policy = Policy::kOptimal;
  out.push_back(
      {.name = "optimal, aligned", .kind = Kind::kEach, .options = options, .align = true});
  options.policy = Policy::kIncremental;
  options.moves_max = moves_max;
  out.push_back({.name = "incremental", .kind = Kind::kEach, .options = options});
  out.push_back({.name = "triggered", .kind = Kind::kTriggered, .options = options});
  return out;
}

Result<SimulationResult> simulate(const SimulationOptions& options, const Planner& planner) {
  TRY(check_simulation(options));
  SimulationResult out{.num_windows = options.num_windows,
                       .num_layers = options.shape.num_layers,
                       .num_slots = options.shape.num_replicas,
                       .policies = {}};
  for (const SimulatedPolicy& policy : options.policies) {
    Run run(options, policy, planner, TRY(Trigger::create(options.trigger)));
    out.policies.push_back(TRY(run.run()));
  }
  return out;
}

}  // namespace hadal::eplb
