#include "trace/query.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "trace/gates.h"

namespace hadal::trace {
namespace {

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

using Mask = std::vector<uint8_t>;

/// The activity of each row of the view.
std::vector<uint32_t> activities_by_row(const GpuView& view) {
  std::vector<uint32_t> found(view.trace->events.size(), kNone);
  for (uint32_t i = 0; i < view.activities.size(); ++i) found[view.activities[i].row] = i;
  return found;
}

/// From the return of the launch call to the start, at least 0; -1 without a launch.
int64_t delay_of(const Trace& trace, const Activity& a) {
  if (a.launch_row == kNone) return -1;
  return std::max<int64_t>(0, a.start_ns - trace.events.end_ns(a.launch_row));
}

bool compare(QueryOperator op, double a, double b) {
  switch (op) {
    case QueryOperator::kEqual: return a == b;
    case QueryOperator::kNotEqual: return a < b || a > b;  // false for what is absent
    case QueryOperator::kLess: return a < b;
    case QueryOperator::kLessEqual: return a <= b;
    case QueryOperator::kMore: return a > b;
    case QueryOperator::kMoreEqual: return a >= b;
    case QueryOperator::kLike:
    case QueryOperator::kNotLike: break;
  }
  return false;
}

bool compare(const Query::Node& node, std::string_view text) {
  switch (node.op) {
    case QueryOperator::kEqual: return text == node.text;
    case QueryOperator::kNotEqual: return text != node.text;
    case QueryOperator::kLike: return matches(node.text, text);
    case QueryOperator::kNotLike: return !matches(node.text, text);
    default: return false;
  }
}

class Evaluation {
 public:
  Evaluation(const GpuView& view, int rank)
      : view_(view),
        trace_(*view.trace),
        e_(trace_.events),
        rank_(rank),
        activity_(activities_by_row(view)) {}

  std::vector<uint32_t> run(const Query& query) {
    std::vector<Mask> stack;
    for (const Query::Node& node : query.nodes) {
      if (node.kind == Query::Kind::kCondition) {
        stack.push_back(condition(node));
        continue;
      }
      if (node.kind == Query::Kind::kNot) {
        CHECK(!stack.empty());
        for (uint8_t& bit : stack.back()) bit ^= 1;
        continue;
      }
      CHECK(stack.size() >= 2);
      const Mask right = std::move(stack.back());
      stack.pop_back();
      Mask& left = stack.back();
      const bool both = node.kind == Query::Kind::kAnd;
      for (size_t i = 0; i < left.size(); ++i) {
        left[i] = both ? left[i] & right[i] : left[i] | right[i];
      }
    }
    std::vector<uint32_t> rows;
    for (uint32_t row = 0; row < e_.size(); ++row) {
      if (is_in_view(row) && (stack.empty() || stack.back()[row] != 0)) rows.push_back(row);
    }
    return rows;
  }

 private:
  bool is_in_view(uint32_t row) const {
    const Track& track = trace_.tracks[e_.track[row]];
    const bool elsewhere = view_.window.device >= 0 && track.kind == TrackKind::kGpu &&
                           track.device != view_.window.device;
    return !elsewhere && view_.window.reached_by(e_.start_ns[row], e_.end_ns(row));
  }

  Mask condition(const Query::Node& node) const {
    switch (node.field) {
      case QueryField::kName: return by_text(node, trace_.names, e_.name);
      case QueryField::kCategory: return by_category(node);
      case QueryField::kTrack:
      case QueryField::kThread:
      case QueryField::kProcess: return by_track_text(node);
      case QueryField::kClass:
      case QueryField::kRole: return by_role(node);
      case QueryField::kRegion: return by_region(node);
      default: return by_number(node);
    }
  }

  static Mask by_text(const Query::Node& node, const std::vector<std::string>& names,
                      const std::vector<uint32_t>& column) {
    Mask of_name;
    for (const std::string& text : names) of_name.push_back(compare(node, text) ? 1 : 0);
    Mask mask(column.size());
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = of_name[column[i]];
    return mask;
  }

  Mask by_category(const Query::Node& node) const {
    Mask of_category;
    for (int c = 0; c < kNumCategories; ++c) {
      of_category.push_back(compare(node, name(static_cast<Category>(c))) ? 1 : 0);
    }
    Mask mask(e_.size());
    for (size_t i = 0; i < mask.size(); ++i) {
      mask[i] = of_category[static_cast<size_t>(e_.category[i])];
    }
    return mask;
  }

  Mask by_track_text(const Query::Node& node) const {
    Mask mask(e_.size());
    for (const Track& track : trace_.tracks) {
      bool found = false;
      if (node.field == QueryField::kTrack) found = compare(node, track_name(track));
      if (node.field == QueryField::kThread) found = compare(node, track.thread);
      if (node.field == QueryField::kProcess) {
        // Either of its two names will do; a negated operator must reject both.
        const bool negated =
            node.op == QueryOperator::kNotEqual || node.op == QueryOperator::kNotLike;
        const bool written = compare(node, track.process),
                   named = compare(node, track.process_name);
        found = negated ? written && named : written || named;
      }
      if (found) std::fill(mask.begin() + track.begin, mask.begin() + track.end, uint8_t{1});
    }
    return mask;
  }

  Mask by_role(const Query::Node& node) const {
    Mask mask(e_.size());
    for (const Activity& a : view_.activities) {
      const std::string_view text = node.field == QueryField::kClass ? name(a.kind) : name(a.role);
      mask[a.row] = compare(node, text) ? 1 : 0;
    }
    return mask;
  }

  Mask by_region(const Query::Node& node) const {
    Mask of_region;
    for (uint32_t r = 0; r < view_.regions.size(); ++r) {
      bool found = compare(node, region_label(view_, r));
      const std::string& bare = trace_.names[view_.regions[r].name];
      if (node.op == QueryOperator::kEqual) found |= bare == node.text;
      if (node.op == QueryOperator::kNotEqual) found &= bare != node.text;
      of_region.push_back(found ? 1 : 0);
    }
    Mask mask(e_.size());
    for (const Activity& a : view_.activities) {
      if (a.region != kNone) mask[a.row] = of_region[a.region];
    }
    return mask;
  }

  Mask by_number(const Query::Node& node) const {
    Mask mask(e_.size());
    for (uint32_t row = 0; row < mask.size(); ++row) {
      mask[row] = compare(node.op, value(node.field, row), node.number) ? 1 : 0;
    }
    return mask;
  }

  double launch_value(QueryField field, uint32_t row) const {
    if (e_.category[row] != Category::kKernel || e_.detail[row] == kNone) return kAbsent;
    const Launch& launch = trace_.launches[e_.detail[row]];
    if (field == QueryField::kBlocks) return static_cast<double>(launch.num_blocks());
    if (field == QueryField::kRegisters) return launch.registers_per_thread;
    return launch.shared_memory_bytes;
  }

  /// A field of a row as a number; NaN where it has none.
  double value(QueryField field, uint32_t row) const {
    const Track& track = trace_.tracks[e_.track[row]];
    const auto at_least_0 = [](int64_t v) { return v < 0 ? kAbsent : static_cast<double>(v); };
    switch (field) {
      case QueryField::kStream: return at_least_0(track.stream);
      case QueryField::kDevice: return at_least_0(track.device);
      case QueryField::kCorrelation:
        return e_.correlation[row] == 0 ? kAbsent : e_.correlation[row];
      case QueryField::kId: return row;
      case QueryField::kRank: return at_least_0(rank_);
      case QueryField::kBlocks:
      case QueryField::kRegisters:
      case QueryField::kSharedMemory: return launch_value(field, row);
      case QueryField::kBytes: {
        const bool copies =
            e_.category[row] == Category::kMemcpy || e_.category[row] == Category::kMemset;
        if (!copies || e_.detail[row] == kNone) return kAbsent;
        return static_cast<double>(trace_.copies[e_.detail[row]].bytes);
      }
      case QueryField::kStart: return static_cast<double>(e_.start_ns[row]);
      case QueryField::kEnd: return static_cast<double>(e_.end_ns(row));
      case QueryField::kDuration: return static_cast<double>(e_.duration_ns[row]);
      case QueryField::kDelay:
        if (activity_[row] == kNone) return kAbsent;
        return at_least_0(delay_of(trace_, view_.activities[activity_[row]]));
      default: return kAbsent;
    }
  }

  const GpuView& view_;
  const Trace& trace_;
  const Events& e_;
  int rank_;
  std::vector<uint32_t> activity_;
};

int64_t bytes_of(const Trace& trace, uint32_t row) {
  const Events& e = trace.events;
  const bool copies = e.category[row] == Category::kMemcpy || e.category[row] == Category::kMemset;
  if (!copies || e.detail[row] == kNone) return -1;
  return static_cast<int64_t>(std::min<uint64_t>(trace.copies[e.detail[row]].bytes, INT64_MAX));
}

/// Smaller keys come first.
int64_t sort_key(const GpuView& view, QueryOrder order, uint32_t row, uint32_t activity) {
  switch (order) {
    case QueryOrder::kDuration: return -view.trace->events.duration_ns[row];
    case QueryOrder::kDelay:
      return activity == kNone ? 1 : -delay_of(*view.trace, view.activities[activity]);
    case QueryOrder::kBytes: return -bytes_of(*view.trace, row);
    case QueryOrder::kStart:
    case QueryOrder::kName: break;
  }
  return 0;
}

FoundEvent describe(const GpuView& view, int rank, uint32_t row, uint32_t activity) {
  FoundEvent found{.view = &view,
                   .rank = rank,
                   .row = row,
                   .activity = activity,
                   .delay_ns = -1,
                   .id = fmt::format("{}:{}", std::max(rank, 0), row),
                   .region = {}};
  if (activity == kNone) return found;
  const Activity& a = view.activities[activity];
  found.delay_ns = delay_of(*view.trace, a);
  if (a.region != kNone) found.region = region_label(view, a.region);
  return found;
}

}  // namespace

std::vector<uint32_t> find_events(const GpuView& view, int rank, const Query& query) {
  return Evaluation(view, rank).run(query);
}

Found find_events(std::span<const GpuView> views, std::span<const int> ranks, const Query& query,
                  QueryOrder order, size_t limit) {
  CHECK(views.size() == ranks.size());
  struct Candidate {
    int64_t key;
    std::string_view name;  // when sorted by it
    int64_t start_ns;
    size_t view;
    uint32_t row;
  };
  std::vector<std::vector<uint32_t>> activity;
  std::vector<Candidate> candidates;
  for (size_t v = 0; v < views.size(); ++v) {
    activity.push_back(activities_by_row(views[v]));
    for (const uint32_t row : find_events(views[v], ranks[v], query)) {
      candidates.push_back(
          {.key = sort_key(views[v], order, row, activity[v][row]),
           .name = order == QueryOrder::kName ? views[v].trace->name_of(row) : std::string_view(),
           .start_ns = views[v].trace->events.start_ns[row],
           .view = v,
           .row = row});
    }
  }
  Found found{.matched = candidates.size(), .events = {}};
  const size_t kept = std::min(candidates.size(), limit);
  // A defaulted <=> over a string_view does not link with g++ 12.
  std::ranges::partial_sort(
      candidates, candidates.begin() + static_cast<ptrdiff_t>(kept), {},
      [](const Candidate& c) { return std::tuple(c.key, c.name, c.start_ns, c.view, c.row); });
  candidates.resize(kept);
  for (const Candidate& c : candidates) {
    found.events.push_back(describe(views[c.view], ranks[c.view], c.row, activity[c.view][c.row]));
  }
  return found;
}

std::string_view track_name(const Track& track) {
  return track.thread_name.empty() ? std::string_view(track.thread) : track.thread_name;
}

Json to_json(const FoundEvent& found) {
  const GpuView& view = *found.view;
  const Trace& trace = *view.trace;
  const Events& e = trace.events;
  const uint32_t r = found.row;
  const Track& track = trace.tracks[e.track[r]];
  Json json = {{"id", found.id},
               {"category", name(e.category[r])},
               {"name", trace.name_of(r)},
               {"start_us", us(e.start_ns[r])},
               {"duration_us", us(e.duration_ns[r])},
               {"track", track_name(track)},
               {"process", track.process}};
  if (track.device >= 0) json["device"] = track.device;
  if (track.stream >= 0) json["stream"] = track.stream;
  if (e.correlation[r] != 0) json["correlation"] = e.correlation[r];
  if (bytes_of(trace, r) >= 0) json["bytes"] = bytes_of(trace, r);
  if (found.activity == kNone) return json;
  const Activity& a = view.activities[found.activity];
  json["class"] = name(a.kind);
  json["role"] = name(a.role);
  if (!found.region.empty()) json["region"] = found.region;
  if (found.delay_ns >= 0) json["delay_us"] = us(found.delay_ns);
  if (const Launch* launch = view.launch_of(a)) {
    json["grid"] = launch->grid;
    json["block"] = launch->block;
    json["registers_per_thread"] = launch->registers_per_thread;
    json["shared_memory_bytes"] = launch->shared_memory_bytes;
  }
  return json;
}

}  // namespace hadal::trace
