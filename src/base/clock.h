// Time as an object, so that the code that waits for it can run in a simulator.
//
// Everything in hadal that reads a clock or sleeps does so through a Clock that it was given. A
// program passes a RealClock; a test or the simulator a VirtualClock, whose time stands still until
// somebody moves it.
//
// Unit: int64_t nanoseconds, always, named *_ns. now_ns() is monotonic, never negative, and its
// origin means nothing; wall_ns() counts from 1970 UTC, may jump, and is for showing and storing
// only. Sums saturate: a deadline too far away is one that never comes. Clocks are safe from any
// thread.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace hadal {

inline constexpr int64_t kMicrosecond = 1'000;
inline constexpr int64_t kMillisecond = 1'000'000;
inline constexpr int64_t kSecond = 1'000'000'000;
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// a + b, held at the ends of the range.
constexpr int64_t add_ns(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum))
    return b > 0 ? kNever : std::numeric_limits<int64_t>::min();
  return sum;
}

class Clock {
 public:
  virtual ~Clock() = default;

  virtual int64_t now_ns() const = 0;
  virtual int64_t wall_ns() const = 0;

  /// Returns once now_ns() >= time_ns, at once if it is already.
  virtual void sleep_until(int64_t time_ns) = 0;
  void sleep_for(int64_t duration_ns) { sleep_until(add_ns(now_ns(), duration_ns)); }
};

/// The operating system's clocks. Has no state; make as many as needed.
class RealClock final : public Clock {
 public:
  int64_t now_ns() const override;
  int64_t wall_ns() const override;
  void sleep_until(int64_t time_ns) override;
};

/// A point in time after which an operation gives up. Made once at the edge, from a timeout, and
/// handed down, so that retries and sub-operations share it.
class Deadline {
 public:
  static Deadline never() { return Deadline(kNever); }
  static Deadline at(int64_t time_ns) { return Deadline(time_ns); }
  static Deadline after(const Clock& clock, int64_t timeout_ns) {
    return Deadline(add_ns(clock.now_ns(), timeout_ns));
  }

  int64_t time_ns() const { return time_ns_; }
  bool passed(const Clock& clock) const { return time_ns_ != kNever && clock.now_ns() >= time_ns_; }

  /// What is left, 0 when it has passed, kNever for never().
  int64_t left_ns(const Clock& clock) const {
    if (time_ns_ == kNever) return kNever;
    const int64_t now_ns = clock.now_ns();
    return now_ns >= time_ns_ ? 0 : time_ns_ - now_ns;
  }

  /// What is left as poll() and epoll_wait() take it: milliseconds rounded up, -1 for never().
  int poll_timeout_ms(const Clock& clock) const;

  friend bool operator==(Deadline, Deadline) = default;
  friend auto operator<=>(Deadline, Deadline) = default;  // std::min gives the earlier

 private:
  explicit Deadline(int64_t time_ns) : time_ns_(time_ns) {}

  int64_t time_ns_;
};

}  // namespace hadal
