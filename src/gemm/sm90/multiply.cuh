// The main loop: tensor cores sum 128 of k, the threads scale that sum and add it to theirs.
#pragma once

#include "gemm/sm90/load.cuh"

namespace hadal::gemm::sm90 {

template <typename C>
inline constexpr uint32_t kRegisters = C::kColumns / 2;  // of one tile of 64 rows, per thread

template <typename C>
using Sums = float[C::kWaves][kRegisters<C>];

/// sum += scale of the row * scale of the column * block.
template <typename C>
HADAL_DEVICE void promote(float (&sum)[kRegisters<C>], const float (&block)[kRegisters<C>],
                          float low, float high, gpu::device::SharedAddress scales_y) {
  using namespace gpu::device;
  HADAL_UNROLL
  for (uint32_t j = 0; j < kRegisters<C>; j += 4) {
    float scale[4] = {low, low, high, high};
    if constexpr (!C::kOneScale) {
      const uint32_t at = 4 * (2 * j + 2 * (lane_index() % 4));
      const uint64_t pair = load_shared<uint64_t>(scales_y + at);
      const float first = float_of(static_cast<uint32_t>(pair));
      const float second = float_of(static_cast<uint32_t>(pair >> 32));
      scale[0] = low * first, scale[1] = low * second;
      scale[2] = high * first, scale[3] = high * second;
    }
    HADAL_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      sum[j + i] = multiply_add(scale[i], block[j + i], sum[j + i]);
    }
  }
}

/// Frees a stage in every block that fills it. All lanes.
template <typename C>
HADAL_DEVICE void free_stage(gpu::device::Barrier empty) {
  using namespace gpu::device;
  sync_warp();
  if constexpr (C::kShare == 1) {
    if (elect_one()) empty.arrive();
  } else {
    if (lane_index() < C::kShare) empty.arrive_at(lane_index());
  }
}

/// One block of k of FP8: every wave of this warpgroup.
template <typename C>
HADAL_DEVICE void multiply_scaled(const Memory<C>& memory, uint32_t stage, Sums<C>& sums) {
  using namespace gpu::device;
  const uint32_t warpgroup = warp_index() / 4;
  const SharedAddress scales_x = memory.scales(stage);
  const SharedAddress scales_y = scales_x + 4 * C::kRows;
  HADAL_UNROLL
  for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
    const uint32_t first = 64 * (warpgroup * C::kWaves + wave);
    const uint32_t row = first + 16 * (warp_index() % 4) + lane_index() / 4;
    float low = load_shared<float>(scales_x + 4 * row);
    float high = load_shared<float>(scales_x + 4 * (row + 8));
    if constexpr (C::kOneScale) {
      const float scale_y = load_shared<float>(scales_y);
      low *= scale_y, high *= scale_y;
    }
    const Tile x = make_tile<gpu::Swizzle::k128>(memory.x(stage) + 128 * first);
    const Tile y = make_tile<gpu::Swizzle::k128>(memory.y(stage));
    float block[kRegisters<C>];
    begin_mma(block);
    HADAL_UNROLL
    for (uint32_t k = 0; k < 128; k += 32) {
      mma<C::kTypeX, C::kTypeY>(block, x + k, y + k, k != 0);
    }
    commit_mma();
    wait_mma<0>(block);
    // With one scale the stage has been read; else the columns' scales are still wanted.
    if (C::kOneScale && wave == C::kWaves - 1) free_stage<C>(memory.empty(stage));
    promote<C>(sums[wave], block, low, high, scales_y);
  }
  if (!C::kOneScale) free_stage<C>(memory.empty(stage));
}

/// One block of k of 16-bit types, summed by the tensor cores themselves.
template <typename C>
HADAL_DEVICE void multiply_plain(const Memory<C>& memory, uint32_t stage, Sums<C>& sums) {
  using namespace gpu::device;
  const uint32_t warpgroup = warp_index() / 4;
  HADAL_UNROLL
  for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
    const uint32_t first = 64 * (warpgroup * C::kWaves + wave);
    const Tile x = make_tile<gpu::Swizzle::k128>(memory.x(stage) + 128 * first);
    const Tile y = make_tile<gpu::Swizzle::k128>(memory.y(stage));
    begin_mma(sums[wave]);
    HADAL_UNROLL
    for (uint32_t k = 0; k < 128; k += 32) {
      mma<C::kTypeX, C::kTypeY>(sums[wave], x + k, y + k, true);
    }
    commit_mma();
    wait_mma<0>(sums[wave]);
  }
  free_stage<C>(memory.empty(stage));
}

template <typename C>
HADAL_DEVICE void multiply(const Work& work, const Memory<C>& memory,
                           gpu::device::Ring<C::kStages>& ring, Sums<C>& sums) {
  HADAL_UNROLL
  for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
    HADAL_UNROLL
    for (uint32_t i = 0; i < kRegisters<C>; ++i) sums[wave][i] = 0;
  }
  for (int32_t block = num_blocks<C>(work); block > 0; --block) {
    memory.full(ring.stage).wait(ring.parity);
    if constexpr (C::kScaled) {
      multiply_scaled<C>(memory, ring.stage, sums);
    } else {
      multiply_plain<C>(memory, ring.stage, sums);
    }
    ring.next();
  }
}

}  // namespace hadal::gemm::sm90
