// Numbers as traces write them: decimal, quoted, hexadecimal ids, "inf" and "nan".
//
// Times never pass through a double: 1740461679470692.123 us has nineteen digits.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hadal::trace {

/// The largest time that is believed, in nanoseconds: 126 years. The difference of any two times,
/// plus any duration, then fits an int64_t.
inline constexpr int64_t kTimeMaxNs = 4'000'000'000'000'000'000;

/// Microseconds in decimal (with fraction, exponent or sign) as nanoseconds, rounded half away from
/// zero. Nothing if it is no finite number or beyond kTimeMaxNs. Digits beyond the third decimal
/// only round.
std::optional<int64_t> parse_time(std::string_view us);

/// A non-negative integer: decimal or 0x-hexadecimal; a fraction is cut off. Nothing for anything
/// else, negative ones and more than 64 bits included.
std::optional<uint64_t> parse_unsigned(std::string_view text);

/// An integer with sign; nothing beyond int64_t.
std::optional<int64_t> parse_integer(std::string_view text);

/// Any number, "inf" and "nan" included.
std::optional<double> parse_real(std::string_view text);

}  // namespace hadal::trace
