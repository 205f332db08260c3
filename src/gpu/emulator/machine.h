// The emulated GPU while kernels run: threads, warps, blocks, what is in flight, and the scheduler.
//
// Every CUDA thread is a fiber. The scheduler takes a warp that can run and resumes its lanes until
// each blocks, yields or ends; between such turns it completes operations that are in flight (TMA,
// bulk copies, wgmma, remote arrivals). Which warp, and when an operation completes, the seed
// decides; so one OS thread runs everything, and a run can be repeated exactly.
//
// Rules of the code behind hooks.h:
// - fault() records what went wrong; the first one counts. The scheduler stops at its next turn and
//   abandons every fiber where it stands.
// - So a hook holds no heap memory while it may block, yield or fault.
// - A loop around block() asks its condition again, as a GPU's polling does.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/fiber.h"
#include "base/rng.h"
#include "gpu/emulator/global_memory.h"
#include "gpu/emulator/hooks.h"
#include "gpu/emulator/shared_memory.h"
#include "gpu/gpu.h"

namespace hadal::gpu::emulator {

struct Block;
struct Cluster;
struct Grid;
struct Thread;
struct Warp;

inline constexpr uint32_t kLanes = 32;
inline constexpr uint32_t kWarpgroupWarps = 4;
inline constexpr uint64_t kFirstPriority = uint64_t{1} << 63;  // warps begin above it

/// Why a thread is blocked, for the report of a deadlock.
enum class WaitFor : uint8_t {
  kNothing,
  kLanes,      // other lanes of the warp; text says for which operation
  kBarrier,    // a: offset, b: parity
  kNamed,      // a: id
  kCluster,    // the cluster's barrier
  kStores,     // a: groups that may stay pending
  kMma,        // a: groups that may stay pending
  kRegisters,  // a: registers per thread
  kPrevious,   // the previous kernel
};

struct Wait {
  WaitFor what = WaitFor::kNothing;
  uint32_t a = 0, b = 0;
  const char* text = "";
};

/// A barrier in shared memory.
struct MemoryBarrier {
  uint32_t expected = 0;
  uint32_t pending = 0;
  int64_t bytes = 0;  // announced and not yet landed
  uint64_t phase = 0;
  const Thread* initialised_by = nullptr;
  bool visible = false;  // to the cluster and to copies
  std::vector<Thread*> waiting;
};

struct NamedBarrier {
  uint32_t threads = 0;  // of this round; 0 between rounds
  uint32_t arrived = 0;
  std::vector<Warp*> waiting;
};

/// Lanes that have come to an operation of the whole warp (or of the lanes in a mask).
struct Collective {
  const char* operation = "";
  uint32_t mask = 0, arrived = 0;
  std::array<void*, kLanes> slots = {};
};

/// A group of bulk stores of one thread.
struct StoreGroup {
  uint32_t unread = 0, unwritten = 0;
};

/// Registers that a thread has handed to wgmma, by their address in the thread's stack.
struct HeldRegisters {
  uint8_t* at = nullptr;
  size_t bytes = 0;
  bool accumulating = false;  // poisoned; `content` is what the hardware has
  uint64_t last_mma = 0;      // of the warp's sequence, 1 is the first; 0: none yet
  std::vector<uint32_t> content;
};

struct SharedRange {
  SharedMemory* memory;
  uint32_t offset, bytes;
};

struct Thread {
  Identity identity = {};
  Warp* warp = nullptr;
  std::unique_ptr<Fiber> fiber;
  bool blocked = false, done = false;
  Wait wait;
  std::vector<SharedRange> unfenced;  // generic writes that the asynchronous proxy may not see
  std::vector<MemoryBarrier*> unfenced_barriers;
  std::shared_ptr<StoreGroup> open_stores;
  std::deque<std::shared_ptr<StoreGroup>> stores;
  std::vector<std::unique_ptr<HeldRegisters>> held;
};

/// One warp's part of a wgmma that other warps of the warpgroup may not have come to.
struct MmaPart {
  MmaShape shape;
  uint64_t tile_a, tile_b;
  bool accumulate, registers_a;
  std::array<HeldRegisters*, kLanes> d;
  std::array<HeldRegisters*, kLanes> a;
};

struct Warp {
  Block* block = nullptr;
  uint32_t index = 0;
  uint32_t lanes = 0;  // that exist
  uint32_t done = 0;
  uint32_t ready = 0;  // lanes that can run
  int ready_index = -1;
  uint64_t priority = 0;
  std::array<std::unique_ptr<Thread>, kLanes> threads;
  std::vector<Collective> collectives;
  // wgmma: how many were issued and executed, and how many had been issued at each commit.
  uint64_t mma_issued = 0, mma_executed = 0;
  std::vector<uint64_t> mma_groups;
  std::deque<MmaPart> mma_parts;
  uint32_t registers = 0;         // per thread
  uint32_t registers_wanted = 0;  // while it waits for them
  uint32_t register_changes = 0;
  uint64_t cluster_arrivals = 0, cluster_waits = 0;
};

struct Warpgroup {
  std::deque<std::array<MmaPart, kWarpgroupWarps>> mma;
};

struct Block {
  Block(Cluster* cluster_of, uint32_t shared_bytes) : cluster(cluster_of), shared(shared_bytes) {}
  Cluster* cluster;
  Grid* grid = nullptr;
  std::array<uint32_t, 3> index = {};
  uint32_t rank = 0;
  uint32_t threads_left = 0;
  bool triggered = false;  // has let the next kernel start
  uint32_t inbound = 0;    // operations in flight that will touch its shared memory
  SharedMemory shared;
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<Warpgroup> warpgroups;
  std::array<NamedBarrier, 16> named;
  std::unordered_map<uint32_t, MemoryBarrier> barriers;
  uint32_t registers_free = 0;
  std::vector<Warp*> waiting_registers;

  bool ended() const { return threads_left == 0; }
};

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;
  Grid* grid = nullptr;
  uint32_t threads_left = 0;
  uint32_t in_flight = 0;  // operations of its threads
  uint32_t arrived = 0;
  uint64_t phase = 0;
  std::vector<Warp*> waiting;
};

struct LaunchRecord {
  std::string name;
  void (*function)(const void*) = nullptr;
  Launch launch;
  std::vector<std::byte> parameters;
};

struct Grid {
  const LaunchRecord* record = nullptr;
  // The parameters as the kernel sees them, aligned as tensor maps need it.
  std::unique_ptr<std::byte, void (*)(void*)> parameters{nullptr, nullptr};
  uint64_t clusters = 0, started = 0;  // clusters
  uint64_t blocks_left = 0;            // not ended, started or not
  uint64_t blocks_running = 0;
  uint64_t blocks_untriggered = 0;
  uint64_t in_flight = 0;  // operations of its threads
  std::vector<std::unique_ptr<Cluster>> running;
  std::vector<Thread*> waiting_previous;
  Grid* previous = nullptr;

  bool ended() const { return blocks_left == 0 && in_flight == 0; }
};

enum class Flight : uint8_t { kLoad, kStore, kMma, kSignal, kCount };

/// An operation in flight. advance() does its next step and says whether it was the last.
struct InFlight {
  Cluster* cluster;  // of the thread that issued it
  std::function<bool()> advance;
};

struct MachineOptions {
  int num_sms;
  uint64_t steps_max;
  bool truncate_fp8_sums;
};

class Machine {
 public:
  Machine(const MachineOptions& options, const GlobalMemory& memory, Rng rng,
          std::vector<std::unique_ptr<Fiber>>& fibers);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Runs kernels in order. kInternal with what a kernel did wrong.
  Result<> run(const std::vector<LaunchRecord>& launches);

  // --- for hooks ---

  const MachineOptions& options() const { return options_; }
  const GlobalMemory& memory() const { return memory_; }
  Rng& rng() { return rng_; }

  /// Records a fault of a thread, or of an operation that a thread has issued.
  void fault(const Thread& thread, std::string_view what);
  bool faulted() const { return error_.has_value(); }

  /// At the beginning of each hook: counts a step, and stops a thread of a machine with a fault.
  void step(Thread& thread);
  /// Lets others run; the thread can run again at once.
  void yield(Thread& thread);
  /// yield(), for some seeds.
  void maybe_yield(Thread& thread);
  void block(Thread& thread, const Wait& wait);
  void wake(Thread& thread);
  void wake(std::vector<Thread*>& threads);
  void wake_lanes(Warp& warp, uint32_t mask);

  /// Meets the other lanes in `mask`. The last one gets all of them, does what is to be done, and
  /// calls release() or hold(); the others get nothing, once they may go on.
  std::optional<Collective> meet(Thread& thread, const char* operation, uint32_t mask,
                                 void* slot = nullptr);
  void release(Thread& thread, const Collective& lanes);
  /// Blocks them all, until wake_lanes().
  void hold(Thread& thread, const Collective& lanes, const Wait& wait);

  /// The lane that elect_one() elects, the same in all warps of a run.
  uint32_t elected_lane(const Warp& warp) const;

  /// Puts an operation of a thread in flight. It may use the thread, its cluster and their memory.
  void launch_in_flight(Thread& thread, Flight kind, std::function<bool()> advance);

 private:
  bool may_start(const Grid& grid) const;
  void add_grid(const LaunchRecord& record);
  void turn();
  void reap();
  void start_blocks();
  void start_cluster(Grid& grid);
  void start_block(Grid& grid, Cluster& cluster, uint64_t number, uint32_t rank);
  void run_warp();
  Warp& pick_warp();
  void advance(std::vector<InFlight>& operations);
  void wake_dependents(const Grid& grid);
  void end_thread(Thread& thread);
  void check_end_of_warp(Warp& warp);
  void end_block(Block& block);
  void make_ready(Thread& thread);
  void remove_ready(Warp& warp);
  static void thread_main(void* argument);

  const MachineOptions options_;
  const GlobalMemory& memory_;
  Rng rng_;
  std::vector<std::unique_ptr<Fiber>>& fibers_;  // that are free
  std::vector<std::unique_ptr<Grid>> grids_;
  std::vector<Warp*> ready_;
  std::vector<InFlight> in_flight_;  // that complete by chance
  std::vector<InFlight> slow_;       // that wait until nothing else moves, or almost
  std::optional<std::string> error_;
  uint64_t steps_ = 0;
  bool by_priority_ = false;  // or uniformly
  uint64_t lowest_priority_ = kFirstPriority;
  double eagerness_ = 0;  // of operations in flight, while threads can run
  double yield_chance_ = 0;
  Flight slow_kind_ = Flight::kCount;
  double slow_chance_ = 0;
  uint64_t elected_ = 0;
  Warp* running_ = nullptr;  // whose lanes are resumed now
  bool reap_ = false;        // a cluster may be done
};

/// The machine and the thread that run on this OS thread; null outside of run().
struct Running {
  Machine* machine = nullptr;
  Thread* thread = nullptr;
};
Running& running();

/// "kernel x, block (0,0,0), warp 1".
std::string place(const Warp& warp);
/// "waits for ...".
std::string describe_wait(const Thread& thread);
/// Every warp that is not done, one line each.
std::string describe_threads(const std::vector<std::unique_ptr<Grid>>& grids);

/// The running thread, for a hook; counts the step.
inline Thread& enter() {
  Running& now = running();
  now.machine->step(*now.thread);
  return *now.thread;
}

// --- shared by hooks; they fault() and return false or null on a violation ---

/// The block and offset that an address of the cluster names; checks that it may be used now.
struct Place {
  Block* block = nullptr;
  uint32_t offset = 0;
};
Place resolve(Thread& thread, uint32_t address, const char* operation);
/// Whether a range lies in a block's shared memory, at a multiple of `alignment`, and (for a write)
/// over no barrier.
bool check_shared(Thread& thread, const Block& block, uint32_t offset, uint64_t bytes,
                  uint32_t alignment, bool write, const char* operation);
bool check_global(Thread& thread, const void* address, uint64_t bytes, uint32_t alignment,
                  const char* operation);
/// A generic write to shared memory of `block`, remembered until the thread's fence.
void write_shared(Thread& thread, Block& block, uint32_t offset, const void* from, uint32_t bytes);
MemoryBarrier* find_barrier(Thread& thread, Block& block, uint32_t offset, const char* operation);
void arrive(Thread& thread, MemoryBarrier& barrier, uint32_t bytes, const char* operation);
void complete_bytes(Thread& thread, MemoryBarrier& barrier, uint32_t bytes);

}  // namespace hadal::gpu::emulator
