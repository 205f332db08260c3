#include "trace/units.h"

#include <charconv>
#include <cmath>
#include <span>
#include <system_error>

namespace hadal::trace {
namespace {

struct Unit {
  std::string_view name;
  double scale;
};

std::optional<double> parse(std::string_view text, std::span<const Unit> units) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc()) return std::nullopt;
  const std::string_view name(rest, end);
  for (const Unit& unit : units) {
    if (unit.name == name && std::isfinite(value * unit.scale)) return value * unit.scale;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> parse_duration(std::string_view text) {
  constexpr Unit kUnits[] = {{"", 1e3}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
  const std::optional<double> ns = parse(text, kUnits);
  if (!ns || std::abs(*ns) > 9e18) return std::nullopt;
  return std::llround(*ns);
}

std::optional<double> parse_number(std::string_view text) {
  constexpr Unit kUnits[] = {{"", 1},     {"B", 1},        {"KB", 1e3},     {"MB", 1e6},
                             {"GB", 1e9}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  return parse(text, kUnits);
}

}  // namespace hadal::trace
