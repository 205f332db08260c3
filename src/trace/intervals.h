// Sets of time as sorted disjoint intervals.
//
// Every figure of this folder that says "busy", "overlap" or "exposed" is the length of such a set.
// Intervals are half open, [start, end), in integer nanoseconds; sets are sorted, disjoint and not
// touching, without empty members, so equal sets are equal vectors. All functions are linear in
// their inputs but unite(), which sorts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hadal::trace {

struct Interval {
  int64_t start = 0, end = 0;
  int64_t length() const { return end - start; }
  bool operator==(const Interval&) const = default;
};
using IntervalSet = std::vector<Interval>;

/// The union of any intervals, in any order; touching ones merge, empty ones vanish.
IntervalSet unite(std::vector<Interval> intervals);
IntervalSet unite(std::span<const Interval> a, std::span<const Interval> b);  // of two sets
IntervalSet intersect(std::span<const Interval> a, std::span<const Interval> b);
IntervalSet subtract(std::span<const Interval> a, std::span<const Interval> b);
/// The part of a set inside of [start, end).
IntervalSet clip(std::span<const Interval> set, int64_t start, int64_t end);
int64_t length(std::span<const Interval> set);
/// |a ∩ b| without building it.
int64_t common_length(std::span<const Interval> a, std::span<const Interval> b);

}  // namespace hadal::trace
