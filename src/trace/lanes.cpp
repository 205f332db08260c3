#include "trace/lanes.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::trace {
namespace {

constexpr size_t kBarsOfCoarsestLevel = 256;

}  // namespace

std::vector<uint8_t> assign_lanes(std::span<const Interval> events) {
  std::vector<uint8_t> lane_of(events.size());
  std::vector<int64_t> free_at;  // by lane
  for (size_t i = 0; i < events.size(); ++i) {
    DCHECK(i == 0 || events[i - 1].start <= events[i].start);
    size_t lane = 0;
    while (lane < free_at.size() && free_at[lane] > events[i].start) ++lane;
    if (lane == free_at.size()) {
      if (lane < kLanesMax) {
        free_at.push_back(events[i].end);
      } else {
        --lane;
      }
    }
    free_at[lane] = std::max(free_at[lane], events[i].end);
    lane_of[i] = static_cast<uint8_t>(lane);
  }
  return lane_of;
}

std::vector<Bar> make_bars(std::span<const Interval> times, std::span<const uint32_t> events,
                           int64_t q, std::span<uint32_t> bar_of, uint32_t first_bar) {
  std::vector<Bar> bars;
  if (q == 0) bars.reserve(events.size());
  int64_t longest = 0;
  for (const uint32_t event : events) {
    const Interval& time = times[event];
    if (q > 0 && !bars.empty() && time.end - bars.back().start <= q) {
      Bar& bar = bars.back();
      bar.end = std::max(bar.end, time.end);
      bar.covered = std::min(bar.covered + time.length(), bar.end - bar.start);
      ++bar.count;
      if (time.length() > longest) bar.event = event, longest = time.length();
    } else {
      bars.push_back({time.start, time.end, time.length(), event, 1});
      longest = time.length();
    }
    if (!bar_of.empty()) bar_of[event] = first_bar + static_cast<uint32_t>(bars.size() - 1);
  }
  return bars;
}

namespace {

/// The level above `below`, or above the bars themselves if `below` is null.
Level coarser(std::span<const Bar> bars, const Level* below, int64_t q) {
  Level level{.q = q, .first = {}, .longest = {}, .covered = {}};
  const size_t n = below ? below->first.size() : bars.size();
  int64_t start = 0, end = 0;
  for (size_t i = 0; i < n; ++i) {
    const size_t first = below ? below->first[i] : i;
    const size_t past = below ? (i + 1 < n ? below->first[i + 1] : bars.size()) : i + 1;
    const size_t longest = below ? below->longest[i] : i;
    const int64_t covered = below ? below->covered[i] : bars[i].covered;
    // In a last lane with overlaps the last bar need not end last; what is drawn is its extent.
    const int64_t bar_end = std::max(bars[past - 1].end, bars[longest].end);
    if (!level.first.empty() && bar_end - start <= q) {
      end = std::max(end, bar_end);
      level.covered.back() = std::min(level.covered.back() + covered, end - start);
      uint32_t& best = level.longest.back();
      if (bars[longest].covered > bars[best].covered) best = static_cast<uint32_t>(longest);
    } else {
      start = bars[first].start;
      end = bar_end;
      level.first.push_back(static_cast<uint32_t>(first));
      level.longest.push_back(static_cast<uint32_t>(longest));
      level.covered.push_back(covered);
    }
  }
  return level;
}

}  // namespace

std::vector<Level> make_levels(std::span<const Bar> bars, int64_t unit) {
  std::vector<Level> levels;
  if (bars.size() <= kBarsOfCoarsestLevel) return levels;
  const int64_t span = std::max<int64_t>(1, bars.back().end - bars.front().start);
  for (int64_t q = 4 * unit; q / 4 < span; q *= 4) {
    const size_t below = levels.empty() ? bars.size() : levels.back().first.size();
    if (below <= kBarsOfCoarsestLevel) break;
    Level level = coarser(bars, levels.empty() ? nullptr : &levels.back(), q);
    if (level.first.size() <= below / 4 * 3) levels.push_back(std::move(level));
    if (q > INT64_MAX / 4) break;
  }
  return levels;
}

}  // namespace hadal::trace
