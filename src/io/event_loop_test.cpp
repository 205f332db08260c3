#include "io/event_loop.h"

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "io/offload.h"

namespace hadal::io {
namespace {

TEST(EventLoop, RunsTasksInOrderAndTimersByTime) {
  EventLoop loop;
  std::string order;
  loop.run([&] {
    loop.post([&] { order += 'a'; });
    loop.post([&] { order += 'b'; });
    const int64_t now = loop.now_ns();
    loop.start_timer(now + 20 * kMillisecond, [&] { order += 'd'; });
    loop.start_timer(now + 10 * kMillisecond, [&] { order += 'c'; });
    const TimerId never = loop.start_timer(now + 15 * kMillisecond, [&] { order += 'x'; });
    loop.stop_timer(never);
    loop.stop_timer(never);
    sleep_fiber(30 * kMillisecond);
  });
  EXPECT_EQ(order, "abcd");
}

TEST(EventLoop, FibersWaitUntilTheirDeadlines) {
  EventLoop loop;
  bool woken = true;
  int64_t waited_ns = 0;
  loop.run([&] {
    WaitList nobody;
    const int64_t start = loop.now_ns();
    woken = nobody.wait(Deadline::after(loop.clock(), 5 * kMillisecond));
    waited_ns = loop.now_ns() - start;
  });
  EXPECT_FALSE(woken);
  EXPECT_GE(waited_ns, 5 * kMillisecond);
}

TEST(EventLoop, TakesTasksOfOtherThreadsWhileItSleeps) {
  EventLoop loop;
  constexpr int kThreads = 4, kTasks = 2000;
  int done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kTasks; ++i) {
        loop.post([&] {
          if (++done == kThreads * kTasks) loop.stop();
        });
        if (i % 64 == 0) std::this_thread::yield();
      }
    });
  }
  loop.run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, kThreads * kTasks);
}

TEST(EventLoop, RunsAgainWithWhatWasLeft) {
  EventLoop loop;
  int steps = 0;
  loop.run([&] {
    loop.spawn("stays", [&] {
      while (true) {
        ++steps;
        sleep_fiber(kMillisecond);
      }
    });
  });
  EXPECT_EQ(loop.fibers(), std::vector<std::string>{"stays"});
  loop.run([&] { sleep_fiber(10 * kMillisecond); });
  EXPECT_GT(steps, 2);
}

struct Pipe {
  Pipe() { EXPECT_EQ(::pipe2(ends.data(), O_NONBLOCK), 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  int out() const { return ends[0]; }
  int in() const { return ends[1]; }
  std::array<int, 2> ends = {};
};

TEST(EventLoop, TellsWhenADescriptorIsReady) {
  EventLoop loop;
  const Pipe pipe;
  std::string got;
  FiberEvent closed;
  loop.watch(pipe.out(), EPOLLIN, [&](uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    char byte = 0;
    ASSERT_EQ(::read(pipe.out(), &byte, 1), 1);
    got += byte;
    if (byte != '.') return;
    loop.unwatch(pipe.out());  // from inside of its own call
    closed.set();
  });
  loop.run([&] {
    EXPECT_EQ(::write(pipe.in(), "abc.d", 5), 5);
    closed.wait();
    sleep_fiber(kMillisecond);
  });
  EXPECT_EQ(got, "abc.");
}

TEST(EventLoop, WatchesForWhatIsAskedNow) {
  EventLoop loop;
  const Pipe pipe;
  int writable = 0;
  loop.watch(pipe.in(), 0, [&](uint32_t) {
    ++writable;
    loop.watch_for(pipe.in(), 0);
  });
  loop.run([&] {
    sleep_fiber(kMillisecond);
    EXPECT_EQ(writable, 0);
    loop.watch_for(pipe.in(), EPOLLOUT);
    sleep_fiber(kMillisecond);
    EXPECT_EQ(writable, 1);
  });
  loop.unwatch(pipe.in());
}

TEST(EventLoop, CallsItsHooksOnceATurn) {
  EventLoop loop;
  int turns = 0;
  const uint64_t hook = loop.add_hook([&] { ++turns; });
  loop.run([&] {
    for (int i = 0; i < 10; ++i) yield_fiber();
  });
  loop.remove_hook(hook);
  const int before = turns;
  EXPECT_GE(before, 10);
  loop.run([] { yield_fiber(); });
  EXPECT_EQ(turns, before);
}

TEST(Offload, CallsBlockTheirFiberAndNotTheLoop) {
  EventLoop loop;
  loop.run([&] {
    Offload offload(loop, {.threads = 2});
    int ticks = 0;
    FiberEvent end;
    loop.spawn("ticks", [&] {
      while (!end.is_set()) {
        ++ticks;
        sleep_fiber(kMillisecond);
      }
      end.wait();
      ticks = -1;
    });
    const int64_t value = offload.run([] {
      RealClock().sleep_for(20 * kMillisecond);
      return int64_t{42};
    });
    EXPECT_EQ(value, 42);
    EXPECT_GE(ticks, 5);
    end.set();
    while (ticks != -1) yield_fiber();
    int calls = 0;
    offload.run([&] { ++calls; });
    EXPECT_EQ(calls, 1);
  });
}

TEST(Offload, AFiberThatEndsWaitsForItsCall) {
  std::atomic<int> started = 0, finished = 0;
  {
    EventLoop loop;
    Offload offload(loop, {.threads = 1});
    loop.run([&] {
      for (int i = 0; i < 3; ++i) {
        loop.spawn("caller", [&] {
          std::vector<int> on_the_stack(16, 1);
          offload.run([&] {
            ++started;
            RealClock().sleep_for(5 * kMillisecond);
            for (const int value : on_the_stack) finished += value;
          });
        });
      }
      while (started == 0) yield_fiber();
    });
    loop.stop_fibers();
  }
  EXPECT_EQ(finished, 16 * started);
  EXPECT_GE(started, 1);
}

}  // namespace
}  // namespace hadal::io
