// JSON as the analyses write it: one to_json() beside each result type, used by `--json`, by Python
// and by the report, so that all three say the same. Times are in microseconds, keys end in _us.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace hadal::trace {

using Json = nlohmann::ordered_json;

/// Nanoseconds as microseconds; exact to the nanosecond for spans below 100 days.
constexpr double us(int64_t ns) {
  return static_cast<double>(ns) / 1000.0;
}

/// As text, two blanks a level; invalid UTF-8 is replaced.
std::string dump(const Json& json);

}  // namespace hadal::trace
