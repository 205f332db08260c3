#include "trace/activity.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include <fmt/core.h>

namespace hadal::trace {
namespace {

// Two annotations that only seem to overlap: profilers round starts down and ends up.
constexpr int64_t kNestingToleranceNs = 1;
// How many annotations after one are looked at to find a child of it. They start inside of it, so
// the first one is its child but in malformed traces.
constexpr uint32_t kChildrenLookedAtMax = 16;

/// Runtime calls by correlation.
class LaunchIndex {
 public:
  explicit LaunchIndex(const Trace& trace) {
    const Events& e = trace.events;
    for (uint32_t row = 0; row < e.size(); ++row) {
      if (is_runtime_call(e.category[row]) && e.correlation[row] != 0) {
        calls_.push_back({e.correlation[row], row});
      }
    }
    // Of several calls with one correlation the earliest counts.
    std::ranges::sort(calls_, {}, [&e](const Call& call) {
      return std::tuple(call.correlation, e.start_ns[call.row], call.row);
    });
  }

  uint32_t find(uint32_t correlation) const {
    if (correlation == 0) return kNone;
    const auto at = std::ranges::lower_bound(calls_, correlation, {}, &Call::correlation);
    return at != calls_.end() && at->correlation == correlation ? at->row : kNone;
  }

 private:
  struct Call {
    uint32_t correlation, row;
  };
  std::vector<Call> calls_;
};

bool in_time(const Trace& trace, uint32_t row) {
  return trace.events.start_ns[row] >= 0;
}

std::vector<Activity> collect(const Trace& trace, const Rules& rules, const Window& window) {
  const Events& e = trace.events;
  const LaunchIndex launches(trace);
  std::vector<std::optional<Classified>> class_of(trace.names.size());
  std::vector<Activity> found;
  for (const Track& track : trace.tracks) {
    if (track.kind != TrackKind::kGpu) continue;
    if (window.device >= 0 && track.device != window.device) continue;
    for (uint32_t row = track.begin; row < track.end; ++row) {
      if (!is_gpu_activity(e.category[row]) || e.phase[row] != Phase::kComplete ||
          !in_time(trace, row) || !window.reached_by(e.start_ns[row], e.end_ns(row))) {
        continue;
      }
      Activity a{.start_ns = std::max(e.start_ns[row], window.start_ns),
                 .end_ns = std::min(e.end_ns(row), window.end_ns),
                 .row = row,
                 .name = e.name[row],
                 .launch_row = launches.find(e.correlation[row]),
                 .track = e.track[row]};
      if (e.category[row] == Category::kKernel) {
        auto& known = class_of[a.name];
        if (!known) known = rules.classify(trace.names[a.name]);
        a.kind = known->kind;
        a.role = known->role;
      } else {
        a.kind = Class::kMemory;
      }
      found.push_back(a);
    }
  }
  std::ranges::sort(found, {}, [](const Activity& a) {
    return std::tuple(a.start_ns, a.end_ns, a.track, a.row);
  });
  return found;
}

/// The leaf annotations of one host track, in order of time.
void add_leaves(const Trace& trace, const Track& track, std::vector<Region>& regions) {
  const Events& e = trace.events;
  std::vector<uint32_t> rows;
  for (uint32_t row = track.begin; row < track.end; ++row) {
    if (e.category[row] == Category::kUserAnnotation && e.phase[row] == Phase::kComplete &&
        in_time(trace, row)) {
      rows.push_back(row);
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t end = e.end_ns(rows[i]);
    bool leaf = true;
    for (size_t j = i + 1; j < std::min(rows.size(), i + 1 + kChildrenLookedAtMax); ++j) {
      if (e.start_ns[rows[j]] + kNestingToleranceNs >= end) break;
      if (e.end_ns(rows[j]) <= end + kNestingToleranceNs) leaf = false;
    }
    if (leaf && end > e.start_ns[rows[i]]) {
      regions.push_back({.row = rows[i],
                         .name = e.name[rows[i]],
                         .host_start_ns = e.start_ns[rows[i]],
                         .host_end_ns = end,
                         .activities = {}});
    }
  }
}

std::vector<Region> find_regions(const Trace& trace) {
  std::vector<Region> regions;
  for (const Track& track : trace.tracks) {
    if (track.kind == TrackKind::kHost) add_leaves(trace, track, regions);
  }
  std::ranges::sort(regions, {},
                    [](const Region& r) { return std::tuple(r.host_start_ns, r.row); });
  std::vector<int> count(trace.names.size());
  for (Region& region : regions) region.index = count[region.name]++;
  return regions;
}

/// For each of `times` (ascending) the region that covers it, if exactly one does. A sweep that
/// keeps the number and the sum of the open regions: when one is open, the sum is its index.
std::vector<uint32_t> only_region_at(const std::vector<Region>& regions,
                                     const std::vector<int64_t>& times) {
  std::vector<uint32_t> by_end(regions.size());
  std::iota(by_end.begin(), by_end.end(), 0U);
  std::ranges::sort(by_end, {}, [&](uint32_t i) { return std::tuple(regions[i].host_end_ns, i); });
  std::vector<uint32_t> found(times.size(), kNone);
  size_t opened = 0, closed = 0;
  uint64_t sum = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    for (; opened < regions.size() && regions[opened].host_start_ns <= times[i]; ++opened) {
      sum += opened;
    }
    for (; closed < regions.size() && regions[by_end[closed]].host_end_ns <= times[i]; ++closed) {
      sum -= by_end[closed];
    }
    if (opened - closed == 1) found[i] = static_cast<uint32_t>(sum);
  }
  return found;
}

/// The region on the thread of the launch, else the only one on any thread: PyTorch's autograd
/// thread launches the backward kernels inside of an annotation of the main thread.
void attribute(GpuView& view) {
  const Events& e = view.trace->events;
  std::vector<std::vector<uint32_t>> on_track(view.trace->tracks.size());
  for (uint32_t i = 0; i < view.regions.size(); ++i) {
    on_track[e.track[view.regions[i].row]].push_back(i);
  }
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    if (view.activities[i].launch_row == kNone) {
      ++view.unlinked;
    } else {
      order.push_back(i);
    }
  }
  const auto launch_time = [&](uint32_t i) { return e.start_ns[view.activities[i].launch_row]; };
  std::ranges::sort(order, {}, [&](uint32_t i) { return std::tuple(launch_time(i), i); });
  std::vector<int64_t> times;
  times.reserve(order.size());
  for (const uint32_t i : order) times.push_back(launch_time(i));
  const std::vector<uint32_t> anywhere = only_region_at(view.regions, times);

  for (size_t k = 0; k < order.size(); ++k) {
    Activity& a = view.activities[order[k]];
    const auto& own = on_track[e.track[a.launch_row]];
    const auto after = std::ranges::upper_bound(
        own, times[k], {}, [&](uint32_t i) { return view.regions[i].host_start_ns; });
    const bool inside =
        after != own.begin() && times[k] < view.regions[*std::prev(after)].host_end_ns;
    a.region = inside ? *std::prev(after) : anywhere[k];
    view.outside_regions += a.region == kNone;
  }
}

void fill_regions(GpuView& view) {
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    if (a.region == kNone) continue;
    Region& region = view.regions[a.region];
    if (region.activities.empty()) {
      region.gpu_start_ns = a.start_ns;
      region.gpu_end_ns = a.end_ns;
    }
    region.gpu_end_ns = std::max(region.gpu_end_ns, a.end_ns);
    region.activities.push_back(i);
  }
}

/// "1.5ms" as nanoseconds; microseconds where there is no unit.
std::optional<int64_t> parse_time(std::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  const std::string_view unit(rest, end);
  double scale = 0;
  if (unit == "ns") scale = 1;
  if (unit == "us" || unit.empty()) scale = 1e3;
  if (unit == "ms") scale = 1e6;
  if (unit == "s") scale = 1e9;
  if (scale == 0 || std::abs(value * scale) > 9e18) return std::nullopt;
  return std::llround(value * scale);
}

/// From the first start to the last end of the GPU work launched inside of the annotations `name`.
Result<Window> annotation_window(const Trace& trace, std::string_view name) {
  const Events& e = trace.events;
  std::vector<Interval> host;
  for (size_t row = 0; row < e.size(); ++row) {
    if (e.category[row] == Category::kUserAnnotation && trace.name_of(row) == name) {
      host.push_back({e.start_ns[row], e.end_ns(row)});
    }
  }
  if (host.empty()) {
    return fail(Code::kNotFound,
                fmt::format("the window names the annotation \"{}\"; the trace has none of this "
                            "name (`hadal trace regions` lists the innermost ones)",
                            name));
  }
  const IntervalSet inside = unite(std::move(host));
  const LaunchIndex launches(trace);
  Window window{
      .start_ns = INT64_MAX, .end_ns = INT64_MIN, .description = fmt::format("ann:{}", name)};
  for (uint32_t row = 0; row < e.size(); ++row) {
    if (!is_gpu_activity(e.category[row]) || !in_time(trace, row)) continue;
    const uint32_t launch = launches.find(e.correlation[row]);
    if (launch == kNone) continue;
    const int64_t time = e.start_ns[launch];
    const auto after = std::ranges::upper_bound(inside, time, {}, &Interval::start);
    if (after == inside.begin() || std::prev(after)->end <= time) continue;
    window.start_ns = std::min(window.start_ns, e.start_ns[row]);
    window.end_ns = std::max(window.end_ns, e.end_ns(row));
  }
  if (window.start_ns > window.end_ns) {
    return fail(Code::kNotFound,
                fmt::format("no GPU work was launched inside of the annotation \"{}\"", name));
  }
  return window;
}

}  // namespace

Result<Window> parse_window(const Trace& trace, std::string_view text) {
  constexpr std::string_view kAnnotation = "ann:";
  if (text.starts_with(kAnnotation))
    return annotation_window(trace, text.substr(kAnnotation.size()));
  const size_t colon = std::min(text.find(':'), text.size());
  const auto start = parse_time(text.substr(0, colon));
  const auto end = parse_time(text.substr(std::min(colon + 1, text.size())));
  if (!start || !end || *start >= *end) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("the window is \"{}\"; it must be START:END with START before END, each "
                    "a number with ns, us, ms or s, or ann:NAME of an annotation",
                    text));
  }
  return Window{.start_ns = *start, .end_ns = *end, .description = std::string(text)};
}

IntervalSet GpuView::busy(Class kind) const {
  std::vector<Interval> all;
  for (const Activity& a : activities) {
    if (a.kind == kind) all.push_back({a.start_ns, a.end_ns});
  }
  return unite(std::move(all));
}

IntervalSet GpuView::busy() const {
  std::vector<Interval> all;
  all.reserve(activities.size());
  for (const Activity& a : activities) all.push_back({a.start_ns, a.end_ns});
  return unite(std::move(all));
}

const Launch* GpuView::launch_of(const Activity& a) const {
  const Events& e = trace->events;
  if (e.category[a.row] != Category::kKernel || e.detail[a.row] == kNone) return nullptr;
  return &trace->launches[e.detail[a.row]];
}

GpuView gpu_view(const Trace& trace, const Rules& rules, const Window& window) {
  GpuView view;
  view.trace = &trace;
  view.window = window;
  view.activities = collect(trace, rules, window);
  view.regions = find_regions(trace);
  attribute(view);
  fill_regions(view);
  for (const Activity& a : view.activities) view.streams.push_back(a.track);
  std::ranges::sort(view.streams);
  view.streams.erase(std::unique(view.streams.begin(), view.streams.end()), view.streams.end());
  return view;
}

}  // namespace hadal::trace
