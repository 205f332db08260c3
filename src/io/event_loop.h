// The executor of a real program: one thread that runs tasks, timers and fibers, and sleeps in
// epoll.
//
//   EventLoop loop;
//   loop.run([&] {                         // in a fiber; the loop ends when it returns
//     auto files = TRY(NativeFiles::open(loop, "/data"));
//     ...
//   });
//
// A turn of the loop: all tasks that are ready, timers that are due, the hooks, then what became
// ready on file descriptors. Hooks are for what collects work during a turn and hands it to the
// kernel at once: io_uring's submissions, replies to one socket.
//
// Threads: post() and stop() from any thread, the rest from the loop's own tasks and fibers, or
// before run() by the thread that will call it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"

namespace hadal::io {

class EventLoop final : public Executor {
 public:
  EventLoop();
  /// Unwinds its fibers. Whatever watches or hooks must be gone before, or never be called again.
  ~EventLoop() override;

  /// Runs `main` in a fiber, and everything else, until main has returned or stop() is called.
  /// Tasks and fibers that are left keep; a later run() goes on with them.
  void run(Task main);
  /// Runs until stop().
  void run();
  /// Unwinds the fibers that are left, where they use something that ends before the loop does.
  /// Not from a fiber.
  using Executor::stop_fibers;
  /// The running run(), or else the next one, returns soon.
  void stop();

  /// What to call with the events (EPOLLIN, EPOLLOUT, ...; always also EPOLLERR and EPOLLHUP) for
  /// which the descriptor is ready. It is called again as long as it is (level-triggered).
  using Ready = std::function<void(uint32_t events)>;
  void watch(int fd, uint32_t events, Ready ready);
  /// Other events of a descriptor that is watched.
  void watch_for(int fd, uint32_t events);
  /// Before the descriptor is closed. Nothing is called any more.
  void unwatch(int fd);

  /// Called at the end of each turn, before the loop looks at descriptors.
  uint64_t add_hook(std::function<void()> hook);
  void remove_hook(uint64_t id);

  // As an Executor.
  const Clock& clock() const override { return clock_; }
  void post(Task task) override;
  TimerId start_timer(int64_t time_ns, Task task) override;
  void stop_timer(TimerId timer) override;

 private:
  struct Watch {
    uint64_t serial;  // a descriptor's number is used again
    Ready ready;
  };

  bool on_own_thread() const;
  void take_inbox();
  void run_tasks();
  void run_timers();
  void run_hooks();
  void poll();

  RealClock clock_;
  int epoll_fd_ = -1, wake_fd_ = -1;
  std::atomic<std::thread::id> thread_ = {};
  std::atomic<bool> stop_ = false;
  std::atomic<bool> sleeping_ = false;  // post() must write to wake_fd_

  std::vector<Task> tasks_, running_;
  std::mutex inbox_mutex_;
  std::vector<Task> inbox_;  // of other threads
  std::atomic<bool> inbox_full_ = false;

  std::map<std::pair<int64_t, TimerId>, Task> timers_;  // by time
  std::unordered_map<TimerId, int64_t> timer_times_;
  TimerId next_timer_ = 1;

  std::unordered_map<int, std::unique_ptr<Watch>> watches_;
  std::vector<std::unique_ptr<Watch>> unwatched_;  // in this turn: one may be running
  uint64_t next_serial_ = 1;
  std::map<uint64_t, std::function<void()>> hooks_;
};

}  // namespace hadal::io
