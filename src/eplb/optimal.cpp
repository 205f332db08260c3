#include "eplb/optimal.h"

#include <algorithm>
#include <numeric>
#include <optional>

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

Result<double> weighted_lower_bound(const Problem& problem, const Layout& layout, int layer) {
  const std::vector<Piece> whole = split_layer(problem, layout, layer, {});
  const Cell& cell = whole.front().cell;
  const double bound = TRY(weighted_bound(cell.load, cell.capacity, cell.speed));
  if (layout.scope == Scope::kGlobal) return bound;
  return std::max(bound,
                  TRY(assign_groups(problem, layout, layer, Dispatch::kWeighted)).lower_bound);
}

// Hierarchical scope: branch and bound over the assignments of groups to nodes. The best assignment
// by what is known is solved, which proves larger bounds for its sets of groups; then another one
// may be the best. It ends when none can beat the plan at hand, or the effort is spent.
Result<LayerPlan> plan_groups(const Problem& problem, const Layout& layout, int layer,
                              Dispatch dispatch, Effort& effort, Rng rng,
                              std::vector<Piece>& pieces) {
  constexpr int kRoundsMax = 64;
  GroupSearch search(problem, layout, layer, dispatch);
  std::optional<LayerPlan> best;
  double bound = 0;
  for (int round = 0; round < kRoundsMax; ++round) {
    const GroupAssignment groups = TRY(search.best());
    bound = groups.lower_bound;
    if (best && (best->cut_short || effort.steps_max <= 0 || bound == 0 ||
                 bound >= best->max_time * (1 - kCloseEnough))) {
      break;
    }
    std::vector<Piece> tried = split_layer(problem, layout, layer, groups.node_of);
    LayerPlan plan;
    plan.experts_on.resize(problem.num_gpus);
    double tried_bound = 0;
    for (int j = 0; j < layout.live_nodes() && dispatch == Dispatch::kEqual; ++j) {
      const double cell_bound = lower_bound(tried[j].cell);
      search.raise(groups.node_of, j, cell_bound);
      tried_bound = std::max(tried_bound, cell_bound);
    }
    if (best && tried_bound >= best->max_time * (1 - kCloseEnough)) continue;
    std::vector<Candidate> cells;
    for (const Piece& piece : tried) cells.push_back(TRY(start_cell(piece.cell, effort, plan)));
    for (int j = 0; j < layout.live_nodes() && dispatch == Dispatch::kEqual; ++j) {
      search.raise(groups.node_of, j, cells[j].bound);
    }
    improve_worst(cells, bound, effort, rng.fork(round), plan);
    for (size_t i = 0; i < tried.size(); ++i) put_piece(tried[i], cells[i].placement, plan);
    if (best && plan.max_time >= best->max_time) continue;
    best = std::move(plan);
    pieces = std::move(tried);
    if (dispatch == Dispatch::kWeighted) break;  // times with equal split do not decide here
  }
  best->lower_bound = bound;
  return *std::move(best);
}

Result<LayerPlan> plan_layer(const Problem& problem, const Layout& layout, int layer,
                             Dispatch dispatch, const Effort& total, Rng rng) {
  Effort effort = total;
  const std::vector<Piece> whole = split_layer(problem, layout, layer, {});
  const Cell& cell = whole.front().cell;
  std::vector<Piece> pieces;
  LayerPlan plan;
  if (layout.scope == Scope::kHierarchical && layout.live_nodes() > 1) {
    plan = TRY(plan_groups(problem, layout, layer, dispatch, effort, rng, pieces));
    plan.lower_bound = std::max(plan.lower_bound, lower_bound(cell));
  } else {
    plan.experts_on.resize(problem.num_gpus);
    std::vector<Candidate> cells;
    cells.push_back(TRY(start_cell(cell, effort, plan)));
    plan.lower_bound = cells.front().bound;
    improve_worst(cells, 0, effort, rng, plan);
    put_piece(whole.front(), cells.front().placement, plan);
  }
  if (dispatch == Dispatch::kWeighted) {
    plan.lower_bound = TRY(weighted_lower_bound(problem, layout, layer));
    for (const Piece& piece : pieces.empty() ? whole : pieces) {
      TRY(improve_split(piece, plan, total, rng.next()));
    }
  }
  return plan;
}

}  // namespace hadal::eplb
