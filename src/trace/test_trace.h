<<<<<<< HEAD
// Traces written by hand, for tests: kernels, copies, annotations and operators, in microseconds.
#pragma once

#include <algorithm>
#include <cstdint>
=======
// Traces made by hand, for tests: streams, threads and regions with a few events each.
#pragma once

#include <algorithm>
>>>>>>> 04982e7 (Trace: what the GPU waited for, as a graph; what-if replays and the critical path)
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "trace/trace.h"

namespace hadal::trace {

<<<<<<< HEAD
/// What DeepSeek's training trace says of its GPUs.
inline Device h800() {
  return {.id = 0,
          .name = "NVIDIA H800",
          .compute_major = 9,
          .compute_minor = 0,
          .num_sms = 132,
          .threads_per_block_max = 1024,
          .threads_per_sm_max = 2048,
          .registers_per_sm = 65536,
          .shared_memory_per_block = 49152,
          .shared_memory_per_block_optin = 232448,
          .shared_memory_per_sm = 233472,
          .memory_bytes = 84943110144};
}

/// Collects events and makes a Trace of them that keeps the store's invariants.
class TestTrace {
 public:
  /// A kernel, launched at its start unless `launch_us` says when.
  void kernel(std::string name, int stream, int64_t start_us, int64_t duration_us,
              Launch launch = {}, int64_t launch_us = -1, int device = 0) {
    const uint32_t correlation = next_++;
    call("cudaLaunchKernel", launch_us < 0 ? start_us : launch_us, correlation);
    add({.kind = TrackKind::kGpu, .device = device, .stream = stream}, Category::kKernel,
        std::move(name), start_us, duration_us, correlation, index(launches_, launch));
  }
  void copy(std::string name, int stream, int64_t start_us, int64_t duration_us, Copy copy,
            Category category = Category::kMemcpy) {
    const uint32_t correlation = next_++;
    call("cudaMemcpyAsync", start_us, correlation);
    add({.kind = TrackKind::kGpu, .device = 0, .stream = stream}, category, std::move(name),
        start_us, duration_us, correlation, index(copies_, copy));
  }
  void region(std::string name, int64_t start_us, int64_t end_us) {
    add({}, Category::kUserAnnotation, std::move(name), start_us, end_us - start_us, 0, kNone);
  }
  void op(std::string name, int64_t start_us, int64_t end_us) {
    add({}, Category::kCpuOp, std::move(name), start_us, end_us - start_us, 0, kNone);
  }
  void host(std::string name, Category category, int64_t start_us, int64_t duration_us) {
    add({}, category, std::move(name), start_us, duration_us, 0, kNone);
  }

  /// `devices` describes the GPUs.
  Trace build(std::vector<Device> devices = {h800()}) {
    Trace trace;
    trace.devices = std::move(devices);
    std::ranges::sort(rows_, {}, [](const Row& r) {
      return std::tuple(r.track, r.start, -r.duration, std::string_view(r.name), r.correlation);
    });
    std::map<std::string, uint32_t> names;
    for (const Row& row : rows_) names[row.name] = 0;
    for (auto& [name, at] : names) {
      at = static_cast<uint32_t>(trace.names.size());
      trace.names.push_back(name);
    }
    Events& e = trace.events;
    for (const Row& row : rows_) {
      const auto at = static_cast<uint32_t>(e.size());
      if (trace.tracks.empty() || TrackId(trace.tracks.back()) != row.track) {
        Track& track = trace.tracks.emplace_back();
        track.kind = row.track.kind;
        track.device = row.track.device;
        track.stream = row.track.stream;
        track.process = track.thread = "1";
        track.begin = at;
      }
      e.start_ns.push_back(row.start * 1000);
      e.duration_ns.push_back(row.duration * 1000);
      e.offset.push_back(at);
      e.name.push_back(names[row.name]);
      e.correlation.push_back(row.correlation);
      e.detail.push_back(row.detail);
      e.track.push_back(static_cast<uint16_t>(trace.tracks.size() - 1));
      e.category.push_back(row.category);
      e.phase.push_back(row.category == Category::kInstantEvent ? Phase::kInstant
                                                                : Phase::kComplete);
      trace.tracks.back().end = at + 1;
      trace.end_ns = std::max(trace.end_ns, e.end_ns(at));
    }
    trace.launches = launches_;
    trace.copies = copies_;
    return trace;
  }

 private:
  struct TrackId {
    TrackKind kind = TrackKind::kHost;
    int device = -1;
    int64_t stream = -1;
    TrackId() = default;
    TrackId(TrackKind k, int d, int64_t s) : kind(k), device(d), stream(s) {}
    explicit TrackId(const Track& t) : kind(t.kind), device(t.device), stream(t.stream) {}
    auto operator<=>(const TrackId&) const = default;
  };
  struct Row {
    TrackId track;
    Category category;
    std::string name;
    int64_t start, duration;
    uint32_t correlation, detail;
  };

  void call(std::string name, int64_t at_us, uint32_t correlation) {
    add({}, Category::kRuntime, std::move(name), at_us, 1, correlation, kNone);
  }
  struct At {
    TrackKind kind = TrackKind::kHost;
    int device = -1;
    int64_t stream = -1;
  };
  void add(At at, Category category, std::string name, int64_t start_us, int64_t duration_us,
           uint32_t correlation, uint32_t detail) {
    rows_.push_back({{at.kind, at.device, at.stream},
                     category,
                     std::move(name),
                     start_us,
                     duration_us,
                     correlation,
                     detail});
  }
  template <typename T>
  static uint32_t index(std::vector<T>& all, const T& value) {
    const auto at = std::ranges::find(all, value);
    if (at != all.end()) return static_cast<uint32_t>(at - all.begin());
    all.push_back(value);
    return static_cast<uint32_t>(all.size() - 1);
  }

  std::vector<Row> rows_;
  std::vector<Launch> launches_;
  std::vector<Copy> copies_;
  uint32_t next_ = 1;
=======
/// Collects events and sorts them into a Trace as load() would. Times in nanoseconds.
class TestTrace {
 public:
  static constexpr int kThread = -1;  // "stream" of the main thread of the host

  /// An event on a stream (>= 0) or on a thread (< 0).
  TestTrace& add(Category category, int stream, const std::string& name, int64_t start,
                 int64_t duration, uint32_t correlation = 0) {
    events_.push_back({category, stream, name, start, duration, correlation, -1, {}});
    return *this;
  }
  /// A kernel without a launch.
  TestTrace& kernel(int stream, const std::string& name, int64_t start, int64_t duration) {
    return add(Category::kKernel, stream, name, start, duration);
  }
  /// A kernel and the call [called, called + 1) that launches it.
  TestTrace& launched(int stream, const std::string& name, int64_t start, int64_t duration,
                      int64_t called, int thread = kThread) {
    const uint32_t correlation = ++correlation_;
    add(Category::kRuntime, thread, "cudaLaunchKernel", called, 1, correlation);
    return add(Category::kKernel, stream, name, start, duration, correlation);
  }
  /// Arguments of a collective for the event added last.
  TestTrace& collective(const CollectiveInfo& info, int64_t sequence) {
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
>>>>>>> 04982e7 (Trace: what the GPU waited for, as a graph; what-if replays and the critical path)
};

}  // namespace hadal::trace
