// Who a thread is, and how threads of a warp, a block and a cluster meet.
//
// Functions that say "all lanes" are collectives: the 32 threads of a warp must call them together,
// in converged code. The emulator reports a warp that does not; a GPU hangs or gives garbage.
#pragma once

#include "gpu/device/types.cuh"

namespace hadal::gpu::device {

// --- indices ---

HADAL_DEVICE Index3 thread_index() {
#if defined(__CUDACC__)
  return {threadIdx.x, threadIdx.y, threadIdx.z};
#else
  return {emulator::identity().thread[0], emulator::identity().thread[1],
          emulator::identity().thread[2]};
#endif
}

HADAL_DEVICE Index3 block_size() {
#if defined(__CUDACC__)
  return {blockDim.x, blockDim.y, blockDim.z};
#else
  return {emulator::identity().block_size[0], emulator::identity().block_size[1],
          emulator::identity().block_size[2]};
#endif
}

HADAL_DEVICE Index3 block_index() {
#if defined(__CUDACC__)
  return {blockIdx.x, blockIdx.y, blockIdx.z};
#else
  return {emulator::identity().block[0], emulator::identity().block[1],
          emulator::identity().block[2]};
#endif
}

HADAL_DEVICE Index3 grid_size() {
#if defined(__CUDACC__)
  return {gridDim.x, gridDim.y, gridDim.z};
#else
  return {emulator::identity().grid_size[0], emulator::identity().grid_size[1],
          emulator::identity().grid_size[2]};
#endif
}

HADAL_DEVICE uint32_t lane_index() {
#if defined(__CUDACC__)
  uint32_t lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
#else
  return emulator::identity().lane;
#endif
}

/// The rank of this block within its cluster; 0 without clusters.
HADAL_DEVICE uint32_t cluster_rank() {
#if defined(__CUDACC__)
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return emulator::identity().cluster_rank;
#endif
}

/// Blocks in this block's cluster; 1 without clusters.
HADAL_DEVICE uint32_t cluster_size() {
#if defined(__CUDACC__)
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
#else
  return emulator::identity().cluster_size;
#endif
}

// --- within a warp ---

/// Waits for the lanes in `mask` and orders their memory accesses.
HADAL_DEVICE void sync_warp(uint32_t mask = kAllLanes) {
#if defined(__CUDACC__)
  asm volatile("bar.warp.sync %0;" ::"r"(mask) : "memory");
#else
  emulator::sync_warp(mask);
#endif
}

/// True in one lane of the warp, always the same one. All lanes.
HADAL_DEVICE bool elect_one() {
#if defined(__CUDACC__)
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}"
               : "=r"(elected)::"memory");
  return elected != 0;
#else
  return emulator::elect_one();
#endif
}

/// Of each lane in `mask`, the value that lane `from` has. T has four bytes.
template <typename T>
HADAL_DEVICE T shuffle(T value, uint32_t from, uint32_t mask = kAllLanes) {
  static_assert(sizeof(T) == 4);
#if defined(__CUDACC__)
  return __shfl_sync(mask, value, from);
#else
  return std::bit_cast<T>(emulator::shuffle(std::bit_cast<uint32_t>(value), from, mask));
#endif
}

/// The value that the lane has whose index differs by the bits of `bits`.
template <typename T>
HADAL_DEVICE T shuffle_xor(T value, uint32_t bits, uint32_t mask = kAllLanes) {
#if defined(__CUDACC__)
  return __shfl_xor_sync(mask, value, bits);
#else
  return shuffle(value, lane_index() ^ bits, mask);
#endif
}

/// The value of the lane `distance` below; its own where there is none.
template <typename T>
HADAL_DEVICE T shuffle_up(T value, uint32_t distance, uint32_t mask = kAllLanes) {
#if defined(__CUDACC__)
  return __shfl_up_sync(mask, value, distance);
#else
  const uint32_t lane = lane_index();
  return shuffle(value, lane < distance ? lane : lane - distance, mask);
#endif
}

/// Bit i is set where lane i of `mask` has a true predicate.
HADAL_DEVICE uint32_t vote(bool predicate, uint32_t mask = kAllLanes) {
#if defined(__CUDACC__)
  return __ballot_sync(mask, predicate);
#else
  return emulator::vote(predicate, mask);
#endif
}

/// This thread's warp within the block, in a form that the compiler knows to be the same in all
/// lanes: branches on it do not diverge. Blocks have one dimension. All lanes.
HADAL_DEVICE uint32_t warp_index() {
#if defined(__CUDACC__)
  return __shfl_sync(kAllLanes, threadIdx.x / kWarpSize, 0);
#else
  return emulator::identity().thread[0] / kWarpSize;
#endif
}

// --- within a block ---

HADAL_DEVICE void sync_block() {
#if defined(__CUDACC__)
  __syncthreads();
#else
  emulator::sync_block();
#endif
}

/// Waits until `threads` threads (a multiple of 32) have come to barrier `id` (0 to 15; 0 is
/// sync_block()'s) by either function. All lanes.
HADAL_DEVICE void sync_named(uint32_t id, uint32_t threads) {
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulator::sync_named(id, threads);
#endif
}

/// Comes to barrier `id` and does not wait. All lanes.
HADAL_DEVICE void arrive_named(uint32_t id, uint32_t threads) {
#if defined(__CUDACC__)
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulator::arrive_named(id, threads);
#endif
}

/// Takes registers from the pool that others have given back, up to `kRegisters` per thread; waits
/// until they are there. Once per warpgroup role; a multiple of 8 in 24..256. All lanes.
template <uint32_t kRegisters>
HADAL_DEVICE void take_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
#if defined(__CUDACC__)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#else
  emulator::set_registers(kRegisters, true);
#endif
}

/// Gives registers back, down to `kRegisters` per thread.
template <uint32_t kRegisters>
HADAL_DEVICE void give_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
#if defined(__CUDACC__)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#else
  emulator::set_registers(kRegisters, false);
#endif
}

// --- within a cluster ---

/// Comes to the cluster's barrier; memory written before is visible after the wait of any other
/// thread of the cluster. All lanes.
HADAL_DEVICE void arrive_cluster() {
#if defined(__CUDACC__)
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#else
  emulator::arrive_cluster();
#endif
}

/// Waits for every thread of the cluster. All lanes.
HADAL_DEVICE void wait_cluster() {
#if defined(__CUDACC__)
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  emulator::wait_cluster();
#endif
}

HADAL_DEVICE void sync_cluster() {
  arrive_cluster();
  wait_cluster();
}

// --- between kernels ---

/// With Launch::overlap_previous: waits until the kernel in front has ended and its writes are
/// visible. Nothing that it writes may be touched before. No effect otherwise.
HADAL_DEVICE void wait_for_previous_kernel() {
#if defined(__CUDACC__)
  asm volatile("griddepcontrol.wait;" ::: "memory");
#else
  emulator::wait_for_previous_kernel();
#endif
}

/// Lets the next kernel start once every block of this one has said so or ended.
HADAL_DEVICE void let_next_kernel_start() {
#if defined(__CUDACC__)
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#else
  emulator::let_next_kernel_start();
#endif
}

/// Sleeps for about so long; for loops that poll.
HADAL_DEVICE void sleep_ns(uint32_t duration_ns) {
#if defined(__CUDACC__)
  __nanosleep(duration_ns);
#else
  emulator::sleep_ns(duration_ns);
#endif
}

}  // namespace hadal::gpu::device
