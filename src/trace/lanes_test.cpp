#include "trace/lanes.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::trace {
namespace {

std::vector<uint32_t> all(const std::vector<Interval>& events) {
  std::vector<uint32_t> rows(events.size());
  std::iota(rows.begin(), rows.end(), 0U);
  return rows;
}

std::vector<Interval> random_events(Rng& rng, size_t n, uint64_t gap_max, uint64_t length_max) {
  std::vector<Interval> events;
  int64_t start = 0;
  for (size_t i = 0; i < n; ++i) {
    start += static_cast<int64_t>(rng.below(gap_max));
    events.push_back({start, start + static_cast<int64_t>(rng.below(length_max))});
  }
  return events;
}

TEST(Lanes, NestedCallsGetTheirDepth) {
  const std::vector<Interval> calls = {{0, 100}, {0, 40}, {10, 20}, {20, 40}, {40, 90}, {100, 110}};
  EXPECT_EQ(assign_lanes(calls), (std::vector<uint8_t>{0, 1, 2, 2, 1, 0}));
}

TEST(Lanes, OverlapsGetALaneOfTheirOwnAndZeroLengthsStayOutOfTheWay) {
  const std::vector<Interval> events = {{0, 10}, {8, 20}, {12, 12}, {12, 30}, {20, 25}};
  EXPECT_EQ(assign_lanes(events), (std::vector<uint8_t>{0, 1, 0, 0, 1}));
}

TEST(Lanes, BarsOfALaneAreDisjoint) {
  Rng rng(1);
  for (int round = 0; round < 50; ++round) {
    const auto events = random_events(rng, 400, 20, 60);
    const auto lane_of = assign_lanes(events);
    std::vector<int64_t> end(kLanesMax, INT64_MIN);
    for (size_t i = 0; i < events.size(); ++i) {
      EXPECT_GE(events[i].start, end[lane_of[i]]);
      end[lane_of[i]] = events[i].end;
    }
  }
}

TEST(Lanes, MoreOverlapsThanLanesKeepEveryEvent) {
  std::vector<Interval> events;
  for (int i = 0; i < 3 * kLanesMax; ++i) events.push_back({i, 100'000});
  const auto lane_of = assign_lanes(events);
  EXPECT_EQ(lane_of[kLanesMax - 1], kLanesMax - 1);
  EXPECT_EQ(lane_of.back(), kLanesMax - 1);
  std::vector<uint32_t> last;
  for (uint32_t i = 0; i < events.size(); ++i) {
    if (lane_of[i] == kLanesMax - 1) last.push_back(i);
  }
  const auto bars = make_bars(events, last, 1 << 20);
  ASSERT_EQ(bars.size(), 1U);
  EXPECT_EQ(bars[0].count, last.size());
  EXPECT_EQ(bars[0].covered, bars[0].end - bars[0].start);  // at most what there is
}

TEST(Bars, MergeKeepsCountsCoverAndLongest) {
  const std::vector<Interval> events = {{0, 1}, {2, 5}, {6, 7}, {10, 50}, {51, 52}, {60, 60}};
  std::vector<uint32_t> bar_of(events.size());
  const auto bars = make_bars(events, all(events), 10, bar_of, 100);
  ASSERT_EQ(bars.size(), 3U);
  EXPECT_EQ(bars[0].end, 7);
  EXPECT_EQ(bars[0].covered, 5);
  EXPECT_EQ(bars[0].event, 1U);
  EXPECT_EQ(bars[0].count, 3U);
  EXPECT_EQ(bars[1].count, 1U);  // longer than q: alone
  EXPECT_EQ(bar_of, (std::vector<uint32_t>{100, 100, 100, 101, 102, 102}));
}

TEST(Levels, EachIsAPartitionWithTheSameCoverAndBoundedDensity) {
  Rng rng(2);
  const auto events = random_events(rng, 20'000, 90, 30);
  std::vector<uint32_t> lane;
  const auto lane_of = assign_lanes(events);
  for (uint32_t i = 0; i < events.size(); ++i) {
    if (lane_of[i] == 0) lane.push_back(i);
  }
  const auto bars = make_bars(events, lane, 0);
  int64_t covered = 0;
  for (const Bar& bar : bars) covered += bar.covered;
  const auto levels = make_levels(bars, 1);
  ASSERT_GE(levels.size(), 4U);
  size_t total = 0;
  for (const Level& level : levels) {
    const size_t n = level.first.size();
    total += n;
    EXPECT_EQ(level.first[0], 0U);
    EXPECT_EQ(std::accumulate(level.covered.begin(), level.covered.end(), int64_t{0}), covered);
    for (size_t i = 0; i < n; ++i) {
      const size_t past = i + 1 < n ? level.first[i + 1] : bars.size();
      ASSERT_LT(level.first[i], past);
      const int64_t length = bars[past - 1].end - bars[level.first[i]].start;
      EXPECT_TRUE(length <= level.q || past - level.first[i] == 1);
      for (size_t k = level.first[i]; k < past; ++k) {
        EXPECT_LE(bars[k].covered, bars[level.longest[i]].covered);
      }
      if (i + 1 < n) {  // neighbours would not have fitted into one
        const size_t next = i + 2 < n ? level.first[i + 2] : bars.size();
        const int64_t both = bars[next - 1].end - bars[level.first[i]].start;
        EXPECT_TRUE(both > level.q || level.first[i + 1] + 1 < next) << i;
      }
    }
  }
  EXPECT_LE(total, 4 * bars.size());
  EXPECT_LE(levels.back().first.size(), 1024U);
}

TEST(Levels, EmptyAndSmallLanesHaveNone) {
  EXPECT_TRUE(make_levels({}, 1).empty());
  const std::vector<Bar> one = {{0, 10, 10, 0, 1}};
  EXPECT_TRUE(make_levels(one, 1000).empty());
}

}  // namespace
}  // namespace hadal::trace
