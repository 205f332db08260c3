#include "trace/repair.h"

#include <algorithm>

#include "trace/chunk.h"

namespace hadal::trace {
namespace {

constexpr int64_t kDayNs = int64_t{24} * 3600 * 1'000'000'000;

bool is_hip(const Trace& trace) {
  std::vector<bool> of_runtime(trace.names.size());
  const Events& e = trace.events;
  for (size_t row = 0; row < e.size(); ++row) {
    if (is_runtime_call(e.category[row])) of_runtime[e.name[row]] = true;
  }
  bool hip = false;
  for (size_t name = 0; name < trace.names.size(); ++name) {
    if (!of_runtime[name]) continue;
    if (trace.names[name].starts_with("cu")) return false;
    hip = hip || trace.names[name].starts_with("hip");
  }
  return hip;
}

}  // namespace

void set_base(Trace& trace) {
  Events& e = trace.events;
  int64_t earliest = INT64_MAX;
  uint64_t zeros = 0;
  bool whole_us = true;
  for (size_t row = 0; row < e.size(); ++row) {
    if (e.phase[row] == kEnd) continue;
    const int64_t start = e.start_ns[row];
    if (start != 0) earliest = std::min(earliest, start);
    zeros += start == 0;
    whole_us = whole_us && start % 1000 == 0 && e.duration_ns[row] % 1000 == 0;
  }
  const bool zeros_are_times = zeros != 0 && (earliest <= kDayNs || earliest == INT64_MAX);
  int64_t base = zeros_are_times ? std::min<int64_t>(earliest, 0) : earliest;
  if (base == INT64_MAX) {  // no rows: the arrows alone
    base = trace.flows.empty() ? 0 : std::ranges::min(trace.flows, {}, &Flow::time_ns).time_ns;
  }
  if (!zeros_are_times) trace.health.zero_timestamps += zeros;
  trace.resolution_ns = whole_us && e.size() != 0 ? 1000 : 1;
  trace.base_ns += base;
  for (int64_t& start : e.start_ns) start -= base;
  for (Flow& flow : trace.flows) flow.time_ns -= base;
}

void repair_streams(Trace& trace) {
  Events& e = trace.events;
  const bool late_stamps = is_hip(trace);
  for (const Track& track : trace.tracks) {
    if (track.kind != TrackKind::kGpu) continue;
    for (uint32_t row = track.begin; row + 1 < track.end; ++row) {
      const int64_t next = e.start_ns[row + 1];
      const int64_t overlap = e.end_ns(row) - next;
      if (overlap <= 0 || e.start_ns[row] < 0) continue;
      if (late_stamps && overlap > kStampToleranceNs && next > e.start_ns[row]) {
        e.duration_ns[row] = next - e.start_ns[row];
        ++trace.health.clipped_durations;
      } else {
        ++trace.health.overlapping_in_stream;
      }
    }
  }
  for (size_t row = 0; row < e.size(); ++row) {
    if (e.start_ns[row] >= 0) trace.end_ns = std::max(trace.end_ns, e.end_ns(row));
  }
}

}  // namespace hadal::trace
