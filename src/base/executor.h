// Where the code of a server runs: one queue of tasks, run one at a time, with a clock and timers.
//
// Servers and clients are written against this class and run unchanged in two places: on the event
// loop of an OS thread, and in the simulator (sim/world.h), where a whole cluster runs in one
// thread, from a seed. So they read no other clock, start no threads and take no locks: what runs
// on one executor never runs at the same time.
//
//   void Server::accept(Request request) {                    // a task: must not block
//     executor_.spawn("write", [this, request = std::move(request)] {   // a fiber: may wait
//       const Lock lock(chunk_mutex_);
//       if (!replies_.wait(Deadline::after(executor_.clock(), kSecond))) ...
//     });
//   }
//
// A fiber is a function with a stack of its own. Where it waits, other work of its executor goes
// on; it reads like blocking code and costs like a callback. Everything that waits is built on
// WaitList, which executor code shares without locks.
//
// Stopping. An executor that ends, or a process that the simulator kills, unwinds its fibers: the
// wait in which a fiber stands throws FiberStopped, which nobody catches but the executor.
// Destructors must not wait. A function that may wait is not noexcept.
//
// Threads: post() may be called from any thread, everything else from the executor's own tasks and
// fibers only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace hadal {

class Executor;
class Strand;

using Task = std::move_only_function<void()>;
using TimerId = uint64_t;

/// Unwinds a fiber. Never catch it, nor `...` without throwing on.
struct FiberStopped {};

class Executor {
 public:
  Executor();
  /// All fibers are gone: stop_fibers() has been called.
  virtual ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  virtual const Clock& clock() const = 0;
  int64_t now_ns() const { return clock().now_ns(); }

  /// Runs the task behind everything that was posted before.
  virtual void post(Task task) = 0;
  /// Runs the task at that time or later.
  virtual TimerId start_timer(int64_t time_ns, Task task) = 0;
  /// Its task does not run any more, unless it has. A timer that never was does no harm.
  virtual void stop_timer(TimerId timer) = 0;

  /// Runs `function` in a fiber, soon. `name` is for people who look for what waits.
  void spawn(std::string_view name, Task function);
  /// Names of the fibers that have not ended.
  std::vector<std::string> fibers() const;

 protected:
  /// Unwinds every fiber. What their destructors post is the derived class's to drop.
  void stop_fibers();

 private:
  friend class Strand;
  friend class WaitList;
  std::list<std::unique_ptr<Strand>> live_;  // in the order of spawn()
  std::list<std::unique_ptr<Strand>> free_;  // stacks are used again
  bool stopping_ = false;
};

/// Fibers of one executor that wait for something, in the order in which they came.
class WaitList {
 public:
  WaitList() = default;
  ~WaitList();
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  /// Waits until it is this fiber's turn to be woken; false: the deadline has passed.
  bool wait(Deadline deadline = Deadline::never());
  /// Wakes the fiber that has waited longest; false: nobody waits.
  bool wake_one();
  void wake_all();
  bool empty() const { return waiters_.empty(); }

 private:
  struct Waiter;
  std::deque<Waiter*> waiters_;
};

/// The executor of the running fiber. Only in a fiber.
Executor& this_executor();
/// Whether this code runs in a fiber, and so may wait.
bool in_fiber();
/// Lets other work of the executor run.
void yield_fiber();
void sleep_fiber(int64_t duration_ns);

/// Calls body(0) to body(count - 1) in fibers of their own, at once, and returns when all have
/// ended. Outside of a fiber, where nothing waits: one after another.
void run_at_once(std::string_view name, size_t count, const std::function<void(size_t i)>& body);

/// One fiber at a time, over waits, in the order of lock().
class FiberMutex {
 public:
  void lock();
  void unlock();

 private:
  bool locked_ = false;
  WaitList waiters_;
};

/// A bound on how many do something at once, or on bytes in flight.
class FiberSemaphore {
 public:
  explicit FiberSemaphore(int64_t count) : count_(count) {}
  /// In the order of calls, so that a large request is not starved. False: the deadline has passed.
  bool acquire(int64_t count, Deadline deadline = Deadline::never());
  void release(int64_t count);
  int64_t free() const { return count_; }

 private:
  struct Request;
  void grant();
  int64_t count_;
  std::deque<Request*> line_;
};

/// Something that happens once.
class FiberEvent {
 public:
  void set() {
    set_ = true;
    waiters_.wake_all();
  }
  bool is_set() const { return set_; }
  bool wait(Deadline deadline = Deadline::never()) { return set_ || waiters_.wait(deadline); }

 private:
  bool set_ = false;
  WaitList waiters_;
};

}  // namespace hadal
