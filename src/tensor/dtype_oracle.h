// An independent definition of rounding to a narrow format, for tests: the table of all values, and
// a search for the nearest. It shares nothing with tensor/dtype.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace hadal {

class FormatOracle {
 public:
  /// A format of 1 + exponent_bits + mantissa_bits bits whose largest finite code is `max_code`.
  FormatOracle(int exponent_bits, int mantissa_bits, uint32_t max_code)
      : max_code_(max_code), sign_(1u << (exponent_bits + mantissa_bits)) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int units = 1 << mantissa_bits;
    // One value more than the format has: what would follow the largest decides where overflow
    // starts.
    for (int code = 0; code <= static_cast<int>(max_code) + 1; ++code) {
      const int exponent = code / units;
      const int fraction = code % units;
      values_.push_back(exponent == 0
                            ? std::ldexp(fraction, 1 - bias - mantissa_bits)
                            : std::ldexp(units + fraction, exponent - bias - mantissa_bits));
    }
  }

  uint32_t max_code() const { return max_code_; }
  uint32_t sign() const { return sign_; }
  /// The value of a code without sign, at most max_code() + 1.
  double value(uint32_t code) const { return values_[code]; }

  /// The code of a number that is not a NaN; overflow gives max_code() + overflow_step.
  uint32_t round(double x, uint32_t overflow_step) const {
    const double magnitude = std::abs(x);
    uint32_t code = max_code_ + 1;
    if (magnitude < values_.back()) {
      const auto above = std::upper_bound(values_.begin(), values_.end(), magnitude);
      const uint32_t low = static_cast<uint32_t>(above - values_.begin()) - 1;
      const double to_low = magnitude - values_[low];
      const double to_high = values_[low + 1] - magnitude;
      code = to_low < to_high ? low : to_high < to_low ? low + 1 : low + low % 2;
    }
    if (code > max_code_) code = max_code_ + overflow_step;
    return code | (std::signbit(x) ? sign_ : 0);
  }

 private:
  uint32_t max_code_;
  uint32_t sign_;
  std::vector<double> values_;
};

inline FormatOracle bf16_oracle() {
  return {8, 7, 0x7f7f};
}
inline FormatOracle f16_oracle() {
  return {5, 10, 0x7bff};
}
inline FormatOracle e4m3_oracle() {
  return {4, 3, 0x7e};
}
inline FormatOracle e5m2_oracle() {
  return {5, 2, 0x7b};
}

}  // namespace hadal
