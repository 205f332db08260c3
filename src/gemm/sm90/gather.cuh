// A split of k: the sums of the blocks of a cluster come together in the first one's shared memory,
// which adds them in the order of their ranks, so that every run gives the same bits.
//
// sums_full, in the first block, completes when all sums of a tile are there; sums_empty, in each
// other block, when the first one has read them. The two take turns, so neither can run ahead.
#pragma once

#include "gemm/sm90/multiply.cuh"

namespace hadal::gemm::sm90 {

inline constexpr uint32_t kGatherBarrier = 1;  // named, of the math warps

/// Where a thread's four sums from register `i` of wave `wave` on stand in the sums of a block.
template <typename C>
HADAL_DEVICE uint32_t sum_offset(uint32_t wave, uint32_t i) {
  return 4 * ((wave * kRegisters<C> + i) * C::kMathThreads + 4 * gpu::device::thread_index().x);
}

/// Of the blocks but the first. `parity` changes with every tile.
template <typename C>
HADAL_DEVICE void send_sums(const Memory<C>& memory, uint32_t parity, const Sums<C>& sums) {
  using namespace gpu::device;
  memory.sums_empty().wait_cluster(parity ^ 1);
  const ClusterAddress to = cluster_address(memory.sums(cluster_rank()), 0);
  const ClusterAddress full = cluster_address(memory.sums_full().at, 0);
  HADAL_UNROLL
  for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
    HADAL_UNROLL
    for (uint32_t i = 0; i < kRegisters<C>; i += 4) {
      const float(&s)[kRegisters<C>] = sums[wave];
      const Vector4 v = {bits_of(s[i]), bits_of(s[i + 1]), bits_of(s[i + 2]), bits_of(s[i + 3])};
      store_async(to + sum_offset<C>(wave, i), v, full);
    }
  }
}

/// Of the first block: adds what the others have sent.
template <typename C>
HADAL_DEVICE void gather_sums(const Memory<C>& memory, uint32_t parity, Sums<C>& sums) {
  using namespace gpu::device;
  if (thread_index().x == 0) memory.sums_full().arrive_expect(C::kPartials);
  memory.sums_full().wait_cluster(parity);
  for (uint32_t rank = 1; rank < C::kSplit; ++rank) {
    HADAL_UNROLL
    for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
      HADAL_UNROLL
      for (uint32_t i = 0; i < kRegisters<C>; i += 4) {
        const Vector4 v = load_shared<Vector4>(memory.sums(rank) + sum_offset<C>(wave, i));
        HADAL_UNROLL
        for (uint32_t j = 0; j < 4; ++j) sums[wave][i + j] += float_of(v.words[j]);
      }
    }
  }
  sync_named(kGatherBarrier, C::kMathThreads);
  const uint32_t rank = thread_index().x + 1;
  if (rank < C::kSplit) memory.sums_empty().arrive_at(rank);
}

}  // namespace hadal::gemm::sm90
