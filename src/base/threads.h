// A pool of worker threads for loops that split into independent ranges.
//
//   ThreadPool pool;  // one worker per available core
//   pool.parallel_for(rows, [&](int64_t begin, int64_t end, int worker) {
//     for (int64_t row = begin; row < end; ++row) out[row] = norm(in[row], scratch[worker]);
//   });
//
// Why a pool of our own. A kernel call of 20 us must not spend 20 us on starting threads, and a
// blocked wake-up costs that much on a virtual machine. So the workers persist, spin for kSpinUs
// after each call, and only then sleep in the kernel. The calling thread takes part as worker 0.
//
// How a call works. Every worker has one state word. The caller posts a share to each, runs its own
// share, and then takes back every share that its worker has not begun and runs that as well, under
// that worker's index. So a call never waits for a thread that the scheduler has not run yet: on a
// machine whose cores are busy with others it degrades to a loop on the caller, not to a stall.
// Between two cores that are awake a call costs 0.35 us more than its longest share (GNU OpenMP:
// 0.6 us), and each sleeping worker adds the 2 to 8 us of its wake-up call (threads_bench, 2 cores
// of a Zen 4).
//
// Invariants
//   1. Every index of [0, n) is in exactly one invocation of fn; no invocation is empty.
//   2. `worker` is in [0, size()), and no two invocations of one call run at the same time under
//   the
//      same `worker`: scratch memory that belongs to the call may be indexed by it.
//   3. parallel_for() gives worker w the range split(n, min(n, size()), w), always. A result that
//   must
//      be the same on every machine must still not depend on the split, because size() differs.
//   4. When the call returns, all writes of all invocations are visible to the caller.
//   5. A call allocates nothing and, while the workers spin, makes no system call.
//
// Rules for fn. Invocations must not wait for one another (no barrier inside a loop), because one
// thread may run several in turn. fn must not throw: an exception ends the program
// (std::terminate), it never leaves a call half done or a worker lost.
//
// Threads. Any thread may call. Calls from several threads to one pool take turns. A call made
// inside fn runs whole, as one invocation, on the thread that makes it: under its own index if the
// pools are the same, else as worker 0 (forking there could deadlock two pools that call each
// other). Where there is nothing to fork (one worker, one range) fn runs on the caller with no lock
// and no indirect call. Workers use the caller's Profiler (base/profiler.h) while they run its
// shares.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/check.h"

namespace hadal {

/// The CPUs that the calling thread may run on, ascending; never empty.
std::vector<int> allowed_cpus();

/// How many threads are worth starting: allowed_cpus(), or less where a cgroup v2 quota (cpu.max,
/// as set by containers) grants less. At least 1. Quotas of cgroup v1 are not looked at.
int available_cores();

/// The tightest cpu.max on the way from this process's cgroup v2 to the root, in cores rounded up;
/// 0 if there is none. `self_cgroup` is a file like /proc/self/cgroup, `mount` one like
/// /sys/fs/cgroup.
int cgroup_cores(const std::string& self_cgroup, const std::string& mount);

class ThreadPool {
 public:
  /// How long an idle worker, or a caller whose workers are not done, spins before it sleeps. About
  /// what a sleep and its wake-up cost (20 to 50 us on a virtual machine), so that the choice is
  /// never worse than twice the best one. A pool with more threads than cores does not spin at all.
  static constexpr int kSpinUs = 50;
  static constexpr int kThreadsMax = 1024;

  struct Options {
    /// Workers with the caller counted, up to kThreadsMax; 0: available_cores().
    int threads = 0;
    /// Binds worker i >= 1 to the i-th of allowed_cpus(); the caller stays free. Ignored where a
    /// quota or `threads` makes workers and CPUs unequal in number: two processes that share a
    /// machine would both choose its first cores.
    bool pin = false;
    /// The workers are called "<name>-1", ... in debuggers, top and traces (15 bytes are kept).
    std::string_view name = "worker";
  };

  /// Starts the workers. If the system refuses some threads, size() is smaller than asked for.
  ThreadPool();
  explicit ThreadPool(const Options& options);
  /// Stops the workers; no call may be running.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Workers, with the caller counted.
  int size() const { return size_; }

  struct Range {
    int64_t begin;
    int64_t end;
  };
  /// Part `index` of [0, n) in `parts` contiguous ranges; the first n % parts are one longer.
  static constexpr Range split(int64_t n, int64_t parts, int64_t index) {
    const int64_t quotient = n / parts;
    const int64_t remainder = n % parts;
    const int64_t begin = index * quotient + (index < remainder ? index : remainder);
    return {begin, begin + quotient + (index < remainder ? 1 : 0)};
  }

  /// fn(begin, end, worker) for one contiguous range per worker: for items of equal cost. n <= 0
  /// does nothing.
  template <typename Fn>
  void parallel_for(int64_t n, Fn&& fn) noexcept {
    if (n <= 0) return;
    if (size_ == 1 || n == 1) {
      fn(int64_t{0}, n, 0);
      return;
    }
    run(n, 0, RangeFn(fn));
  }

  /// fn(begin, end, worker) for chunks of `grain` >= 1 items (the last may be shorter), each taken
  /// by whichever worker is free: for items of unequal cost. A chunk costs one shared atomic
  /// increment: choose `grain` so that it takes a microsecond or more.
  template <typename Fn>
  void parallel_for_dynamic(int64_t n, int64_t grain, Fn&& fn) noexcept {
    CHECK(grain >= 1, "parallel_for_dynamic: grain must be at least 1");
    if (n <= 0) return;
    if (size_ == 1 || n <= grain) {
      fn(int64_t{0}, n, 0);
      return;
    }
    run(n, grain, RangeFn(fn));
  }

 private:
  struct Impl;

  // A reference to the caller's function object: two words, no allocation.
  class RangeFn {
   public:
    RangeFn() = default;
    template <typename Fn>
    explicit RangeFn(Fn& fn)
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(fn)))),
          call_([](void* object, int64_t begin, int64_t end, int worker) noexcept {
            (*static_cast<std::remove_reference_t<Fn>*>(object))(begin, end, worker);
          }) {}
    void operator()(int64_t begin, int64_t end, int worker) const {
      call_(object_, begin, end, worker);
    }

   private:
    void* object_ = nullptr;
    void (*call_)(void*, int64_t, int64_t, int) noexcept = nullptr;
  };

  // grain 0: one range per worker.
  void run(int64_t n, int64_t grain, RangeFn fn);

  int size_ = 1;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal
