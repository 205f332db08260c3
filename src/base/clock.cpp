#include "base/clock.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

#include "base/check.h"

namespace hadal {
namespace {

int64_t read_clock(clockid_t id) {
  timespec time{};
  CHECK(clock_gettime(id, &time) == 0);
  return time.tv_sec * kSecond + time.tv_nsec;
}

}  // namespace

int64_t RealClock::now_ns() const {
  return read_clock(CLOCK_MONOTONIC);
}

int64_t RealClock::wall_ns() const {
  return read_clock(CLOCK_REALTIME);
}

void RealClock::sleep_until(int64_t time_ns) {
  if (time_ns <= 0) return;
  const timespec time{.tv_sec = time_ns / kSecond, .tv_nsec = time_ns % kSecond};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) {
  }
}

int64_t VirtualClock::now_ns() const {
  const std::lock_guard lock(mutex_);
  return now_ns_;
}

int64_t VirtualClock::wall_ns() const {
  return add_ns(wall_start_ns_, now_ns());
}

void VirtualClock::sleep_until(int64_t time_ns) {
  std::unique_lock lock(mutex_);
  if (time_ns <= now_ns_) return;
  const Sleeper self(time_ns, arrivals_++);
  sleepers_.insert(self);
  changed_.notify_all();
  changed_.wait(lock, [&] { return now_ns_ >= time_ns && *sleepers_.begin() == self; });
  sleepers_.erase(self);
  changed_.notify_all();
}

void VirtualClock::advance(int64_t duration_ns) {
  CHECK(duration_ns >= 0);
  std::unique_lock lock(mutex_);
  const int64_t end_ns = add_ns(now_ns_, duration_ns);
  while (!sleepers_.empty() && sleepers_.begin()->first <= end_ns) {
    const Sleeper next = *sleepers_.begin();
    now_ns_ = std::max(now_ns_, next.first);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !sleepers_.contains(next); });
  }
  now_ns_ = std::max(now_ns_, end_ns);
}

int64_t VirtualClock::next_wake_ns() const {
  const std::lock_guard lock(mutex_);
  return sleepers_.empty() ? kNever : sleepers_.begin()->first;
}

void VirtualClock::wait_for_sleepers(int count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return sleepers_.size() >= static_cast<size_t>(count); });
}

int Deadline::poll_timeout_ms(const Clock& clock) const {
  const int64_t left = left_ns(clock);
  if (left == kNever) return -1;
  const int64_t ms = left / kMillisecond + (left % kMillisecond != 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(ms, INT_MAX));
}

}  // namespace hadal
