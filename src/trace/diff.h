// What changed between two traces, or two windows of one: exactly, with nothing left over.
//
// The span is an identity (summary.h): span = compute + exposed communication + exposed memory +
// idle. So the difference of two spans is the sum of four differences. The first three are shared
// out further: every nanosecond in which the GPU works belongs to one activity, its *owner*, the
// activity that started first among those of the first class that is at work (compute, then
// communication, then memory). So
//
//   span = sum of owned time over kernel names + idle = the same over regions + idle
//
// and the differences of kernels, or of regions, add up to the difference of the spans.
//
// Beside this, the sum of a kernel's durations changes because there are more or fewer of them, and
// because each takes longer or shorter. With n and t the count and sum of a (before) and b (after):
//
//   by count     (n_b - n_a) * (t_a / n_a + t_b / n_b) / 2, rounded to whole ns, halves away from 0
//   by duration  (t_b - t_a) - by count
//
// the symmetric split (both changes at the mean of the other), which changes its sign when a and b
// change places, and whose two parts add up exactly. A kernel in one of them only is all count.
//
// Kernels are matched by their whole name, families by theirs (kernels.h), regions by name and
// index. Pure functions; sorts only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/summary.h"

namespace hadal::trace {

/// One side of a comparison.
struct DiffSide {
  uint64_t count = 0;
  int64_t sum_ns = 0;    // of durations
  int64_t owned_ns = 0;  // of the span
};

/// A kernel, a family or a region in both.
struct DiffRow {
  std::string name;
  std::string short_name;        // of kernels
  Class kind = Class::kCompute;  // of kernels
  DiffSide a, b;
  int64_t by_count_ns = 0, by_duration_ns = 0;  // parts of b.sum_ns - a.sum_ns
  int64_t owned_delta_ns() const { return b.owned_ns - a.owned_ns; }
};

/// The region with this name and index in both.
struct MatchedRegion {
  std::string name;
  int index = 0;
  uint32_t a = kNone, b = kNone;           // in GpuView::regions; kNone: it is only in the other
  int64_t gpu_a_ns = 0, gpu_b_ns = 0;      // from its first start to its last end
  int64_t owned_a_ns = 0, owned_b_ns = 0;  // of the span
};

struct TraceDiff {
  Summary a, b;
  // Each by |owned delta|, then |sum delta|, largest first, then name.
  std::vector<DiffRow> kernels, families, regions;
  std::vector<MatchedRegion> matched;  // in the order of a, then those only in b
  int64_t span_delta_ns() const { return b.span_ns - a.span_ns; }
};

/// For each activity the part of the span that it owns; together they are the busy time.
std::vector<int64_t> owned_time(const GpuView& view);

TraceDiff diff(const GpuView& a, const GpuView& b);

/// {a: {...}, b: {...}, delta: {span_us, compute_us, ...}, kernels: [...], families: [...],
/// regions: [...], matched_regions: [...]}; a count of 0 says that it is only in the other.
Json to_json(const TraceDiff& diff);

}  // namespace hadal::trace
