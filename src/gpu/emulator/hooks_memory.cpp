// memory.cuh: loads, stores, fences.
#include <algorithm>
#include <cstring>

#include <fmt/core.h>

#include "gpu/emulator/machine.h"

namespace hadal::gpu::emulator {
namespace {

// An address of the cluster: the block's rank plus one, and the offset.
constexpr uint32_t kRankShift = 24;

// A log of unfenced writes longer than this is sorted and joined.
constexpr size_t kUnfencedMax = 4096;

void join_unfenced(std::vector<SharedRange>& ranges) {
  std::ranges::sort(ranges, [](const SharedRange& a, const SharedRange& b) {
    return a.memory != b.memory ? a.memory < b.memory : a.offset < b.offset;
  });
  size_t last = 0;
  for (size_t i = 1; i < ranges.size(); ++i) {
    const SharedRange& next = ranges[i];
    SharedRange& joined = ranges[last];
    if (next.memory == joined.memory && next.offset <= joined.offset + joined.bytes) {
      joined.bytes = std::max(joined.bytes, next.offset + next.bytes - joined.offset);
    } else {
      ranges[++last] = next;
    }
  }
  ranges.resize(last + 1);
}

}  // namespace

// --- shared by hooks ---

Place resolve(Thread& thread, uint32_t address, const char* operation) {
  Machine& machine = *running().machine;
  Block& own = *thread.warp->block;
  const uint32_t offset = address & ((1u << kRankShift) - 1);
  if (address >> kRankShift == 0) return {&own, offset};
  const uint32_t rank = (address >> kRankShift) - 1;
  Cluster& cluster = *own.cluster;
  if (rank >= cluster.blocks.size()) {
    machine.fault(thread, fmt::format("{}: the cluster has no block of rank {}", operation, rank));
    return {};
  }
  Block& block = *cluster.blocks[rank];
  if (&block != &own && block.ended()) {
    machine.fault(thread, fmt::format("{}: block {} of the cluster has ended", operation, rank));
    return {};
  }
  if (&block != &own && cluster.phase == 0) {
    machine.fault(thread, fmt::format("{}: nothing says that block {} of the cluster has started; "
                                      "sync_cluster() must come before",
                                      operation, rank));
    return {};
  }
  return {&block, offset};
}

bool check_shared(Thread& thread, const Block& block, uint32_t offset, uint64_t bytes,
                  uint32_t alignment, bool write, const char* operation) {
  Machine& machine = *running().machine;
  if (!block.shared.contains(offset, bytes)) {
    machine.fault(thread, fmt::format("{}: {} bytes at {:#x} of shared memory, which is {:#x} to "
                                      "{:#x}",
                                      operation, bytes, offset, kSharedBase, block.shared.end()));
    return false;
  }
  if (offset % alignment != 0) {
    machine.fault(thread,
                  fmt::format("{}: {:#x} is no multiple of {}", operation, offset, alignment));
    return false;
  }
  if (write && block.shared.overlaps_barrier(offset, static_cast<uint32_t>(bytes))) {
    machine.fault(thread, fmt::format("{}: {} bytes at {:#x} would overwrite a barrier", operation,
                                      bytes, offset));
    return false;
  }
  return true;
}

bool check_global(Thread& thread, const void* address, uint64_t bytes, uint32_t alignment,
                  const char* operation) {
  Machine& machine = *running().machine;
  const auto at = reinterpret_cast<Address>(address);
  if (!machine.memory().contains(at, bytes)) {
    machine.fault(thread, fmt::format("{}: {}", operation, machine.memory().describe(at, bytes)));
    return false;
  }
  if (at % alignment != 0) {
    machine.fault(thread, fmt::format("{}: {:#x} is no multiple of {}", operation, at, alignment));
    return false;
  }
  return true;
}

void write_shared(Thread& thread, Block& block, uint32_t offset, const void* from, uint32_t bytes) {
  block.shared.write(offset, from, bytes);
  auto& log = thread.unfenced;
  if (!log.empty() && log.back().memory == &block.shared &&
      log.back().offset + log.back().bytes == offset) {
    log.back().bytes += bytes;
    return;
  }
  if (log.size() >= kUnfencedMax) join_unfenced(log);
  log.push_back({&block.shared, offset, bytes});
}

// --- shared memory ---

void load_shared(void* to, uint32_t from, uint32_t bytes) {
  Thread& thread = enter();
  const Block& block = *thread.warp->block;
  if (!check_shared(thread, block, from, bytes, bytes, false, "load_shared")) return;
  if (block.shared.unwritten(from, bytes)) {
    running().machine->fault(
        thread, fmt::format("load_shared: nobody has written the {} bytes at {:#x}", bytes, from));
  }
  block.shared.read(to, from, bytes);
}

void store_shared(uint32_t to, const void* from, uint32_t bytes) {
  Thread& thread = enter();
  Block& block = *thread.warp->block;
  if (!check_shared(thread, block, to, bytes, bytes, true, "store_shared")) return;
  write_shared(thread, block, to, from, bytes);
}

void fence_async() {
  Thread& thread = enter();
  for (const SharedRange& range : thread.unfenced) range.memory->publish(range.offset, range.bytes);
  thread.unfenced.clear();
  fence_barrier_init();
}

// --- shared memory of the cluster ---

uint32_t cluster_address(uint32_t offset, uint32_t rank) {
  Thread& thread = enter();
  if (rank >= thread.identity.cluster_size) {
    running().machine->fault(
        thread, fmt::format("cluster_address: the cluster has no block of rank {}", rank));
  }
  return offset | (rank + 1) << kRankShift;
}

void load_cluster(void* to, uint32_t from, uint32_t bytes) {
  Thread& thread = enter();
  const Place place = resolve(thread, from, "load_cluster");
  if (place.block == nullptr) return;
  if (!check_shared(thread, *place.block, place.offset, bytes, bytes, false, "load_cluster"))
    return;
  if (place.block->shared.unwritten(place.offset, bytes)) {
    running().machine->fault(thread, fmt::format("load_cluster: nobody has written the {} bytes at "
                                                 "{:#x} of block {}",
                                                 bytes, place.offset, place.block->rank));
  }
  place.block->shared.read(to, place.offset, bytes);
}

void store_cluster(uint32_t to, const void* from, uint32_t bytes) {
  Thread& thread = enter();
  const Place place = resolve(thread, to, "store_cluster");
  if (place.block == nullptr) return;
  if (!check_shared(thread, *place.block, place.offset, bytes, bytes, true, "store_cluster"))
    return;
  write_shared(thread, *place.block, place.offset, from, bytes);
}

void store_async(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const Place place = resolve(thread, to, "store_async");
  const Place signal = resolve(thread, barrier, "store_async");
  if (place.block == nullptr || signal.block == nullptr) return;
  if (place.block != signal.block) {
    return machine.fault(thread, "store_async: the barrier is not in the block that is written");
  }
  if (!check_shared(thread, *place.block, place.offset, bytes, bytes, true, "store_async")) return;
  ++place.block->inbound;
  std::array<uint8_t, 16> value = {};
  std::memcpy(value.data(), from, bytes);
  machine.launch_in_flight(thread, Flight::kSignal, [&thread, place, signal, bytes, value] {
    --place.block->inbound;
    place.block->shared.write_async(place.offset, value.data(), bytes);
    MemoryBarrier* const at = find_barrier(thread, *signal.block, signal.offset, "store_async");
    if (at != nullptr) complete_bytes(thread, *at, bytes);
    return true;
  });
}

// --- global memory ---

void load_global(void* to, const void* from, uint32_t bytes) {
  Thread& thread = enter();
  if (check_global(thread, from, bytes, bytes, "load_global")) std::memcpy(to, from, bytes);
}

void store_global(void* to, const void* from, uint32_t bytes) {
  Thread& thread = enter();
  if (check_global(thread, to, bytes, bytes, "store_global")) std::memcpy(to, from, bytes);
}

void load_acquire(void* to, const void* from, uint32_t bytes) {
  Thread& thread = enter();
  running().machine->yield(thread);  // it is for polling: let the others move
  if (check_global(thread, from, bytes, bytes, "load_acquire")) std::memcpy(to, from, bytes);
}

void store_release(void* to, const void* from, uint32_t bytes) {
  Thread& thread = enter();
  if (check_global(thread, to, bytes, bytes, "store_release")) std::memcpy(to, from, bytes);
  running().machine->maybe_yield(thread);
}

void fence() {
  running().machine->maybe_yield(enter());
}

void begin_atomic(void* at, uint32_t bytes) {
  Thread& thread = enter();
  running().machine->maybe_yield(thread);
  // The caller goes on to touch the memory, so a fault stops the thread here.
  if (!check_global(thread, at, bytes, bytes, "atomic")) running().machine->step(thread);
}

void end_atomic() {}

}  // namespace hadal::gpu::emulator
