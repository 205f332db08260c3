#include "base/executor.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/fiber.h"

namespace hadal {
namespace {

constexpr size_t kStackBytes = 64 * 1024;

thread_local Strand* running = nullptr;

}  // namespace

/// A fiber with its function.
class Strand {
 public:
  explicit Strand(Executor& executor) : executor_(executor), fiber_(kStackBytes) {}

  using Place = std::list<std::unique_ptr<Strand>>::iterator;

  /// `place` is this fiber's in the executor's list.
  void start(Place place, std::string_view name, Task function) {
    place_ = place;
    name_ = name;
    function_ = std::move(function);
    done_ = stopped_ = false;
    fiber_.start(&Strand::main, this);
  }

  /// Runs it until it waits or ends; true: it has ended.
  bool resume() {
    Strand* const before = std::exchange(running, this);
    fiber_.resume();
    running = before;
    return done_;
  }

  /// Of the executor: resumes, and takes the stack back from a fiber that has ended.
  void run() {
    if (!resume()) return;
    executor_.free_.splice(executor_.free_.begin(), executor_.live_, place_);
  }

  /// From inside: until somebody calls run(). Throws where the fiber is to end.
  void suspend() {
    CHECK(!stopped_, "a destructor waits while its fiber is stopped");
    fiber_.suspend();
    if (stopped_) throw FiberStopped();
  }

  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  Executor& executor() const { return executor_; }
  const std::string& name() const { return name_; }

 private:
  static void main(void* self) {
    auto* const strand = static_cast<Strand*>(self);
    try {
      if (!strand->stopped_) strand->function_();
    } catch (const FiberStopped&) {  // NOLINT(bugprone-empty-catch): unwound, as it was told
    }
    strand->function_ = nullptr;
    strand->done_ = true;
  }

  Executor& executor_;
  Place place_ = {};
  Fiber fiber_;
  std::string name_;
  Task function_;
  bool done_ = false;
  bool stopped_ = false;
};

Executor::Executor() = default;

Executor::~Executor() {
  CHECK(live_.empty(), "an executor ends before its fibers");
}

void Executor::spawn(std::string_view name, Task function) {
  if (free_.empty()) free_.push_back(std::make_unique<Strand>(*this));
  live_.splice(live_.end(), free_, free_.begin());
  Strand* const strand = live_.back().get();
  strand->start(std::prev(live_.end()), name, std::move(function));
  post([strand] { strand->run(); });
}

std::vector<std::string> Executor::fibers() const {
  std::vector<std::string> names;
  for (const auto& strand : live_) names.push_back(strand->name());
  return names;
}

void Executor::stop_fibers() {
  CHECK(running == nullptr, "fibers are stopped from inside of one");
  stopping_ = true;
  // One that unwinds may start another.
  while (!live_.empty()) {
    const Strand* const last = live_.back().get();
    live_.back()->stop();
    live_.back()->run();
    CHECK(live_.empty() || live_.back().get() != last, "a fiber goes on after it was stopped");
  }
  stopping_ = false;
}

struct WaitList::Waiter {
  Strand* strand;
  bool woken = false;
  bool orphaned = false;  // the list is gone
};

WaitList::~WaitList() {
  // Where an executor stops, what is waited for may end before who waits.
  for (Waiter* waiter : waiters_) {
    CHECK(waiter->strand->executor().stopping_, "fibers wait for something that ends");
    waiter->orphaned = true;
  }
}

bool WaitList::wait(Deadline deadline) {
  CHECK(running != nullptr, "only fibers wait");
  Strand* const strand = running;
  Executor& executor = strand->executor();
  if (deadline.passed(executor.clock())) return false;
  Waiter waiter{strand};
  // However the fiber leaves, nobody must find the waiter any more.
  struct Entry {
    WaitList& list;
    Waiter& waiter;
    Executor& executor;
    TimerId timer = 0;
    ~Entry() {
      if (timer != 0) executor.stop_timer(timer);
      if (!waiter.orphaned) std::erase(list.waiters_, &waiter);
    }
  } entry{*this, waiter, executor};
  waiters_.push_back(&waiter);
  if (deadline != Deadline::never()) {
    entry.timer = executor.start_timer(deadline.time_ns(), [this, &waiter] {
      if (waiter.woken) return;
      std::erase(waiters_, &waiter);
      waiter.strand->run();
    });
  }
  strand->suspend();
  return waiter.woken;
}

bool WaitList::wake_one() {
  if (waiters_.empty()) return false;
  Waiter* const waiter = waiters_.front();
  waiters_.pop_front();
  waiter->woken = true;
  Strand* const strand = waiter->strand;
  strand->executor().post([strand] { strand->run(); });
  return true;
}

void WaitList::wake_all() {
  while (wake_one()) {
  }
}

Executor& this_executor() {
  CHECK(running != nullptr, "not in a fiber");
  return running->executor();
}

bool in_fiber() {
  return running != nullptr;
}

void yield_fiber() {
  WaitList turn;
  this_executor().post([&turn] { turn.wake_one(); });
  turn.wait();
}

void sleep_fiber(int64_t duration_ns) {
  WaitList nobody;
  nobody.wait(Deadline::after(this_executor().clock(), duration_ns));
}

void run_at_once(std::string_view name, size_t count, const std::function<void(size_t i)>& body) {
  if (!in_fiber()) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  size_t running = count;
  FiberEvent ended;
  // Where an executor stops, these unwind before the fiber that waits here: they are younger.
  for (size_t i = 0; i < count; ++i) {
    this_executor().spawn(name, [&, i] {
      body(i);
      if (--running == 0) ended.set();
    });
  }
  if (count > 0) ended.wait();
}

void FiberMutex::lock() {
  if (locked_) {
    waiters_.wait();  // unlock() hands the lock over
  } else {
    locked_ = true;
  }
}

void FiberMutex::unlock() {
  DCHECK(locked_);
  if (!waiters_.wake_one()) locked_ = false;
}

struct FiberSemaphore::Request {
  int64_t count;
  WaitList turn = {};
};

bool FiberSemaphore::acquire(int64_t count, Deadline deadline) {
  if (line_.empty() && count_ >= count) {
    count_ -= count;
    return true;
  }
  Request request{count};
  struct Place {
    FiberSemaphore& semaphore;
    Request& request;
    ~Place() { std::erase(semaphore.line_, &request); }
  } const place{*this, request};
  line_.push_back(&request);
  if (request.turn.wait(deadline)) return true;
  std::erase(line_, &request);
  grant();  // who stood behind may want less
  return false;
}

void FiberSemaphore::release(int64_t count) {
  count_ += count;
  grant();
}

void FiberSemaphore::grant() {
  while (!line_.empty() && line_.front()->count <= count_) {
    Request& request = *line_.front();
    line_.pop_front();
    count_ -= request.count;
    request.turn.wake_one();
  }
}

}  // namespace hadal
