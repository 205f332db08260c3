#include "gpu/emulator/machine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::gpu::emulator {
namespace {

// Kernels keep a few hundred registers per thread in local arrays; builds without optimisation need
// several times that.
constexpr size_t kStackBytes = 128 * 1024;

// What makes runs differ. An operation in flight that never completes while a thread can run finds
// missing waits; one that completes at once finds buffers that are reused too early; one of a kind
// that stays behind all others finds what relies on their order. A warp that stays ahead of the
// others, until chance puts it behind them, finds missing barriers. (Behind all of them: a place by
// chance would starve one of two warps that poll.)
constexpr double kEagerness[] = {0, 1.0 / 32, 0.5, 1};
constexpr double kSlowChances[] = {0.5, 1};
constexpr double kSlowCompletes = 1.0 / 1024;
constexpr double kYieldChances[] = {0, 1.0 / 16, 0.5};
constexpr double kLastPlaceChance = 1.0 / 32;

constexpr uint32_t kRegistersPerSm = 65536;

template <typename T>
T pick(Rng& rng, const auto& values) {
  return values[rng.below(std::size(values))];
}

std::array<uint32_t, 3> unflatten(uint64_t number, const std::array<uint32_t, 3>& extents) {
  return {static_cast<uint32_t>(number % extents[0]),
          static_cast<uint32_t>(number / extents[0] % extents[1]),
          static_cast<uint32_t>(number / extents[0] / extents[1])};
}

std::array<uint32_t, 3> extents(const Dim3& dim) {
  return {dim.x, dim.y, dim.z};
}

uint64_t product(const Dim3& dim) {
  return uint64_t{dim.x} * dim.y * dim.z;
}

}  // namespace

Running& running() {
  static thread_local Running now;
  return now;
}

Machine::Machine(const MachineOptions& options, const GlobalMemory& memory, Rng rng,
                 std::vector<std::unique_ptr<Fiber>>& fibers)
    : options_(options), memory_(memory), rng_(rng), fibers_(fibers) {
  by_priority_ = rng_.chance(0.5);
  eagerness_ = pick<double>(rng_, kEagerness);
  yield_chance_ = pick<double>(rng_, kYieldChances);
  slow_kind_ = static_cast<Flight>(rng_.below(static_cast<uint64_t>(Flight::kCount) + 1));
  slow_chance_ = pick<double>(rng_, kSlowChances);
  elected_ = rng_.below(kLanes);
}

Machine::~Machine() {
  for (const auto& grid : grids_) {
    for (const auto& cluster : grid->running) {
      for (const auto& block : cluster->blocks) {
        for (const auto& warp : block->warps) {
          for (const auto& thread : warp->threads) {
            if (thread && thread->fiber) fibers_.push_back(std::move(thread->fiber));
          }
        }
      }
    }
  }
}

void Machine::add_grid(const LaunchRecord& record) {
  auto grid = std::make_unique<Grid>();
  grid->record = &record;
  const size_t bytes = (record.parameters.size() + 127) / 64 * 64;
  grid->parameters = {static_cast<std::byte*>(std::aligned_alloc(64, bytes)), &std::free};
  std::memcpy(grid->parameters.get(), record.parameters.data(), record.parameters.size());
  grid->blocks_left = grid->blocks_untriggered = product(record.launch.grid);
  grid->clusters = grid->blocks_left / product(record.launch.cluster);
  grid->previous = grids_.empty() ? nullptr : grids_.back().get();
  grids_.push_back(std::move(grid));
}

Result<> Machine::run(const std::vector<LaunchRecord>& launches) {
  for (const LaunchRecord& record : launches) add_grid(record);
  running().machine = this;
  while (!faulted() && !std::ranges::all_of(grids_, [](const auto& grid) { return grid->ended(); }))
    turn();
  running() = {};
  if (faulted()) return fail(Code::kInternal, *error_);
  return {};
}

void Machine::turn() {
  start_blocks();
  const bool stuck = ready_.empty();
  if (!in_flight_.empty() && (stuck || rng_.chance(eagerness_))) {
    advance(in_flight_);
  } else if (!slow_.empty() && (stuck || rng_.chance(kSlowCompletes))) {
    advance(slow_);
  } else if (!stuck) {
    run_warp();
  } else {
    error_ = "deadlock: no thread can run and nothing is in flight\n" + describe_threads(grids_);
  }
  if (reap_) reap();
}

/// Frees clusters whose threads have ended and have nothing in flight.
void Machine::reap() {
  reap_ = false;
  for (const auto& grid : grids_) {
    std::erase_if(grid->running, [](const auto& cluster) {
      return cluster->threads_left == 0 && cluster->in_flight == 0;
    });
  }
}

void Machine::fault(const Thread& thread, std::string_view what) {
  if (!error_)
    error_ = fmt::format("{}, lane {}: {}", place(*thread.warp), thread.identity.lane, what);
}

// --- blocks ---

/// Whether the blocks of a grid may run beside what is in front of it.
bool Machine::may_start(const Grid& grid) const {
  if (grid.previous == nullptr || grid.previous->ended()) return true;
  return grid.record->launch.overlap_previous && grid.previous->blocks_untriggered == 0;
}

void Machine::start_blocks() {
  for (const auto& grid : grids_) {
    if (grid->started == grid->clusters) continue;
    if (!may_start(*grid)) return;
    const uint64_t size = product(grid->record->launch.cluster);
    while (grid->started < grid->clusters &&
           grid->blocks_running + size <= static_cast<uint64_t>(options_.num_sms)) {
      start_cluster(*grid);
    }
    if (grid->started < grid->clusters) return;
  }
}

void Machine::start_cluster(Grid& grid) {
  const Launch& launch = grid.record->launch;
  const auto size = static_cast<uint32_t>(product(launch.cluster));
  auto cluster = std::make_unique<Cluster>();
  cluster->grid = &grid;
  cluster->threads_left = static_cast<uint32_t>(product(launch.block)) * size;
  const uint64_t number = grid.started++;
  for (uint32_t rank = 0; rank < size; ++rank) start_block(grid, *cluster, number, rank);
  grid.running.push_back(std::move(cluster));
}

void Machine::start_block(Grid& grid, Cluster& cluster, uint64_t number, uint32_t rank) {
  const Launch& launch = grid.record->launch;
  auto block = std::make_unique<Block>(&cluster, launch.shared_bytes);
  const auto cluster_size = extents(launch.cluster);
  const auto within = unflatten(rank, cluster_size);
  const auto clusters = unflatten(
      number, {launch.grid.x / cluster_size[0], launch.grid.y / cluster_size[1], launch.grid.z});
  for (int i = 0; i < 3; ++i) block->index[i] = clusters[i] * cluster_size[i] + within[i];
  block->grid = &grid;
  block->rank = rank;
  block->threads_left = static_cast<uint32_t>(product(launch.block));
  const uint32_t warps = (block->threads_left + kLanes - 1) / kLanes;
  block->warpgroups.resize((warps + kWarpgroupWarps - 1) / kWarpgroupWarps);
  const uint32_t registers = std::min<uint32_t>(255, kRegistersPerSm / (warps * kLanes)) / 8 * 8;
  for (uint32_t w = 0; w < warps; ++w) {
    auto warp = std::make_unique<Warp>();
    warp->block = block.get();
    warp->index = w;
    warp->priority = kFirstPriority | rng_.next();
    warp->registers = registers;
    for (uint32_t lane = 0; lane < kLanes && w * kLanes + lane < block->threads_left; ++lane) {
      auto thread = std::make_unique<Thread>();
      thread->warp = warp.get();
      thread->identity = {unflatten(w * kLanes + lane, extents(launch.block)),
                          extents(launch.block),
                          block->index,
                          extents(launch.grid),
                          lane,
                          rank,
                          static_cast<uint32_t>(product(launch.cluster))};
      if (fibers_.empty()) fibers_.push_back(std::make_unique<Fiber>(kStackBytes));
      thread->fiber = std::move(fibers_.back());
      fibers_.pop_back();
      thread->fiber->start(&Machine::thread_main, thread.get());
      warp->lanes |= 1u << lane;
      warp->threads[lane] = std::move(thread);
      make_ready(*warp->threads[lane]);
    }
    block->warps.push_back(std::move(warp));
  }
  ++grid.blocks_running;
  cluster.blocks.push_back(std::move(block));
}

void Machine::thread_main(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  const Grid& grid = *thread.warp->block->grid;
  grid.record->function(grid.parameters.get());
  running().machine->end_thread(thread);
}

void Machine::check_end_of_warp(Warp& warp) {
  if (warp.mma_executed != warp.mma_issued) {
    fault(*warp.threads[0],
          fmt::format("the warp ends with {} wgmma in flight; wait_mma<0>() must come before",
                      warp.mma_issued - warp.mma_executed));
  }
}

void Machine::end_thread(Thread& thread) {
  Warp& warp = *thread.warp;
  Block& block = *warp.block;
  thread.done = true;
  warp.done |= 1u << thread.identity.lane;
  for (const Collective& collective : warp.collectives) {
    if ((collective.mask & warp.done) != 0) {
      fault(thread, fmt::format("the thread ends while lanes {:#010x} wait for it in {}",
                                collective.arrived, collective.operation));
    }
  }
  const bool unread = std::ranges::any_of(thread.stores, [](auto& group) { return group->unread; });
  if (unread || (thread.open_stores && thread.open_stores->unread != 0)) {
    fault(thread,
          "the thread ends while a bulk store may still read shared memory; "
          "wait_stores_read<0>() must come before");
  }
  if (warp.done == warp.lanes) check_end_of_warp(warp);
  --block.cluster->threads_left;
  Cluster& cluster = *block.cluster;
  if (cluster.arrived != 0 && cluster.arrived >= cluster.threads_left) {
    cluster.arrived = 0;
    ++cluster.phase;
    for (Warp* waiting : cluster.waiting) wake_lanes(*waiting, waiting->lanes);
    cluster.waiting.clear();
  }
  if (--block.threads_left == 0) end_block(block);
}

void Machine::end_block(Block& block) {
  Grid& grid = *block.grid;
  const Thread& thread = *running().thread;
  if (block.inbound != 0) {
    fault(thread, fmt::format("the block ends while {} operations in flight (copies, or arrivals "
                              "of its cluster) will still touch its shared memory",
                              block.inbound));
  }
  for (const Warpgroup& group : block.warpgroups) {
    const size_t first = static_cast<size_t>(&group - block.warpgroups.data()) * kWarpgroupWarps;
    for (size_t w = first; w < std::min(block.warps.size(), first + kWarpgroupWarps); ++w) {
      if (block.warps[w]->register_changes != block.warps[first]->register_changes) {
        fault(thread, fmt::format("warps {} and {} of one warpgroup have changed their registers a "
                                  "different number of times",
                                  first, w));
      }
    }
  }
  --grid.blocks_left;
  --grid.blocks_running;
  if (!block.triggered) --grid.blocks_untriggered;
  reap_ = true;
  if (grid.ended()) wake_dependents(grid);
}

// --- the scheduler ---

void Machine::make_ready(Thread& thread) {
  Warp& warp = *thread.warp;
  warp.ready |= 1u << thread.identity.lane;
  if (warp.ready_index >= 0 || &warp == running_) return;
  warp.ready_index = static_cast<int>(ready_.size());
  ready_.push_back(&warp);
}

void Machine::remove_ready(Warp& warp) {
  ready_.back()->ready_index = warp.ready_index;
  ready_[warp.ready_index] = ready_.back();
  ready_.pop_back();
  warp.ready_index = -1;
}

Warp& Machine::pick_warp() {
  if (!by_priority_) return *ready_[rng_.below(ready_.size())];
  Warp& first = **std::ranges::max_element(ready_, {}, [](const Warp* w) { return w->priority; });
  if (rng_.chance(kLastPlaceChance)) first.priority = --lowest_priority_;
  return first;
}

void Machine::run_warp() {
  Warp& warp = pick_warp();
  remove_ready(warp);
  running_ = &warp;
  uint32_t lanes = std::exchange(warp.ready, 0);
  // Start anywhere: no lane is the first one always.
  const auto start = static_cast<int>(rng_.below(kLanes));
  lanes = std::rotr(lanes, start);
  while (lanes != 0 && !faulted()) {
    const int lane = (std::countr_zero(lanes) + start) % static_cast<int>(kLanes);
    lanes &= lanes - 1;
    Thread& thread = *warp.threads[lane];
    running().thread = &thread;
    thread.fiber->resume();
    if (thread.done) fibers_.push_back(std::move(thread.fiber));
  }
  running_ = nullptr;
  if (warp.ready != 0) make_ready(*warp.threads[std::countr_zero(warp.ready)]);
}

void Machine::advance(std::vector<InFlight>& operations) {
  const size_t i = rng_.below(operations.size());
  Cluster& cluster = *operations[i].cluster;
  if (!operations[i].advance()) return;
  std::swap(operations[i], operations.back());
  operations.pop_back();
  Grid& grid = *cluster.grid;
  --grid.in_flight;
  if (--cluster.in_flight == 0) reap_ = true;
  if (grid.ended()) wake_dependents(grid);
}

void Machine::wake_dependents(const Grid& grid) {
  for (const auto& later : grids_) {
    if (later->previous == &grid) wake(later->waiting_previous);
  }
}

void Machine::launch_in_flight(Thread& thread, Flight kind, std::function<bool()> advance) {
  Cluster* cluster = thread.warp->block->cluster;
  ++cluster->in_flight;
  ++cluster->grid->in_flight;
  const bool slow = kind == slow_kind_ && rng_.chance(slow_chance_);
  (slow ? slow_ : in_flight_).push_back({cluster, std::move(advance)});
}

// --- for hooks ---

void Machine::step(Thread& thread) {
  if (++steps_ > options_.steps_max) {
    fault(thread, fmt::format("the step limit of {} is reached; is this a loop without end?\n{}",
                              options_.steps_max, describe_threads(grids_)));
  }
  while (faulted()) thread.fiber->suspend();
}

void Machine::yield(Thread& thread) {
  make_ready(thread);
  thread.fiber->suspend();
}

void Machine::maybe_yield(Thread& thread) {
  if (rng_.chance(yield_chance_)) yield(thread);
}

void Machine::block(Thread& thread, const Wait& wait) {
  thread.wait = wait;
  thread.blocked = true;
  thread.fiber->suspend();
  thread.wait = {};
}

void Machine::wake(Thread& thread) {
  if (!thread.blocked) return;
  thread.blocked = false;
  make_ready(thread);
}

void Machine::wake(std::vector<Thread*>& threads) {
  for (Thread* thread : threads) wake(*thread);
  threads.clear();
}

void Machine::wake_lanes(Warp& warp, uint32_t mask) {
  for (mask &= warp.lanes; mask != 0; mask &= mask - 1) {
    wake(*warp.threads[std::countr_zero(mask)]);
  }
}

std::optional<Collective> Machine::meet(Thread& thread, const char* operation, uint32_t mask,
                                        void* slot) {
  Warp& warp = *thread.warp;
  const uint32_t self = 1u << thread.identity.lane;
  mask &= warp.lanes;
  if ((mask & self) == 0 || (mask & warp.done) != 0) {
    fault(thread, fmt::format("{} with the mask {:#010x}: {}", operation, mask,
                              (mask & self) == 0 ? "the calling lane is not in it"
                                                 : "it has lanes that have ended"));
    step(thread);
  }
  auto open = std::ranges::find_if(warp.collectives,
                                   [&](const Collective& c) { return (c.mask & mask) != 0; });
  if (open == warp.collectives.end()) {
    warp.collectives.push_back({operation, mask, 0, {}});
    open = warp.collectives.end() - 1;
  } else if (std::string_view(open->operation) != operation || open->mask != mask) {
    fault(
        thread,
        fmt::format("the warp has diverged: this lane calls {} with the mask {:#010x} while lanes "
                    "{:#010x} are in {} with the mask {:#010x}",
                    operation, mask, open->arrived, open->operation, open->mask));
    step(thread);
  }
  open->arrived |= self;
  open->slots[thread.identity.lane] = slot;
  if (open->arrived != mask) {
    block(thread, {WaitFor::kLanes, mask, 0, operation});
    return std::nullopt;
  }
  const Collective all = *open;
  warp.collectives.erase(open);
  return all;
}

void Machine::release(Thread& thread, const Collective& lanes) {
  wake_lanes(*thread.warp, lanes.mask & ~(1u << thread.identity.lane));
}

void Machine::hold(Thread& thread, const Collective& lanes, const Wait& wait) {
  const uint32_t self = 1u << thread.identity.lane;
  for (uint32_t others = lanes.mask & ~self; others != 0; others &= others - 1) {
    thread.warp->threads[std::countr_zero(others)]->wait = wait;
  }
  block(thread, wait);
}

uint32_t Machine::elected_lane(const Warp& warp) const {
  uint32_t lanes = warp.lanes;
  for (uint64_t skip = elected_ % std::popcount(lanes); skip > 0; --skip) lanes &= lanes - 1;
  return std::countr_zero(lanes);
}

}  // namespace hadal::gpu::emulator
