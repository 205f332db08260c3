// Which node gets which groups, in hierarchical scope.
//
// Every node gets the same number of groups (one more or less where they do not divide, as after a
// failure). The cost of a set of groups on a node is the quick lower bound of that cell: mean load, or
// its heaviest replica (with weighted dispatch the mean alone, for no replica need be heavy). Up to kGroupsExactMax groups the assignment with the smallest largest cost is
// found exactly, by dynamic programming over subsets; beyond, by descending load and exchanges.
#pragma once

#include <vector>

#include "eplb/eplb.h"
#include "eplb/layout.h"

namespace hadal::eplb {

constexpr int kGroupsExactMax = 16;

struct GroupAssignment {
  std::vector<int> node_of;  // per group: a live node of the layout
  double lower_bound = 0;    // no assignment has a smaller largest cost (0 if not proven)
};

Result<GroupAssignment> assign_groups(const Problem& problem, const Layout& layout, int layer,
                                      Dispatch dispatch = Dispatch::kEqual);

/// The experts of the groups that `assignment` puts on live node `node`.
std::vector<int> experts_on_node(const Problem& problem, const std::vector<int>& node_of, int node);

}  // namespace hadal::eplb
