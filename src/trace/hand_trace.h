// Traces made by hand, for tests: streams, threads and regions with a few events each.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "trace/trace.h"

namespace hadal::trace {

/// Collects events and sorts them into a Trace as load() would. Times in nanoseconds.
class HandTrace {
 public:
  static constexpr int kThread = -1;  // "stream" of the main thread of the host

  /// An event on a stream (>= 0) or on a thread (< 0).
  HandTrace& add(Category category, int stream, const std::string& name, int64_t start,
                 int64_t duration, uint32_t correlation = 0) {
    events_.push_back({category, stream, name, start, duration, correlation, -1, {}});
    return *this;
  }
  /// A kernel without a launch.
  HandTrace& kernel(int stream, const std::string& name, int64_t start, int64_t duration) {
    return add(Category::kKernel, stream, name, start, duration);
  }
  /// A kernel and the call [called, called + 1) that launches it.
  HandTrace& launched(int stream, const std::string& name, int64_t start, int64_t duration,
                      int64_t called, int thread = kThread) {
    const uint32_t correlation = ++correlation_;
    add(Category::kRuntime, thread, "cudaLaunchKernel", called, 1, correlation);
    return add(Category::kKernel, stream, name, start, duration, correlation);
  }
  /// Arguments of a collective for the event added last.
  HandTrace& collective(const CollectiveInfo& info, int64_t sequence) {
    events_.back().info = info;
    events_.back().sequence = sequence;
    events_.back().has_info = true;
    return *this;
  }

  Trace trace() const {
    Trace out;
    std::map<std::pair<bool, int>, uint16_t> tracks;  // threads first
    for (const Event& e : events_) tracks[{e.stream >= 0, e.stream}];
    for (auto& [key, index] : tracks) {
      index = static_cast<uint16_t>(out.tracks.size());
      Track track;
      track.kind = key.first ? TrackKind::kGpu : TrackKind::kHost;
      if (key.first) track.device = 0;
      track.stream = key.first ? key.second : -1;
      track.process = key.first ? "0" : "1166";
      track.thread = key.first ? "stream" : std::to_string(-key.second);
      out.tracks.push_back(track);
    }
    for (const Event& e : events_) out.names.push_back(e.name);
    std::ranges::sort(out.names);
    out.names.erase(std::unique(out.names.begin(), out.names.end()), out.names.end());
    std::vector<const Event*> sorted;
    for (const Event& e : events_) sorted.push_back(&e);
    std::ranges::sort(sorted, {}, [&](const Event* e) {
      return std::tuple(tracks[{e->stream >= 0, e->stream}], e->start, -e->duration, e->name, e);
    });
    for (const Event* e : sorted) append(out, *e, tracks[{e->stream >= 0, e->stream}]);
    return out;
  }

 private:
  struct Event {
    Category category;
    int stream;
    std::string name;
    int64_t start, duration;
    uint32_t correlation;
    int64_t sequence;
    CollectiveInfo info;
    bool has_info = false;
  };

  static void append(Trace& out, const Event& e, uint16_t track) {
    Events& rows = out.events;
    const auto row = static_cast<uint32_t>(rows.size());
    rows.start_ns.push_back(e.start);
    rows.duration_ns.push_back(e.duration);
    rows.offset.push_back(row);
    rows.name.push_back(
        static_cast<uint32_t>(std::ranges::lower_bound(out.names, e.name) - out.names.begin()));
    rows.correlation.push_back(e.correlation);
    rows.detail.push_back(kNone);
    rows.track.push_back(track);
    rows.category.push_back(e.category);
    rows.phase.push_back(Phase::kComplete);
    if (out.tracks[track].end == 0) out.tracks[track].begin = row;
    out.tracks[track].end = row + 1;
    out.end_ns = std::max(out.end_ns, e.start + e.duration);
    if (e.has_info) {
      const auto at = std::ranges::find(out.collective_infos, e.info);
      const auto info = static_cast<uint32_t>(at - out.collective_infos.begin());
      if (at == out.collective_infos.end()) out.collective_infos.push_back(e.info);
      out.collectives.push_back({.row = row, .info = info, .sequence = e.sequence});
    }
  }

  std::vector<Event> events_;
  uint32_t correlation_ = 1000;
};

}  // namespace hadal::trace
