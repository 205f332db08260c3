// Copies that run by themselves: tiles by the tensor memory accelerator (TMA), and plain bytes.
//
// A load reports to a Barrier: it counts the bytes of its whole box there, also where the box
// leaves the tensor and zeros are filled in, so arrive_expect() gets the box's size. A store
// belongs to the bulk group of the thread that issued it: commit_stores(), then
// wait_stores_read<N>() before its source is overwritten (or the block ends), or wait_stores<N>()
// before its result is read.
//
// One thread issues. Shared addresses are multiples of 128 for tiles and of 16 for bytes; byte
// counts and global addresses are multiples of 16. What threads wrote to the source must be behind
// their fence_async_shared() and a barrier. Coordinates are those of the box's first element,
// dimension 0 (the contiguous one) first, and may lie outside of the tensor.
#pragma once

#include "gpu/device/barrier.cuh"

namespace hadal::gpu::device {

/// How the second-level cache treats what a load brings. The values are the policies that the
/// instruction createpolicy.fractional makes for all of the lines.
enum class Cache : uint64_t {
  kNormal = 0x1000000000000000,
  kEvictFirst = 0x12f0000000000000,  // streamed once
  kEvictLast = 0x14f0000000000000,   // read by many
};

/// Fetches a tensor map into the cache of descriptors.
HADAL_DEVICE void prefetch_map(const TensorMap& map) {
#if defined(__CUDACC__)
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#else
  emulator::prefetch_map(&map);
#endif
}

/// Loads the box of `map` at the coordinates to `to`; counts at `barrier`.
template <Cache kCache = Cache::kNormal, int kRank>
HADAL_DEVICE void load_tile(SharedAddress to, const TensorMap& map, Barrier barrier,
                            const int32_t (&at)[kRank]) {
  static_assert(kRank <= 5);
#if defined(__CUDACC__)
  constexpr uint64_t kPolicy = static_cast<uint64_t>(kCache);
  if constexpr (kRank == 1) {
    asm volatile(
        "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".L2::cache_hint [%0], [%1, {%4}], [%2], %3;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "l"(kPolicy), "r"(at[0])
        : "memory");
  } else if constexpr (kRank == 2) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".L2::cache_hint [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "l"(kPolicy), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".L2::cache_hint [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "l"(kPolicy), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".L2::cache_hint [%0], [%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "l"(kPolicy), "r"(at[0]), "r"(at[1]), "r"(at[2]),
        "r"(at[3])
        : "memory");
  } else if constexpr (kRank == 5) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".L2::cache_hint [%0], [%1, {%4, %5, %6, %7, %8}], [%2], %3;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "l"(kPolicy), "r"(at[0]), "r"(at[1]), "r"(at[2]),
        "r"(at[3]), "r"(at[4])
        : "memory");
  }
#else
  emulator::load_tile(to.offset, &map, barrier.at.offset, at, kRank, 0);
#endif
}

/// Loads the box to `to` in every block of the cluster whose rank is set in `ranks`, and counts at
/// the barrier that lies at the same place there.
template <Cache kCache = Cache::kNormal, int kRank>
HADAL_DEVICE void load_tile_multicast(SharedAddress to, const TensorMap& map, Barrier barrier,
                                      uint16_t ranks, const int32_t (&at)[kRank]) {
  static_assert(kRank <= 5);
#if defined(__CUDACC__)
  constexpr uint64_t kPolicy = static_cast<uint64_t>(kCache);
  if constexpr (kRank == 1) {
    asm volatile(
        "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".multicast::cluster.L2::cache_hint [%0], [%1, {%5}], [%2], %3, %4;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "h"(ranks), "l"(kPolicy), "r"(at[0])
        : "memory");
  } else if constexpr (kRank == 2) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".multicast::cluster.L2::cache_hint [%0], [%1, {%5, %6}], [%2], %3, %4;" ::"r"(to.offset),
        "l"(&map), "r"(barrier.at.offset), "h"(ranks), "l"(kPolicy), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".multicast::cluster.L2::cache_hint [%0], [%1, {%5, %6, %7}], [%2], %3, %4;" ::"r"(
            to.offset),
        "l"(&map), "r"(barrier.at.offset), "h"(ranks), "l"(kPolicy), "r"(at[0]), "r"(at[1]),
        "r"(at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".multicast::cluster.L2::cache_hint [%0], [%1, {%5, %6, %7, %8}], [%2], %3, %4;" ::"r"(
            to.offset),
        "l"(&map), "r"(barrier.at.offset), "h"(ranks), "l"(kPolicy), "r"(at[0]), "r"(at[1]),
        "r"(at[2]), "r"(at[3])
        : "memory");
  } else if constexpr (kRank == 5) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
        ".multicast::cluster.L2::cache_hint [%0], [%1, {%5, %6, %7, %8, %9}], [%2], %3, %4;" ::"r"(
            to.offset),
        "l"(&map), "r"(barrier.at.offset), "h"(ranks), "l"(kPolicy), "r"(at[0]), "r"(at[1]),
        "r"(at[2]), "r"(at[3]), "r"(at[4])
        : "memory");
  }
#else
  emulator::load_tile(to.offset, &map, barrier.at.offset, at, kRank, ranks);
#endif
}

/// Stores the box at `from`; elements outside of the tensor are left out.
template <int kRank>
HADAL_DEVICE void store_tile(const TensorMap& map, SharedAddress from, const int32_t (&at)[kRank]) {
  static_assert(kRank <= 5);
#if defined(__CUDACC__)
  if constexpr (kRank == 1) {
    asm volatile(
        "cp.async.bulk.tensor.1d.global.shared::cta.bulk_group [%0, {%2}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0])
        : "memory");
  } else if constexpr (kRank == 2) {
    asm volatile(
        "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
            &map),
        "r"(from.offset), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
            &map),
        "r"(from.offset), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  } else if constexpr (kRank == 5) {
    asm volatile(
        "cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::
            "l"(&map),
        "r"(from.offset), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4])
        : "memory");
  }
#else
  emulator::store_tile(&map, from.offset, at, kRank, false);
#endif
}

/// Adds the box at `from` to the tensor, in its element type (f32, f16, bf16 or i32), each element
/// at once; the order among stores is not determined.
template <int kRank>
HADAL_DEVICE void add_tile(const TensorMap& map, SharedAddress from, const int32_t (&at)[kRank]) {
  static_assert(kRank <= 5);
#if defined(__CUDACC__)
  if constexpr (kRank == 1) {
    asm volatile(
        "cp.reduce.async.bulk.tensor.1d.global.shared::cta.add.tile.bulk_group "
        "[%0, {%2}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0])
        : "memory");
  } else if constexpr (kRank == 2) {
    asm volatile(
        "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group "
        "[%0, {%2, %3}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group "
        "[%0, {%2, %3, %4}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.reduce.async.bulk.tensor.4d.global.shared::cta.add.tile.bulk_group "
        "[%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  } else if constexpr (kRank == 5) {
    asm volatile(
        "cp.reduce.async.bulk.tensor.5d.global.shared::cta.add.tile.bulk_group "
        "[%0, {%2, %3, %4, %5, %6}], [%1];" ::"l"(&map),
        "r"(from.offset), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4])
        : "memory");
  }
#else
  emulator::store_tile(&map, from.offset, at, kRank, true);
#endif
}

/// Loads bytes that lie together; counts at `barrier`.
HADAL_DEVICE void load_bytes(SharedAddress to, const void* from, uint32_t bytes, Barrier barrier) {
#if defined(__CUDACC__)
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to.offset),
      "l"(from), "r"(bytes), "r"(barrier.at.offset)
      : "memory");
#else
  emulator::load_bytes(to.offset, from, bytes, barrier.at.offset);
#endif
}

/// Stores bytes; belongs to the thread's bulk group.
HADAL_DEVICE void store_bytes(void* to, SharedAddress from, uint32_t bytes) {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(from.offset), "r"(bytes)
               : "memory");
#else
  emulator::store_bytes(to, from.offset, bytes);
#endif
}

/// Adds floats to global memory, each at once; belongs to the thread's bulk group.
HADAL_DEVICE void add_floats(float* to, SharedAddress from, uint32_t bytes) {
#if defined(__CUDACC__)
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
      "r"(from.offset), "r"(bytes)
      : "memory");
#else
  emulator::add_floats(to, from.offset, bytes);
#endif
}

/// Copies bytes of this block's shared memory to another block of the cluster; counts at `barrier`,
/// which lies in that block.
HADAL_DEVICE void send_bytes(ClusterAddress to, SharedAddress from, uint32_t bytes,
                             ClusterAddress barrier) {
#if defined(__CUDACC__)
  asm volatile(
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(to.offset),
      "r"(from.offset), "r"(bytes), "r"(barrier.offset)
      : "memory");
#else
  emulator::send_bytes(to.offset, from.offset, bytes, barrier.offset);
#endif
}

/// Closes this thread's group of stores.
HADAL_DEVICE void commit_stores() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  emulator::commit_stores();
#endif
}

/// Waits until all but the last `kPending` groups of this thread have read their sources.
template <uint32_t kPending>
HADAL_DEVICE void wait_stores_read() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
#else
  emulator::wait_stores(kPending, true);
#endif
}

/// Waits until all but the last `kPending` groups of this thread have written their results.
template <uint32_t kPending>
HADAL_DEVICE void wait_stores() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
#else
  emulator::wait_stores(kPending, false);
#endif
}

}  // namespace hadal::gpu::device
