// Exact balancing of a cell whose GPUs hold two replicas each.
//
// With two slots a GPU the placement is easy and the counts are hard: for given counts the best
// placement folds the sorted replicas, largest with smallest. Moving single replicas hardly ever
// helps, because at a threshold T almost every spare slot is forced: expert e needs ceil(load / T)
// replicas, and only a handful of slots remain free. So T is bisected, and each T is decided by
// branching on the few free slots. A fold that breaks T at some pair says which experts must
// shrink: those with replicas that weigh against that pair, so the tree stays small.
//
// Each T is answered yes (a placement), no (T is a lower bound, proven) or, when the steps run out,
// unknown. On log-normal loads, 256 experts in 288 slots on 144 GPUs, most layers end proven
// optimal.
#pragma once

#include <optional>

#include "eplb/cell.h"
#include "eplb/search.h"

namespace hadal::eplb {

struct PairsResult {
  std::optional<Packing> best;  // better than `known`, if one was found
  double lower_bound = 0;       // at least the one passed in
  int64_t steps = 0;
  bool cut_short = false;
};

/// True if the cell is of this kind: capacity 2 on every GPU, all slots used, equal speeds, no
/// pins, no node rule.
bool is_pairs(const Cell& cell);

/// Looks for a placement with max time below `known`, and raises `lower_bound` where it proves that
/// there is none. A step is one fold, about as long as a step of improve().
PairsResult solve_pairs(const Cell& cell, double known, double lower_bound, const Effort& effort);

}  // namespace hadal::eplb
