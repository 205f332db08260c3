#include "base/clock.h"

#include <algorithm>
#include <climits>
#include <mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/virtual_clock.h"

namespace hadal {
namespace {

TEST(Clock, RealTimeMovesForward) {
  RealClock clock;
  const int64_t start = clock.now_ns();
  clock.sleep_for(2 * kMillisecond);
  EXPECT_GE(clock.now_ns(), start + 2 * kMillisecond);
  clock.sleep_until(start);  // in the past
  clock.sleep_until(-1);
  EXPECT_GT(clock.wall_ns(), 1'700'000'000 * kSecond);
}

TEST(Clock, SumsSaturate) {
  EXPECT_EQ(add_ns(kNever, 1), kNever);
  EXPECT_EQ(add_ns(kNever - 5, kNever), kNever);
  EXPECT_EQ(add_ns(-kNever, -kNever), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(add_ns(3, -5), -2);
}

TEST(Clock, VirtualTimeMovesOnlyByAdvance) {
  VirtualClock clock(1000);
  EXPECT_EQ(clock.now_ns(), 0);
  EXPECT_EQ(clock.wall_ns(), 1000);
  clock.sleep_until(0);  // returns at once
  clock.advance(7);
  EXPECT_EQ(clock.now_ns(), 7);
  EXPECT_EQ(clock.wall_ns(), 1007);
  EXPECT_EQ(clock.next_wake_ns(), kNever);
}

TEST(Clock, SleepersWakeInTheOrderOfTheirTimes) {
  VirtualClock clock;
  std::mutex mutex;
  std::vector<int64_t> woken;
  std::vector<std::jthread> threads;
  for (const int64_t time : {30, 10, 20}) {
    threads.emplace_back([&, time] {
      clock.sleep_until(time);
      {
        const std::lock_guard lock(mutex);
        woken.push_back(time);
      }
      clock.sleep_until(1000 + time);
    });
  }
  for (const int64_t time : {10, 20, 30}) {
    clock.wait_for_sleepers(3);
    ASSERT_EQ(clock.next_wake_ns(), time);
    clock.advance(time - clock.now_ns());
  }
  clock.wait_for_sleepers(3);
  EXPECT_EQ(woken, (std::vector<int64_t>{10, 20, 30}));
  EXPECT_EQ(clock.next_wake_ns(), 1010);
  clock.advance(2000);  // all three in one call
  EXPECT_EQ(clock.now_ns(), 2030);
  EXPECT_EQ(clock.next_wake_ns(), kNever);
}

TEST(Clock, AThreadThatSleepsAgainIsDrivenByRepeatedAdvances) {
  VirtualClock clock;
  int rounds = 0;
  std::jthread thread([&] {
    for (; rounds < 100; ++rounds) clock.sleep_for(kSecond);
  });
  for (int i = 0; i < 100; ++i) {
    clock.wait_for_sleepers(1);
    clock.advance(kSecond);
  }
  thread.join();
  EXPECT_EQ(rounds, 100);
  EXPECT_EQ(clock.now_ns(), 100 * kSecond);
}

TEST(Deadline, CountsDown) {
  VirtualClock clock;
  clock.advance(100);
  const Deadline deadline = Deadline::after(clock, 3 * kMillisecond);
  EXPECT_FALSE(deadline.passed(clock));
  EXPECT_EQ(deadline.left_ns(clock), 3 * kMillisecond);
  EXPECT_EQ(deadline.poll_timeout_ms(clock), 3);
  clock.advance(1);
  EXPECT_EQ(deadline.poll_timeout_ms(clock), 3) << "rounded up, so that a poll does not spin";
  clock.advance(3 * kMillisecond - 1);
  EXPECT_TRUE(deadline.passed(clock));
  EXPECT_EQ(deadline.left_ns(clock), 0);
  EXPECT_EQ(deadline.poll_timeout_ms(clock), 0);
}

TEST(Deadline, NeverAndFarAway) {
  VirtualClock clock;
  clock.advance(kNever);
  EXPECT_FALSE(Deadline::never().passed(clock));
  EXPECT_EQ(Deadline::never().left_ns(clock), kNever);
  EXPECT_EQ(Deadline::never().poll_timeout_ms(clock), -1);
  EXPECT_EQ(Deadline::after(clock, 5), Deadline::never());
  const VirtualClock start;
  EXPECT_EQ(Deadline::at(kNever - 1).poll_timeout_ms(start), INT_MAX);
  EXPECT_EQ(std::min(Deadline::at(5), Deadline::never()), Deadline::at(5));
}

}  // namespace
}  // namespace hadal
