// The clocks of ranks against each other, from the ends of their collectives. Internal to ranks.h,
// which defines it.
#pragma once

#include <cstdint>
#include <vector>

#include "trace/rank_match.h"

namespace hadal::trace {

struct Clocks {
  std::vector<int> component;  // by rank; 0 is the largest
  int num_components = 0;
  std::vector<int64_t> offset_ns;    // what the clock shows too much at `pivot_ns`
  std::vector<double> drift;         // and by how much that grows per ns
  std::vector<int64_t> residual_ns;  // median absolute deviation of the corrected ends
  int64_t pivot_ns = 0;

  /// A time of the rank's clock on the common one.
  int64_t common(uint32_t rank, int64_t time_ns) const;
};

Clocks align_clocks(const Matches& matches, size_t num_ranks);

/// The middle one, or halfway between the middle two; 0 for none. Reorders.
int64_t median(std::vector<int64_t>& values);

}  // namespace hadal::trace
