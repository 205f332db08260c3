#include "base/virtual_clock.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {

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

}  // namespace hadal
