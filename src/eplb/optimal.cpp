#include "eplb/optimal.h"

#include <algorithm>
#include <numeric>

#include "eplb/bounds.h"
#include "eplb/dispatch.h"
#include "eplb/groups.h"
#include "eplb/pairs.h"

namespace hadal::eplb {
namespace {

// A cell under search.
struct Candidate {
  Packing placement;
  double bound;
};

// Spends the effort on whichever cell is the worst, in turns, until the worst has met its bound or
// the layer's, below which nothing is gained.
void improve_worst(std::vector<Candidate>& cells, double layer_bound, Effort& effort, Rng rng,
                   LayerPlan& plan) {
  const int64_t turn = std::max<int64_t>(effort.steps_max / static_cast<int64_t>(cells.size()), 1);
  for (uint64_t round = 0; effort.steps_max > 0 && !plan.cut_short; ++round) {
    auto worst = std::max_element(cells.begin(), cells.end(), [](const auto& a, const auto& b) {
      return a.placement.max_time() < b.placement.max_time();
    });
    const double aim = std::max(worst->bound, layer_bound);
    if (worst->placement.max_time() <= aim * (1 + kCloseEnough)) return;
    Effort share = effort;
    share.steps_max = std::min(turn, effort.steps_max);
    SearchResult found = improve(worst->placement, aim, share, rng.fork(round));
    worst->placement = std::move(found.best);
    plan.cut_short = found.cut_short;
    if (found.steps == 0) return;
    effort.steps_max -= found.steps;
  }
}

Result<Candidate> start_cell(const Cell& cell, Effort& effort, LayerPlan& plan) {
  Candidate candidate{TRY(Packing::make(cell)), lower_bound(cell)};
  if (!is_pairs(cell) || candidate.placement.duplicates_allowed()) return candidate;
  PairsResult exact = solve_pairs(cell, candidate.placement.max_time(), candidate.bound, effort);
  effort.steps_max -= exact.steps;
  plan.cut_short |= exact.cut_short;
  candidate.bound = exact.lower_bound;
  if (exact.best) candidate.placement = std::move(*exact.best);
  return candidate;
}

// Lets the search for unequal splits go on from the piece's placement. Every step costs a maximum
// flow, a hundred times a step of improve(). It knows no constraints but the slots, so that where
// there are others the placement stays as it is.
Result<> improve_split(const Piece& piece, LayerPlan& plan, const Effort& effort, uint64_t seed) {
  constexpr int64_t kStepsPerFlow = 20;  // of the equal-split search; for comparable time
  constexpr int64_t kFlowsAtOnce = 20;   // between two looks at the clock
  const Cell& cell = piece.cell;
  const bool free = cell.pins.empty() && cell.nodes_min <= 1 &&
                    cell.count_max.front() >= std::min(cell.gpus(), cell.slots);
  if (!free) return {};
  std::vector<int32_t> local(*std::max_element(piece.experts.begin(), piece.experts.end()) + 1);
  for (int e = 0; e < cell.experts(); ++e) local[piece.experts[e]] = e;
  Placement split{.num_experts = cell.experts(), .slot_expert = {}, .gpu_first_slot = {0}};
  for (const int gpu : piece.gpus) {
    for (const int32_t e : plan.experts_on[gpu]) split.slot_expert.push_back(local[e]);
    split.gpu_first_slot.push_back(static_cast<int32_t>(split.slot_expert.size()));
  }
  for (int64_t left = effort.steps_max / kStepsPerFlow; left > 0; left -= kFlowsAtOnce) {
    if (effort.expired()) {
      plan.cut_short = true;
      break;
    }
    const double time = TRY(improve_weighted(
        split, cell.load, cell.speed, {.steps_max = std::min(left, kFlowsAtOnce), .seed = seed++}));
    if (time <= plan.lower_bound * (1 + kCloseEnough)) break;
  }
  for (size_t g = 0; g < piece.gpus.size(); ++g) {
    auto& on = plan.experts_on[piece.gpus[g]];
    on.clear();
    for (int slot = split.gpu_first_slot[g]; slot < split.gpu_first_slot[g + 1]; ++slot) {
      on.push_back(piece.experts[split.slot_expert[slot]]);
    }
  }
  return {};
}

}  // namespace

std::vector<Piece> split_layer(const Problem& problem, const Layout& layout, int layer,
                               const std::vector<int>& node_of) {
  std::vector<Piece> pieces;
  if (node_of.empty()) {
    Piece& whole = pieces.emplace_back();
    whole.experts.resize(problem.num_experts);
    std::iota(whole.experts.begin(), whole.experts.end(), 0);
    whole.gpus = layout.live;
  } else {
    for (int j = 0; j < layout.live_nodes(); ++j) {
      const auto gpus = layout.gpus_of(j);
      pieces.push_back({.cell = {},
                        .experts = experts_on_node(problem, node_of, j),
                        .gpus = {gpus.begin(), gpus.end()}});
    }
  }
  for (Piece& p : pieces) p.cell = make_cell(problem, layout, layer, p.experts, p.gpus);
  return pieces;
}

void put_piece(const Piece& piece, const Packing& placement, LayerPlan& plan) {
  for (size_t g = 0; g < piece.gpus.size(); ++g) {
    auto& on = plan.experts_on[piece.gpus[g]];
    on.clear();
    for (const int32_t e : placement.experts_on(static_cast<int>(g))) {
      on.push_back(piece.experts[e]);
    }
  }
  plan.max_time = std::max(plan.max_time, placement.max_time());
}

Result<double> equal_lower_bound(const Problem& problem, const Layout& layout, int layer) {
  const std::vector<Piece> whole = split_layer(problem, layout, layer, {});
  const double bound = lower_bound(whole.front().cell);
  if (layout.scope == Scope::kGlobal || layout.live_nodes() == 1) return bound;
  return std::max(bound, TRY(assign_groups(problem, layout, layer)).lower_bound);
}

Result<double> weighted_lower_bound(const Problem& problem, const Layout& layout, int layer) {
  const std::vector<Piece> whole = split_layer(problem, layout, layer, {});
  const Cell& cell = whole.front().cell;
  const double bound = TRY(weighted_bound(cell.load, cell.capacity, cell.speed));
  if (layout.scope == Scope::kGlobal) return bound;
  return std::max(bound,
                  TRY(assign_groups(problem, layout, layer, Dispatch::kWeighted)).lower_bound);
}

// Hierarchical scope: branch and bound over the assignments of groups to nodes. The best assignment
// by what is known is solved, with half of the effort that is left, which proves larger bounds for
// its sets of groups; then another one may be the best. When none can beat the plan at hand, it
// gets the rest.
class GroupPlanner {
 public:
  GroupPlanner(const Problem& problem, const Layout& layout, int layer, Dispatch dispatch, Rng rng)
      : problem_(problem),
        layout_(layout),
        layer_(layer),
        dispatch_(dispatch),
        rng_(rng),
        search_(problem, layout, layer, dispatch) {}

  /// `pieces` becomes what the plan's layer falls apart into.
  Result<LayerPlan> run(Effort effort, std::vector<Piece>& pieces) {
    constexpr int kRoundsMax = 64;
    for (int round = 0; round < kRoundsMax; ++round) {
      const GroupAssignment groups = TRY(search_.best());
      bound_ = groups.lower_bound;
      const bool closed = bound_ == 0 || bound_ >= best_.max_time * (1 - kCloseEnough);
      if (round > 0 && (closed || effort.steps_max <= 0 || best_.cut_short)) break;
      TRY(solve(groups.node_of, effort, round));
      // Times with equal split do not decide between assignments here.
      if (dispatch_ == Dispatch::kWeighted) break;
    }
    if (effort.steps_max > 0 && !best_.cut_short) {
      improve_worst(cells_, bound_, effort, rng_.fork(kRoundsMax), best_);
      best_.max_time = 0;
      for (size_t i = 0; i < pieces_.size(); ++i) put_piece(pieces_[i], cells_[i].placement, best_);
    }
    best_.lower_bound = bound_;
    pieces = std::move(pieces_);
    return std::move(best_);
  }

 private:
  Result<> solve(const std::vector<int>& node_of, Effort& effort, int round) {
    std::vector<Piece> pieces = split_layer(problem_, layout_, layer_, node_of);
    const bool first = round == 0;
    double bound = 0;
    for (int j = 0; j < layout_.live_nodes() && dispatch_ == Dispatch::kEqual; ++j) {
      const double cell_bound = lower_bound(pieces[j].cell);
      search_.raise(node_of, j, cell_bound);
      bound = std::max(bound, cell_bound);
    }
    if (!first && bound >= best_.max_time * (1 - kCloseEnough)) return {};
    LayerPlan plan;
    plan.experts_on.resize(problem_.num_gpus);
    Effort half = effort;
    half.steps_max = (effort.steps_max + 1) / 2;
    effort.steps_max -= half.steps_max;
    std::vector<Candidate> cells;
    cells.reserve(pieces.size());
    for (const Piece& piece : pieces) cells.push_back(TRY(start_cell(piece.cell, half, plan)));
    for (int j = 0; j < layout_.live_nodes() && dispatch_ == Dispatch::kEqual; ++j) {
      search_.raise(node_of, j, cells[j].bound);
    }
    improve_worst(cells, bound_, half, rng_.fork(round), plan);
    effort.steps_max += std::max<int64_t>(half.steps_max, 0);
    for (size_t i = 0; i < pieces.size(); ++i) put_piece(pieces[i], cells[i].placement, plan);
    if (!first && plan.max_time >= best_.max_time) return {};
    best_ = std::move(plan);
    cells_ = std::move(cells);
    pieces_ = std::move(pieces);  // the cells stay where they are
    return {};
  }

  const Problem& problem_;
  const Layout& layout_;
  int layer_;
  Dispatch dispatch_;
  Rng rng_;
  GroupSearch search_;
  double bound_ = 0;
  LayerPlan best_;
  std::vector<Piece> pieces_;
  std::vector<Candidate> cells_;
};

Result<LayerPlan> plan_layer(const Problem& problem, const Layout& layout, int layer,
                             Dispatch dispatch, const Effort& effort, Rng rng) {
  Effort left = effort;
  const std::vector<Piece> whole = split_layer(problem, layout, layer, {});
  const Cell& cell = whole.front().cell;
  std::vector<Piece> pieces;
  LayerPlan plan;
  if (layout.scope == Scope::kHierarchical && layout.live_nodes() > 1) {
    plan = TRY(GroupPlanner(problem, layout, layer, dispatch, rng).run(left, pieces));
    plan.lower_bound = std::max(plan.lower_bound, lower_bound(cell));
  } else {
    plan.experts_on.resize(problem.num_gpus);
    std::vector<Candidate> cells;
    cells.push_back(TRY(start_cell(cell, left, plan)));
    plan.lower_bound = cells.front().bound;
    improve_worst(cells, 0, left, rng, plan);
    put_piece(whole.front(), cells.front().placement, plan);
  }
  if (dispatch == Dispatch::kWeighted) {
    plan.lower_bound = TRY(weighted_lower_bound(problem, layout, layer));
    for (const Piece& piece : pieces.empty() ? whole : pieces) {
      TRY(improve_split(piece, plan, effort, rng.next()));
    }
  }
  return plan;
}

}  // namespace hadal::eplb
