#include "trace/timeline_data.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <numeric>
#include <ranges>
#include <string>
#include <unordered_map>

#include "base/bytes.h"
#include "base/check.h"
#include "trace/kernels.h"
#include "trace/lanes.h"
#include "trace/saturate.h"

namespace hadal::trace {
namespace {

// Times of broken traces are held inside of this, so that differences fit an int64.
constexpr int64_t kTimeMax = int64_t{1} << 61;
constexpr int64_t kOneClockNs = 86'400 * int64_t{1'000'000'000};
constexpr uint32_t kOutsideOfWindow = 16;
constexpr uint32_t kFlagMerged = 1, kFlagGpu = 2, kFlagRegions = 4, kFlagTransfers = 8;

int64_t bounded(int64_t time) {
  return std::clamp(time, -kTimeMax, kTimeMax);
}

uint64_t zigzag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}

void write_strings(Writer& out, const auto& all) {
  for (const std::string_view text : all) out.varint(text.size());
  for (const std::string_view text : all) out.bytes(bytes_of(text));
}

/// Names of all ranks, each once, in the order of their first rank.
class Strings {
 public:
  /// What a rank's names become: new index by old.
  std::vector<uint32_t> add(const std::vector<std::string>& names) {
    std::vector<uint32_t> to(names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      const auto [at, fresh] = index_.try_emplace(names[i], all_.size());
      if (fresh) all_.push_back(names[i]);
      to[i] = at->second;
    }
    return to;
  }
  void write(Writer& out) const {
    out.varint(all_.size());
    write_strings(out, all_);
  }

 private:
  std::unordered_map<std::string_view, uint32_t> index_;
  std::vector<std::string_view> all_;
};

/// What the tables call the kernels of all ranks, by their names' new indices.
void write_short_names(std::span<const GpuView> ranks,
                       const std::vector<std::vector<uint32_t>>& name_to, Writer& out) {
  std::map<uint32_t, std::string> shorts;
  for (size_t r = 0; r < ranks.size(); ++r) {
    std::vector<bool> seen(name_to[r].size());
    for (const Activity& a : ranks[r].activities) {
      if (seen[a.name] || ranks[r].trace->events.category[a.row] != Category::kKernel) continue;
      seen[a.name] = true;
      const std::string& full = ranks[r].trace->names[a.name];
      std::string own = short_name(full);
      if (own != full) shorts.emplace(name_to[r][a.name], std::move(own));
    }
  }
  out.varint(shorts.size());
  uint32_t previous = 0;
  for (const auto& [name, text] : shorts) out.varint(name - std::exchange(previous, name));
  write_strings(out, std::views::values(shorts));
}

/// Columns of one rank. Bars are numbered over all lanes in the order in which they are written.
class RankEncoder {
 public:
  RankEncoder(const GpuView& view, const std::vector<uint32_t>& name_to, Writer& out)
      : view_(view), trace_(*view.trace), events_(trace_.events), name_to_(name_to), out_(out) {
    times_.reserve(events_.size());
    for (size_t row = 0; row < events_.size(); ++row) {
      const int64_t start = bounded(events_.start_ns[row]);
      const int64_t duration = std::clamp(events_.duration_ns[row], int64_t{0}, kTimeMax);
      times_.push_back({start, bounded(start + duration)});
    }
    lane_of_.resize(events_.size());
    for (const Track& track : trace_.tracks) {
      const auto lanes =
          assign_lanes(std::span(times_).subspan(track.begin, track.end - track.begin));
      std::ranges::copy(lanes, lane_of_.begin() + track.begin);
    }
    unit_ = find_unit();
  }

  TimelineRank encode(int64_t offset_ns, uint64_t host_events_max) {
    out_.varint(static_cast<uint64_t>(unit_));
    out_.varint(static_cast<uint64_t>(offset_ns));
    out_.varint(static_cast<uint64_t>(std::max<int64_t>(0, bounded(trace_.end_ns)) / unit_));
    write_tables();
    for (const Class kind : {Class::kCompute, Class::kCommunication, Class::kMemory}) {
      write_set(view_.busy(kind));
    }
    write_tracks(host_events_max);
    write_sm_use();
    write_queue();
    write_merged();
    return std::move(info_);
  }

 private:
  /// The largest of resolution_ns and 1 that divides every time of the rank.
  int64_t find_unit() const {
    const int64_t unit = trace_.resolution_ns;
    if (unit <= 1) return 1;
    const auto whole = [unit](const auto& t) { return t.start % unit == 0 && t.end % unit == 0; };
    const auto whole_activity = [unit](const Activity& a) {
      return a.start_ns % unit == 0 && a.end_ns % unit == 0;
    };
    return std::ranges::all_of(times_, whole) &&
                   std::ranges::all_of(view_.activities, whole_activity)
               ? unit
               : 1;
  }

  void time(int64_t ns) { out_.varint(static_cast<uint64_t>(ns / unit_)); }
  void signed_time(int64_t ns) { out_.varint(zigzag(ns / unit_)); }

  template <typename Range, typename Get>
  void column(const Range& range, Get get) {
    for (const auto& element : range) out_.varint(get(element));
  }

  void write_tables() {
    const auto& launches = trace_.launches;
    out_.varint(launches.size());
    for (int i = 0; i < 3; ++i) column(launches, [i](const Launch& l) { return l.grid[i]; });
    for (int i = 0; i < 3; ++i) column(launches, [i](const Launch& l) { return l.block[i]; });
    column(launches, [](const Launch& l) { return l.registers_per_thread; });
    column(launches, [](const Launch& l) { return l.shared_memory_bytes; });
    out_.varint(trace_.copies.size());
    column(trace_.copies, [](const Copy& c) { return c.bytes; });
    column(trace_.copies, [](const Copy& c) {
      return static_cast<uint64_t>(std::clamp(c.bandwidth_gb_s, 0.0, 1e9) * 1000);
    });
    const auto& regions = view_.regions;
    out_.varint(regions.size());
    column(regions, [this](const Region& r) { return name_to_[r.name]; });
    column(regions, [](const Region& r) { return static_cast<uint64_t>(r.index); });
    int64_t previous = 0;
    for (const Region& r : regions) {
      signed_time(times_[r.row].start - previous);
      previous = times_[r.row].end;
    }
    for (const Region& r : regions) time(times_[r.row].length());
  }

  void write_set(const IntervalSet& set) {
    out_.varint(set.size());
    int64_t previous = 0;
    for (const Interval& i : set) time(i.start - std::exchange(previous, i.end));
    for (const Interval& i : set) time(i.length());
  }

  // --- tracks ---

  bool is_host(const Track& track) const { return track.kind == TrackKind::kHost; }

  std::vector<std::vector<uint32_t>> lanes_of(const Track& track) const {
    std::vector<std::vector<uint32_t>> lanes;
    for (uint32_t row = track.begin; row < track.end; ++row) {
      if (lane_of_[row] >= lanes.size()) lanes.resize(lane_of_[row] + 1U);
      lanes[lane_of_[row]].push_back(row);
    }
    return lanes;
  }

  /// The smallest q, 0 or a power of four, at which the host's bars are at most `bars_max`.
  int64_t choose_q(uint64_t bars_max) const {
    const auto count_at = [&](int64_t q) {
      uint64_t bars = 0;
      for (const Track& track : trace_.tracks) {
        if (!is_host(track)) continue;
        std::array<int64_t, kLanesMax> start;
        start.fill(-kTimeMax - 1);
        for (uint32_t row = track.begin; row < track.end; ++row) {
          int64_t& run = start[lane_of_[row]];
          const bool joins = q > 0 && run >= -kTimeMax && times_[row].end - run <= q;
          if (!joins) ++bars, run = times_[row].start;
        }
      }
      return bars;
    };
    int64_t q = 0;
    while (count_at(q) > bars_max && q < kTimeMax / 4) q = q == 0 ? 4 * unit_ : 4 * q;
    return q;
  }

  void write_tracks(uint64_t host_events_max) {
    bar_of_.assign(events_.size(), 0);
    activity_of_.assign(events_.size(), kNone);
    for (uint32_t i = 0; i < view_.activities.size(); ++i) {
      activity_of_[view_.activities[i].row] = i;
    }
    q_ = choose_q(host_events_max);
    info_.merge_below_ns = q_;
    info_.events = events_.size();
    std::vector<int> order(trace_.tracks.size());
    std::iota(order.begin(), order.end(), 0);
    // Host tracks first: what they launch refers to their bars.
    const auto host_end = std::ranges::partition(
        order, [&](int t) { return is_host(trace_.tracks[static_cast<size_t>(t)]); });
    std::sort(order.begin(), host_end.begin());
    std::sort(host_end.begin(), order.end());
    out_.varint(order.size() + (has_gpu_regions() ? 1 : 0));
    for (const int t : order) write_track(t);
    if (has_gpu_regions()) write_region_track();
  }

  void write_track(int index) {
    const Track& track = trace_.tracks[static_cast<size_t>(index)];
    TimelineTrack info{.track = index, .role = role_of(index), .events = track.end - track.begin};
    const uint32_t flags = track.kind == TrackKind::kGpu ? kFlagGpu
                           : is_host(track) && q_ > 0    ? kFlagMerged
                                                         : 0;
    const auto lanes = lanes_of(track);
    out_.varint(lanes.size());
    for (const auto& rows : lanes) {
      const auto bars = make_bars(times_, rows, flags & kFlagMerged ? q_ : 0, bar_of_, next_bar_);
      next_bar_ += static_cast<uint32_t>(bars.size());
      info.bars += bars.size();
      if (flags & kFlagMerged) count_merged(rows, bars);
      write_lane(flags, bars);
    }
    info_.tracks.push_back(info);
  }

  void count_merged(const std::vector<uint32_t>& rows, const std::vector<Bar>& bars) {
    merged_.resize(trace_.names.size());
    size_t at = 0;
    for (const Bar& bar : bars) {
      for (uint32_t i = 0; i < bar.count; ++i, ++at) {
        if (rows[at] == bar.event) continue;  // the bar carries this one's name
        ++merged_[events_.name[rows[at]]];
        ++info_.merged_events;
      }
    }
  }

  void write_times(const std::vector<Bar>& bars) {
    out_.varint(bars.size());
    int64_t previous = 0;
    for (const Bar& bar : bars) signed_time(bar.start - std::exchange(previous, bar.end));
    for (const Bar& bar : bars) time(bar.end - bar.start);
  }

  void write_lane(uint32_t flags, const std::vector<Bar>& bars) {
    out_.varint(flags);
    write_times(bars);
    column(bars, [this](const Bar& b) { return name_to_[events_.name[b.event]]; });
    column(bars, [this](const Bar& b) { return static_cast<uint64_t>(events_.category[b.event]); });
    if (flags & kFlagMerged) {
      column(bars, [](const Bar& b) { return b.count; });
      for (const Bar& bar : bars) time(bar.covered);
    }
    if (flags & kFlagGpu) write_gpu_columns(bars);
    write_levels(bars);
  }

  const Activity* activity(const Bar& bar) const {
    const uint32_t i = activity_of_[bar.event];
    return i == kNone ? nullptr : &view_.activities[i];
  }

  void write_gpu_columns(const std::vector<Bar>& bars) {
    column(bars, [this](const Bar& bar) {
      const Activity* a = activity(bar);
      return a ? static_cast<uint32_t>(a->kind) | static_cast<uint32_t>(a->role) << 2
               : kOutsideOfWindow;
    });
    column(bars, [this](const Bar& bar) {
      const Activity* a = activity(bar);
      return a && a->region != kNone ? a->region + 1 : 0;
    });
    column(bars, [this](const Bar& bar) {
      const bool has = is_gpu_activity(events_.category[bar.event]);
      return has && events_.detail[bar.event] != kNone ? events_.detail[bar.event] + 1 : 0;
    });
    const auto launch_of = [this](const Bar& bar) {
      const Activity* a = activity(bar);
      return a ? a->launch_row : kNone;
    };
    for (const Bar& bar : bars) {
      const uint32_t launch = launch_of(bar);
      signed_time(launch == kNone ? 0 : bar.start - times_[launch].start);
    }
    for (const Bar& bar : bars) {
      const uint32_t launch = launch_of(bar);
      time(launch == kNone ? 0 : times_[launch].length());
    }
    int64_t previous = 0;
    for (const Bar& bar : bars) {
      const uint32_t launch = launch_of(bar);
      const int64_t id = launch == kNone ? 0 : int64_t{bar_of_[launch]} + 1;
      out_.varint(zigzag(id - std::exchange(previous, id)));
    }
  }

  void write_levels(const std::vector<Bar>& bars) {
    const auto levels = make_levels(bars, unit_);
    out_.varint(levels.size());
    for (const Level& level : levels) {
      time(level.q);
      out_.varint(level.first.size());
      uint32_t previous = 0;
      for (const uint32_t first : level.first) out_.varint(first - std::exchange(previous, first));
      for (size_t i = 0; i < level.first.size(); ++i) {
        out_.varint(level.longest[i] - level.first[i]);
      }
      for (const int64_t covered : level.covered) time(covered);
    }
  }

  bool has_gpu_regions() const {
    return std::ranges::any_of(view_.regions,
                               [](const Region& r) { return !r.activities.empty(); });
  }

  /// The regions where their work runs on the GPU: those that compute in lanes above those that
  /// communicate, since the one runs beside the other.
  void write_region_track() {
    std::array<std::vector<uint32_t>, 2> order;  // computing, communicating
    for (uint32_t i = 0; i < view_.regions.size(); ++i) {
      if (!view_.regions[i].activities.empty()) order[communicates(view_.regions[i])].push_back(i);
    }
    std::array<std::vector<std::vector<uint32_t>>, 2> lanes;
    for (size_t k = 0; k < 2; ++k) lanes[k] = region_lanes(order[k]);
    out_.varint(lanes[0].size() + lanes[1].size());
    for (size_t k = 0; k < 2; ++k) {
      for (const auto& lane : lanes[k]) {
        write_region_lane(kFlagRegions | (k == 1 ? kFlagTransfers : 0), lane);
      }
    }
    const uint64_t regions = order[0].size() + order[1].size();
    info_.tracks.push_back({.events = regions, .bars = regions});
  }

  bool communicates(const Region& region) const {
    int64_t time = 0;  // of communication less that of the rest
    for (const uint32_t i : region.activities) {
      const Activity& a = view_.activities[i];
      time += a.kind == Class::kCommunication ? a.duration_ns() : -a.duration_ns();
    }
    return time > 0;
  }

  /// Sorts the regions by GPU time and lays them out; lanes of indices into view_.regions.
  std::vector<std::vector<uint32_t>> region_lanes(std::vector<uint32_t>& regions) const {
    std::ranges::sort(regions, {}, [this](uint32_t i) {
      return std::tuple(view_.regions[i].gpu_start_ns, -view_.regions[i].gpu_end_ns, i);
    });
    std::vector<Interval> times;
    for (const uint32_t i : regions) times.push_back(gpu_time(i));
    const auto lane_of = assign_lanes(times);
    std::vector<std::vector<uint32_t>> lanes;
    for (size_t i = 0; i < regions.size(); ++i) {
      if (lane_of[i] >= lanes.size()) lanes.resize(lane_of[i] + 1U);
      lanes[lane_of[i]].push_back(regions[i]);
    }
    return lanes;
  }

  Interval gpu_time(uint32_t region) const {
    const Region& r = view_.regions[region];
    return {bounded(r.gpu_start_ns), bounded(r.gpu_end_ns)};
  }

  void write_region_lane(uint32_t flags, const std::vector<uint32_t>& regions) {
    std::vector<Bar> bars;
    for (const uint32_t i : regions) {
      const Interval time = gpu_time(i);
      bars.push_back({time.start, time.end, time.length(), i, 1});
    }
    out_.varint(flags);
    write_times(bars);
    column(bars, [this](const Bar& b) { return name_to_[view_.regions[b.event].name]; });
    column(bars, [](const Bar&) { return static_cast<uint64_t>(Category::kUserAnnotation); });
    column(bars, [](const Bar& b) { return b.event; });
    write_levels(bars);
  }

  /// The class that most of a stream's time has; computation where it has none.
  Class role_of(int index) const {
    const Track& track = trace_.tracks[static_cast<size_t>(index)];
    if (track.kind != TrackKind::kGpu) return Class::kCompute;
    std::array<double, 3> time{};
    for (uint32_t row = track.begin; row < track.end; ++row) {
      if (activity_of_[row] == kNone) continue;
      const Activity& a = view_.activities[activity_of_[row]];
      time[static_cast<size_t>(a.kind)] += static_cast<double>(a.duration_ns());
    }
    return static_cast<Class>(std::ranges::max_element(time) - time.begin());
  }

  // --- curves ---

  struct Edge {
    int64_t time = 0;
    int64_t change = 0;
  };

  /// The running sum of the changes, one point for each time at which it differs.
  void write_steps(std::vector<Edge> edges) {
    std::ranges::sort(edges, {}, &Edge::time);
    std::vector<Edge> points;
    for (size_t i = 0; i < edges.size();) {
      Edge point{edges[i].time, 0};
      for (; i < edges.size() && edges[i].time == point.time; ++i) point.change += edges[i].change;
      if (point.change != 0) points.push_back(point);
    }
    out_.varint(points.size());
    int64_t previous = 0;
    for (const Edge& point : points) signed_time(point.time - std::exchange(previous, point.time));
    for (const Edge& point : points) out_.varint(zigzag(point.change));
  }

  /// Blocks of the running kernels, each at most the SMs of the device: an upper bound on the SMs
  /// that are in use, since two kernels may share one. The page cuts the sum at the number of SMs.
  void write_sm_use() {
    std::vector<int> devices;
    for (const uint16_t t : view_.streams) devices.push_back(trace_.tracks[t].device);
    std::ranges::sort(devices);
    const auto repeated = std::ranges::unique(devices);
    devices.erase(repeated.begin(), repeated.end());
    for (const int id : devices) {
      if (const Device* d = trace_.device(id)) info_.num_sms += std::max(0, d->num_sms);
    }
    std::vector<Edge> edges;
    for (const Activity& a : view_.activities) {
      const Device* device = trace_.device(trace_.tracks[a.track].device);
      const Launch* launch = view_.launch_of(a);
      if (!device || device->num_sms <= 0 || !launch) continue;
      uint64_t blocks = 1;
      const auto sms = static_cast<uint64_t>(device->num_sms);
      for (const uint32_t n : launch->grid) blocks *= std::min<uint64_t>(n, sms);
      const auto used = static_cast<int64_t>(std::min(blocks, sms));
      edges.push_back({a.start_ns, used});
      edges.push_back({a.end_ns, -used});
    }
    write_steps(std::move(edges));
  }

  void write_queue() {
    std::vector<Edge> edges;
    for (const Activity& a : view_.activities) {
      if (a.launch_row == kNone) continue;
      const int64_t launched = times_[a.launch_row].start;
      if (launched >= a.start_ns) continue;
      edges.push_back({launched, 1});
      edges.push_back({a.start_ns, -1});
    }
    write_steps(std::move(edges));
  }

  void write_merged() {
    const auto has = [](uint64_t n) { return n > 0; };
    std::vector<std::pair<uint32_t, uint64_t>> counts;
    for (uint32_t i = 0; i < merged_.size(); ++i) {
      if (has(merged_[i])) counts.emplace_back(name_to_[i], merged_[i]);
    }
    std::ranges::sort(counts);
    out_.varint(counts.size());
    uint32_t previous = 0;
    for (const auto& c : counts) out_.varint(c.first - std::exchange(previous, c.first));
    for (const auto& c : counts) out_.varint(c.second);
  }

  const GpuView& view_;
  const Trace& trace_;
  const Events& events_;
  const std::vector<uint32_t>& name_to_;
  Writer& out_;
  std::vector<Interval> times_;        // by row
  std::vector<uint8_t> lane_of_;       // by row
  std::vector<uint32_t> bar_of_;       // by row
  std::vector<uint32_t> activity_of_;  // by row
  std::vector<uint64_t> merged_;       // by name
  int64_t unit_ = 1, q_ = 0;
  uint32_t next_bar_ = 0;
  TimelineRank info_;
};

/// When each rank's time 0 is, after the earliest one's.
std::vector<int64_t> rank_offsets(std::span<const GpuView> ranks,
                                  std::span<const int64_t> clock_offsets_ns) {
  std::vector<int64_t> base(ranks.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    const int64_t clock = i < clock_offsets_ns.size() ? clock_offsets_ns[i] : 0;
    base[i] = bounded(ranks[i].trace->base_ns) - bounded(clock);
  }
  const auto [low, high] = std::ranges::minmax(base);
  const bool one_clock = subtract_saturated(high, low) <= kOneClockNs;
  for (int64_t& b : base) b = one_clock ? b - low : 0;
  return base;
}

}  // namespace

Timeline encode_timeline(std::span<const GpuView> ranks, std::span<const int64_t> clock_offsets_ns,
                         uint64_t host_events_max) {
  CHECK(!ranks.empty());
  Timeline timeline;
  Writer out(timeline.payload);
  Strings strings;
  std::vector<std::vector<uint32_t>> name_to;
  name_to.reserve(ranks.size());
  for (const GpuView& rank : ranks) name_to.push_back(strings.add(rank.trace->names));
  strings.write(out);
  write_short_names(ranks, name_to, out);
  out.varint(ranks.size());
  const auto offsets = rank_offsets(ranks, clock_offsets_ns);
  uint64_t host_events = 0;
  for (const GpuView& rank : ranks) host_events += rank.trace->events.size();
  for (size_t i = 0; i < ranks.size(); ++i) {
    // The budget is for the whole file; each rank gets its share by its size.
    const auto share = static_cast<double>(ranks[i].trace->events.size()) /
                       static_cast<double>(std::max<uint64_t>(1, host_events));
    const auto budget = static_cast<uint64_t>(share * static_cast<double>(host_events_max));
    timeline.ranks.push_back(RankEncoder(ranks[i], name_to[i], out).encode(offsets[i], budget));
  }
  return timeline;
}

}  // namespace hadal::trace
