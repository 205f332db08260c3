// Communication by role: how much is transfer, how much is waiting for other ranks, and how much of
// either is hidden under computation.
//
//   sum      of the durations of the role's activities
//   exposed  |U(role) - U(compute)|; for layout kernels, which compute, it is 0
//
// A barrier kernel (DeepEP's notify_dispatch, cached_notify) ends when all ranks have arrived, so
// its duration is the lateness of others. One trace cannot tell who was late, but it shows whether
// barriers grow: barriers_by_region gives their time for each region in its order.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/kernels.h"

namespace hadal::trace {

struct RoleUse {
  Role role = Role::kNone;
  uint64_t count = 0;
  int64_t sum_ns = 0, union_ns = 0, exposed_ns = 0;
};

/// Time of one role in the regions of one name, by index of the region.
struct RoleInRegions {
  std::string region;
  Role role = Role::kNone;
  std::vector<int64_t> sum_ns;
  /// Least-squares growth from one region of this name to the next; 0 for fewer than two.
  double slope_ns = 0;
};

struct CommUse {
  std::array<RoleUse, 3> roles;  // transfer, barrier, layout
  int64_t sum_ns = 0;            // of the communication class: transfer and barrier
  int64_t union_ns = 0;
  std::vector<KernelRow> kernels;  // of all three roles, by sum
  std::vector<RoleInRegions> by_region;
  /// Names without a rule on streams that also communicate: perhaps communication nobody told us
  /// of.
  std::vector<KernelRow> unclassified;
};

CommUse comm_use(const GpuView& view);

/// {role: {count, sum_us, exposed_us}}
Json roles_json(const CommUse& use);
/// {role: {count, sum_us, exposed_us, union_us, kernels: [...], by_region: [...]}, ...}
Json to_json(const CommUse& use);

}  // namespace hadal::trace
