// Where the time of a GPU goes, as an identity.
//
// With U(x) the union in time of the activities of class x, and |.| its length:
//
//   span                   from the first start to the last end of all activities
//   busy                   |U(all)|                                 idle = span - busy
//   compute                |U(compute)|
//   communication, memory  |U(communication)|, |U(memory)|
//   overlap                |U(communication) ∩ U(compute)|
//   exposed communication  |U(communication) - U(compute)|
//   exposed memory         |U(memory) - U(compute) - U(communication)|
//
//   compute + exposed communication + exposed memory + idle = span
//
// Unions, never sums: two kernels side by side do not use more time than one. Activities without
// duration count as events and take no time.
//
// Of the exposed communication the pieces longer than kLaunchGapNs are *structural*: there the
// schedule had nothing to compute. The rest are the holes of a microsecond or two between kernels
// that follow one another, which no schedule can fill.
#pragma once

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

/// Holes up to this long are launch gaps: kernels of one stream follow each other in 1 to 3 us, and
/// through an event of another stream in up to 10 us.
inline constexpr int64_t kLaunchGapNs = 10'000;

struct Summary {
  int64_t start_ns = 0, end_ns = 0;  // of the span
  int64_t span_ns = 0, busy_ns = 0, idle_ns = 0;
  int64_t compute_ns = 0, communication_ns = 0, memory_ns = 0;
  int64_t overlap_ns = 0, exposed_communication_ns = 0, exposed_memory_ns = 0;
  IntervalSet exposed;             // U(communication) - U(compute)
  IntervalSet structural_exposed;  // its pieces longer than kLaunchGapNs
  int64_t structural_exposed_ns = 0;
  IntervalSet idle;
  uint64_t num_activities = 0;

  /// Hidden share of the communication, 0 to 100; -1 where there is no communication.
  double overlap_percent() const;
  /// Part of the span, 0 to 100.
  double percent_of_span(int64_t ns) const;
};

Summary summarize(const GpuView& view);

/// {span_us, busy_us, ..., overlap_percent (null without communication)}
Json to_json(const Summary& summary);

}  // namespace hadal::trace
