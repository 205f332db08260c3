// The host's side: how far it runs ahead of the GPU, where it is late, and where it blocks.
//
//   launch delay  max(0, start of the activity - end of its launch call); a negative one is a fault
//                 of clock conversion and is counted
//   run-ahead     start of the activity - start of its launch call
//   queue length  per stream: +1 at the start of a launch call, -1 at the start of its activity (a
//                 launch and a start at one time: the launch first); from 1024 on the host blocks
//   launch bound  the median delay on the busiest stream is below 10 us, or more than 10 % of the
//                 span is host wait there
#pragma once

#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/kernels.h"
#include "trace/streams.h"

namespace hadal::trace {

inline constexpr int kQueueFull = 1024;

struct QueueStep {
  int64_t time_ns = 0;
  int length = 0;  // from this time on
};

struct StreamLaunches {
  uint16_t track = 0;
  DurationStats delay;
  int64_t run_ahead_median_ns = 0;
  int queue_max = 0;
  double queue_mean = 0;  // over the time from the first launch to the last start
  int64_t queue_full_ns = 0;
  std::vector<QueueStep> queue;
};

/// Calls of one function of the API.
struct ApiRow {
  std::string name;
  DurationStats time;
  uint64_t launches = 0;  // calls that started something on the GPU
};

/// A call that held the host for kBlockingCallNs or more.
struct BlockingCall {
  uint32_t row = 0;
  int64_t gpu_idle_ns = 0;  // of its time; without idle GPU the host's wait costs nothing
};
inline constexpr int64_t kBlockingCallNs = 1'000'000;

struct LaunchUse {
  std::vector<StreamLaunches> streams;  // as GpuView::streams
  DurationStats delay;                  // of all
  uint64_t negative_delays = 0;
  uint64_t short_activities = 0;       // shorter than their own launch call
  uint64_t slow_calls = 0;             // launch calls over 50 us
  uint64_t long_delays = 0;            // delays over 100 us
  std::vector<ApiRow> api;             // by sum
  std::vector<BlockingCall> blocking;  // by time
  bool launch_bound = false;
  double host_wait_share = 0;  // of the span, on the busiest stream; 0 to 1
};

LaunchUse launch_use(const GpuView& view, const std::vector<StreamUse>& streams);

Json to_json(const GpuView& view, const LaunchUse& use);

}  // namespace hadal::trace
