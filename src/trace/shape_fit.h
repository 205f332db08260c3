// K from shared memory: the fit described in shapes.h. Internal to shapes.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace hadal::trace {

/// K = k0 + (smem - s0) * numerator / denominator.
struct LinearFit {
  int64_t s0 = 0, k0 = 0, numerator = 1, denominator = 1;
  int hits = 0;
  /// nullopt where it is not a positive multiple of 64 below 2^24.
  std::optional<int64_t> k(int64_t shared_memory) const;
};

/// `values`: distinct sizes of shared memory, ascending; `widths`: distinct matrix widths of the
/// same trace, ascending. The first kValuesMax and kWidthsMax of them are used. nullopt: no fit, or
/// several equally good ones.
std::optional<LinearFit> fit_shared_memory(const std::vector<int64_t>& values,
                                           const std::vector<int64_t>& widths);

}  // namespace hadal::trace
