// What the GPU did: the kernels, copies and memsets of a trace, each with its class, its launch and
// the region of the program that launched it. Every analysis starts from this view.
//
// Two facts shape it. First, GPU time is not host time: the host runs milliseconds ahead, so a
// kernel belongs to the annotation that was open when it was *launched*, not to one that happens to
// be open while it runs. Second, "External id" cannot be trusted (old profilers wrote the
// correlation there); the launch is found by `correlation`, and the operator by thread and time.
//
// Pure functions of a Trace. Times in nanoseconds since the trace's first event.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "trace/intervals.h"
#include "trace/rules.h"
#include "trace/trace.h"

namespace hadal::trace {

/// One kernel, copy or memset.
struct Activity {
  int64_t start_ns = 0, end_ns = 0;
  uint32_t row = 0;             // in Trace::events
  uint32_t name = 0;            // in Trace::names
  uint32_t launch_row = kNone;  // the runtime or driver call; kNone: not found
  uint32_t region = kNone;      // in GpuView::regions; kNone: outside of all
  uint16_t track = 0;           // the stream
  Class kind = Class::kCompute;
  Role role = Role::kNone;
  int64_t duration_ns() const { return end_ns - start_ns; }
};

/// A leaf annotation of the host: a user_annotation that contains no other one on its thread
/// ("attn(F)"), and the GPU work launched inside of it. The k-th region of a name has index k: in a
/// trace of one step, its layer or micro-batch.
struct Region {
  uint32_t row = 0;   // the annotation
  uint32_t name = 0;  // in Trace::names
  int index = 0;      // 0, 1, ... among the regions of this name, by host time
  int64_t host_start_ns = 0, host_end_ns = 0;
  int64_t gpu_start_ns = 0, gpu_end_ns = 0;  // of its activities; 0, 0 where it has none
  std::vector<uint32_t> activities;          // indices into GpuView::activities, ascending
};

/// The stretch of time and the device that an analysis looks at. Activities that reach into it
/// count with the part inside.
struct Window {
  int64_t start_ns = INT64_MIN, end_ns = INT64_MAX;
  int device = -1;  // -1: all of them
  std::string description = "whole trace";

  /// Does some of [start, end), or a moment without length, lie inside? Neighbours that only touch
  /// the window do not.
  bool reached_by(int64_t start, int64_t end) const {
    return start < end_ns && (start >= start_ns || end > start_ns);
  }
};

/// Reads "1200us:3400us" (times since the first event; ns, us, ms, s; us where no unit is given) or
/// "ann:NAME": from the first start to the last end of the GPU work launched inside of annotations
/// of this name ("ann:ProfilerStep#1"). kInvalidArgument, kNotFound.
Result<Window> parse_window(const Trace& trace, std::string_view text);

struct GpuView {
  const Trace* trace = nullptr;
  Window window;
  std::vector<Activity> activities;  // sorted by (start, end, track, row)
  std::vector<Region> regions;       // sorted by (host start, row)
  std::vector<uint16_t> streams;     // tracks with activities, ascending
  uint64_t unlinked = 0;             // activities without a launch
  uint64_t outside_regions = 0;      // activities with a launch and without a region

  /// The union of the activities of a class, clipped to the window.
  IntervalSet busy(Class kind) const;
  IntervalSet busy() const;  // of all
  std::string_view name_of(const Activity& a) const { return trace->names[a.name]; }
  /// How a kernel was launched; null for copies and memsets, or where the trace does not say.
  const Launch* launch_of(const Activity& a) const;
};

/// Builds the view. Deterministic; linear but for the sorts. CUDA graphs: one launch call may have
/// many activities. An activity whose timestamp is 0 in a trace of absolute times is left out.
GpuView gpu_view(const Trace& trace, const Rules& rules, const Window& window = {});

}  // namespace hadal::trace
