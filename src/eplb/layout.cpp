#include "eplb/layout.h"

#include <cmath>
#include <numeric>

#include <fmt/core.h>

namespace hadal::eplb {
namespace {

// Bounds that keep every product of sizes within 32 bits of slots and a sane amount of memory.
constexpr int kLayersMax = 1 << 16;
constexpr int kExpertsMax = 1 << 16;
constexpr int kReplicasMax = 1 << 20;
constexpr int kGpusMax = 1 << 16;

template <typename... Args>
std::unexpected<Error> invalid(fmt::format_string<Args...> format, Args&&... args) {
  return fail(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}

Result<> check_range(const char* name, int value, int min, int max) {
  if (value >= min && value <= max) return {};
  return invalid("{} is {}; it must be {} to {}", name, value, min, max);
}

Result<> check_sizes(const Problem& p) {
  TRY(check_range("num_layers", p.num_layers, 1, kLayersMax));
  TRY(check_range("num_experts", p.num_experts, 1, kExpertsMax));
  TRY(check_range("num_gpus", p.num_gpus, 1, kGpusMax));
  TRY(check_range("num_replicas", p.num_replicas, 1, kReplicasMax));
  TRY(check_range("num_groups", p.num_groups, 1, p.num_experts));
  TRY(check_range("num_nodes", p.num_nodes, 1, p.num_gpus));
  if (p.num_gpus % p.num_nodes != 0) {
    return invalid("num_gpus is {}; it must be a multiple of num_nodes {}", p.num_gpus,
                   p.num_nodes);
  }
  if (p.num_replicas < p.num_experts) {
    return invalid("num_replicas is {}; every expert needs one, so at least num_experts {}",
                   p.num_replicas, p.num_experts);
  }
  if (p.num_replicas > static_cast<int64_t>(p.num_experts) * p.num_gpus) {
    return invalid(
        "num_replicas is {}; more than one of each expert on each GPU ({} x {}) has no use",
        p.num_replicas, p.num_experts, p.num_gpus);
  }
  return {};
}

Result<> check_load(const Problem& p) {
  const size_t expected = static_cast<size_t>(p.num_layers) * p.num_experts;
  if (p.load.size() != expected) {
    return invalid("load has {} values; num_layers {} x num_experts {} needs {}", p.load.size(),
                   p.num_layers, p.num_experts, expected);
  }
  for (size_t i = 0; i < expected; ++i) {
    // float32 holds up to 3.4e38; the sum of a layer must stay below it.
    if (p.load[i] >= 0 && p.load[i] <= 1e30) continue;
    return invalid("load of layer {}, expert {} is {}; loads must be finite and >= 0",
                   i / p.num_experts, i % p.num_experts, p.load[i]);
  }
  return {};
}

// Can every live node take its share of the groups, whole?
bool groups_fit(const Problem& p, const Layout& layout) {
  const int nodes = layout.live_nodes();
  const int group_size = p.num_experts / p.num_groups;
  const int least = p.num_groups / nodes;
  int may_take_more = 0;
  for (int j = 0; j < nodes; ++j) {
    const int fit = layout.slots_on(layout.gpus_of(j)) / group_size;
    if (fit < least) return false;
    may_take_more += fit > least;
  }
  return may_take_more >= p.num_groups % nodes;
}

Result<Scope> choose_scope(const Problem& p, const Options& options, const Layout& layout) {
  const bool divides = p.num_groups % p.num_nodes == 0;
  if (options.scope == Scope::kHierarchical && !divides) {
    return invalid("num_groups is {}; hierarchical scope needs a multiple of num_nodes {}",
                   p.num_groups, p.num_nodes);
  }
  if (options.scope != Scope::kAuto) return options.scope;
  if (!divides || p.num_nodes == 1) return divides ? Scope::kHierarchical : Scope::kGlobal;
  const bool possible = p.num_experts % p.num_groups != 0 ||  // an error, said later
                        (p.pins.empty() && p.min_nodes_per_expert <= 1 && groups_fit(p, layout));
  return possible ? Scope::kHierarchical : Scope::kGlobal;
}

Result<> check_groups(const Problem& p, Scope scope) {
  if (scope == Scope::kHierarchical && p.num_experts % p.num_groups != 0) {
    return invalid("num_groups is {}; it must divide num_experts {}", p.num_groups, p.num_experts);
  }
  return {};
}

Result<> check_reference(const Problem& p) {
  if (p.num_replicas % p.num_gpus != 0) {
    return invalid("num_replicas is {}; the reference policy needs a multiple of num_gpus {}",
                   p.num_replicas, p.num_gpus);
  }
  const bool plain = p.gpu_capacity.empty() && p.gpu_speed.empty() && p.failed_gpus.empty() &&
                     p.pins.empty() && p.min_nodes_per_expert == 1 &&
                     p.max_replicas_per_expert == 0;
  if (!plain) {
    return invalid(
        "the reference policy knows no capacities, speeds, failed GPUs, pins or limits; "
        "use the optimal policy");
  }
  return {};
}

Result<> fill_capacity(const Problem& p, Layout& layout) {
  layout.capacity.assign(p.num_gpus, 0);
  if (p.gpu_capacity.empty()) {
    for (int g = 0; g < p.num_gpus; ++g) {
      layout.capacity[g] = p.num_replicas / p.num_gpus + (g < p.num_replicas % p.num_gpus);
    }
  } else {
    if (static_cast<int>(p.gpu_capacity.size()) != p.num_gpus) {
      return invalid("gpu_capacity has {} values; num_gpus is {}", p.gpu_capacity.size(),
                     p.num_gpus);
    }
    for (int g = 0; g < p.num_gpus; ++g) {
      layout.capacity[g] = p.gpu_capacity[g];
      TRY(check_range("gpu_capacity", p.gpu_capacity[g], 0, kReplicasMax));
    }
    const int64_t sum = std::accumulate(layout.capacity.begin(), layout.capacity.end(), int64_t{0});
    if (sum != p.num_replicas) {
      return invalid("gpu_capacity sums to {}; it must sum to num_replicas {}", sum,
                     p.num_replicas);
    }
  }
  layout.first_slot.assign(1, 0);
  for (const int c : layout.capacity) layout.first_slot.push_back(layout.first_slot.back() + c);
  layout.num_slots = layout.first_slot.back();
  return {};
}

Result<> fill_speed_and_life(const Problem& p, Layout& layout) {
  layout.speed.assign(p.num_gpus, 1);
  if (!p.gpu_speed.empty()) {
    if (static_cast<int>(p.gpu_speed.size()) != p.num_gpus) {
      return invalid("gpu_speed has {} values; num_gpus is {}", p.gpu_speed.size(), p.num_gpus);
    }
    for (int g = 0; g < p.num_gpus; ++g) {
      const double speed = p.gpu_speed[g];
      if (!(speed >= 1e-6 && speed <= 1e6)) {
        return invalid("gpu_speed[{}] is {}; it must be 1e-6 to 1e6", g, speed);
      }
      layout.speed[g] = speed;
    }
  }
  for (const int g : p.failed_gpus) {
    if (g < 0 || g >= p.num_gpus) {
      return invalid("failed_gpus names GPU {}; num_gpus is {}", g, p.num_gpus);
    }
    layout.capacity[g] = 0;
  }
  layout.node.clear();
  layout.live.clear();
  layout.live_end.clear();
  for (int g = 0; g < p.num_gpus; ++g) {
    const int node = g / (p.num_gpus / p.num_nodes);
    layout.node.push_back(node);
    if (layout.capacity[g] == 0) continue;
    const bool first = layout.live.empty() || layout.node[layout.live.back()] != node;
    if (first) layout.live_end.push_back(0);
    layout.live.push_back(g);
    layout.live_end.back() = static_cast<int>(layout.live.size());
  }
  layout.replicas = std::accumulate(layout.capacity.begin(), layout.capacity.end(), 0);
  if (layout.replicas < p.num_experts) {
    return invalid("the live GPUs have {} slots; num_experts is {}", layout.replicas,
                   p.num_experts);
  }
  return {};
}

Result<> check_constraints(const Problem& p, const Layout& layout) {
  const int live_nodes = layout.live_nodes();
  TRY(check_range("min_nodes_per_expert", p.min_nodes_per_expert, 1, live_nodes));
  if (p.min_nodes_per_expert > 1 && layout.scope == Scope::kHierarchical && live_nodes > 1) {
    return invalid(
        "min_nodes_per_expert is {}; hierarchical scope keeps an expert on one node, use "
        "the global scope",
        p.min_nodes_per_expert);
  }
  if (static_cast<int64_t>(p.min_nodes_per_expert) * p.num_experts > layout.replicas) {
    return invalid("min_nodes_per_expert is {}; {} experts then need {} slots and {} are there",
                   p.min_nodes_per_expert, p.num_experts,
                   static_cast<int64_t>(p.min_nodes_per_expert) * p.num_experts, layout.replicas);
  }
  TRY(check_range("max_replicas_per_expert", p.max_replicas_per_expert, 0, kReplicasMax));
  const int64_t most = p.max_replicas_per_expert;
  if (most != 0 && (most < p.min_nodes_per_expert || most * p.num_experts < layout.replicas)) {
    return invalid("max_replicas_per_expert is {}; {} experts cannot fill {} slots with that", most,
                   p.num_experts, layout.replicas);
  }
  for (const Pin& pin : p.pins) {
    if (pin.layer < -1 || pin.layer >= p.num_layers || pin.expert < 0 ||
        pin.expert >= p.num_experts || pin.gpu < 0 || pin.gpu >= p.num_gpus) {
      return invalid(
          "a pin names layer {}, expert {}, GPU {}; there are {} layers, {} experts, {} "
          "GPUs",
          pin.layer, pin.expert, pin.gpu, p.num_layers, p.num_experts, p.num_gpus);
    }
    if (layout.capacity[pin.gpu] == 0) {
      return invalid("a pin puts expert {} on GPU {}, which is failed or has no slots", pin.expert,
                     pin.gpu);
    }
    if (layout.scope == Scope::kHierarchical && live_nodes > 1) {
      return invalid("pins need the global scope: hierarchical scope moves whole groups");
    }
  }
  return {};
}

}  // namespace

int Layout::slots_on(std::span<const int> gpus) const {
  int slots = 0;
  for (const int g : gpus) slots += capacity[g];
  return slots;
}

Result<> make_layout(const Problem& problem, const Options& options, Layout& layout) {
  TRY(check_sizes(problem));
  TRY(check_load(problem));
  if (options.policy == Policy::kReference) TRY(check_reference(problem));
  TRY(fill_capacity(problem, layout));
  TRY(fill_speed_and_life(problem, layout));
  layout.scope = TRY(choose_scope(problem, options, layout));
  TRY(check_groups(problem, layout.scope));
  TRY(check_constraints(problem, layout));
  TRY(check_range("threads", options.threads, 1, 1024));
  if (options.steps_max < 0) return invalid("steps_max is {}; it must be >= 0", options.steps_max);
  if (!(options.budget_ms >= 0)) {
    return invalid("budget_ms is {}; it must be >= 0", options.budget_ms);
  }
  if (!(options.tolerance >= 0)) {
    return invalid("tolerance is {}; it must be >= 0", options.tolerance);
  }
  return {};
}

Cell make_cell(const Problem& problem, const Layout& layout, int layer,
               std::span<const int> experts, std::span<const int> gpus) {
  Cell cell;
  const int slots = cell.slots = layout.slots_on(gpus);
  cell.nodes_min = problem.min_nodes_per_expert;
  const double* load = problem.load.data() + static_cast<size_t>(layer) * problem.num_experts;
  const int n = static_cast<int>(experts.size());
  const int d = static_cast<int>(gpus.size());
  int count_max =
      problem.max_replicas_per_expert > 0 ? std::min(d, problem.max_replicas_per_expert) : d;
  // Too few GPUs for the replicas without a second one of an expert on a GPU: it is unavoidable.
  if (static_cast<int64_t>(count_max) * n < slots) count_max = slots;
  for (const int e : experts) cell.load.push_back(load[e]);
  cell.count_min.assign(n, cell.nodes_min);
  cell.count_max.assign(n, count_max);
  for (const int g : gpus) {
    cell.capacity.push_back(layout.capacity[g]);
    cell.speed.push_back(layout.speed[g]);
    cell.node.push_back(layout.node[g]);
  }
  const auto local = [](std::span<const int> ids, int id) {
    return static_cast<int>(std::find(ids.begin(), ids.end(), id) - ids.begin());
  };
  for (const Pin& pin : problem.pins) {
    if (pin.layer != -1 && pin.layer != layer) continue;
    const std::pair at(local(experts, pin.expert), local(gpus, pin.gpu));
    if (at.first >= n || at.second >= d || cell.is_pinned(at.first, at.second)) continue;
    cell.pins.push_back(at);
    const auto pinned =
        static_cast<int>(std::count_if(cell.pins.begin(), cell.pins.end(),
                                       [&](const auto& other) { return other.first == at.first; }));
    cell.count_min[at.first] = std::max(cell.count_min[at.first], pinned);
  }
  return cell;
}

}  // namespace hadal::eplb
