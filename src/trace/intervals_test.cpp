#include "trace/intervals.h"

#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::trace {
namespace {

TEST(Intervals, SortsMergesTouchingAndDropsEmpty) {
  EXPECT_EQ(unite({{5, 7}, {0, 2}, {2, 3}, {4, 4}, {6, 9}, {20, 10}}),
            (IntervalSet{{0, 3}, {5, 9}}));
  EXPECT_TRUE(unite({}).empty());
  EXPECT_TRUE(unite({{3, 3}}).empty());
}

TEST(Intervals, SubtractLeavesTheHoles) {
  const IntervalSet a{{0, 10}, {20, 30}};
  EXPECT_EQ(subtract(a, IntervalSet{{2, 3}, {9, 21}, {30, 40}}),
            (IntervalSet{{0, 2}, {3, 9}, {21, 30}}));
  EXPECT_EQ(subtract(a, {}), a);
  EXPECT_TRUE(subtract(a, IntervalSet{{-5, 50}}).empty());
}

// The oracle: a set of time is a bit per tick.
using Ticks = std::vector<bool>;
constexpr int kTicks = 64;

Ticks ticks_of(const std::vector<Interval>& intervals) {
  Ticks ticks(kTicks);
  for (const Interval& i : intervals) {
    for (int64_t t = i.start; t < i.end; ++t) ticks[t] = true;
  }
  return ticks;
}

IntervalSet set_of(const Ticks& ticks) {
  IntervalSet set;
  for (int t = 0; t < kTicks; ++t) {
    if (!ticks[t]) continue;
    if (set.empty() || set.back().end != t) set.push_back({t, t});
    set.back().end = t + 1;
  }
  return set;
}

TEST(Intervals, AgreesWithTicksOnRandomSets) {
  Rng rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<Interval> raw[2];
    for (auto& intervals : raw) {
      for (uint64_t n = rng.below(9); n > 0; --n) {
        const auto start = static_cast<int64_t>(rng.below(kTicks - 12));
        intervals.push_back({start, start + static_cast<int64_t>(rng.below(12))});
      }
    }
    const Ticks a = ticks_of(raw[0]), b = ticks_of(raw[1]);
    Ticks either(kTicks), both(kTicks), only_a(kTicks), clipped(kTicks);
    for (int t = 0; t < kTicks; ++t) {
      either[t] = a[t] || b[t];
      both[t] = a[t] && b[t];
      only_a[t] = a[t] && !b[t];
      clipped[t] = a[t] && t >= 10 && t < 40;
    }
    const IntervalSet set_a = unite(raw[0]), set_b = unite(raw[1]);
    ASSERT_EQ(set_a, set_of(a));
    ASSERT_EQ(unite(set_a, set_b), set_of(either));
    ASSERT_EQ(intersect(set_a, set_b), set_of(both));
    ASSERT_EQ(subtract(set_a, set_b), set_of(only_a));
    ASSERT_EQ(clip(set_a, 10, 40), set_of(clipped));
    ASSERT_EQ(common_length(set_a, set_b), length(set_of(both)));
  }
}

}  // namespace
}  // namespace hadal::trace
