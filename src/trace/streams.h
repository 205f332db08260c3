// What each stream of a GPU does, and why it waits.
//
// A gap lies between the latest end so far on a stream and the next start. Its cause:
//   host wait    the next activity was launched after the stream had become free: the host is late
//   kernel wait  launched in time, and the gap is shorter than 30 us: the cost of going from one
//                kernel to the next (launch latency, events between streams)
//   other        launched in time and yet 30 us or more: the stream waited for another one
// The definition, with its threshold, is HTA's idle time breakdown.
#pragma once

#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

inline constexpr int64_t kKernelWaitNs = 30'000;

enum class GapCause : uint8_t { kHostWait, kKernelWait, kOther };
std::string_view name(GapCause cause);  // "host_wait", "kernel_wait", "other"

struct Gap {
  int64_t start_ns = 0, end_ns = 0;
  uint32_t after = 0, before = 0;  // indices into GpuView::activities
  GapCause cause = GapCause::kOther;
  int64_t length() const { return end_ns - start_ns; }
};

struct StreamUse {
  uint16_t track = 0;
  int device = 0;
  int64_t stream = 0;
  uint64_t events = 0, compute_events = 0, communication_events = 0, memory_events = 0;
  int64_t busy_ns = 0;
  int64_t sum_ns = 0;  // of durations; more than busy where activities overlap in the stream
  int64_t start_ns = 0, end_ns = 0;
  int64_t host_wait_ns = 0, kernel_wait_ns = 0, other_wait_ns = 0;  // sums of its gaps
  std::vector<Gap> gaps;                                            // in order of time
  std::vector<uint32_t> activities;                                 // in order of time
};

/// One entry per stream with activities, by (device, stream).
std::vector<StreamUse> stream_use(const GpuView& view);

/// [{device, stream, events, busy_us, ...}], with the `gaps_max` longest gaps of each.
Json to_json(const GpuView& view, const std::vector<StreamUse>& streams, size_t gaps_max = 10);

}  // namespace hadal::trace
