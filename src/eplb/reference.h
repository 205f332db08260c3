// The published EPLB algorithm, bit for bit (deepseek-ai/EPLB, commit d52c72d).
//
// For one layer: groups are packed onto nodes by load; within a node each spare slot goes to the
// expert with the largest load per replica; replicas are packed onto the node's GPUs by load. Both
// packings visit items by descending load and put each into the lightest pack that still has room,
// the first of equals. Global scope is the same with one group and one node. All arithmetic is
// float32 in the published order, group sums included, which are added in the order of PyTorch's
// vectorised CPU reduction.
//
// Cost for E experts, R slots and D GPUs: O(E + R log R + R log D) a layer, no allocation after the
// first call of a shape.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/eplb.h"
#include "eplb/order.h"
#include "eplb/winner_tree.h"

namespace hadal::eplb {

/// Sizes of a layer as the algorithm sees it: groups == nodes == 1 in global scope.
struct ReferenceShape {
  int experts, replicas, groups, nodes, gpus;
};

/// Scratch of one thread.
struct ReferenceScratch {
  OrderScratch order;
  WinnerTree tree;
  std::vector<float> loads, sums, replica_load, pack_load;
  std::vector<int32_t> sequence, pack, rank, pack_size, expert_at, replica_expert, replica_rank,
      count;
};

/// Plans one layer. `load` [experts] float32, finite and >= 0. Fills `phy2log` [replicas] with the
/// expert of each slot, `slot_rank` [replicas] with which replica of it (0 = the original),
/// `logcnt` [experts].
void reference_layer(const ReferenceShape& shape, std::span<const float> load, Ties ties,
                     ReferenceScratch& scratch, std::span<int32_t> phy2log,
                     std::span<int32_t> slot_rank, std::span<int32_t> logcnt);

/// The sum of `values` as torch.sum over a contiguous innermost dimension adds them on an AVX2 CPU
/// build: eight lanes, four accumulators, cascaded in blocks beyond 16 rows.
float torch_sum(std::span<const float> values);

}  // namespace hadal::eplb
