// Which node gets which groups, in hierarchical scope.
//
// Every node gets the same number of groups (one more or less where they do not divide, as after a
// failure). The cost of a set of groups on a node is the quick lower bound of that cell: mean load,
// or its heaviest replica (with weighted dispatch the mean alone, for no replica need be heavy). Up
// to kGroupsExactMax groups the assignment with the smallest largest cost is found exactly, by
// dynamic programming over subsets; beyond, by descending load and exchanges.
#pragma once

#include <memory>
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

/// The same, asked again and again while more becomes known about what sets of groups cost.
class GroupSearch {
 public:
  GroupSearch(const Problem& problem, const Layout& layout, int layer, Dispatch dispatch);
  ~GroupSearch();
  GroupSearch(const GroupSearch&) = delete;
  GroupSearch& operator=(const GroupSearch&) = delete;

  /// The assignment with the smallest largest cost, by what is known now.
  Result<GroupAssignment> best();
  /// The groups that `node_of` puts on `node` are known to cost at least `bound` there.
  void raise(const std::vector<int>& node_of, int node, double bound);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The experts of the groups that `assignment` puts on live node `node`.
std::vector<int> experts_on_node(const Problem& problem, const std::vector<int>& node_of, int node);

}  // namespace hadal::eplb
