// Lower bounds on the largest GPU time of a cell: no placement can be better, so a plan that comes
// close is close to optimal. Loads are split equally over an expert's replicas.
#pragma once

#include "eplb/cell.h"

namespace hadal::eplb {

/// The largest of three bounds:
///  - mean: total load / total speed;
///  - replica: the smallest possible largest replica, which greedy replication gives exactly, on
///  the
///    fastest GPU;
///  - counting, for k = 2, 3, ...: a GPU that finishes by T holds at most k - 1 replicas heavier
///  than
///    T speed / k, so at most sum(min(capacity, k - 1)) replicas may be that heavy. For given T
///    every expert needs ceil(load / T) replicas, and leaves the heavy ones with ceil(k load / T);
///    the spare slots are spent on that as a fractional knapsack. The bound is the largest T that
///    fails, found by bisection to 1e-7.
double lower_bound(const Cell& cell);

/// The first two of them, in O(experts + slots log experts).
double quick_bound(const Cell& cell);

}  // namespace hadal::eplb
