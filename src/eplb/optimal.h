// The optimal policy for one layer: replica counts and placement searched together, with a proof of
// how far from optimal the result can be.
//
//   groups to nodes (hierarchical scope)  -> cells, one per node, or one for the whole layer
//   lower bound of each cell              -> what the search must reach, and the certificate
//   exact solver where GPUs hold two      -> often a proven optimum
//   local search on the worst cell        -> until it is no longer the worst, or the bound is met
//   weighted dispatch, if asked for       -> the placement improved for the best unequal split
#pragma once

#include <cstdint>
#include <vector>

#include "eplb/layout.h"
#include "eplb/search.h"

namespace hadal::eplb {

/// A layer's plan before slots are numbered.
struct LayerPlan {
  std::vector<std::vector<int32_t>> experts_on;  // per GPU of the cluster, in any order
  double max_time = 0;                           // with equal split
  double lower_bound = 0;                        // for the dispatch that was asked for
  bool cut_short = false;
};

/// A piece of a layer that is balanced on its own, with the ids it has in the layer and the
/// cluster.
struct Piece {
  Cell cell;
  std::vector<int> experts;  // layer id of each of the cell's experts
  std::vector<int> gpus;     // cluster id of each of the cell's GPUs
};

/// The pieces of a layer when groups live on `node_of` (live nodes of the layout; empty in global
/// scope, where there is one piece). Cells must stay where they are: placements point to them.
std::vector<Piece> split_layer(const Problem& problem, const Layout& layout, int layer,
                               const std::vector<int>& node_of);

Result<LayerPlan> plan_layer(const Problem& problem, const Layout& layout, int layer,
                             Dispatch dispatch, const Effort& effort, Rng rng);

/// No plan of this layer whose loads are split unequally is better: weighted_bound() over the live
/// GPUs, and in hierarchical scope the best assignment of groups.
Result<double> weighted_lower_bound(const Problem& problem, const Layout& layout, int layer);

/// The bound that plan_layer() starts from, without planning: no plan of this layer with equal
/// split is better.
Result<double> equal_lower_bound(const Problem& problem, const Layout& layout, int layer);

/// Puts the placement of a piece into the plan of its layer.
void put_piece(const Piece& piece, const Packing& placement, LayerPlan& plan);

}  // namespace hadal::eplb
