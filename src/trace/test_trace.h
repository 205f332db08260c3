// Traces written by hand, for tests: kernels, copies, annotations and operators, in microseconds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "trace/trace.h"

namespace hadal::trace {

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
};

}  // namespace hadal::trace
