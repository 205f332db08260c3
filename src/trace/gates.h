// What the first kernel of each region waited for, on each stream it uses.
//
// Before a region's first activity on a stream there are three moments: the end of the activity
// before it on the same stream, the latest end on any other stream not after its start, and the
// start of its launch on the host. The last of them let it go:
//   own      its own stream became free last: no wait to speak of
//   other    another stream's activity ended last, within kReleaseNs of the start: the region
//            waited for that activity (through an event), from the moment its own stream was free
//   host     it was launched last: the host was late
//   unknown  nothing ended or was launched within kReleaseNs: a cause that the trace does not show
// Of a wait, the *stall* is its end in which no stream computed, up to the start: a stream that
// sleeps while others work costs nothing. The blamed activity is the one that ended last; that it
// *caused* the start is inferred from the time, for traces do not record which event a stream waits
// on.
#pragma once

#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

inline constexpr int64_t kReleaseNs = 10'000;

enum class GateKind : uint8_t { kOwn, kOther, kHost, kUnknown };
std::string_view name(GateKind kind);  // "own", "other", "host", "unknown"

struct Gate {
  uint32_t region = 0;    // in GpuView::regions
  uint32_t activity = 0;  // its first one on this stream
  uint16_t track = 0;
  GateKind kind = GateKind::kUnknown;
  uint32_t released_by = kNone;  // the activity that ended last (own, other); kNone: none did
  int64_t free_ns = 0;           // end of what ran before on the stream; the start if nothing did
  int64_t start_ns = 0;
  int64_t stall_ns = 0;  // the end of the wait, without computation on the device
  int64_t wait_ns() const { return start_ns - free_ns; }
};

/// Sorted by stall, then wait, longest first, then time. A region that is the first on its stream
/// has wait 0.
std::vector<Gate> gates(const GpuView& view);

/// [{region, index, stream, kind, wait_us, stall_us, start_us, released_by: {kernel, region, index,
/// stream}}]
Json to_json(const GpuView& view, const std::vector<Gate>& all);

/// "attn(B)#3"; "(no region)" for kNone.
std::string region_label(const GpuView& view, uint32_t region);

}  // namespace hadal::trace
