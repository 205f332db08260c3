#include "trace/gates.h"

#include <algorithm>
#include <tuple>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

/// The activities of one stream by their end.
struct StreamEnds {
  uint16_t track = 0;
  std::vector<uint32_t> by_end;

  /// The last activity that ends at or before `time`, or kNone.
  uint32_t last_before(const GpuView& view, int64_t time) const {
    const auto after = std::ranges::upper_bound(
        by_end, time, {}, [&](uint32_t i) { return view.activities[i].end_ns; });
    return after == by_end.begin() ? kNone : *std::prev(after);
  }
};

std::vector<StreamEnds> stream_ends(const GpuView& view) {
  std::vector<StreamEnds> streams;
  for (const uint16_t track : view.streams) streams.push_back({track, {}});
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const auto at = std::ranges::lower_bound(view.streams, view.activities[i].track);
    streams[at - view.streams.begin()].by_end.push_back(i);
  }
  for (StreamEnds& stream : streams) {
    std::ranges::sort(stream.by_end, {},
                      [&](uint32_t i) { return std::tuple(view.activities[i].end_ns, i); });
  }
  return streams;
}

Gate gate_of(const GpuView& view, const std::vector<StreamEnds>& streams, uint32_t first,
             uint32_t previous_end, bool first_on_stream) {
  const Activity& a = view.activities[first];
  const Trace& trace = *view.trace;
  Gate gate{.region = a.region, .activity = first, .track = a.track, .start_ns = a.start_ns};
  const int64_t own = first_on_stream ? INT64_MIN : view.activities[previous_end].end_ns;
  gate.free_ns = first_on_stream ? a.start_ns : std::min(own, a.start_ns);

  int64_t other = INT64_MIN;
  for (const StreamEnds& stream : streams) {
    if (stream.track == a.track ||
        trace.tracks[stream.track].device != trace.tracks[a.track].device) {
      continue;
    }
    const uint32_t last = stream.last_before(view, a.start_ns);
    if (last != kNone && view.activities[last].end_ns > other) {
      other = view.activities[last].end_ns;
      gate.released_by = last;
    }
  }
  const int64_t launched = a.launch_row == kNone ? INT64_MIN : trace.events.start_ns[a.launch_row];
  const int64_t latest = std::max({own, other, launched});
  if (latest == INT64_MIN || a.start_ns - latest > kReleaseNs) {
    gate.kind = GateKind::kUnknown;
    gate.released_by = kNone;
  } else if (own >= latest) {
    gate.kind = GateKind::kOwn;
    gate.released_by = previous_end;
  } else if (launched >= latest) {
    gate.kind = GateKind::kHost;
    gate.released_by = kNone;
  } else {
    gate.kind = GateKind::kOther;
  }
  return gate;
}

}  // namespace

std::string_view name(GateKind kind) {
  constexpr std::string_view kNames[] = {"own", "other", "host", "unknown"};
  return kNames[static_cast<size_t>(kind)];
}

std::vector<Gate> gates(const GpuView& view) {
  const std::vector<StreamEnds> streams = stream_ends(view);
  std::vector<uint32_t> latest(view.streams.size(), kNone);
  std::vector<Gate> all;
  // Per region and stream the first activity; activities of a region are in order of time.
  std::vector<uint32_t> firsts;
  for (const Region& region : view.regions) {
    std::vector<uint16_t> tracks;
    for (const uint32_t i : region.activities) {
      if (std::ranges::find(tracks, view.activities[i].track) != tracks.end()) continue;
      tracks.push_back(view.activities[i].track);
      firsts.push_back(i);
    }
  }
  std::ranges::sort(firsts);
  size_t next = 0;
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    const auto at = std::ranges::lower_bound(view.streams, a.track) - view.streams.begin();
    if (next < firsts.size() && firsts[next] == i) {
      all.push_back(gate_of(view, streams, i, latest[at], latest[at] == kNone));
      ++next;
    }
    if (latest[at] == kNone || a.end_ns >= view.activities[latest[at]].end_ns) latest[at] = i;
  }
  const IntervalSet compute = view.busy(Class::kCompute);
  for (Gate& gate : all) {
    const auto after = std::ranges::lower_bound(compute, gate.start_ns, {}, &Interval::start);
    const int64_t computed = after == compute.begin() ? INT64_MIN : std::prev(after)->end;
    gate.stall_ns = gate.start_ns - std::clamp(computed, gate.free_ns, gate.start_ns);
  }
  std::ranges::sort(all, {}, [](const Gate& g) {
    return std::tuple(-g.stall_ns, -g.wait_ns(), g.start_ns, g.activity);
  });
  return all;
}

std::string region_label(const GpuView& view, uint32_t region) {
  if (region == kNone) return "(no region)";
  const Region& r = view.regions[region];
  return fmt::format("{}#{}", view.trace->names[r.name], r.index);
}

Json to_json(const GpuView& view, const std::vector<Gate>& all) {
  Json out = Json::array();
  for (const Gate& gate : all) {
    const Region& region = view.regions[gate.region];
    Json entry = {{"region", view.trace->names[region.name]},
                  {"index", region.index},
                  {"device", view.trace->tracks[gate.track].device},
                  {"stream", view.trace->tracks[gate.track].stream},
                  {"kind", name(gate.kind)},
                  {"wait_us", us(gate.wait_ns())},
                  {"stall_us", us(gate.stall_ns)},
                  {"start_us", us(gate.start_ns)},
                  {"released_by", nullptr}};
    if (gate.released_by != kNone) {
      const Activity& by = view.activities[gate.released_by];
      Json released = {{"kernel", view.name_of(by)},
                       {"stream", view.trace->tracks[by.track].stream},
                       {"end_us", us(by.end_ns)},
                       {"region", nullptr},
                       {"index", nullptr}};
      if (by.region != kNone) {
        released["region"] = view.trace->names[view.regions[by.region].name];
        released["index"] = view.regions[by.region].index;
      }
      entry["released_by"] = std::move(released);
    }
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace hadal::trace
