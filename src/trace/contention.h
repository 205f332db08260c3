// The same kernel in different company: what running beside communication, or beside other
// computation, costs it.
//
// A kernel that has the GPU to itself and one that shares it with a communication kernel differ in
// what they get: SMs, L2, memory bandwidth, clock. A trace shows it without any counter, because a
// step runs the same kernel (name, grid, block, registers, shared memory) many times in different
// company. Two comparisons:
//   by kernel   all launches of one kernel
//   by slot     launches of one kernel in one place of the program: same region name, and the k-th
//               launch of this kernel in its region (layers of a model differ in nothing else, so
//               the data are alike and the company is what differs)
//
// Company of a kernel, by the share of its time during which others run on its GPU:
//   communication   |self ∩ U(other communication)| / |self|
//   compute         |self ∩ U(other compute)| / |self|, where "other" includes the same stream
//                   (programmatic dependent launch)
// and its class: alone (both at most kAloneMax), beside communication (share at least kBesideMin),
// beside compute (likewise, and communication at most kAloneMax), else mixed. Kernels of zero
// length have no company and are left out.
//
// Slowdown = median beside / median alone. The comparison is a measurement; why it is so (fewer
// SMs, bandwidth, clock) is not in the trace. Pure functions; n log n.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/kernel_groups.h"
#include "trace/kernels.h"

namespace hadal::trace {

inline constexpr double kAloneMax = 0.1;
inline constexpr double kBesideMin = 0.9;

enum class Company : uint8_t { kAlone, kCommunication, kCompute, kMixed };
inline constexpr int kNumCompanies = 4;
std::string_view name(Company company);  // "alone", "communication", "compute", "mixed"

/// Shares of an activity's time, 0 to 1.
struct Beside {
  double communication = 0, compute = 0;
  Company company() const;
};
/// Of each activity, by index; zero for copies, memsets and activities of zero length.
std::vector<Beside> beside(const GpuView& view);

struct ContentionRow {
  KernelKey key;
  int device = -1;
  uint32_t region_name = kNone;  // of a slot, in Trace::names; kNone: by kernel
  int ordinal = -1;              // of a slot: k of "the k-th launch of this kernel in its region"
  std::array<DurationStats, kNumCompanies> time;  // by Company
  int64_t total_ns = 0;
  const DurationStats& in(Company c) const { return time[static_cast<size_t>(c)]; }
  /// Median in this company / median alone; 0 where either was never seen.
  double slowdown(Company c) const;
  /// What the launches in this company would save at the median of those alone, 0 at least.
  int64_t lost_ns(Company c) const;
};

struct Contention {
  std::vector<ContentionRow> kernels;  // seen both alone and in company; most lost first
  std::vector<ContentionRow> slots;    // likewise
};

Contention contention(const GpuView& view);
Json to_json(const GpuView& view, const Contention& contention);

}  // namespace hadal::trace
