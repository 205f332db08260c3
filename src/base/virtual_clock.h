// A clock for tests and simulations: time moves only when told to.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>

#include "base/clock.h"

namespace hadal {

/// Time that moves only by advance(). Sleeping threads wake one after another, in the order of
/// their times and then of their arrival: the next one wakes only after the one before has left
/// sleep_until(). What they do next runs concurrently; a test that wants one at a time advances to
/// next_wake_ns() and waits for the effect. A simulator that runs everything in one thread never
/// sleeps, it only advances.
class VirtualClock final : public Clock {
 public:
  /// `wall_start_ns` is wall_ns() when now_ns() is 0; they move together.
  explicit VirtualClock(int64_t wall_start_ns = 0) : wall_start_ns_(wall_start_ns) {}

  int64_t now_ns() const override;
  int64_t wall_ns() const override;
  void sleep_until(int64_t time_ns) override;

  /// Moves the time by `duration_ns` >= 0 in steps, and returns when every thread whose time a step
  /// reached is awake.
  void advance(int64_t duration_ns);

  /// The earliest time that a thread sleeps for, kNever if none does.
  int64_t next_wake_ns() const;

  /// Blocks until `count` threads sleep: how a test knows that its threads have arrived.
  void wait_for_sleepers(int count);

 private:
  using Sleeper = std::pair<int64_t, uint64_t>;  // when to wake, order of arrival

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  const int64_t wall_start_ns_;
  int64_t now_ns_ = 0;
  uint64_t arrivals_ = 0;
  std::set<Sleeper> sleepers_;
};

}  // namespace hadal
