#include "trace/rank_clocks.h"

#include <algorithm>
#include <map>
#include <span>
#include <tuple>
#include <utility>

#include "trace/saturate.h"

namespace hadal::trace {
namespace {

// A drift of clocks is some parts per million: over less than a second it hides in the noise.
constexpr int64_t kDriftFromNs = 1'000'000'000;
constexpr size_t kDriftPoints = 9;  // three for each third

using Residuals = std::vector<std::pair<int64_t, int64_t>>;  // (time, residual)

/// The ranks of some collectives, and what their ends say.
struct Group {
  std::vector<uint32_t> ranks;
  std::vector<std::vector<int64_t>> residuals;  // by position in `ranks`
  std::vector<int64_t> offset_ns;
};

std::vector<Group> find_groups(const Matches& matches) {
  std::map<std::vector<uint32_t>, Group> groups;
  std::vector<int64_t> ends;
  std::vector<uint32_t> ranks;
  for (const Collective& c : matches.collectives) {
    ends.clear();
    ranks.clear();
    for (uint32_t m = c.begin; m < c.end; ++m) {
      ends.push_back(matches.members[m].end_ns);
      ranks.push_back(matches.members[m].rank);
    }
    const int64_t middle = median(ends);
    Group& group = groups[ranks];
    group.ranks = ranks;
    group.residuals.resize(ranks.size());
    for (uint32_t m = c.begin; m < c.end; ++m) {
      group.residuals[m - c.begin].push_back(subtract_saturated(matches.members[m].end_ns, middle));
    }
  }
  std::vector<Group> sorted;
  for (auto& [key, group] : groups) {
    for (auto& residuals : group.residuals) group.offset_ns.push_back(median(residuals));
    sorted.push_back(std::move(group));
  }
  // The largest first, then the one with the most evidence.
  std::ranges::sort(sorted, [](const Group& x, const Group& y) {
    const auto key = [](const Group& g) {
      return std::tuple(g.ranks.size(), g.residuals[0].size());
    };
    return key(x) != key(y) ? key(x) > key(y) : x.ranks < y.ranks;
  });
  return sorted;
}

/// Puts groups together over the ranks that they share.
class Joiner {
 public:
  explicit Joiner(size_t num_ranks)
      : component_(num_ranks), placed_(num_ranks), offset_(num_ranks) {
    for (size_t r = 0; r < num_ranks; ++r) component_[r] = static_cast<int>(r);
  }

  void join(const Group& group) {
    // What each component would have to add to the group's offsets.
    std::map<int, std::vector<int64_t>> shifts;
    for (size_t k = 0; k < group.ranks.size(); ++k) {
      const uint32_t r = group.ranks[k];
      shifts[component_[r]].push_back(subtract_saturated(offset_[r], group.offset_ns[k]));
    }
    // The first component that has a place already keeps it.
    int target = -1;
    for (const auto& [component, values] : shifts) {
      if (target < 0 && placed_[component]) target = component;
    }
    const int64_t target_shift = target < 0 ? 0 : median(shifts[target]);
    const int merged = target < 0 ? shifts.begin()->first : target;
    for (auto& [component, values] : shifts) {
      if (component == target) continue;
      const int64_t add = subtract_saturated(target_shift, median(values));
      for (size_t r = 0; r < component_.size(); ++r) {
        if (component_[r] != component) continue;
        offset_[r] = add_saturated(offset_[r], add);
        component_[r] = merged;
      }
    }
    placed_[merged] = true;
  }

  void finish(Clocks& clocks) const {
    std::map<int, int> sizes;
    for (const int c : component_) ++sizes[c];
    std::vector<std::pair<int, int>> order;  // (-size, component)
    for (const auto& [c, size] : sizes) order.emplace_back(-size, c);
    std::ranges::sort(order);
    std::map<int, int> number;
    for (const auto& [size, c] : order) number.emplace(c, static_cast<int>(number.size()));
    for (const int c : component_) clocks.component.push_back(number[c]);
    clocks.num_components = static_cast<int>(number.size());
    clocks.offset_ns = offset_;
  }

 private:
  std::vector<int> component_;
  std::vector<bool> placed_;  // by component
  std::vector<int64_t> offset_;
};

/// By rank, what the corrected ends miss the middle of their collective by.
std::vector<Residuals> residuals_of(const Matches& matches, const Clocks& clocks) {
  std::vector<Residuals> by_rank(clocks.offset_ns.size());
  std::vector<int64_t> ends, scratch;
  for (const Collective& c : matches.collectives) {
    ends.clear();
    for (uint32_t m = c.begin; m < c.end; ++m) {
      const CollectiveMember& member = matches.members[m];
      ends.push_back(clocks.common(member.rank, member.end_ns));
    }
    scratch = ends;
    const int64_t middle = median(scratch);
    for (uint32_t m = c.begin; m < c.end; ++m) {
      by_rank[matches.members[m].rank].emplace_back(middle,
                                                    subtract_saturated(ends[m - c.begin], middle));
    }
  }
  return by_rank;
}

/// The median of the times and of the residuals of a part.
std::pair<int64_t, int64_t> middle_of(std::span<const std::pair<int64_t, int64_t>> part) {
  std::vector<int64_t> times, values;
  for (const auto& [time, value] : part) {
    times.push_back(time);
    values.push_back(value);
  }
  return {median(times), median(values)};
}

void fit_drift(const Matches& matches, Clocks& clocks) {
  std::vector<Residuals> by_rank = residuals_of(matches, clocks);
  int64_t first = INT64_MAX, last = INT64_MIN;
  for (const Residuals& residuals : by_rank) {
    for (const auto& [time, value] : residuals) {
      first = std::min(first, time);
      last = std::max(last, time);
    }
  }
  if (first > last || subtract_saturated(last, first) <= kDriftFromNs) return;
  const int64_t pivot = first + subtract_saturated(last, first) / 2;
  for (size_t r = 0; r < by_rank.size(); ++r) {
    Residuals& residuals = by_rank[r];
    if (residuals.size() < kDriftPoints) continue;
    std::ranges::sort(residuals);
    const size_t third = residuals.size() / 3;
    const auto [t0, v0] = middle_of(std::span(residuals).first(third));
    const auto [t1, v1] = middle_of(std::span(residuals).last(third));
    const int64_t apart = subtract_saturated(t1, t0);
    if (apart <= kDriftFromNs / 2) continue;
    const double drift =
        static_cast<double>(subtract_saturated(v1, v0)) / static_cast<double>(apart);
    std::vector<int64_t> rest;
    for (const auto& [time, value] : residuals) {
      const double moved = drift * static_cast<double>(subtract_saturated(time, pivot));
      rest.push_back(subtract_saturated(value, round_saturated(moved)));
    }
    clocks.offset_ns[r] = add_saturated(clocks.offset_ns[r], median(rest));
    clocks.drift[r] = drift;
  }
  clocks.pivot_ns = pivot;
}

}  // namespace

int64_t median(std::vector<int64_t>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) return *middle;
  const int64_t below = *std::max_element(values.begin(), middle);
  return below + subtract_saturated(*middle, below) / 2;
}

int64_t Clocks::common(uint32_t rank, int64_t time_ns) const {
  const int64_t time = subtract_saturated(time_ns, offset_ns[rank]);
  if (drift[rank] == 0) return time;
  const auto since = static_cast<double>(subtract_saturated(time, pivot_ns));
  return subtract_saturated(time, round_saturated(since * drift[rank]));
}

Clocks align_clocks(const Matches& matches, size_t num_ranks) {
  Clocks clocks;
  clocks.drift.assign(num_ranks, 0);
  Joiner joiner(num_ranks);
  for (const Group& group : find_groups(matches)) joiner.join(group);
  joiner.finish(clocks);
  fit_drift(matches, clocks);
  for (const Residuals& residuals : residuals_of(matches, clocks)) {
    std::vector<int64_t> values;
    for (const auto& [time, value] : residuals) values.push_back(value);
    const int64_t middle = median(values);
    for (int64_t& value : values) {
      const int64_t away = subtract_saturated(value, middle);
      value = away < 0 ? subtract_saturated(0, away) : away;
    }
    clocks.residual_ns.push_back(median(values));
  }
  return clocks;
}

}  // namespace hadal::trace
