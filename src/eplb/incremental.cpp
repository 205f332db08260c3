#include "eplb/incremental.h"

#include <limits>
#include <numeric>

#include "base/check.h"
#include "eplb/bounds.h"
#include "eplb/groups.h"

namespace hadal::eplb {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSlack = 1e-9;  // relative: times this close to the target are within it

// What it costs to have an expert on a GPU, given where its copies were.
class Costs {
 public:
  /// `previous[g]`: experts of the cell that GPU g held. Must outlive this.
  Costs(const Cell& cell, const ExpertsOn& previous, const MoveCost& cost)
      : gpus_(cell.gpus()),
        cost_(static_cast<size_t>(cell.experts()) * gpus_, cost.other_node),
        previous_(previous) {
    for (int g = 0; g < gpus_; ++g) {
      for (const int32_t e : previous[g]) {
        for (int other = 0; other < gpus_; ++other) {
          if (cell.node[other] == cell.node[g])
            at(e, other) = std::min(at(e, other), cost.same_node);
        }
      }
    }
    for (int g = 0; g < gpus_; ++g) {
      for (const int32_t e : previous[g]) at(e, g) = 0;
    }
  }

  double of(int expert, int gpu) const { return cost_[static_cast<size_t>(expert) * gpus_ + gpu]; }
  const std::vector<int32_t>& before_on(int gpu) const { return previous_[gpu]; }
  double of(const Packing& placement) const {
    double sum = 0;
    for (int g = 0; g < gpus_; ++g) {
      for (const int32_t e : placement.experts_on(g)) sum += of(e, g);
    }
    return sum;
  }

 private:
  double& at(int expert, int gpu) { return cost_[static_cast<size_t>(expert) * gpus_ + gpu]; }

  int gpus_;
  std::vector<double> cost_;  // [experts][gpus]
  const ExpertsOn& previous_;
};

// A change of a placement: an exchange of two replicas, or a transfer (expert_b gives its slot on
// gpu_b to a new replica of expert_a).
struct Change {
  bool is_swap = true;
  int expert_a = -1, gpu_a = -1;
  int expert_b = -1, gpu_b = -1;
  double excess = 0;  // by how much the total excess over the target changes
  double cost = 0;    // by how much the moving cost changes
};

class Relief {
 public:
  Relief(Packing start, const Costs& costs, double target)
      : now_(std::move(start)),
        costs_(costs),
        target_(target * (1 + kSlack)),
        change_(now_.cell().gpus(), 0) {}

  // Lowers the excess of the hottest GPU until none is left or nothing helps.
  void relieve(int64_t& steps) {
    for (; steps > 0; --steps) {
      const int hot = hottest();
      if (now_.time(hot) <= target_) return;
      best_ = {};
      best_value_ = 0;
      consider_swaps(hot);
      consider_transfers(hot);
      if (best_value_ == 0) return;
      apply(best_);
    }
    now_.recompute();
  }

  // Walks among placements close to the target, and keeps the cheapest that is within it. Changes
  // are aimed at undoing moves, or at whatever is too hot; both excess and cost count.
  Packing economise(int64_t steps, const Effort& effort, Rng rng, bool& cut_short) {
    Packing best = now_;
    double best_cost = costs_.of(now_), cost = best_cost;
    const double unit = cost_unit();
    const double weight = unit / (0.002 * target_);  // 0.2 % of excess is worth one move
    for (int64_t step = 0; step < steps && best_cost > 0; ++step) {
      if (step % 64 == 0 && effort.expired()) {
        cut_short = true;
        break;
      }
      const double progress = static_cast<double>(step) / static_cast<double>(steps);
      const double margin = unit * (1 - progress);
      const Change change = propose(rng);
      if (change.gpu_a < 0) continue;
      const double rise = weight * change.excess + change.cost;
      if (rise > 0 && rise >= margin * rng.uniform()) continue;
      apply(change);
      cost += change.cost;
      if (cost < best_cost - 1e-9 && now_.max_time() <= target_) {
        best = now_;
        best_cost = cost;
      }
    }
    best.recompute();
    return best;
  }

  const Packing& now() const { return now_; }

 private:
  double excess(double time) const { return std::max(0.0, time - target_); }

  int hottest() const {
    int hot = 0;
    for (int g = 1; g < now_.cell().gpus(); ++g) {
      if (now_.time(g) > now_.time(hot)) hot = g;
    }
    return hot;
  }

  // The cost of the cheapest kind of move that is not free, as the scale of costs.
  double cost_unit() const {
    double unit = kInfinity;
    for (int g = 0; g < now_.cell().gpus(); ++g) {
      for (int e = 0; e < now_.cell().experts(); ++e) {
        if (costs_.of(e, g) > 0) unit = std::min(unit, costs_.of(e, g));
      }
    }
    return unit == kInfinity ? 1 : unit;
  }

  std::optional<Change> swap_of(int a, int gpu_a, int b, int gpu_b) const {
    const double difference = now_.share(a) - now_.share(b);
    if (a == b || !now_.can_move(a, gpu_a, gpu_b) || !now_.can_move(b, gpu_b, gpu_a)) return {};
    return Change{.is_swap = true,
                  .expert_a = a,
                  .gpu_a = gpu_a,
                  .expert_b = b,
                  .gpu_b = gpu_b,
                  .excess = excess(now_.time_with(gpu_a, -difference)) +
                            excess(now_.time_with(gpu_b, difference)) - excess(now_.time(gpu_a)) -
                            excess(now_.time(gpu_b)),
                  .cost = costs_.of(a, gpu_b) + costs_.of(b, gpu_a) - costs_.of(a, gpu_a) -
                          costs_.of(b, gpu_b)};
  }

  std::optional<Change> transfer_of(int donor, int receiver, int gpu) {
    if (!now_.can_transfer(donor, receiver, gpu)) return {};
    touched_.clear();
    now_.for_each_change(donor, receiver, gpu, [&](int g, double change) {
      if (std::find(touched_.begin(), touched_.end(), g) == touched_.end()) touched_.push_back(g);
      change_[g] += change;
    });
    Change result{.is_swap = false,
                  .expert_a = receiver,
                  .gpu_a = gpu,
                  .expert_b = donor,
                  .gpu_b = gpu,
                  .excess = 0,
                  .cost = costs_.of(receiver, gpu) - costs_.of(donor, gpu)};
    for (const int g : touched_) {
      result.excess += excess(now_.time_with(g, change_[g])) - excess(now_.time(g));
      change_[g] = 0;
    }
    return result;
  }

  // Relief per cost; what costs nothing or earns something comes before all else.
  void consider(const std::optional<Change>& change) {
    if (!change || change->excess >= -kSlack * target_) return;
    const double value = change->cost <= 0 ? 1e12 - change->excess : -change->excess / change->cost;
    if (value <= best_value_) return;
    best_value_ = value;
    best_ = *change;
  }

  void consider_swaps(int hot) {
    for (int other = 0; other < now_.cell().gpus(); ++other) {
      if (other == hot) continue;
      for (const int32_t a : now_.experts_on(hot)) {
        for (const int32_t b : now_.experts_on(other)) {
          if (now_.share(a) > now_.share(b)) consider(swap_of(a, hot, b, other));
        }
      }
    }
  }

  void consider_transfers(int hot) {
    const Cell& cell = now_.cell();
    // One of the hot GPU's experts gets a further replica elsewhere ...
    for (int donor = 0; donor < cell.experts(); ++donor) {
      if (now_.count(donor) <= cell.count_min[donor]) continue;
      for (const int32_t gpu : now_.gpus_of(donor)) {
        for (const int32_t receiver : now_.experts_on(hot)) {
          consider(transfer_of(donor, receiver, gpu));
        }
      }
    }
    // ... or one of its replicas makes way for a lighter one.
    for (const int32_t donor : now_.experts_on(hot)) {
      if (now_.count(donor) <= cell.count_min[donor]) continue;
      for (int receiver = 0; receiver < cell.experts(); ++receiver) {
        consider(transfer_of(donor, receiver, hot));
      }
    }
  }

  // A random change around a GPU that is too hot or holds an expert that costs something.
  Change propose(Rng& rng) {
    const Cell& cell = now_.cell();
    int gpu = -1, seen = 0;
    int expert = -1;
    for (int g = 0; g < cell.gpus(); ++g) {
      const bool hot = now_.time(g) > target_;
      for (const int32_t e : now_.experts_on(g)) {
        if ((hot || costs_.of(e, g) > 0) && rng.below(++seen) == 0) gpu = g, expert = e;
      }
    }
    if (gpu < 0) return {};
    const auto any_of = [&](const std::vector<int32_t>& list) {
      return list.empty() ? expert : static_cast<int>(list[rng.below(list.size())]);
    };
    const int other = static_cast<int>(rng.below(cell.gpus()));
    std::optional<Change> change;
    switch (rng.below(5)) {
      case 0:
      case 1:  // with a replica elsewhere
        if (other != gpu) change = swap_of(expert, gpu, any_of(now_.experts_on(other)), other);
        break;
      case 2: {  // with one that was here before
        const int back = any_of(costs_.before_on(gpu));
        const int from = now_.gpus_of(back)[rng.below(now_.count(back))];
        if (from != gpu) change = swap_of(expert, gpu, back, from);
        break;
      }
      case 3:  // its slot back to one that was here before, or to any
        change = transfer_of(
            expert, any_of(rng.below(2) == 0 ? costs_.before_on(gpu) : now_.experts_on(other)),
            gpu);
        break;
      default: change = transfer_of(any_of(now_.experts_on(other)), expert, other); break;
    }
    return change.value_or(Change{});
  }

  void apply(const Change& change) {
    if (change.is_swap) {
      now_.swap(change.expert_a, change.gpu_a, change.expert_b, change.gpu_b);
    } else {
      now_.transfer(change.expert_b, change.expert_a, change.gpu_b);
    }
  }

  Packing now_;
  const Costs& costs_;
  double target_;
  Change best_;
  double best_value_ = 0;
  std::vector<double> change_;  // per GPU, zero between calls
  std::vector<int> touched_;
};

// The previous placement as far as it still applies: `on[g]` may name experts twice, or not at all,
// and hold more or fewer than the capacity. Drops, then places what is missing, then fills free
// slots with replicas of the heaviest experts.
class Repair {
 public:
  Repair(const Cell& cell, ExpertsOn on)
      : cell_(cell), on_(std::move(on)), count_(cell.experts(), 0) {}

  /// Nothing if the rules cannot be met this way.
  std::optional<Packing> run() {
    drop();
    for (const auto& [expert, gpu] : cell_.pins) {
      if (has(expert, gpu)) continue;
      if (free_slots(gpu) == 0 && !evict(gpu)) return {};
      add(expert, gpu);
    }
    for (int e = 0; e < cell_.experts(); ++e) {
      while (count_[e] < cell_.count_min[e]) {
        if (!place(e)) return {};
      }
    }
    for (int g = 0; g < cell_.gpus(); ++g) {
      while (free_slots(g) > 0) {
        if (!fill(g)) return {};
      }
    }
    Packing placement(cell_, on_);
    if (!placement.is_valid()) return {};
    return placement;
  }

 private:
  bool has(int e, int g) const {
    return std::find(on_[g].begin(), on_[g].end(), e) != on_[g].end();
  }
  int free_slots(int g) const { return cell_.capacity[g] - static_cast<int>(on_[g].size()); }
  void add(int e, int g) {
    on_[g].push_back(e);
    ++count_[e];
  }

  void drop() {
    for (int g = 0; g < cell_.gpus(); ++g) {
      std::vector<int32_t> kept;
      for (const int32_t e : on_[g]) {
        const bool again = std::find(kept.begin(), kept.end(), e) != kept.end();
        if (again || count_[e] >= cell_.count_max[e]) continue;
        if (static_cast<int>(kept.size()) == cell_.capacity[g]) break;
        kept.push_back(e);
        ++count_[e];
      }
      on_[g] = std::move(kept);
    }
  }

  // Removes the replica on `gpu` that is missed least: of the expert whose shares grow to the
  // least. One that falls below its minimum is placed again later.
  bool evict(int gpu, bool keep_minimum = false) {
    int best = -1;
    double best_share = kInfinity;
    for (const int32_t e : on_[gpu]) {
      const bool spare = count_[e] > cell_.count_min[e];
      if (cell_.is_pinned(e, gpu) || (keep_minimum && !spare)) continue;
      const double share = spare ? cell_.load[e] / (count_[e] - 1) : kInfinity;
      if (best < 0 || share < best_share) best = e, best_share = share;
    }
    if (best < 0) return false;
    on_[gpu].erase(std::find(on_[gpu].begin(), on_[gpu].end(), best));
    --count_[best];
    return true;
  }

  bool new_node(int e, int g) const {
    for (int other = 0; other < cell_.gpus(); ++other) {
      if (cell_.node[other] == cell_.node[g] && has(e, other)) return false;
    }
    return true;
  }

  // A missing expert goes to the free slot of the GPU with the most of them, else takes the place
  // of the replica that is missed least.
  bool place(int e) {
    const bool need_node = count_[e] < cell_.nodes_min;
    int best = -1;
    for (int g = 0; g < cell_.gpus(); ++g) {
      if (free_slots(g) == 0 || has(e, g) || (need_node && !new_node(e, g))) continue;
      if (best < 0 || free_slots(g) > free_slots(best)) best = g;
    }
    for (int g = 0; best < 0 && g < cell_.gpus(); ++g) {
      if (has(e, g) || (need_node && !new_node(e, g))) continue;
      if (cell_.capacity[g] > 0 && evict(g, true)) best = g;
    }
    if (best < 0) return false;
    add(e, best);
    return true;
  }

  bool fill(int g) {
    int best = -1;
    for (int e = 0; e < cell_.experts(); ++e) {
      if (count_[e] >= cell_.count_max[e] || has(e, g)) continue;
      if (best < 0 || cell_.load[e] * count_[best] > cell_.load[best] * count_[e]) best = e;
    }
    if (best < 0) return false;
    add(best, g);
    return true;
  }

  const Cell& cell_;
  ExpertsOn on_;
  std::vector<int> count_;
};

// The previous placement where it is complete and good enough as it is. It may hold an expert twice
// on a GPU: that wastes a slot, but to fill it better would be a move that nobody needs.
std::optional<Packing> keep(const Cell& cell, const ExpertsOn& on, double target) {
  std::vector<int> count(cell.experts(), 0);
  for (int g = 0; g < cell.gpus(); ++g) {
    if (static_cast<int>(on[g].size()) != cell.capacity[g]) return {};
    for (const int32_t e : on[g]) ++count[e];
  }
  for (int e = 0; e < cell.experts(); ++e) {
    if (count[e] < cell.count_min[e] || count[e] > cell.count_max[e]) return {};
  }
  Packing placement(cell, on);
  if (!placement.is_valid() || placement.max_time() > target * (1 + kSlack)) return {};
  return placement;
}

// The node that holds all of each group's experts, as a live node; empty if some
// group is spread, or a node has more groups than its slots can hold.
std::vector<int> nodes_of_groups(const Problem& problem, const Layout& layout,
                                 const ExpertsOn& on) {
  const int group_size = problem.num_experts / problem.num_groups;
  std::vector<int> node_of(problem.num_groups, -1);
  for (int j = 0; j < layout.live_nodes(); ++j) {
    for (const int gpu : layout.gpus_of(j)) {
      for (const int32_t e : on[gpu]) {
        int& node = node_of[e / group_size];
        if (node >= 0 && node != j) return {};
        node = j;
      }
    }
  }
  std::vector<int> experts(layout.live_nodes(), 0);
  for (const int node : node_of) {
    if (node < 0) return {};
    experts[node] += group_size;
  }
  for (int j = 0; j < layout.live_nodes(); ++j) {
    if (experts[j] > layout.slots_on(layout.gpus_of(j))) return {};
  }
  return node_of;
}

// Exchanges groups between nodes, as few as bring every node's bound within the target.
void exchange_groups(const Problem& problem, const Layout& layout, int layer, double target,
                     std::vector<int>& node_of) {
  const auto bound = [&](int node) {
    return quick_bound(make_cell(problem, layout, layer, experts_on_node(problem, node_of, node),
                                 layout.gpus_of(node)));
  };
  const int nodes = layout.live_nodes();
  std::vector<double> time(nodes);
  for (int j = 0; j < nodes; ++j) time[j] = bound(j);
  for (int round = 0; round < problem.num_groups; ++round) {
    const int hot = static_cast<int>(std::max_element(time.begin(), time.end()) - time.begin());
    if (time[hot] <= target) return;
    double best = time[hot];
    std::pair<int, int> exchange(-1, -1);
    for (int a = 0; a < problem.num_groups; ++a) {
      for (int b = 0; b < problem.num_groups && node_of[a] == hot; ++b) {
        if (node_of[b] == hot) continue;
        std::swap(node_of[a], node_of[b]);
        const double worse = std::max(bound(node_of[a]), bound(hot));
        std::swap(node_of[a], node_of[b]);
        if (worse < best) best = worse, exchange = {a, b};
      }
    }
    if (exchange.first < 0) return;
    std::swap(node_of[exchange.first], node_of[exchange.second]);
    for (int j = 0; j < nodes; ++j) time[j] = bound(j);
  }
}

// What is on a piece's GPUs, in the cell's own ids; experts that are not in the cell are left out.
ExpertsOn on_piece(const Piece& piece, int num_experts, const ExpertsOn& on_cluster) {
  std::vector<int32_t> local(num_experts, -1);
  for (size_t i = 0; i < piece.experts.size(); ++i) local[piece.experts[i]] = static_cast<int>(i);
  ExpertsOn on(piece.gpus.size());
  for (size_t g = 0; g < piece.gpus.size(); ++g) {
    for (const int32_t e : on_cluster[piece.gpus[g]]) {
      if (local[e] >= 0) on[g].push_back(local[e]);
    }
  }
  return on;
}

// Plans the layer's pieces from where `start` has the experts. Where that is within the target it
// only gets closer to the previous plan.
Result<IncrementalResult> replan_from(const Problem& problem, const Layout& layout, int layer,
                                      const ExpertsOn& previous, const ExpertsOn& start_on,
                                      const std::vector<int>& node_of, double target,
                                      const MoveCost& move_cost, const Effort& effort, Rng rng) {
  IncrementalResult result;
  result.plan.experts_on.resize(problem.num_gpus);
  const std::vector<Piece> pieces = split_layer(problem, layout, layer, node_of);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const ExpertsOn before = on_piece(piece, problem.num_experts, previous);
    const ExpertsOn at = on_piece(piece, problem.num_experts, start_on);
    const Costs costs(piece.cell, before, move_cost);
    std::optional<Packing> start = keep(piece.cell, at, target);
    if (!start) start = Repair(piece.cell, at).run();
    if (!start) start = TRY(Packing::make(piece.cell));
    Relief relief(*std::move(start), costs, target);
    int64_t steps = effort.steps_max / static_cast<int64_t>(pieces.size());
    relief.relieve(steps);
    const Packing placement = relief.economise(steps, effort, rng.fork(i), result.plan.cut_short);
    CHECK(placement.is_valid(), "the search broke a constraint");
    result.cost += costs.of(placement);
    put_piece(piece, placement, result.plan);
  }
  return result;
}

}  // namespace

Result<IncrementalResult> replan_layer(const Problem& problem, const Layout& layout, int layer,
                                       const ExpertsOn& previous, const ExpertsOn& fresh,
                                       double target, const MoveCost& move_cost,
                                       const Effort& effort, Rng rng) {
  const bool grouped = layout.scope == Scope::kHierarchical;
  std::vector<int> node_of;
  if (grouped) {
    node_of = nodes_of_groups(problem, layout, previous);
    if (node_of.empty()) {
      node_of = nodes_of_groups(problem, layout, fresh);
    } else {
      exchange_groups(problem, layout, layer, target, node_of);
    }
  }
  IncrementalResult relieved = TRY(replan_from(problem, layout, layer, previous, previous, node_of,
                                               target, move_cost, effort, rng));
  if (relieved.plan.max_time <= target * (1 + 2 * kSlack)) return relieved;
  if (grouped) node_of = nodes_of_groups(problem, layout, fresh);
  IncrementalResult renewed = TRY(replan_from(problem, layout, layer, previous, fresh, node_of,
                                              target, move_cost, effort, rng));
  return renewed.plan.max_time < relieved.plan.max_time ? std::move(renewed) : std::move(relieved);
}

}  // namespace hadal::eplb
