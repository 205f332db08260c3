// What the device vocabulary (gpu/device/) calls where g++ compiles it: one function per primitive,
// for the emulated CUDA thread that runs on this OS thread.
//
// Addresses in shared memory are offsets as in PTX: kSharedBase is the first byte of dynamic shared
// memory, the first kSharedBase bytes belong to the system. An address of the cluster has the
// block's rank plus one in its top byte; a plain offset means the block itself. What each function
// does is said where the vocabulary declares it; here only what differs. A call outside of an
// emulated kernel ends the program.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hadal::gpu::emulator {

inline constexpr uint32_t kSharedBase = 1024;

/// Who the running thread is.
struct Identity {
  std::array<uint32_t, 3> thread, block_size, block, grid_size;
  uint32_t lane, cluster_rank, cluster_size;
};
const Identity& identity();

// thread.cuh
void sync_warp(uint32_t mask);
bool elect_one();
uint32_t shuffle(uint32_t value, uint32_t from, uint32_t mask);
uint32_t vote(bool predicate, uint32_t mask);
void sync_block();
void sync_named(uint32_t id, uint32_t threads);
void arrive_named(uint32_t id, uint32_t threads);
void set_registers(uint32_t count, bool increase);
void arrive_cluster();
void wait_cluster();
void wait_for_previous_kernel();
void let_next_kernel_start();
void sleep_ns(uint32_t duration_ns);

// memory.cuh
void load_shared(void* to, uint32_t from, uint32_t bytes);
void store_shared(uint32_t to, const void* from, uint32_t bytes);
void fence_async();
uint32_t cluster_address(uint32_t offset, uint32_t rank);
void load_cluster(void* to, uint32_t from, uint32_t bytes);
void store_cluster(uint32_t to, const void* from, uint32_t bytes);
void store_async(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier);
void load_global(void* to, const void* from, uint32_t bytes);
void store_global(void* to, const void* from, uint32_t bytes);
void load_acquire(void* to, const void* from, uint32_t bytes);
void store_release(void* to, const void* from, uint32_t bytes);
void fence();
/// Between the two the caller reads and writes `at` itself; no other thread runs.
void begin_atomic(void* at, uint32_t bytes);
void end_atomic();

// barrier.cuh
void barrier_init(uint32_t at, uint32_t arrivals);
void fence_barrier_init();
/// `bytes` 0: a plain arrival.
void barrier_arrive(uint32_t at, uint32_t bytes);
void barrier_expect(uint32_t at, uint32_t bytes);
void barrier_arrive_remote(uint32_t at);
bool barrier_try_wait(uint32_t at, uint32_t parity);
void barrier_wait(uint32_t at, uint32_t parity);

// copy.cuh; maps are TensorMap*, `ranks` 0 is no multicast
void prefetch_map(const void* map);
void load_tile(uint32_t to, const void* map, uint32_t barrier, const int32_t* at, int rank,
               uint16_t ranks);
void store_tile(const void* map, uint32_t from, const int32_t* at, int rank, bool add);
void load_bytes(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier);
void store_bytes(void* to, uint32_t from, uint32_t bytes);
void add_floats(float* to, uint32_t from, uint32_t bytes);
void send_bytes(uint32_t to, uint32_t from, uint32_t bytes, uint32_t barrier);
void commit_stores();
void wait_stores(uint32_t pending, bool read);

// mma.cuh
struct MmaShape {
  int columns;             // N
  uint8_t type_a, type_b;  // device::Operand
  bool mn_major_a, mn_major_b;
};
void begin_mma_fence();
void begin_mma_registers(void* registers, size_t bytes);
/// `a` is null where A lies in shared memory at `tile_a`.
void mma(const MmaShape& shape, float* d, uint64_t tile_a, const uint32_t* a, uint64_t tile_b,
         bool accumulate);
void commit_mma();
void wait_mma(uint32_t pending);
void end_mma_registers(void* registers, size_t bytes);
void load_matrices(uint32_t* registers, uint32_t row, int count, bool transpose);
void store_matrices(uint32_t row, const uint32_t* registers, int count, bool transpose);

}  // namespace hadal::gpu::emulator
