// What is wrong with times in traces, and what becomes of it.
#pragma once

#include "trace/trace.h"

namespace hadal::trace {

/// Makes times relative to the earliest event and sets base_ns and resolution_ns. A time of
/// exactly 0 where every other event is later than a day is no time: such rows are counted, keep
/// their place at 0 (a negative start_ns) and do not count for the earliest event or the end.
void set_base(Trace& trace);

/// Looks for kernels, copies and memsets that run into the next one of their stream. Programmatic
/// dependent launch makes them overlap by microseconds: kept and counted. AMD's profilers stamp the
/// end of some kernels milliseconds late: in traces of HIP (runtime calls whose names begin with
/// "hip", none with "cu"), an overlap of more than kStampToleranceNs ends at the start of the
/// next, and is counted. Sets end_ns. Needs sorted rows.
void repair_streams(Trace& trace);

inline constexpr int64_t kStampToleranceNs = 10'000;

}  // namespace hadal::trace
