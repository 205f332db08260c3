// Kernels of a view, grouped: what the hardware analyses (occupancy, waves, contention, roofline,
// patterns) share.
//
// Two launches are "the same kernel" when name, grid, block, registers and shared memory are equal:
// the store keeps equal launches once, so a pair of indices says it. Positions in a region count
// launches, not starts: kernels of several streams start in an order that differs from step to
// step.
//
// Pure functions; n log n.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

struct KernelKey {
  uint32_t name = 0;        // in Trace::names
  uint32_t launch = kNone;  // in Trace::launches; kNone: the trace does not say
  auto operator<=>(const KernelKey&) const = default;
};

/// Same kernel, same device.
struct KernelGroup {
  KernelKey key;
  int device = -1;
  int64_t total_ns = 0;
  std::vector<uint32_t> activities;  // indices into GpuView::activities, ascending; not empty
};

bool is_kernel(const GpuView& view, const Activity& a);
KernelKey key_of(const GpuView& view, const Activity& a);
int device_of(const GpuView& view, const Activity& a);        // -1: the trace does not say
const Launch* launch_of(const GpuView& view, KernelKey key);  // null: unknown

/// Longest total first; equal ones by (device, key).
std::vector<KernelGroup> kernel_groups(const GpuView& view);

/// All activities in the order of their launches; where a launch is unknown, its start stands for
/// it.
std::vector<uint32_t> launch_order(const GpuView& view);

/// The activities of each region in the order of their launches, by region.
std::vector<std::vector<uint32_t>> launched_in_regions(const GpuView& view);

/// The product of a grid or block, or INT64_MAX where it does not fit: hostile traces say 2^32-1
/// three times.
int64_t volume(const std::array<uint32_t, 3>& extent);

/// {"name", "grid", "block", "registers_per_thread", "shared_memory_bytes"}; the last four are left
/// out where the trace does not say.
Json kernel_json(const GpuView& view, KernelKey key);

}  // namespace hadal::trace
