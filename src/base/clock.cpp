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

int Deadline::poll_timeout_ms(const Clock& clock) const {
  const int64_t left = left_ns(clock);
  if (left == kNever) return -1;
  const int64_t ms = left / kMillisecond + (left % kMillisecond != 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(ms, INT_MAX));
}

}  // namespace hadal
