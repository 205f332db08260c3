// Memory: copies and memsets with their bandwidth, the allocator's curve, and calls that allocate.
//
// A trace of whole microseconds says 1 us of a copy that took 1,664 ns; where the profiler also
// printed bytes and bandwidth, the duration behind them is used if it agrees with the printed one
// within the trace's resolution.
//
// Bandwidth is compared with a limit where one is known (model.h): a copy inside of a device reads
// and writes each byte (HBM / 2), a memset writes it (HBM), a copy between devices passes NVLink.
// Copies to and from the host pass PCIe or C2C, which a trace does not describe.
//
// The allocator's curve comes from "[memory]" instants (profile_memory=True): total allocated and
// reserved bytes after each allocation and free. At most kMemoryEventsMax of them are read from the
// file, evenly spaced, with a note; a peak between them is then missed.
//
// Times in ns, bytes in bytes, GB/s = 1e9 B/s.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/model.h"

namespace hadal::trace {

inline constexpr size_t kMemoryEventsMax = 200'000;

/// Copies or memsets of one name.
struct CopyRow {
  std::string name;       // "Memcpy HtoD (Pageable -> Device)"
  bool pageable = false;  // needs a staging copy, and holds the host whatever the call says
  uint64_t count = 0;
  uint64_t synchronous = 0;  // by a call without "Async"
  uint64_t bytes = 0;        // saturates
  int64_t total_ns = 0;
  uint64_t largest_bytes = 0;
  double largest_gb_s = 0;  // the fastest among those of largest_bytes: what the path can do
  double limit_gb_s = 0;    // 0: unknown
  double gb_s() const;      // of all together
  double percent() const;   // largest_gb_s of the limit; 0: unknown
};

/// Calls such as cudaMalloc, cudaFree, cudaHostAlloc.
struct AllocationCalls {
  std::string name;
  uint64_t count = 0;
  int64_t total_ns = 0;
};

struct MemoryPoint {
  int64_t time_ns = 0;
  int64_t allocated = 0, reserved = 0;
};
struct MemoryCurve {
  int device_type = 0;  // PyTorch's: 0 the host, 1 CUDA
  int device = -1;
  std::vector<MemoryPoint> points;  // by time
  MemoryPoint peak;                 // first with the most allocated
  int64_t peak_reserved = 0;
};

struct MemoryUse {
  std::vector<CopyRow> copies;  // longest total first
  std::vector<AllocationCalls> calls;
  std::vector<MemoryCurve> curves;  // by (device_type, device)
  std::vector<std::string> notes;
};

/// Duration of a copy, as said above.
int64_t copy_duration_ns(const GpuView& view, const Activity& a);

MemoryUse memory_use(const GpuView& view, const Model& model = {});
/// Curves are thinned to at most `points_max` points each, the peak kept.
Json to_json(const MemoryUse& use, size_t points_max = 2000);

}  // namespace hadal::trace
