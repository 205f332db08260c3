// Bars of a timeline: events that may overlap, laid out in lanes of disjoint bars, and for each
// lane a pyramid of coarser levels that can be drawn when a bar is narrower than a pixel.
//
// Lanes. An event goes to the lowest lane that is free at its start. Where events nest, as calls of
// a host thread do, the lane is the depth of the call and the lanes are a flame graph; where they
// overlap otherwise (kernels of one stream under programmatic dependent launch), the later one gets
// a lane of its own and none is hidden. There are at most kLanesMax lanes; what finds none free
// goes to the last, whose bars may then overlap: only traces that are wrong get there.
//
// Levels. Level q merges runs of neighbours that together are no longer than q, so everything
// longer than q stays as it is and each pixel of q or more sees a bounded number of bars (two
// merged ones are longer than q together). A merged bar says how much of it is covered and which
// bar in it is the longest; its alpha and colour come from there, so that sparse rows do not look
// busy.
//
// Pure functions. Times in nanoseconds; ends at or after starts; |time| < 2^62.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trace/intervals.h"

namespace hadal::trace {

inline constexpr int kLanesMax = 256;

/// The lane of each interval. They are sorted by start. Interval::end may equal its start; such a
/// one stays out of nobody's way. Linear in events times depth.
std::vector<uint8_t> assign_lanes(std::span<const Interval> events);

/// One event, or several neighbours of one lane as one.
struct Bar {
  int64_t start = 0, end = 0;
  int64_t covered = 0;  // sum of the durations inside, at most end - start
  uint32_t event = 0;   // the longest event inside, the first of equals: index into `events`
  uint32_t count = 0;   // events inside
};

/// The bars of one lane: `events` (indices into `times`, ascending) merged where runs of them are
/// no longer than q; q = 0 merges nothing. If `bar_of` is not empty, bar_of[event] becomes the
/// bar's index, counted from `first_bar`.
std::vector<Bar> make_bars(std::span<const Interval> times, std::span<const uint32_t> events,
                           int64_t q, std::span<uint32_t> bar_of = {}, uint32_t first_bar = 0);

/// A coarser version of a lane: its i-th bar stands for bars [first[i], first[i + 1]) of the lane.
struct Level {
  int64_t q = 0;
  std::vector<uint32_t> first;    // ascending, first[0] = 0
  std::vector<uint32_t> longest;  // the bar that gives the colour
  std::vector<int64_t> covered;
};

/// The pyramid of a lane, fine to coarse, q growing by fours from 4 * unit. Levels that would save
/// less than a quarter are left out, so all of them together have at most four times the bars of
/// the lane, and a third where bars are of one length.
std::vector<Level> make_levels(std::span<const Bar> bars, int64_t unit);

}  // namespace hadal::trace
