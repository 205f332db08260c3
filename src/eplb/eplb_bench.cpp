// How long planning takes and how good the plans are. Loads: exp(torch.randn(58, 256)) of seed 123,
// the table of docs/eplb.md.
//
// reference/...  the published algorithm, one thread, all tables and scores of 58 layers. floor_us
// is
//   what the same machine needs in the same run only to sort the same items with std::sort and to
//   assign them through a std::priority_queue; over_floor is the ratio.
// optimal/...    us, and the imbalance reached: reference, optimal, proven lower bound.
// incremental/.. 5 % drift: imbalance of the stale, the fresh and the incremental plan, and the
// part
//   of all slots that moved.
// scale/...      the reference policy with ten times the layers, experts or GPUs; over_base is the
//   time against the base shape.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <queue>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/rng.h"
#include "eplb/bench_loads.h"
#include "eplb/eplb.h"

namespace hadal::eplb {
namespace {

struct Shape {
  int layers, experts, replicas, groups, nodes, gpus;
};

Problem problem_of(const Shape& s, std::span<const double> load) {
  Problem p;
  p.num_layers = s.layers;
  p.num_experts = s.experts;
  p.num_replicas = s.replicas;
  p.num_groups = s.groups;
  p.num_nodes = s.nodes;
  p.num_gpus = s.gpus;
  p.load = load;
  return p;
}

constexpr Shape kHierarchical{58, 256, 288, 8, 4, 32};
constexpr Shape kGlobal32{58, 256, 288, 1, 1, 32};
constexpr Shape kGlobal72{58, 256, 288, 1, 1, 72};
constexpr Shape kGlobal144{58, 256, 288, 1, 1, 144};
constexpr Shape kOneEach{58, 256, 320, 1, 1, 320};

double mean_imbalance(const Plan& plan) {
  double sum = 0;
  for (const LayerQuality& q : plan.quality) sum += q.imbalance;
  return sum / plan.num_layers;
}

double mean_bound(const Plan& plan) {
  double sum = 0;
  for (const LayerQuality& q : plan.quality) sum += q.mean > 0 ? q.lower_bound / q.mean : 1;
  return sum / plan.num_layers;
}

double part_moved(const Plan& plan) {
  double sum = 0;
  for (const LayerQuality& q : plan.quality) sum += q.moves;
  return sum / plan.num_layers / plan.num_slots;
}

Plan must_plan(const Problem& problem, const Options& options, const Plan* previous = nullptr) {
  Result<Plan> plan = rebalance(problem, options, previous);
  CHECK(plan.has_value(), plan ? "" : plan.error().message);
  CHECK(validate(*plan).has_value(), "a plan that is not one");
  return *std::move(plan);
}

// The work that no implementation of the algorithm avoids, by the standard library: per node, sort
// the replicas and give each to the least loaded GPU. Median of several runs.
double floor_us(const Shape& s, const Plan& plan, std::span<const double> load) {
  const bool grouped = plan.scope == Scope::kHierarchical;
  const int nodes = grouped ? s.nodes : 1;
  const int slots = s.replicas / nodes, gpus = s.gpus / nodes;
  std::vector<double> times;
  std::vector<std::pair<float, int>> items(slots);
  for (int run = 0; run < 15; ++run) {
    double spent = 0;
    for (int part = 0; part < s.layers * nodes; ++part) {
      const int layer = part / nodes;
      for (int i = 0; i < slots; ++i) {
        const int expert = plan.expert(layer, part % nodes * slots + i);
        items[i] = {static_cast<float>(load[static_cast<size_t>(layer) * s.experts + expert] /
                                       plan.count(layer, expert)),
                    expert};
      }
      std::sort(items.begin(), items.end(),  // the tables' order is sorted by GPU: undo that
                [](const auto& a, const auto& b) { return a.second < b.second; });
      const auto start = std::chrono::steady_clock::now();
      std::sort(items.begin(), items.end(), std::greater<>());
      std::priority_queue<std::pair<float, int>, std::vector<std::pair<float, int>>, std::greater<>>
          queue;
      for (int g = 0; g < gpus; ++g) queue.emplace(0.0f, g);
      for (const auto& item : items) {
        auto top = queue.top();
        queue.pop();
        top.first += item.first;
        queue.push(top);
      }
      benchmark::DoNotOptimize(queue.top());
      spent += std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
                   .count();
    }
    times.push_back(spent);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

void reference(benchmark::State& state, const Shape& shape, Ties ties, double expected) {
  const auto load = torch_lognormal(123, shape.layers, shape.experts);
  const Problem problem = problem_of(shape, load);
  Options options;
  options.policy = Policy::kReference;
  options.ties = ties;
  options.bounds = false;
  Plan plan;
  Workspace workspace;
  double us = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    CHECK(rebalance_into(plan, workspace, problem, options).has_value());
    us +=
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  }
  CHECK(std::abs(mean_imbalance(plan) - expected) < 1e-4, "not the published balance");
  us /= static_cast<double>(state.iterations());
  const double floor = floor_us(shape, plan, load);
  state.counters["floor_us"] = floor;
  state.counters["over_floor"] = us / floor;
}

void optimal(benchmark::State& state, const Shape& shape) {
  const auto load = torch_lognormal(123, shape.layers, shape.experts);
  const Problem problem = problem_of(shape, load);
  Options options;
  options.policy = Policy::kReference;
  const Plan published = must_plan(problem, options);
  options.policy = Policy::kOptimal;
  Plan plan;
  for (auto _ : state) plan = must_plan(problem, options);
  int proven = 0;
  for (const LayerQuality& q : plan.quality) proven += q.gap < 1e-5;
  CHECK(mean_imbalance(plan) <= mean_imbalance(published), "worse than the reference");
  state.counters["imbalance"] = mean_imbalance(plan);
  state.counters["proven_layers"] = proven;
  state.counters["reference_baseline"] = mean_imbalance(published);
  state.counters["bound_limit"] = mean_bound(plan);
  state.counters["excess_ratio"] =
      (mean_imbalance(plan) - mean_bound(plan)) / (mean_imbalance(published) - mean_bound(plan));
}

void incremental(benchmark::State& state, Shape shape, double sigma) {
  shape.layers = 8;
  const auto before = torch_lognormal(123, shape.layers, shape.experts);
  auto after = before;
  Rng rng(5);
  for (double& x : after) x *= std::exp(sigma * rng.normal());
  Options options;
  options.policy = Policy::kReference;
  const Plan old = must_plan(problem_of(shape, before), options);
  options.policy = Policy::kOptimal;
  const Plan fresh = must_plan(problem_of(shape, after), options, &old);
  options.policy = Policy::kIncremental;
  Plan plan;
  for (auto _ : state) plan = must_plan(problem_of(shape, after), options, &old);
  const Result<Evaluation> stale = evaluate(old, after);
  CHECK(stale.has_value());
  CHECK(mean_imbalance(plan) <= stale->gpu.imbalance + 1e-9, "worse than not moving");
  state.counters["imbalance"] = mean_imbalance(plan);
  state.counters["moved_percent"] = 100 * part_moved(plan);
  state.counters["stale_baseline"] = stale->gpu.imbalance;
  state.counters["fresh_limit"] = mean_imbalance(fresh);
  state.counters["fresh_moved_percent"] = 100 * part_moved(fresh);
}

double plan_us(const Shape& shape, std::span<const double> load, Plan& plan, Workspace& workspace) {
  Options options;
  options.policy = Policy::kReference;
  options.bounds = false;
  const Problem problem = problem_of(shape, load);
  double best = INFINITY;
  for (int run = 0; run < 9; ++run) {
    const auto start = std::chrono::steady_clock::now();
    CHECK(rebalance_into(plan, workspace, problem, options).has_value());
    best = std::min(
        best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
                  .count());
  }
  return best;
}

void scale(benchmark::State& state, const Shape& shape) {
  const Shape base{10, 256, 512, 8, 8, 64};
  const auto base_load = torch_lognormal(123, base.layers, base.experts);
  const auto load = torch_lognormal(123, shape.layers, shape.experts);
  Plan plan;
  Workspace workspace;
  const double base_us = plan_us(base, base_load, plan, workspace);
  double us = 0;
  for (auto _ : state) us = plan_us(shape, load, plan, workspace);
  CHECK(validate(plan).has_value());
  state.counters["plan_us"] = us;
  state.counters["over_base"] = us / base_us;
}

BENCHMARK_CAPTURE(reference, hierarchical_288_32_stable, kHierarchical, Ties::kStable, 1.07343)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reference, hierarchical_288_32_torch, kHierarchical, Ties::kTorch, 1.07343)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reference, global_288_32_stable, kGlobal32, Ties::kStable, 1.00451)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reference, global_288_144_stable, kGlobal144, Ties::kStable, 1.33284)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reference, global_288_144_torch, kGlobal144, Ties::kTorch, 1.33284)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(reference, global_320_320_stable, kOneEach, Ties::kStable, 2.02233)
    ->Unit(benchmark::kMicrosecond);

BENCHMARK_CAPTURE(optimal, hierarchical_288_32, kHierarchical)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(optimal, global_288_32, kGlobal32)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(optimal, global_288_72, kGlobal72)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(optimal, global_288_144, kGlobal144)->Unit(benchmark::kMillisecond);

BENCHMARK_CAPTURE(incremental, global_288_32_drift_1, kGlobal32, 0.01)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(incremental, global_288_32_drift_5, kGlobal32, 0.05)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(incremental, global_288_32_drift_20, kGlobal32, 0.2)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(incremental, hierarchical_288_32_drift_5, kHierarchical, 0.05)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(incremental, global_288_144_drift_5, kGlobal144, 0.05)
    ->Unit(benchmark::kMillisecond);

BENCHMARK_CAPTURE(scale, base, Shape{10, 256, 512, 8, 8, 64})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(scale, layers_x10, Shape{100, 256, 512, 8, 8, 64})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(scale, experts_and_slots_x10, Shape{10, 2560, 5120, 8, 8, 64})
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(scale, gpus_and_slots_x10, Shape{10, 256, 5120, 8, 8, 640})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::eplb
