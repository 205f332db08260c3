#include "trace/number.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

namespace hadal::trace {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Are the eight bytes at `p` digits, and which number are they? Pairs, then fours, then all eight
// are joined at once (Lemire, "Quickly parsing eight digits", 2018).
bool eight_digits(const char* p, uint64_t& value) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  const uint64_t digits = v ^ 0x3030303030303030;
  if (((digits + 0x7676767676767676) | digits) & 0x8080808080808080) return false;
  v = (digits * 10) + (digits >> 8);
  value = ((v & 0x000000ff000000ff) * 0x000f424000000064 +
           ((v >> 16) & 0x000000ff000000ff) * 0x0000271000000001) >>
          32;
  return true;
}

// Decimal digits and exponent of |text| as nanoseconds; for what the short path cannot.
std::optional<int64_t> parse_time_with_exponent(std::string_view text) {
  const std::optional<double> us = parse_real(text);
  if (!us || !std::isfinite(*us)) return {};
  const double ns = std::round(*us * 1000.0);
  if (std::abs(ns) > static_cast<double>(kTimeMaxNs)) return {};
  return static_cast<int64_t>(ns);
}

}  // namespace

std::optional<int64_t> parse_time(std::string_view us) {
  const char* p = us.data();
  const char* const end = p + us.size();
  const bool negative = p != end && *p == '-';
  if (negative || (p != end && *p == '+')) ++p;
  const char* const first = p;
  uint64_t whole = 0, eight = 0;
  while (end - p >= 8 && p - first <= 8 && eight_digits(p, eight)) {
    whole = whole * 100'000'000 + eight;
    p += 8;
  }
  while (p != end && is_digit(*p)) {
    if (p - first == 16) {  // more than 16 digits: leading zeros, or too much
      return parse_time_with_exponent(us);
    }
    whole = whole * 10 + static_cast<uint64_t>(*p++ - '0');
  }
  if (p == first) return {};
  uint64_t ns = whole * 1000;
  if (p != end && *p == '.') {
    ++p;
    for (const uint64_t unit : {100, 10, 1}) {
      if (p == end || !is_digit(*p)) break;
      ns += static_cast<uint64_t>(*p++ - '0') * unit;
    }
    if (p != end && is_digit(*p)) {
      ns += *p >= '5' ? 1 : 0;
      while (p != end && is_digit(*p)) ++p;
    }
  }
  if (p != end) return parse_time_with_exponent(us);
  if (ns > static_cast<uint64_t>(kTimeMaxNs)) return {};
  return negative ? -static_cast<int64_t>(ns) : static_cast<int64_t>(ns);
}

std::optional<uint64_t> parse_unsigned(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
  if (text.size() > 2 && p[0] == '0' && (p[1] | 0x20) == 'x') {
    uint64_t value = 0;
    const auto [stop, error] = std::from_chars(p + 2, end, value, 16);
    if (error != std::errc() || stop != end) return {};
    return value;
  }
  uint64_t value = 0;
  if (text.size() <= 18) [[likely]] {
    while (p != end && is_digit(*p)) value = value * 10 + static_cast<uint64_t>(*p++ - '0');
    if (p == end && !text.empty()) return value;
  } else {
    const auto [stop, error] = std::from_chars(p, end, value);
    if (error == std::errc() && stop == end) return value;
  }
  const std::optional<double> real = parse_real(text);
  if (!real || !(*real >= 0) || *real >= 0x1p64) return {};
  return static_cast<uint64_t>(*real);
}

std::optional<int64_t> parse_integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const std::optional<uint64_t> value = parse_unsigned(text);
  if (!value || *value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
  return negative ? -static_cast<int64_t>(*value) : static_cast<int64_t>(*value);
}

std::optional<double> parse_real(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (stop != end || text.empty()) return {};
  if (error == std::errc::result_out_of_range) return {};
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace hadal::trace
