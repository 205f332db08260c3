// A Hopper GPU that is a program: runs the kernels that g++ has compiled from their own text.
//
//   std::unique_ptr<Device> device = emulate({.seed = 7});
//
// Every CUDA thread is a fiber; shared memory, clusters, barriers, TMA, wgmma and the collectives
// of warps do what the PTX manual says. What hardware leaves open the seed decides: the order of
// warps, and the moment at which an operation in flight completes. So a missing wait, fence or
// barrier gives wrong data or a fault under some seed, and any run can be repeated. What is found
// at once is a fault: synchronize() returns kInternal with the kernel, block, warp, lane and
// operation, or, where nothing can move, with what every warp waits for. docs/gpu-emulator.md says
// what is checked, and what it cannot see.
//
// Work is queued and runs inside the next call that must see it: a copy, fill, allocation, free,
// time_ms or synchronize(). Streams are one queue, in order. One call runs at a time; others wait.
#pragma once

#include <cstdint>
#include <memory>

#include "gpu/gpu.h"

namespace hadal::gpu {

struct EmulatorOptions {
  uint64_t seed = 0;                        // the n-th run of a device draws from (seed, n)
  int num_sms = 4;                          // blocks of one kernel that run at once
  int64_t memory_bytes = int64_t{4} << 30;  // of the device, taken from the host as it is used
  uint64_t steps_max = uint64_t{1} << 28;   // of one run: calls of primitives by all threads
  bool truncate_fp8_sums = false;  // sum FP8 products with about 14 bits, as Hopper does; slow
};

std::unique_ptr<Device> emulate(const EmulatorOptions& options = {});

}  // namespace hadal::gpu
