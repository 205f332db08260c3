// rebalance(): checks the problem, plans its layers in parallel, numbers the slots.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include <fmt/core.h>

#include "base/check.h"
#include "base/threads.h"
#include "eplb/dispatch.h"
#include "eplb/eplb.h"
#include "eplb/incremental.h"
#include "eplb/optimal.h"
#include "eplb/reference.h"
#include "eplb/transfers.h"

namespace hadal::eplb {

struct Workspace::Impl {
  struct PerThread {
    ReferenceScratch reference;
    std::vector<float> load;  // one layer
  };
  std::vector<PerThread> threads;
  std::vector<int32_t> slot_rank;  // [layers][slots]
  Layout layout;
  std::unique_ptr<ThreadPool> pool;

  ThreadPool& pool_of(int size) {
    if (!pool || pool->size() != size) {
      pool = std::make_unique<ThreadPool>(ThreadPool::Options{.threads = size, .name = "eplb"});
    }
    if (threads.size() < static_cast<size_t>(pool->size())) threads.resize(pool->size());
    return *pool;
  }
};

Workspace::Workspace() : impl_(std::make_unique<Impl>()) {}
Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

namespace {

using std::chrono::steady_clock;

template <typename T>
std::span<T> row(std::vector<T>& matrix, int index, int width) {
  return {matrix.data() + static_cast<size_t>(index) * width, static_cast<size_t>(width)};
}

void shape_plan(Plan& plan, const Problem& problem, const Layout& layout, const Options& options) {
  plan.num_layers = problem.num_layers;
  plan.num_experts = problem.num_experts;
  plan.num_slots = layout.num_slots;
  plan.num_groups = problem.num_groups;
  plan.num_nodes = problem.num_nodes;
  plan.num_gpus = problem.num_gpus;
  plan.policy = options.policy;
  plan.scope = layout.scope;
  plan.dispatch = options.dispatch;
  plan.cut_short = false;
  plan.gpu_first_slot.assign(layout.first_slot.begin(), layout.first_slot.end());
  plan.phy2log.resize(static_cast<size_t>(plan.num_layers) * plan.num_slots);
  plan.logcnt.resize(static_cast<size_t>(plan.num_layers) * plan.num_experts);
  plan.quality.assign(plan.num_layers, {});
  plan.dispatch_weight.clear();
}

void plan_by_reference(Plan& plan, Workspace::Impl& work, ThreadPool& pool, const Problem& problem,
                       const Options& options) {
  const bool grouped = plan.scope == Scope::kHierarchical;
  const ReferenceShape shape{.experts = plan.num_experts,
                             .replicas = plan.num_slots,
                             .groups = grouped ? plan.num_groups : 1,
                             .nodes = grouped ? plan.num_nodes : 1,
                             .gpus = plan.num_gpus};
  work.slot_rank.resize(plan.phy2log.size());
  pool.parallel_for(plan.num_layers, [&](int64_t begin, int64_t end, int worker) {
    auto& scratch = work.threads[worker];
    scratch.load.resize(plan.num_experts);
    for (int layer = static_cast<int>(begin); layer < end; ++layer) {
      const double* load = problem.load.data() + static_cast<size_t>(layer) * plan.num_experts;
      // The reference casts to float32. + 0.0f turns -0.0f, which would sort last, into 0.
      for (int e = 0; e < plan.num_experts; ++e) {
        scratch.load[e] = static_cast<float>(load[e]) + 0.0f;
      }
      reference_layer(shape, scratch.load, options.ties, scratch.reference,
                      row(plan.phy2log, layer, plan.num_slots),
                      row(work.slot_rank, layer, plan.num_slots),
                      row(plan.logcnt, layer, plan.num_experts));
    }
  });
  plan.max_count = *std::max_element(plan.logcnt.begin(), plan.logcnt.end());
  plan.log2phy.resize(plan.logcnt.size() * plan.max_count);
  pool.parallel_for(plan.num_layers, [&](int64_t begin, int64_t end, int) {
    for (int layer = static_cast<int>(begin); layer < end; ++layer) {
      const auto table = row(plan.log2phy, layer, plan.num_experts * plan.max_count);
      const auto rank = row(work.slot_rank, layer, plan.num_slots);
      const auto expert = row(plan.phy2log, layer, plan.num_slots);
      std::fill(table.begin(), table.end(), -1);
      for (int slot = 0; slot < plan.num_slots; ++slot) {
        table[expert[slot] * plan.max_count + rank[slot]] = slot;
      }
    }
  });
}

// Experts that were on the GPU keep their slot; the others fill what is left, by ascending id.
void number_slots(Plan& plan, int layer, LayerPlan& planned, const Plan* previous) {
  const auto slots = row(plan.phy2log, layer, plan.num_slots);
  std::fill(slots.begin(), slots.end(), -1);
  for (int gpu = 0; gpu < plan.num_gpus; ++gpu) {
    auto& experts = planned.experts_on[gpu];
    std::sort(experts.begin(), experts.end());
    const int first = plan.gpu_first_slot[gpu], last = plan.gpu_first_slot[gpu + 1];
    if (previous != nullptr) {
      for (int slot = first; slot < last; ++slot) {
        const auto found = std::find(experts.begin(), experts.end(), previous->expert(layer, slot));
        if (found == experts.end()) continue;
        slots[slot] = *found;
        experts.erase(found);
      }
    }
    int slot = first;
    for (const int32_t expert : experts) {
      while (slots[slot] != -1) ++slot;
      slots[slot] = expert;
    }
  }
}

// Time is divided evenly over the layers that are still to come.
class Schedule {
 public:
  Schedule(int64_t steps, std::optional<steady_clock::time_point> end, int layers, int threads)
      : steps_(steps), layers_(layers), threads_(threads), end_(end) {}
  Schedule(const Schedule& other)
      : Schedule(other.steps_, other.end_, other.layers_, other.threads_) {}

  Effort next() {
    const int left = layers_ - started_.fetch_add(1);
    if (!end_) return {.steps_max = steps_, .deadline = {}};
    const auto now = steady_clock::now();
    const auto share = (*end_ - now) * std::min(threads_, left) / std::max(left, 1);
    return {.steps_max = steps_, .deadline = std::min(*end_, now + share)};
  }

 private:
  int64_t steps_;
  int layers_;
  int threads_;
  std::optional<steady_clock::time_point> end_;
  std::atomic<int> started_ = 0;
};

// Plans all layers with plan_one(layer, effort); keeps the error of the first layer that has one.
template <typename Planned, typename PlanOne>
Result<std::vector<Planned>> plan_layers(ThreadPool& pool, int layers, Schedule schedule,
                                         PlanOne plan_one) {
  std::vector<Planned> planned(layers);
  std::vector<std::optional<Error>> errors(layers);
  pool.parallel_for_dynamic(layers, 1, [&](int64_t begin, int64_t end, int) {
    for (int layer = static_cast<int>(begin); layer < end; ++layer) {
      Result<Planned> result = plan_one(layer, schedule.next());
      if (result) {
        planned[layer] = *std::move(result);
      } else {
        errors[layer] = std::move(result).error();
      }
    }
  });
  for (int layer = 0; layer < layers; ++layer) {
    if (errors[layer]) {
      return std::unexpected(std::move(*errors[layer]).in(fmt::format("layer {}", layer)));
    }
  }
  return planned;
}

void score(Plan& plan, const Problem& problem, const Layout& layout, const Plan* previous) {
  double speed = 0;
  for (int g = 0; g < plan.num_gpus; ++g) speed += layout.capacity[g] > 0 ? layout.speed[g] : 0;
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    const double* load = problem.load.data() + static_cast<size_t>(layer) * plan.num_experts;
    const auto experts = plan.experts(layer);
    const int32_t* count = plan.logcnt.data() + static_cast<size_t>(layer) * plan.num_experts;
    LayerQuality& q = plan.quality[layer];
    double total = 0;
    for (int e = 0; e < plan.num_experts; ++e) total += load[e];
    q.mean = total / speed;
    q.max = 0;
    for (int g = 0; g < plan.num_gpus; ++g) {
      double sum = 0;
      for (int slot = plan.gpu_first_slot[g]; slot < plan.gpu_first_slot[g + 1]; ++slot) {
        if (experts[slot] >= 0) sum += load[experts[slot]] / count[experts[slot]];
      }
      q.max = std::max(q.max, sum / layout.speed[g]);
    }
    q.imbalance = q.mean > 0 ? q.max / q.mean : 1;
    // A bound found in exact arithmetic may exceed a sum of rounded shares by a few ulps.
    q.lower_bound = std::min(q.lower_bound, q.max);
    q.gap = q.lower_bound > 0 ? q.max / q.lower_bound - 1 : 0;
    if (previous != nullptr) q.moves = count_moves(*previous, plan, layer);
  }
}

// Replaces the equal split by the best one, and the quality by that of the best one.
Result<> split(Plan& plan, const Problem& problem, const Layout& layout) {
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    plan.quality[layer].lower_bound = TRY(weighted_lower_bound(problem, layout, layer));
  }
  return split_plan(plan, problem.load, problem.gpu_speed);
}

Result<> check_previous(const Plan& previous, const Problem& problem, const Layout& layout) {
  const auto same = [](const char* name, int value, int expected) -> Result<> {
    if (value == expected) return {};
    return fail(
        Code::kInvalidArgument,
        fmt::format("the previous plan has {} {}; the problem has {}", name, value, expected));
  };
  TRY(same("num_layers", previous.num_layers, problem.num_layers));
  TRY(same("num_experts", previous.num_experts, problem.num_experts));
  TRY(same("num_gpus", previous.num_gpus, problem.num_gpus));
  TRY(same("num_nodes", previous.num_nodes, problem.num_nodes));
  TRY(same("slots", previous.num_slots, layout.num_slots));
  if (!std::equal(layout.first_slot.begin(), layout.first_slot.end(),
                  previous.gpu_first_slot.begin())) {
    return fail(Code::kInvalidArgument,
                "the previous plan has other slots per GPU than the problem");
  }
  return {};
}

Result<> align_to(const Plan& previous, Plan& plan, const Problem& problem) {
  TRY(align(previous, plan,
            {.keep_nodes = problem.min_nodes_per_expert > 1,
             .gpu_speed = problem.gpu_speed,
             .failed_gpus = problem.failed_gpus,
             .pins = problem.pins}));
  return {};
}

// The optimal and incremental policies for all layers.
class Planner {
 public:
  Planner(const Problem& problem, const Layout& layout, const Options& options, ThreadPool& pool)
      : problem_(problem), layout_(layout), options_(options), pool_(pool), rng_(options.seed) {}

  Result<std::vector<LayerPlan>> fresh(double until) {
    return plan_layers<LayerPlan>(
        pool_, problem_.num_layers, schedule(until), [&](int layer, const Effort& effort) {
          return plan_layer(problem_, layout_, layer, options_.dispatch, effort, rng_.fork(layer));
        });
  }

  // A fresh plan says what is possible. All layers get the same tolerance above it: the one asked
  // for, or where that takes more moves than allowed, the smallest that does not, found by
  // bisection.
  Result<std::vector<LayerPlan>> incremental(const Plan& previous) {
    std::vector<LayerPlan> best = TRY(fresh(0.3));
    TRY(rename_gpus(previous, best));
    std::vector<IncrementalResult> result = TRY(replan(previous, best, options_.tolerance, 0.6));
    if (options_.moves_max >= 0 && cost_of(result) > options_.moves_max) {
      double low = options_.tolerance, high = std::max(1.0, 2 * low);
      for (; cost_of(result = TRY(replan(previous, best, high, 1))) > options_.moves_max;
           high *= 4) {
        if (high > 1e6) break;  // even the repairs that the problem forces cost more
        low = high;
      }
      for (int i = 0; i < kBisections && high < 1e6; ++i) {
        const double middle = std::sqrt(low * high);
        auto tried = TRY(replan(previous, best, middle, 1));
        if (cost_of(tried) <= options_.moves_max) {
          high = middle;
          result = std::move(tried);
        } else {
          low = middle;
        }
      }
    }
    std::vector<LayerPlan> planned;
    for (int layer = 0; layer < problem_.num_layers; ++layer) {
      planned.push_back(std::move(result[layer].plan));
      planned.back().lower_bound = best[layer].lower_bound;
      planned.back().cut_short |= best[layer].cut_short;
    }
    return planned;
  }

 private:
  static constexpr int kBisections = 8;

  // `until`: the part of the time budget that is over when this stage must end.
  Schedule schedule(double until) const {
    std::optional<steady_clock::time_point> end;
    if (options_.budget_ms > 0) {
      end = start_ + std::chrono::duration_cast<steady_clock::duration>(
                         std::chrono::duration<double, std::milli>(options_.budget_ms * until));
    }
    return {options_.steps_max, end, problem_.num_layers, pool_.size()};
  }

  Result<std::vector<IncrementalResult>> replan(const Plan& previous,
                                                const std::vector<LayerPlan>& best,
                                                double tolerance, double until) {
    return plan_layers<IncrementalResult>(
        pool_, problem_.num_layers, schedule(until), [&](int layer, const Effort& effort) {
          const ExpertsOn on = experts_on(previous, layer);
          return replan_layer(problem_, layout_, layer, on, best[layer].experts_on,
                              best[layer].max_time * (1 + tolerance), options_.move_cost, effort,
                              rng_.fork(layer));
        });
  }

  ExpertsOn experts_on(const Plan& plan, int layer) const {
    ExpertsOn on(problem_.num_gpus);
    for (int g = 0; g < problem_.num_gpus; ++g) {
      for (int slot = layout_.first_slot[g]; slot < layout_.first_slot[g + 1]; ++slot) {
        if (plan.expert(layer, slot) >= 0) on[g].push_back(plan.expert(layer, slot));
      }
    }
    return on;
  }

  // Names the GPUs of fresh layers so that they are as close to the previous plan as can be.
  Result<> rename_gpus(const Plan& previous, std::vector<LayerPlan>& layers) {
    Plan plan;
    shape_plan(plan, problem_, layout_, options_);
    for (int layer = 0; layer < problem_.num_layers; ++layer) {
      number_slots(plan, layer, layers[layer], nullptr);
    }
    TRY(index_plan(plan));
    TRY(align_to(previous, plan, problem_));
    for (int layer = 0; layer < problem_.num_layers; ++layer) {
      layers[layer].experts_on = experts_on(plan, layer);
    }
    return {};
  }

  static double cost_of(const std::vector<IncrementalResult>& layers) {
    double cost = 0;
    for (const auto& layer : layers) cost += layer.cost;
    return cost;
  }

  const Problem& problem_;
  const Layout& layout_;
  const Options& options_;
  ThreadPool& pool_;
  Rng rng_;
  steady_clock::time_point start_ = steady_clock::now();
};

}  // namespace

Result<> validate(const Problem& problem, const Options& options) {
  Layout layout;
  return make_layout(problem, options, layout);
}

Result<> rebalance_into(Plan& plan, Workspace& workspace, const Problem& problem,
                        const Options& options, const Plan* previous) {
  Options used = options;
  if (used.policy == Policy::kAuto) {
    used.policy = previous != nullptr ? Policy::kIncremental : Policy::kOptimal;
  }
  if (used.policy == Policy::kIncremental && previous == nullptr) {
    return fail(Code::kInvalidArgument, "the incremental policy needs a previous plan");
  }
  Workspace::Impl& work = workspace.impl();
  const Layout& layout = work.layout;
  TRY(make_layout(problem, used, work.layout));
  if (previous != nullptr) TRY(check_previous(*previous, problem, layout));
  ThreadPool& pool = work.pool_of(std::min(used.threads, problem.num_layers));
  shape_plan(plan, problem, layout, used);
  if (used.policy == Policy::kReference) {
    plan_by_reference(plan, work, pool, problem, used);
    for (int layer = 0; layer < plan.num_layers && used.bounds; ++layer) {
      plan.quality[layer].lower_bound = TRY(equal_lower_bound(problem, layout, layer));
    }
  } else {
    Planner planner(problem, layout, used, pool);
    std::vector<LayerPlan> planned =
        TRY(used.policy == Policy::kOptimal ? planner.fresh(1) : planner.incremental(*previous));
    for (int layer = 0; layer < plan.num_layers; ++layer) {
      number_slots(plan, layer, planned[layer], previous);
      plan.quality[layer].lower_bound = planned[layer].lower_bound;
      plan.cut_short |= planned[layer].cut_short;
    }
    TRY(index_plan(plan));
    if (previous != nullptr && used.policy == Policy::kOptimal) {
      TRY(align_to(*previous, plan, problem));
    }
  }
  score(plan, problem, layout, previous);
  if (used.dispatch == Dispatch::kWeighted) TRY(split(plan, problem, layout));
  return {};
}

Result<Plan> rebalance(const Problem& problem, const Options& options, const Plan* previous) {
  Plan plan;
  Workspace workspace;
  TRY(rebalance_into(plan, workspace, problem, options, previous));
  return plan;
}

}  // namespace hadal::eplb
