// What a step does again and again, and what it does in pieces that are too small.
//
//   sequences   runs of two or more kernels (by name) that one stream executes repeatedly, in the
//               order of launches: maximal repeats, occurrences that do not overlap, by total time.
//               One that lies inside of a longer one already listed appears only if it occurs twice
//               as often or spends a tenth of its time outside.
//   recompute   kernels of a backward region (named like a forward one with (B) for (F), backward
//               for forward, bwd for fwd) that run again what the forward region ran: runs of
//               kRecomputeRunMin or more launches with equal name, grid, block and shared memory
//               that follow each other in both.
//   chains      kFusionChainMin or more launches in a row on one stream in one region, each shorter
//               than kShortKernelNs and not a matrix product, attention or communication: what a
//               fused kernel would do at once. ceiling = time from the first start to the last end
//               without the longest of them.
//   imbalance   rows that grouped GEMMs of a region worked on, from layer to layer (shapes.h); they
//               are padded to tiles, so they bound the tokens from above.
//
// n log^2 n for sequences, n log n for the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/shapes.h"

namespace hadal::trace {

inline constexpr int64_t kShortKernelNs = 10'000;
inline constexpr size_t kFusionChainMin = 3;
inline constexpr size_t kRecomputeRunMin = 3;

struct Sequence {
  std::vector<uint32_t> names;  // in Trace::names, in order
  uint16_t track = 0;
  uint64_t count = 0;           // occurrences that do not overlap
  int64_t total_ns = 0;         // of their kernels
  std::vector<uint32_t> first;  // activities at which they begin
};

struct Recompute {
  uint32_t forward_name = 0, backward_name = 0;  // regions, in Trace::names
  uint32_t backward = 0;                         // in GpuView::regions
  std::vector<uint32_t> activities;              // by launch
  int64_t total_ns = 0;
};

struct FusionChain {
  std::vector<uint32_t> activities;
  int64_t kernels_ns = 0;  // sum of durations
  int64_t span_ns = 0;     // first start to last end
  int64_t ceiling_ns = 0;
};

struct GroupedRows {
  uint32_t region_name = 0;
  std::vector<int64_t> rows;  // by index of the region; 0: unknown
  int64_t least = 0, most = 0;
  double mean = 0;
};

struct Patterns {
  std::vector<Sequence> sequences;   // most time first
  std::vector<Recompute> recompute;  // by region
  std::vector<FusionChain> chains;   // highest ceiling first
  uint64_t short_kernels = 0;        // below kShortKernelNs
  int64_t short_kernels_ns = 0;
  std::vector<GroupedRows> grouped_rows;
};

Patterns patterns(const GpuView& view, const Shapes& shapes, size_t sequences_max = 20);
Json to_json(const GpuView& view, const Patterns& patterns, size_t chains_max = 50);

}  // namespace hadal::trace
