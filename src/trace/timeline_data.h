// The timeline of a report as bytes: everything that its page draws, in columns.
//
// Why not JSON. A million events are 200 MB of JSON and no browser opens that; as columns of small
// differences they are 6 to 8 MB, half of that deflated, and decoding is one pass over bytes.
//
// Every number is a LEB128 varint (base/bytes.h); `z` marks zigzag. A column is one number per
// element. Times are in units of `unit_ns` since the rank's first event; `d` marks a column of
// differences, to the previous element, the first to 0; `g` one of gaps: start minus the previous
// end, the first minus 0.
//
//   payload  strings shorts n ranks*n
//   strings  n, column of lengths in bytes, UTF-8 bytes
//   shorts   n, column of indices into strings (d), then as strings: what tables call a kernel
//   rank     unit_ns offset_ns end launches copies regions set*3 tracks step step merged
//   launches n, columns gx gy gz bx by bz registers shared_memory_bytes
//   copies   n, columns bytes, MB/s
//   regions  n, columns name index start(z g) duration(host time; GPU time: the track of kind
//   region) set      n, columns start(g) length: the busy times of compute, communication and
//   memory tracks   n, track*n: host tracks first, then the others; names and kinds are in the JSON
//   track    number of lanes, lane*
//   lane     flags n, columns start(z g) duration name category, then
//              flags & 1, merged:  columns count covered
//              flags & 2, GPU:     columns kind region+1 detail+1 delay(z) launch_duration launch(z
//              d) flags & 4, regions: column region; flags & 8: they mostly communicate
//            number of levels, level*
//   level    q n, columns first(d) longest(-first) covered
//   step     n, columns time(d) value(z d): SM use, then length of the launch queue
//   merged   n, columns name(d) count: events inside of merged bars, for the search to count
//
// `kind` is Class | Role << 2 | 16 if outside of the window. `detail` is an index into launches or
// copies, by category. `delay` is the bar's start minus the start of the call that launched it,
// `launch` 1 + the index of that call's bar, counted over all tracks of the rank; 0 for none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "trace/activity.h"

namespace hadal::trace {

/// One track of the payload, in its order.
struct TimelineTrack {
  int track = -1;                // in Trace::tracks; -1: the regions
  Class role = Class::kCompute;  // GPU tracks: the class that most of their busy time has
  uint64_t events = 0;
  uint64_t bars = 0;  // fewer than events where bars are merged
};

struct TimelineRank {
  std::vector<TimelineTrack> tracks;
  uint64_t events = 0, merged_events = 0;
  int64_t merge_below_ns = 0;  // host events shorter than this may be merged; 0: none is
  int num_sms = 0;             // 0: the trace does not say
};

struct Timeline {
  std::vector<std::byte> payload;
  std::vector<TimelineRank> ranks;
};

/// Ranks are put on one clock by Trace::base_ns less `clock_offsets_ns` (empty: zeros); where their
/// bases are more than a day apart, they share no clock and all start at 0. Deterministic. Linear
/// but for the depth of nesting. Memory: about 60 bytes an event of the largest track, 9 an event
/// of all.
Timeline encode_timeline(std::span<const GpuView> ranks, std::span<const int64_t> clock_offsets_ns,
                         uint64_t host_events_max);

}  // namespace hadal::trace
