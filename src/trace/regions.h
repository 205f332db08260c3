// The program's own phases on the GPU: for each leaf annotation (Region, activity.h) what it ran,
// when, and what of it was exposed; as a grid of phases by layers; and which phases ran at the same
// time.
//
//   busy(r)        |U(activities launched in r)|
//   exposed(r)     |(U(communication of r) - U(compute of all))|
//   overlap(p, q)  sum over instances of |U(p_i) ∩ U(q_j)|, p and q names of regions; for p = q
//                  over i < j
#pragma once

#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

struct RegionUse {
  uint32_t region = 0;  // in GpuView::regions
  std::string_view name;
  int index = 0;
  uint64_t events = 0;
  int64_t busy_ns = 0, compute_ns = 0, communication_ns = 0, barrier_ns = 0, exposed_ns = 0;
  int64_t start_ns = 0, end_ns = 0;  // on the GPU; 0, 0 without events
};
/// In the order of GpuView::regions (host time).
std::vector<RegionUse> region_use(const GpuView& view);

/// Rows are the names of regions in order of first appearance, columns their indices.
struct PhaseGrid {
  std::vector<std::string> phases;
  int num_layers = 0;
  std::vector<uint32_t> cells;  // [phases x layers] indices into the region uses; kNone: absent
};
PhaseGrid phase_grid(const GpuView& view, const std::vector<RegionUse>& uses);

/// overlap_ns[p * phases + q], symmetric; phases as in PhaseGrid, then "(no region)" for work
/// outside of all, if there is any.
struct OverlapMatrix {
  std::vector<std::string> phases;
  std::vector<int64_t> overlap_ns;
  std::vector<int64_t> busy_ns;     // [phases] sum over instances
  std::vector<int64_t> hidden_ns;   // [phases] communication of the phase under compute of any
  std::vector<int64_t> exposed_ns;  // [phases] and the rest of it
};
OverlapMatrix overlap_matrix(const GpuView& view);

/// [{name, index, events, busy_us, start_us, end_us, ...}]; start and end null without events.
Json to_json(const std::vector<RegionUse>& uses);
Json to_json(const PhaseGrid& grid, const std::vector<RegionUse>& uses);
Json to_json(const OverlapMatrix& matrix);

}  // namespace hadal::trace
