// io_uring on an event loop: operations of files that do not block the loop.
//
// What fibers ask for during a turn of the loop goes to the kernel at the turn's end, in one call
// (a hook), or by eight if it is more; the loop sleeps in epoll, which reports the ring when
// something has completed, and that wakes the fibers. So the cost of a system call is shared by all
// that was asked for or completed in a turn. Completions interrupt nothing: the loop's thread runs
// them when it enters the kernel next (IORING_SETUP_COOP_TASKRUN, Linux 6.0; older kernels do it
// without). Running them only when they are asked for, IORING_SETUP_DEFER_TASKRUN, would be cheaper
// still, but does not wake epoll.
//
// A fiber that is unwound blocks the thread until the kernel is done with its memory.
//
// Threads: the one that runs the loop, also for open().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/executor.h"
#include "io/event_loop.h"

namespace hadal::io {

class Ring {
 public:
  /// Most operations at a time; the caller sees to it.
  static constexpr int kDepthMax = 4096;

  /// kUnsupported where the system refuses, as containers do.
  static Result<std::unique_ptr<Ring>> open(EventLoop& loop, int depth);
  /// No operation is running.
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Each is the system call of that name once, in a fiber; a negative value is -errno.
  int64_t pread(int fd, std::span<std::byte> to, int64_t offset);
  int64_t pwrite(int fd, std::span<const std::byte> from, int64_t offset);
  int64_t fdatasync(int fd);
  int64_t fallocate(int fd, int mode, int64_t offset, int64_t bytes);

 private:
  struct Kernel;  // liburing's own
  struct Operation {
    int64_t result = 0;
    bool done = false;
    WaitList waiter = {};
  };

  Ring(EventLoop& loop, std::unique_ptr<Kernel> kernel);
  /// A place in the submission queue, and room to wait for it.
  template <typename Prepare>
  int64_t run(const Prepare& prepare);
  void end_turn();
  void submit();
  void reap();

  EventLoop& loop_;
  const std::unique_ptr<Kernel> kernel_;
  uint64_t hook_;
  int in_flight_ = 0;
};

}  // namespace hadal::io
