// Sums and differences of times that stop at the ends of int64 instead of overflowing, for figures
// made of numbers that a hostile trace chooses. In a real trace they are plain + and -.
#pragma once

#include <cmath>
#include <cstdint>

namespace hadal::trace {

constexpr int64_t add_saturated(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b < 0 ? INT64_MIN : INT64_MAX;
}

constexpr int64_t subtract_saturated(int64_t a, int64_t b) {
  int64_t difference = 0;
  if (!__builtin_sub_overflow(a, b, &difference)) return difference;
  return b > 0 ? INT64_MIN : INT64_MAX;
}

/// The nearest integer; halves away from zero; NaN is 0.
inline int64_t round_saturated(double value) {
  constexpr double kLimit = 9.2e18;  // below 2^63
  if (std::isnan(value)) return 0;
  if (value >= kLimit) return INT64_MAX;
  if (value <= -kLimit) return INT64_MIN;
  return std::llround(value);
}

}  // namespace hadal::trace
