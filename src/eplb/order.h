// The order in which the reference algorithm visits loads: descending, ties by a stated rule.
//
// The published code sorts with torch.sort, which is unstable, so which of two equal loads comes
// first depends on the build of PyTorch. Replicas of one expert always tie, so this decides the
// output. Two rules are offered, both written out here and neither left to the host's std::sort:
//
//   kStable   lower index first.
//   kTorch    the permutation of libstdc++'s introsort with the comparator a > b, which PyTorch's
//   CPU
//             builds without SIMD sort use: median of three, Hoare partition with strict
//             comparisons, recursion into the right part, heap sort at depth 2 floor(log2 n),
//             insertion sort for runs of up to 16. Up to 16 items it equals kStable.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/eplb.h"

namespace hadal::eplb {

/// Scratch of order_descending(); reuse makes calls allocation-free.
struct OrderScratch {
  std::vector<uint64_t> keys;
  std::vector<uint64_t> other;
};

/// Writes the indices of `loads` (each finite, >= 0 and not -0.0f; at most 2^31 of them) into
/// `order`, largest load first.
void order_descending(std::span<const float> loads, Ties ties, OrderScratch& scratch,
                      std::span<int32_t> order);

}  // namespace hadal::eplb
