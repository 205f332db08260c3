// Occupancy of every kernel, computed anew, because the profiler's figure is wrong for many.
//
// Occupancy is the share of an SM's thread slots that a kernel's resident blocks fill. A block
// needs warps, registers and shared memory; what runs out first limits how many fit (CUDA occupancy
// calculator). kineto asks that calculator with the 48 KiB of shared memory that a kernel has
// without opting in, so it reports 0 for every kernel that uses more: all large matrix
// multiplications and attention kernels of today. Here the opt-in limit counts.
//
//   warps     = ceil(threads / 32)
//   registers = ceil(registers_per_thread * 32, unit)     of one warp; unit is 256
//   blocks/SM = min(slots.warps / warps,
//                   slots.blocks,
//                   (registers_per_sm / 4 / registers) * 4 / warps,    four schedulers share them
//                   shared_per_sm / ceil(shared + reserved, unit))     0 if shared > limit a block
//   percent   = 100 * min(blocks/SM, blocks / SMs) * threads / threads_per_sm
//
// Sizes come from the trace's device properties where they are there and from the table of compute
// capabilities where the profiler never writes them (slots for blocks, units, reserved shared
// memory). A device that is neither described nor known gives no figure, and a note says so.
//
// Pure functions; percentages from 0 to 100.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/kernel_groups.h"

namespace hadal::trace {

/// What one SM offers.
struct SmLimits {
  int num_sms = 0;
  int warps = 0, blocks = 0, threads = 0;
  int64_t registers = 0;
  int64_t shared_memory = 0;
  int64_t shared_memory_unit = 0, shared_memory_reserved = 0;  // per block
  int64_t shared_memory_per_block = 0;                         // with opting in
};

/// Compute capability 7.0 to 12.x (CUDA C++ Programming Guide, "Technical Specifications per
/// Compute Capability", and cuda_occupancy.h for units). nullopt: another device, or the number of
/// SMs is not known.
std::optional<SmLimits> sm_limits(const Device& device);

/// What keeps a kernel from more blocks per SM. kGrid: it has too few blocks to fill what would
/// fit.
enum class Limiter : uint8_t { kGrid, kWarps, kRegisters, kSharedMemory, kBlocks };
std::string_view name(Limiter limiter);  // "grid", "warps", "registers", "shared_memory", "blocks"

struct Occupancy {
  int blocks_per_sm = 0;  // that fit; 0: the launch asks for more than an SM has
  int by_warps = 0, by_registers = 0, by_shared_memory = 0, by_blocks = 0;
  double blocks_per_sm_launched = 0;  // blocks / SMs
  double percent = 0;
  Limiter limiter = Limiter::kGrid;
};

/// nullopt where the launch has no blocks or no threads. `shared_memory_max` replaces the opt-in
/// limit; 48 KiB gives kineto's figure.
std::optional<Occupancy> occupancy(const Launch& launch, const SmLimits& sm,
                                   std::optional<int64_t> shared_memory_max = {});

/// What is left of an SM for others while one block of `resident` runs on it.
SmLimits remaining(const SmLimits& sm, const Launch& resident);

struct KernelOccupancy {
  KernelKey key;
  int device = -1;
  uint64_t count = 0;
  int64_t total_ns = 0;
  std::optional<Occupancy> exact = {};  // nullopt: launch or device unknown
  double reported_percent = -1;         // -1: absent
  bool reported_wrong = false;          // differs from the exact one by more than rounding
  bool explained = false;               // reported = kineto's formula with 48 KiB
};

struct OccupancyReport {
  std::vector<KernelOccupancy> kernels;  // longest total first
  int64_t kernel_ns = 0;                 // total of all kernels
  uint64_t launches = 0;
  uint64_t launches_unknown = 0;
  int64_t unknown_ns = 0;
  uint64_t launches_wrong = 0;
  int64_t wrong_ns = 0;
  uint64_t launches_explained = 0;
  /// Means weighted by duration; the first over kernels with a reported figure, the second over
  /// those with an exact one. -1: there are none.
  double reported_mean_percent = -1, exact_mean_percent = -1;
  std::vector<std::string> notes;
};

OccupancyReport occupancy_report(const GpuView& view);
Json to_json(const GpuView& view, const OccupancyReport& report);

}  // namespace hadal::trace
