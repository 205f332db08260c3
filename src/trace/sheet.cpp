#include "trace/sheet.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr size_t kTextColumnMin = 12;
constexpr std::string_view kGap = "  ";

/// "1234567.8" with commas between thousands.
std::string grouped(double value, int decimals) {
  std::string digits = fmt::format("{:.{}f}", std::abs(value), decimals);
  const size_t point = std::min(digits.find('.'), digits.size());
  for (size_t at = point; at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return (value < 0 && digits.find_first_not_of("0.,") != std::string::npos ? "-" : "") + digits;
}

size_t code_points(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// The byte at which code point `index` begins; the end where there are fewer.
size_t byte_of(std::string_view text, size_t index) {
  size_t at = 0, points = 0;
  for (; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && points++ == index) break;
  }
  return at;
}

/// At most `width` code points (more than three). Longer text loses its middle: long names often
/// differ at their ends ("FullyShardedDataParallel.forward", "... ._post_backward").
std::string shortened(std::string_view text, size_t width) {
  const size_t points = code_points(text);
  if (points <= width) return std::string(text);
  const size_t kept = width - 3, tail = kept / 2;
  return std::string(text.substr(0, byte_of(text, kept - tail))) + "..." +
         std::string(text.substr(byte_of(text, points - tail)));
}

bool is_fraction(const Sheet& sheet, size_t column) {
  return std::ranges::any_of(sheet.rows, [&](const std::vector<Cell>& row) {
    const double* ns = std::get_if<double>(&row[column]);
    return ns != nullptr && std::fmod(*ns, 1000.0) != 0;
  });
}

std::string shown(const Cell& cell, Unit unit, bool fraction) {
  if (const std::string* text = std::get_if<std::string>(&cell)) return *text;
  const double* value = std::get_if<double>(&cell);
  if (value == nullptr || !std::isfinite(*value)) return "-";
  switch (unit) {
    case Unit::kTime: return grouped(*value / 1000, fraction ? 1 : 0);
    case Unit::kCount: return grouped(*value, 0);
    case Unit::kPercent: return fmt::format("{:.2f} %", *value);
    default: break;
  }
  const double size = std::abs(*value);
  return grouped(*value, size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

std::string csv_text(std::string_view text) {
  constexpr std::string_view kFormulaStarts = "=+-@\t\r";
  std::string out;
  if (!text.empty() && kFormulaStarts.find(text[0]) != std::string_view::npos) out = "'";
  out += text;
  if (out.find_first_of(",\"\r\n") == std::string::npos) return out;
  std::string quoted = "\"";
  for (const char c : out) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string shown(const Cell& cell, Unit unit) {
  const double* ns = std::get_if<double>(&cell);
  return shown(cell, unit, ns != nullptr && std::fmod(*ns, 1000.0) != 0);
}

std::string text(const Sheet& sheet, int width, size_t rows_max) {
  const size_t num_rows = std::min(sheet.rows.size(), rows_max);
  std::vector<std::vector<std::string>> lines(num_rows + 1);
  std::vector<size_t> widths;
  std::vector<Unit> units;
  for (size_t c = 0; c < sheet.columns.size(); ++c) {
    const Column& column = sheet.columns[c];
    if (!column.in_text) continue;
    units.push_back(column.unit);
    const bool fraction = column.unit == Unit::kTime && is_fraction(sheet, c);
    lines[0].push_back(column.title);
    size_t widest = code_points(column.title);
    for (size_t r = 0; r < num_rows; ++r) {
      lines[r + 1].push_back(shown(sheet.rows[r][c], column.unit, fraction));
      widest = std::max(widest, code_points(lines[r + 1].back()));
    }
    widths.push_back(widest);
  }
  const auto total = [&] {
    size_t sum = 0;
    for (const size_t w : widths) sum += w + kGap.size();
    return sum - (widths.empty() ? 0 : kGap.size());
  };
  while (total() > static_cast<size_t>(std::max(width, 20))) {
    size_t widest = widths.size();
    for (size_t c = 0; c < widths.size(); ++c) {
      if (units[c] == Unit::kText && widths[c] > kTextColumnMin &&
          (widest == widths.size() || widths[c] > widths[widest])) {
        widest = c;
      }
    }
    if (widest == widths.size()) break;
    const size_t excess = total() - static_cast<size_t>(std::max(width, 20));
    widths[widest] = std::max(kTextColumnMin, widths[widest] - std::min(widths[widest], excess));
  }
  std::string out;
  for (const std::vector<std::string>& line : lines) {
    std::string shown_line;
    for (size_t c = 0; c < line.size(); ++c) {
      const std::string field = shortened(line[c], widths[c]);
      const std::string padding(widths[c] - code_points(field), ' ');
      if (c > 0) shown_line += kGap;
      shown_line += units[c] == Unit::kText ? field + padding : padding + field;
    }
    shown_line.erase(shown_line.find_last_not_of(' ') + 1);
    out += shown_line + "\n";
  }
  if (num_rows < sheet.rows.size()) {
    out +=
        fmt::format("... and {} more (--top N shows more of them)\n", sheet.rows.size() - num_rows);
  }
  return out;
}

std::string csv(const Sheet& sheet) {
  std::string out;
  for (size_t c = 0; c < sheet.columns.size(); ++c) {
    out += (c > 0 ? "," : "") + csv_text(sheet.columns[c].key);
  }
  out += "\r\n";
  for (const std::vector<Cell>& row : sheet.rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      if (c > 0) out += ',';
      if (const std::string* text = std::get_if<std::string>(&row[c])) {
        out += csv_text(*text);
      } else if (const double* value = std::get_if<double>(&row[c]); value != nullptr) {
        out += fmt::format("{}", sheet.columns[c].unit == Unit::kTime ? *value / 1000 : *value);
      }
    }
    out += "\r\n";
  }
  return out;
}

Json to_json(const Sheet& sheet) {
  constexpr std::array kUnits = {"text", "us", "count", "number", "percent"};
  Json columns = Json::array(), rows = Json::array(), intervals = Json::array();
  for (const Column& column : sheet.columns) {
    columns.push_back({{"key", column.key},
                       {"title", column.title},
                       {"unit", kUnits[static_cast<size_t>(column.unit)]}});
  }
  for (const std::vector<Cell>& row : sheet.rows) {
    Json line = Json::array();
    for (size_t c = 0; c < row.size(); ++c) {
      if (const std::string* text = std::get_if<std::string>(&row[c])) {
        line.push_back(*text);
      } else if (const double* value = std::get_if<double>(&row[c]); value != nullptr) {
        line.push_back(sheet.columns[c].unit == Unit::kTime ? *value / 1000 : *value);
      } else {
        line.push_back(nullptr);
      }
    }
    rows.push_back(std::move(line));
  }
  for (const Interval& interval : sheet.intervals) {
    if (interval.end > interval.start) {
      intervals.push_back({us(interval.start), us(interval.end)});
    } else {
      intervals.push_back(nullptr);
    }
  }
  return {{"id", sheet.id},
          {"title", sheet.title},
          {"columns", std::move(columns)},
          {"rows", std::move(rows)},
          {"intervals_us", std::move(intervals)},
          {"notes", sheet.notes}};
}

}  // namespace hadal::trace
