// Maximal repeats of a sequence: what occurs twice or more and cannot be made longer on either side
// without losing an occurrence. Internal to patterns.cpp.
//
// A suffix array by prefix doubling (Manber and Myers, 1993), the longest common prefixes of its
// neighbours (Kasai et al., 2001) and their intervals, which are the right-maximal repeats; those
// whose occurrences all have one and the same predecessor are not left-maximal and are dropped.
// n log^2 n time, about 40 bytes an element.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hadal::trace {

struct Repeat {
  uint32_t length = 0;
  uint32_t begin = 0, end = 0;  // in RepeatIndex::suffixes: where it occurs, overlapping or not
};

struct RepeatIndex {
  std::vector<uint32_t> suffixes;
  std::vector<Repeat> repeats;  // of length_min or more
};
RepeatIndex find_repeats(std::span<const uint32_t> sequence, uint32_t length_min);

/// The occurrences of a repeat that do not overlap, first come first served, ascending.
std::vector<uint32_t> occurrences(const RepeatIndex& index, const Repeat& repeat);

}  // namespace hadal::trace
