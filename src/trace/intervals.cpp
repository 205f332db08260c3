#include "trace/intervals.h"

#include <algorithm>

namespace hadal::trace {
namespace {

// Appends an interval that starts no earlier than the last one does.
void append(IntervalSet& set, Interval next) {
  if (next.end <= next.start) return;
  if (!set.empty() && next.start <= set.back().end) {
    set.back().end = std::max(set.back().end, next.end);
  } else {
    set.push_back(next);
  }
}

}  // namespace

IntervalSet unite(std::vector<Interval> intervals) {
  std::ranges::sort(intervals, {}, &Interval::start);
  IntervalSet set;
  for (const Interval& next : intervals) append(set, next);
  return set;
}

IntervalSet unite(std::span<const Interval> a, std::span<const Interval> b) {
  IntervalSet set;
  size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    const bool take_a = j == b.size() || (i < a.size() && a[i].start <= b[j].start);
    append(set, take_a ? a[i++] : b[j++]);
  }
  return set;
}

IntervalSet intersect(std::span<const Interval> a, std::span<const Interval> b) {
  IntervalSet set;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    append(set, {std::max(a[i].start, b[j].start), std::min(a[i].end, b[j].end)});
    ++(a[i].end < b[j].end ? i : j);
  }
  return set;
}

IntervalSet subtract(std::span<const Interval> a, std::span<const Interval> b) {
  IntervalSet set;
  size_t j = 0;
  for (Interval rest : a) {
    while (j < b.size() && b[j].end <= rest.start) ++j;
    for (size_t k = j; k < b.size() && b[k].start < rest.end; ++k) {
      append(set, {rest.start, b[k].start});
      rest.start = std::max(rest.start, b[k].end);
    }
    append(set, rest);
  }
  return set;
}

IntervalSet clip(std::span<const Interval> set, int64_t start, int64_t end) {
  const Interval window{start, end};
  return intersect(set, std::span(&window, 1));
}

int64_t length(std::span<const Interval> set) {
  int64_t sum = 0;
  for (const Interval& interval : set) sum += interval.length();
  return sum;
}

int64_t common_length(std::span<const Interval> a, std::span<const Interval> b) {
  int64_t sum = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    sum += std::max<int64_t>(0, std::min(a[i].end, b[j].end) - std::max(a[i].start, b[j].start));
    ++(a[i].end < b[j].end ? i : j);
  }
  return sum;
}

}  // namespace hadal::trace
