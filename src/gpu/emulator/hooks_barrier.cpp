// barrier.cuh: barriers in shared memory.
#include <utility>

#include <fmt/core.h>

#include "gpu/emulator/machine.h"

namespace hadal::gpu::emulator {
namespace {

constexpr uint32_t kArrivalsMax = (1u << 20) - 1;
constexpr int64_t kBytesMax = (1 << 20) - 1;

/// Starts the next phase if this one is complete.
void complete_phase(MemoryBarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.expected;
  ++barrier.phase;
  running().machine->wake(barrier.waiting);
}

void add_bytes(Thread& thread, MemoryBarrier& barrier, int64_t bytes, const char* operation) {
  barrier.bytes += bytes;
  if (barrier.bytes > kBytesMax || barrier.bytes < -kBytesMax) {
    running().machine->fault(thread, fmt::format("{}: the barrier's count of bytes becomes {}; it "
                                                 "holds 20 bits",
                                                 operation, barrier.bytes));
  }
}

bool is_done(const MemoryBarrier& barrier, uint32_t parity) {
  return (barrier.phase & 1) != (parity & 1);
}

MemoryBarrier* own_barrier(Thread& thread, uint32_t at, const char* operation) {
  return find_barrier(thread, *thread.warp->block, at, operation);
}

}  // namespace

MemoryBarrier* find_barrier(Thread& thread, Block& block, uint32_t offset, const char* operation) {
  Machine& machine = *running().machine;
  const auto found = block.barriers.find(offset);
  if (found == block.barriers.end()) {
    machine.fault(thread,
                  fmt::format("{}: there is no initialised barrier at {:#x} of block rank {}",
                              operation, offset, block.rank));
    return nullptr;
  }
  return &found->second;
}

void arrive(Thread& thread, MemoryBarrier& barrier, uint32_t bytes, const char* operation) {
  if (bytes != 0) add_bytes(thread, barrier, bytes, operation);
  if (barrier.pending == 0) {
    return running().machine->fault(
        thread, fmt::format("{}: one arrival more than the {} of phase {}", operation,
                            barrier.expected, barrier.phase));
  }
  --barrier.pending;
  complete_phase(barrier);
}

void complete_bytes(Thread& thread, MemoryBarrier& barrier, uint32_t bytes) {
  add_bytes(thread, barrier, -static_cast<int64_t>(bytes), "a copy's completion");
  complete_phase(barrier);
}

void barrier_init(uint32_t at, uint32_t arrivals) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  Block& block = *thread.warp->block;
  if (!check_shared(thread, block, at, 8, 8, true, "barrier init")) return;
  if (arrivals == 0 || arrivals > kArrivalsMax) {
    return machine.fault(thread, fmt::format("barrier init: {} arrivals; it must be 1 to {}",
                                             arrivals, kArrivalsMax));
  }
  block.shared.mark_barrier(at);
  MemoryBarrier& barrier = block.barriers[at];
  barrier.expected = barrier.pending = arrivals;
  thread.unfenced_barriers.push_back(&barrier);
}

void fence_barrier_init() {
  Thread& thread = enter();
  for (MemoryBarrier* barrier : thread.unfenced_barriers) barrier->visible = true;
  thread.unfenced_barriers.clear();
}

void barrier_arrive(uint32_t at, uint32_t bytes) {
  Thread& thread = enter();
  MemoryBarrier* const barrier = own_barrier(thread, at, "arrive");
  if (barrier != nullptr) arrive(thread, *barrier, bytes, "arrive");
  running().machine->maybe_yield(thread);
}

void barrier_expect(uint32_t at, uint32_t bytes) {
  Thread& thread = enter();
  MemoryBarrier* const barrier = own_barrier(thread, at, "expect");
  if (barrier != nullptr) add_bytes(thread, *barrier, bytes, "expect");
}

void barrier_arrive_remote(uint32_t at) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const Place place = resolve(thread, at, "arrive_at");
  if (place.block == nullptr) return;
  MemoryBarrier* const barrier = find_barrier(thread, *place.block, place.offset, "arrive_at");
  if (barrier == nullptr) return;
  if (!barrier->visible) {
    return machine.fault(thread,
                         "arrive_at: fence_barrier_init() has not made the barrier visible");
  }
  ++place.block->inbound;
  machine.launch_in_flight(thread, Flight::kSignal, [&thread, place, barrier] {
    --place.block->inbound;
    arrive(thread, *barrier, 0, "arrive_at");
    return true;
  });
  machine.maybe_yield(thread);
}

bool barrier_try_wait(uint32_t at, uint32_t parity) {
  Thread& thread = enter();
  MemoryBarrier* const barrier = own_barrier(thread, at, "try_wait");
  if (barrier == nullptr) return true;
  if (is_done(*barrier, parity)) return true;
  running().machine->yield(thread);
  return is_done(*barrier, parity);
}

void barrier_wait(uint32_t at, uint32_t parity) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  MemoryBarrier* const barrier = own_barrier(thread, at, "wait");
  if (barrier == nullptr) return;
  machine.maybe_yield(thread);
  while (!is_done(*barrier, parity)) {
    barrier->waiting.push_back(&thread);
    machine.block(thread, {WaitFor::kBarrier, at, parity});
  }
}

}  // namespace hadal::gpu::emulator
