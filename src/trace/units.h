// Numbers with units as users write them: "1.5ms", "64KiB".
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hadal::trace {

/// A time in nanoseconds: a number with ns, us, ms or s; microseconds where there is no unit.
/// Nothing if the text is not such a number or does not fit.
std::optional<int64_t> parse_duration(std::string_view text);

/// A plain number, or one with B, KB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024). Nothing
/// if the text is not such a number.
std::optional<double> parse_number(std::string_view text);

}  // namespace hadal::trace
