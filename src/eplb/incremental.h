// The incremental policy for one layer: from the previous placement to one that is good enough, by
// as few expert moves as can be found.
//
// "Good enough" is a target T for the largest GPU time, a little above what a fresh plan reaches.
// From the previous placement the hottest GPU is relieved step by step: of all exchanges with
// another GPU and all transfers of a replica from one expert to another, the one that lowers the
// excess over T most per unit of moving cost. When nothing exceeds T any more, a second search
// takes moves back: it walks among placements within T, through small violations, and keeps the
// cheapest.
//
// The cost of a placement counts every replica on a GPU where the previous plan has none of that
// expert, by the distance to the nearest copy (MoveCost); a replica that returns home costs
// nothing.
#pragma once

#include "eplb/optimal.h"

namespace hadal::eplb {

struct IncrementalResult {
  LayerPlan plan;   // lower_bound is not set
  double cost = 0;  // by MoveCost
};

using ExpertsOn = std::vector<std::vector<int32_t>>;  // per GPU of the cluster

/// `previous[g]`: the experts on GPU g before. `target`: the largest time to aim for. `fresh`: a
/// plan within the target, its GPUs named so that it is as close to the previous one as can be;
/// where relief does not reach the target, the second search goes on from there instead. Where the
/// previous placement breaks the problem's rules (failed GPUs, pins, other limits) it is repaired
/// first, whatever that costs.
Result<IncrementalResult> replan_layer(const Problem& problem, const Layout& layout, int layer,
                                       const ExpertsOn& previous, const ExpertsOn& fresh,
                                       double target, const MoveCost& move_cost,
                                       const Effort& effort, Rng rng);

}  // namespace hadal::eplb
