// thread.cuh: warps, named barriers, registers, clusters, dependent kernels.
#include <bit>

#include <fmt/core.h>

#include "gpu/emulator/machine.h"

namespace hadal::gpu::emulator {
namespace {

constexpr uint32_t kAll = 0xffffffff;

struct ShuffleSlot {
  uint32_t value, from, result;
};

/// A warp comes to a named barrier; true if that completes the round.
bool arrive_at_named(Thread& thread, uint32_t id, uint32_t threads) {
  Machine& machine = *running().machine;
  Block& block = *thread.warp->block;
  if (id >= block.named.size() || threads == 0 || threads % kLanes != 0 ||
      threads > block.warps.size() * kLanes) {
    machine.fault(thread,
                  fmt::format("named barrier {} for {} threads: ids are 0 to 15, counts are "
                              "multiples of 32 up to the block's {} threads",
                              id, threads, block.warps.size() * kLanes));
    return true;
  }
  NamedBarrier& barrier = block.named[id];
  if (barrier.threads != 0 && barrier.threads != threads) {
    machine.fault(thread, fmt::format("named barrier {} for {} threads, but others have come to it "
                                      "for {}",
                                      id, threads, barrier.threads));
  }
  barrier.threads = threads;
  barrier.arrived += kLanes;
  if (barrier.arrived < threads) return false;
  for (Warp* warp : barrier.waiting) machine.wake_lanes(*warp, warp->lanes);
  barrier.threads = barrier.arrived = 0;
  barrier.waiting.clear();
  return true;
}

void sync_at(Thread& thread, const char* operation, uint32_t id, uint32_t threads) {
  Machine& machine = *running().machine;
  uint32_t slot[2] = {id, threads};
  const auto lanes = machine.meet(thread, operation, kAll, slot);
  if (!lanes) return;
  for (uint32_t rest = lanes->mask; rest != 0; rest &= rest - 1) {
    const auto* other = static_cast<const uint32_t*>(lanes->slots[std::countr_zero(rest)]);
    if (other[0] != id || other[1] != threads) {
      machine.fault(thread, fmt::format("{}({}, {}): another lane of the warp has ({}, {})",
                                        operation, id, threads, other[0], other[1]));
    }
  }
  if (arrive_at_named(thread, id, threads)) return machine.release(thread, *lanes);
  thread.warp->block->named[id].waiting.push_back(thread.warp);
  machine.hold(thread, *lanes, {WaitFor::kNamed, id});
}

/// Gives waiting warps registers, in the order in which they came.
void hand_out_registers(Block& block) {
  auto& waiting = block.waiting_registers;
  while (!waiting.empty()) {
    Warp& warp = *waiting.front();
    const uint32_t wanted = warp.registers_wanted - warp.registers;
    if (wanted * kLanes > block.registers_free) return;
    block.registers_free -= wanted * kLanes;
    warp.registers += wanted;
    waiting.erase(waiting.begin());
    running().machine->wake_lanes(warp, warp.lanes);
  }
}

}  // namespace

const Identity& identity() {
  return running().thread->identity;
}

void sync_warp(uint32_t mask) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  if (const auto lanes = machine.meet(thread, "sync_warp", mask)) machine.release(thread, *lanes);
}

bool elect_one() {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  if (const auto lanes = machine.meet(thread, "elect_one", kAll)) machine.release(thread, *lanes);
  return machine.elected_lane(*thread.warp) == thread.identity.lane;
}

uint32_t shuffle(uint32_t value, uint32_t from, uint32_t mask) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  ShuffleSlot slot = {value, from % kLanes, 0};
  const auto lanes = machine.meet(thread, "shuffle", mask, &slot);
  if (!lanes) return slot.result;
  for (uint32_t rest = lanes->mask; rest != 0; rest &= rest - 1) {
    auto& to = *static_cast<ShuffleSlot*>(lanes->slots[std::countr_zero(rest)]);
    if ((lanes->mask >> to.from & 1) == 0) {
      machine.fault(thread, fmt::format("shuffle: lane {} reads lane {}, which is not in the mask "
                                        "{:#010x}",
                                        std::countr_zero(rest), to.from, lanes->mask));
      break;
    }
    to.result = static_cast<ShuffleSlot*>(lanes->slots[to.from])->value;
  }
  machine.release(thread, *lanes);
  return slot.result;
}

uint32_t vote(bool predicate, uint32_t mask) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  ShuffleSlot slot = {predicate, 0, 0};
  const auto lanes = machine.meet(thread, "vote", mask, &slot);
  if (!lanes) return slot.result;
  uint32_t votes = 0;
  for (uint32_t rest = lanes->mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    votes |= static_cast<ShuffleSlot*>(lanes->slots[lane])->value << lane;
  }
  for (uint32_t rest = lanes->mask; rest != 0; rest &= rest - 1) {
    static_cast<ShuffleSlot*>(lanes->slots[std::countr_zero(rest)])->result = votes;
  }
  machine.release(thread, *lanes);
  return votes;
}

void sync_block() {
  Thread& thread = enter();
  sync_at(thread, "sync_block", 0,
          static_cast<uint32_t>(thread.warp->block->warps.size()) * kLanes);
}

void sync_named(uint32_t id, uint32_t threads) {
  sync_at(enter(), "sync_named", id, threads);
}

void arrive_named(uint32_t id, uint32_t threads) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  if (const auto lanes = machine.meet(thread, "arrive_named", kAll)) {
    arrive_at_named(thread, id, threads);
    machine.release(thread, *lanes);
  }
  machine.maybe_yield(thread);
}

void set_registers(uint32_t count, bool increase) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const char* operation = increase ? "take_registers" : "give_registers";
  const auto lanes = machine.meet(thread, operation, kAll);
  if (!lanes) return;
  Warp& warp = *thread.warp;
  Block& block = *warp.block;
  ++warp.register_changes;
  if (increase ? count < warp.registers : count > warp.registers) {
    machine.fault(thread, fmt::format("{}<{}>: the warp has {} registers per thread", operation,
                                      count, warp.registers));
  } else if (increase) {
    warp.registers_wanted = count;
    block.waiting_registers.push_back(&warp);
    hand_out_registers(block);
    if (warp.registers != count) {
      return machine.hold(thread, *lanes, {WaitFor::kRegisters, count});
    }
  } else {
    block.registers_free += (warp.registers - count) * kLanes;
    warp.registers = count;
    hand_out_registers(block);
  }
  machine.release(thread, *lanes);
}

void arrive_cluster() {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const auto lanes = machine.meet(thread, "arrive_cluster", kAll);
  if (!lanes) return machine.maybe_yield(thread);
  Cluster& cluster = *thread.warp->block->cluster;
  cluster.arrived += static_cast<uint32_t>(std::popcount(lanes->mask));
  if (thread.warp->cluster_arrivals++ != thread.warp->cluster_waits) {
    machine.fault(thread, "arrive_cluster() again without wait_cluster()");
  }
  if (cluster.arrived >= cluster.threads_left) {
    cluster.arrived = 0;
    ++cluster.phase;
    for (Warp* warp : cluster.waiting) machine.wake_lanes(*warp, warp->lanes);
    cluster.waiting.clear();
  }
  machine.release(thread, *lanes);
  machine.maybe_yield(thread);
}

void wait_cluster() {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const auto lanes = machine.meet(thread, "wait_cluster", kAll);
  if (!lanes) return;
  Warp& warp = *thread.warp;
  Cluster& cluster = *warp.block->cluster;
  if (warp.cluster_arrivals != warp.cluster_waits + 1) {
    machine.fault(thread, "wait_cluster() without its arrive_cluster()");
  }
  ++warp.cluster_waits;
  if (cluster.phase >= warp.cluster_waits) return machine.release(thread, *lanes);
  cluster.waiting.push_back(&warp);
  machine.hold(thread, *lanes, {WaitFor::kCluster});
}

void wait_for_previous_kernel() {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  Grid& grid = *thread.warp->block->grid;
  while (grid.previous != nullptr && !grid.previous->ended()) {
    grid.waiting_previous.push_back(&thread);
    machine.block(thread, {WaitFor::kPrevious});
  }
}

void let_next_kernel_start() {
  Thread& thread = enter();
  Block& block = *thread.warp->block;
  if (!block.triggered) {  // one thread speaks for its block
    block.triggered = true;
    --block.grid->blocks_untriggered;
  }
  running().machine->maybe_yield(thread);
}

void sleep_ns(uint32_t /*duration_ns*/) {
  Thread& thread = enter();
  running().machine->yield(thread);
}

}  // namespace hadal::gpu::emulator
