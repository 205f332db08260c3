// D = A B^T with scales on Hopper: persistent blocks, warp-specialized, one kernel template.
//
//   schedule.cuh  which tile comes next         all roles
//   load.cuh      global memory to stages       4 warps
//   multiply.cuh  stages to accumulators        1 or 2 warpgroups
//   gather.cuh    sums of a split of k          the same
//   store.cuh     accumulators to D             the same
//
// Stages form a ring. A full barrier has one arrival of the warp that copies codes, with their
// bytes, and one of each warp that reads scales. An empty barrier has one arrival per math warp of
// every block of the cluster, because each block copies half of Y to both.
#pragma once

#include "gemm/sm90/gather.cuh"
#include "gemm/sm90/store.cuh"

namespace hadal::gemm::sm90 {

template <typename C>
HADAL_DEVICE void calculate(const Parameters& p, const Schedule<C>& schedule,
                            const Memory<C>& memory) {
  using namespace gpu::device;
  Ring<C::kStages> ring;
  uint32_t parity = 0;  // of the exchanges of sums
  Work work;
  for (int32_t unit = block_index().x / C::kCluster; schedule.find(unit, work);
       unit += grid_size().x / C::kCluster) {
    Sums<C> sums;
    multiply<C>(work, memory, ring, sums);
    if constexpr (C::kSplit > 1) {
      const bool first = cluster_rank() == 0;
      if (first) {
        gather_sums<C>(memory, parity, sums);
      } else {
        send_sums<C>(memory, parity, sums);
      }
      parity ^= 1;
      if (!first) continue;
    }
    store<C>(p, work, memory, sums);
  }
  // A block must not end before the first one's last arrival has come to it.
  if constexpr (C::kSplit > 1) {
    if (cluster_rank() != 0) memory.sums_empty().wait_cluster(parity ^ 1);
  }
}

template <typename C>
HADAL_DEVICE void gemm(const Parameters& p) {
  using namespace gpu::device;
  const Memory<C> memory{shared_memory()};
  Schedule<C> schedule(p, memory.group_table());
  const uint32_t warp = warp_index();
  if (warp == C::kMathWarps && elect_one()) {
    if (p.k > 0) {
      prefetch_map(p.map_a);
      prefetch_map(p.map_b);
    }
    for (uint32_t i = 0; i < C::kStages; ++i) {
      memory.full(i).init(1 + (C::kScaled ? kScaleWarps : 0));
      memory.empty(i).init(C::kMathWarps * C::kShare);
    }
    if constexpr (C::kSplit > 1) {
      memory.sums_full().init(1);
      memory.sums_empty().init(1);
    }
    fence_barrier_init();
  }
  sync_warp();
  schedule.build();
  if constexpr (C::kCluster > 1) {
    sync_cluster();
  } else {
    sync_block();
  }
  if (warp >= C::kMathWarps) {
    if constexpr (C::kWarpgroups > 1) give_registers<56>();
    if (warp == C::kMathWarps) {
      load_codes<C>(p, schedule, memory);
    } else if (C::kScaled) {
      load_scales<C>(p, schedule, memory, warp - C::kMathWarps - 1);
    }
  } else {
    if constexpr (C::kWarpgroups > 1) take_registers<224>();
    calculate<C>(p, schedule, memory);
  }
}

}  // namespace hadal::gemm::sm90
