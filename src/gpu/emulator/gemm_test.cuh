// A small FP8 GEMM as the emulator's test: D[M, N] = bf16(sum over blocks of 128 k of sa sb A B^T),
// one pair of scales per row of A and block of k, and per 128 rows of B and block of k.
//
// Persistent blocks of a producer warpgroup and two of math; TMA into a ring of stages guarded by
// barriers; wgmma; promotion; stmatrix and TMA store. Config::kFault plants one fault.
#pragma once

#include "gpu/device/device.cuh"

namespace hadal::gpu::test {

enum class Fault : uint8_t {
  kNone,
  kNoFullWait,       // math does not wait for the copies
  kNoEmptyWait,      // the producer overwrites a stage that may be in use
  kNoEmptyArrive,    // one math warp never frees its stages
  kEarlyRelease,     // a stage is freed before its wgmma are done
  kWrongParity,      // the producer waits for the other phase
  kShortExpect,      // a copy more than is announced
  kNoProxyFence,     // the epilogue's tile is stored without fence
  kNoStoreBarrier,   // the epilogue's tile is stored before all warps have written it
  kNoStoreWait,      // the epilogue's tile is overwritten while its store may read it
  kWrongSwizzle,     // the epilogue's tile is written without the swizzle of its store
  kWrongDescriptor,  // wgmma reads with another swizzle than TMA wrote
  kNoMmaFence,       // accumulators are not handed to wgmma
  kNoMmaWait,        // accumulators are read before wgmma is done
  kNoInitFence,      // barriers are used before their init is visible
};

struct GemmParameters {
  TensorMap map_a;        // [M, K] e4m3, box 128 bytes x kBlockM rows
  TensorMap map_b;        // [N, K] e4m3, box 128 bytes x kBlockN rows
  TensorMap map_s;        // [K / 128, M] f32, box kBlockM x 1
  TensorMap map_d;        // [M, N] bf16, box 64 elements x 64 rows
  const float* scales_b;  // [N / 128, K / 128]
  int32_t m, n, k;
  int32_t unused;
};

template <Fault kFaultOf = Fault::kNone>
struct GemmConfig {
  static constexpr Fault kFault = kFaultOf;
  static constexpr uint32_t kBlockM = 128;
  static constexpr uint32_t kBlockN = 128;
  static constexpr uint32_t kBlockK = 128;
  static constexpr uint32_t kStages = 4;
  static constexpr uint32_t kMathWarps = 8;
  static constexpr uint32_t kThreads = 384;

  static constexpr uint32_t kTileA = kBlockM * kBlockK;
  static constexpr uint32_t kTileB = kBlockN * kBlockK;
  static constexpr uint32_t kTileS = kBlockM * 4;
  static constexpr uint32_t kTileD = kBlockM * kBlockN * 2;
  static constexpr uint32_t kA = kTileD;
  static constexpr uint32_t kB = kA + kStages * kTileA;
  static constexpr uint32_t kS = kB + kStages * kTileB;
  static constexpr uint32_t kBarriers = kS + kStages * kTileS;
  static constexpr uint32_t kSharedBytes = kBarriers + 2 * kStages * 8;
};

template <typename Config>
struct GemmStages {
  device::SharedAddress base;

  HADAL_DEVICE device::Barrier full(uint32_t i) const {
    return {base + (Config::kBarriers + 8 * i)};
  }
  HADAL_DEVICE device::Barrier empty(uint32_t i) const {
    return {base + (Config::kBarriers + 8 * (Config::kStages + i))};
  }
  HADAL_DEVICE device::SharedAddress a(uint32_t i) const {
    return base + (Config::kA + i * Config::kTileA);
  }
  HADAL_DEVICE device::SharedAddress b(uint32_t i) const {
    return base + (Config::kB + i * Config::kTileB);
  }
  HADAL_DEVICE device::SharedAddress s(uint32_t i) const {
    return base + (Config::kS + i * Config::kTileS);
  }
};

/// The producer: one thread fills the ring with the tiles of every block of k.
template <typename Config>
HADAL_DEVICE void gemm_produce(const GemmParameters& p, const GemmStages<Config>& stages) {
  using namespace device;
  constexpr bool kShort = Config::kFault == Fault::kShortExpect;
  constexpr uint32_t kBytes = Config::kTileA + Config::kTileB + (kShort ? 0 : Config::kTileS);
  const int32_t tiles_m = ceil_div(p.m, int32_t{Config::kBlockM});
  const int32_t tiles = tiles_m * ceil_div(p.n, int32_t{Config::kBlockN});
  Ring<Config::kStages> ring;
  for (int32_t tile = block_index().x; tile < tiles; tile += grid_size().x) {
    const int32_t m = tile % tiles_m * Config::kBlockM;
    const int32_t n = tile / tiles_m * Config::kBlockN;
    for (int32_t k = 0; k < p.k; k += Config::kBlockK) {
      const Barrier full = stages.full(ring.stage);
      if constexpr (Config::kFault != Fault::kNoEmptyWait) {
        constexpr uint32_t kFlip = Config::kFault == Fault::kWrongParity ? 0 : 1;
        stages.empty(ring.stage).wait(ring.parity ^ kFlip);
      }
      full.arrive_expect(kBytes);
      load_tile(stages.a(ring.stage), p.map_a, full, {k, m});
      load_tile<Cache::kEvictLast>(stages.b(ring.stage), p.map_b, full, {k, n});
      load_tile(stages.s(ring.stage), p.map_s, full, {m, k / int32_t{Config::kBlockK}});
      ring.next();
    }
  }
}

/// The sum over k of one tile: 64 rows of this warpgroup.
template <typename Config>
HADAL_DEVICE void gemm_multiply(const GemmParameters& p, const GemmStages<Config>& stages,
                                device::Ring<Config::kStages>& ring, const float* scales_b,
                                float (&sum)[64]) {
  using namespace device;
  const uint32_t warp = warp_index(), group = warp / 4;
  const uint32_t row = warp * 16 + lane_index() / 4;
  HADAL_UNROLL
  for (float& x : sum) x = 0;
  for (int32_t block = 0; block < p.k / int32_t{Config::kBlockK}; ++block) {
    if constexpr (Config::kFault != Fault::kNoFullWait) stages.full(ring.stage).wait(ring.parity);
    const float scale_b = load_constant(scales_b + block);
    const float low = load_shared<float>(stages.s(ring.stage) + 4 * row) * scale_b;
    const float high = load_shared<float>(stages.s(ring.stage) + 4 * (row + 8)) * scale_b;
    constexpr Swizzle kSwizzle =
        Config::kFault == Fault::kWrongDescriptor ? Swizzle::k64 : Swizzle::k128;
    const Tile a = make_tile<kSwizzle>(stages.a(ring.stage) + group * 64 * Config::kBlockK);
    const Tile b = make_tile<kSwizzle>(stages.b(ring.stage));
    float acc[64];
    if constexpr (Config::kFault != Fault::kNoMmaFence) begin_mma(acc);
    HADAL_UNROLL
    for (uint32_t k = 0; k < Config::kBlockK; k += 32) {
      mma<Operand::kE4m3>(acc, a + k, b + k, k != 0);
    }
    commit_mma();
    if constexpr (Config::kFault == Fault::kEarlyRelease) {
      if (lane_index() == 0) stages.empty(ring.stage).arrive();
    }
    if constexpr (Config::kFault != Fault::kNoMmaWait) wait_mma<0>(acc);
    const bool arrives = Config::kFault == Fault::kNoEmptyArrive ? warp != 3 : true;
    if constexpr (Config::kFault != Fault::kEarlyRelease) {
      if (lane_index() == 0 && arrives) stages.empty(ring.stage).arrive();
    }
    HADAL_UNROLL
    for (uint32_t i = 0; i < 64; i += 4) {
      sum[i] = multiply_add(low, acc[i], sum[i]);
      sum[i + 1] = multiply_add(low, acc[i + 1], sum[i + 1]);
      sum[i + 2] = multiply_add(high, acc[i + 2], sum[i + 2]);
      sum[i + 3] = multiply_add(high, acc[i + 3], sum[i + 3]);
    }
    if constexpr (Config::kFault == Fault::kNoMmaWait) wait_mma<0>(acc);
    ring.next();
  }
}

/// Writes one tile: each warpgroup stores its 64 rows as two panels of 64 columns.
template <typename Config>
HADAL_DEVICE void gemm_store(const GemmParameters& p, device::SharedAddress base, int32_t m,
                             int32_t n, const float (&sum)[64]) {
  using namespace device;
  constexpr uint32_t kPanel = 64 * 128;
  const uint32_t warp = warp_index(), group = warp / 4, lane = lane_index();
  const SharedAddress rows = base + group * 2 * kPanel;
  if (warp % 4 == 0) {
    if constexpr (Config::kFault != Fault::kNoStoreWait) {
      if (elect_one()) wait_stores_read<0>();
      sync_warp();
    }
  }
  sync_named(1 + group, kWarpgroupSize);
  HADAL_UNROLL
  for (uint32_t i = 0; i < 16; i += 2) {  // two groups of 8 columns, two of 8 rows
    const uint32_t words[4] = {
        pack_bf16(sum[4 * i], sum[4 * i + 1]), pack_bf16(sum[4 * i + 2], sum[4 * i + 3]),
        pack_bf16(sum[4 * i + 4], sum[4 * i + 5]), pack_bf16(sum[4 * i + 6], sum[4 * i + 7])};
    const uint32_t row = warp % 4 * 16 + lane % 16;
    const uint32_t at = row * 128 + (i % 8 + lane / 16) * 16;
    constexpr Swizzle kSwizzle =
        Config::kFault == Fault::kWrongSwizzle ? Swizzle::kNone : Swizzle::k128;
    store_matrices(rows + (i / 8 * kPanel + swizzled<kSwizzle>(at)), words);
  }
  if constexpr (Config::kFault != Fault::kNoProxyFence) fence_async_shared();
  if constexpr (Config::kFault != Fault::kNoStoreBarrier) sync_named(1 + group, kWarpgroupSize);
  if (warp % 4 == 0 && elect_one()) {
    store_tile(p.map_d, rows, {n, m + static_cast<int32_t>(64 * group)});
    store_tile(p.map_d, rows + kPanel, {n + 64, m + static_cast<int32_t>(64 * group)});
    commit_stores();
  }
  sync_warp();
}

template <typename Config>
HADAL_DEVICE void gemm_math(const GemmParameters& p, const GemmStages<Config>& stages) {
  using namespace device;
  const int32_t tiles_m = ceil_div(p.m, int32_t{Config::kBlockM});
  const int32_t tiles = tiles_m * ceil_div(p.n, int32_t{Config::kBlockN});
  const int32_t blocks_k = p.k / int32_t{Config::kBlockK};
  Ring<Config::kStages> ring;
  for (int32_t tile = block_index().x; tile < tiles; tile += grid_size().x) {
    const int32_t m = tile % tiles_m, n = tile / tiles_m;
    float sum[64];
    gemm_multiply<Config>(p, stages, ring, p.scales_b + n * blocks_k, sum);
    gemm_store<Config>(p, stages.base, m * int32_t{Config::kBlockM}, n * int32_t{Config::kBlockN},
                       sum);
  }
  if (warp_index() % 4 == 0 && elect_one()) wait_stores_read<0>();
}

template <typename Config>
HADAL_DEVICE void gemm(const GemmParameters& p) {
  using namespace device;
  const GemmStages<Config> stages{shared_memory()};
  const uint32_t warp = warp_index();
  if (warp == 0 && elect_one()) {
    prefetch_map(p.map_a);
    prefetch_map(p.map_b);
  }
  if (warp == 1 && elect_one()) {
    for (uint32_t i = 0; i < Config::kStages; ++i) {
      stages.full(i).init(1);
      stages.empty(i).init(Config::kMathWarps);
    }
    if constexpr (Config::kFault != Fault::kNoInitFence) fence_barrier_init();
  }
  sync_block();
  if (warp >= Config::kMathWarps) {
    give_registers<40>();
    if (warp == Config::kMathWarps + 2 && elect_one()) gemm_produce<Config>(p, stages);
  } else {
    take_registers<232>();
    gemm_math<Config>(p, stages);
  }
}

}  // namespace hadal::gpu::test
