// The critical path: the chain of causes from the last end back to the start of the span.
//
// It follows the causes of the replay graph (replay.h): from the activity that ended last, through
// what let it start, and so on; where the launch was the cause, along the host back to its last
// wait for the GPU, and on with what that wait was for. The steps lie end to end, so their lengths
// add up to the span exactly. Shortening work off the path gains nothing; shortening work on it
// gains at most its length, and less where a second path is close behind (what_if() says how much).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/replay.h"

namespace hadal::trace {

enum class PathClass : uint8_t {
  kCompute,
  kTransfer,  // communication that is not a barrier
  kBarrier,
  kMemory,
  kDelay,  // from one activity to the next, up to kKernelWaitNs (30 us)
  kHost,   // the host on the way to a launch, its return from a wait, and the launch's latency
  kGap,    // longer delays, whose cause the trace does not show
};
inline constexpr int kNumPathClasses = 7;
std::string_view name(PathClass c);  // "compute", "transfer", ..., "delay", "host", "gap"

struct PathStep {
  int64_t start_ns = 0, end_ns = 0;
  PathClass what = PathClass::kCompute;
  uint32_t activity = kNone;    // what ran; for delays and gaps, what started after them
  Cause cause = Cause::kBegin;  // of an activity: why it began when it did
  int64_t length() const { return end_ns - start_ns; }
};

struct PathUse {
  std::string name;
  uint64_t steps = 0;
  int64_t sum_ns = 0;
};

struct CriticalPath {
  int64_t span_ns = 0;
  std::vector<PathStep> steps;                    // in order of time, without empty ones
  std::array<int64_t, kNumPathClasses> sum_ns{};  // by class; they add up to span_ns
  std::vector<PathUse> kernels;                   // activities on the path by name, largest first
  std::vector<PathUse> regions;                   // likewise by name of the region; "(no region)"
};

CriticalPath critical_path(const ReplayGraph& graph);

/// {span_us, classes: {compute_us, ...}, kernels: [{name, short_name, steps, sum_us}], regions:
/// [...], steps: [{class, start_us, duration_us, cause, name, stream, region}]}
Json to_json(const ReplayGraph& graph, const CriticalPath& path);

}  // namespace hadal::trace
