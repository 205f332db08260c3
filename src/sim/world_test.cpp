#include "sim/world.h"

#include <memory>
#include <numeric>

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace hadal::sim {
namespace {

void nothing(Process& /*self*/) {}

/// Two processes that wait for each other, for random times.
std::string play(uint64_t seed, uint64_t* fingerprint) {
  World world({.seed = seed});
  for (const char* name : {"a", "b", "c"}) {
    world.add_process(name, [](Process& self) {
      for (int i = 0; i < 5; ++i) {
        sleep_fiber(static_cast<int64_t>(self.rng().below(kMillisecond)));
        self.log(fmt::format("step {}", i));
      }
    });
  }
  world.run_for(kSecond);
  *fingerprint = world.fingerprint();
  return world.log_text();
}

TEST(World, ASeedIsARun) {
  uint64_t first = 0, again = 0, other = 0;
  const std::string text = play(1, &first);
  EXPECT_EQ(play(1, &again), text);
  EXPECT_EQ(first, again);
  EXPECT_NE(play(2, &other), text);
  EXPECT_NE(first, other);
  EXPECT_NE(text.find("step 4"), std::string::npos);
}

TEST(World, TimeJumpsToTheNextEvent) {
  World world({.seed = 1, .clock_drift_ppm_max = 0});
  int64_t woke_ns = 0;
  world.add_process("sleeper", [&](Process& self) {
    sleep_fiber(3600 * kSecond);
    woke_ns = self.now_ns();
  });
  world.run_for(3601 * kSecond);
  EXPECT_GE(woke_ns, 3600 * kSecond);
  EXPECT_LT(woke_ns, 3600 * kSecond + kMillisecond);
  EXPECT_LT(world.events(), 20u);
  EXPECT_EQ(world.now_ns(), 3601 * kSecond);
}

TEST(World, ClocksDriftApart) {
  World world({.seed = 4, .clock_drift_ppm_max = 1000});
  Process& a = world.add_process("a", nothing);
  Process& b = world.add_process("b", nothing);
  world.run_for(1000 * kSecond);
  EXPECT_NE(a.now_ns(), b.now_ns());
  EXPECT_LE(std::abs(a.now_ns() - world.now_ns()), kSecond);
  const int64_t before = a.clock().wall_ns();
  a.jump_wall_clock(-5 * kSecond);
  EXPECT_EQ(a.clock().wall_ns(), before - 5 * kSecond);
}

TEST(World, ATimerNeverFiresEarlyOnItsOwnClock) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    World world({.seed = seed, .clock_drift_ppm_max = 500});
    bool fired = false;
    Process& p = world.add_process("p", nothing);
    p.start_timer(123'456'789, [&] {
      EXPECT_GE(p.now_ns(), 123'456'789);
      fired = true;
    });
    world.run_for(kSecond);
    EXPECT_TRUE(fired);
  }
}

/// Counts its objects: what a killed process had in memory must be gone.
struct Counted {
  explicit Counted(int& counter) : count(counter) { ++count; }
  ~Counted() { --count; }
  int& count;
};

TEST(World, AKilledProcessLeavesNothing) {
  int objects = 0, steps = 0;
  World world({.seed = 3});
  Process& p = world.add_process("victim", [&](Process& self) {
    const Counted in_main(objects);
    FiberMutex mutex;
    mutex.lock();
    for (int i = 0; i < 3; ++i) {
      self.spawn("waiter", [&] {
        const Counted in_fiber(objects);
        mutex.lock();
      });
    }
    self.start_timer(self.now_ns() + 10 * kSecond,
                     [counted = std::make_unique<Counted>(objects)] { FAIL(); });
    while (true) {
      ++steps;
      sleep_fiber(kMillisecond);
    }
  });
  world.run_for(10 * kMillisecond);
  EXPECT_EQ(objects, 5);
  EXPECT_EQ(p.fibers(), (std::vector<std::string>{"main", "waiter", "waiter", "waiter"}));
  p.kill();
  EXPECT_EQ(objects, 0);
  EXPECT_TRUE(p.fibers().empty());
  const int before = steps;
  world.run_for(kSecond);
  EXPECT_EQ(steps, before);
  p.start();
  world.run_for(kSecond);
  EXPECT_GT(steps, before + 500);
  EXPECT_EQ(p.life(), 2u);
}

TEST(World, WhatIsWaitedForMayEndFirstWhenAProcessIsKilled) {
  World world({.seed = 3});
  Process& p = world.add_process("p", [](Process& self) {
    FiberEvent* event = nullptr;
    self.spawn("owner", [&event] {
      FiberEvent own;
      event = &own;
      sleep_fiber(kSecond);
    });
    yield_fiber();
    event->wait();
  });
  world.run_for(kMillisecond);
  p.kill();
  EXPECT_TRUE(p.fibers().empty());
}

TEST(World, APausedProcessFindsItsTimersLate) {
  World world({.seed = 5, .clock_drift_ppm_max = 0});
  int64_t fired_ns = 0;
  Process& p = world.add_process("p", nothing);
  p.start_timer(kSecond, [&] { fired_ns = p.now_ns(); });
  p.pause();
  world.run_for(5 * kSecond);
  EXPECT_EQ(fired_ns, 0);
  p.resume();
  world.run_for(kSecond);
  EXPECT_GE(fired_ns, 5 * kSecond);
}

TEST(World, AStoppedTimerDoesNotRun) {
  World world({.seed = 6});
  Process& p = world.add_process("p", nothing);
  const TimerId timer = p.start_timer(kSecond, [] { FAIL(); });
  // Even when it is due and waits behind other work.
  p.start_timer(kSecond / 2, [&] { p.stop_timer(timer); });
  world.run_for(2 * kSecond);
}

// --- what fibers wait for (base/executor.h) ---------------------------------------------------

TEST(Fibers, AMutexGoesRoundInOrder) {
  World world({.seed = 7});
  std::vector<int> order;
  world.add_process("p", [&](Process& self) {
    auto mutex = std::make_shared<FiberMutex>();
    mutex->lock();
    for (int i = 0; i < 10; ++i) {
      self.spawn("locker", [&, i, mutex] {
        mutex->lock();
        yield_fiber();
        order.push_back(i);
        mutex->unlock();
      });
    }
    sleep_fiber(kSecond);
    mutex->unlock();
  });
  world.run_for(2 * kSecond);
  std::vector<int> sorted(10);
  std::iota(sorted.begin(), sorted.end(), 0);
  EXPECT_EQ(order, sorted);
}

TEST(Fibers, ASemaphoreBoundsAndKeepsTheOrder) {
  World world({.seed = 8});
  int in_use = 0, most = 0, done = 0;
  bool large_had_it = false;
  world.add_process("p", [&](Process& self) {
    auto tokens = std::make_shared<FiberSemaphore>(4);
    for (int i = 0; i < 20; ++i) {
      const int count = i == 5 ? 4 : 1;  // the large one must not be passed for ever
      self.spawn("user", [&, i, count, tokens] {
        EXPECT_TRUE(tokens->acquire(count));
        EXPECT_TRUE(i < 10 || large_had_it);
        large_had_it = large_had_it || i == 5;
        in_use += count;
        most = std::max(most, in_use);
        sleep_fiber(kMillisecond);
        in_use -= count;
        tokens->release(count);
        ++done;
      });
    }
  });
  world.run_for(kSecond);
  EXPECT_EQ(done, 20);
  EXPECT_EQ(most, 4);
}

TEST(Fibers, WaitsEndWithTheirDeadlines) {
  World world({.seed = 9});
  bool timed_out = false, got_in = false;
  world.add_process("p", [&](Process& self) {
    auto tokens = std::make_shared<FiberSemaphore>(1);
    self.spawn("greedy", [&, tokens] {
      timed_out = !tokens->acquire(2, Deadline::after(this_executor().clock(), kMillisecond));
    });
    self.spawn("modest", [&, tokens] { got_in = tokens->acquire(1); });
  });
  world.run_for(kSecond);
  EXPECT_TRUE(timed_out);
  EXPECT_TRUE(got_in);
}

TEST(Fibers, AnEventWakesAll) {
  World world({.seed = 10});
  int woken = 0;
  world.add_process("p", [&](Process& self) {
    auto event = std::make_shared<FiberEvent>();
    for (int i = 0; i < 3; ++i) {
      self.spawn("waiter", [&, event] {
        EXPECT_TRUE(event->wait());
        ++woken;
      });
    }
    EXPECT_FALSE(event->wait(Deadline::after(self.clock(), kMillisecond)));
    event->set();
    EXPECT_TRUE(event->wait());
  });
  world.run_for(kSecond);
  EXPECT_EQ(woken, 3);
}

}  // namespace
}  // namespace hadal::sim
