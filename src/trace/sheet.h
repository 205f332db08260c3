// A table as data: what `hadal trace` prints, writes as CSV, and shows in a tab of the report.
//
// The analyses give plain structs; a sheet is made of one by a function beside it (sheets.h). The
// unit of a column says how its cells are shown: times are kept in nanoseconds and shown in
// microseconds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "trace/intervals.h"
#include "trace/json.h"

namespace hadal::trace {

enum class Unit : uint8_t {
  kText,
  kTime,     // cells in ns, shown in us
  kCount,    // whole numbers
  kNumber,   // three significant decimals
  kPercent,  // 0 to 100
};

inline constexpr size_t kAllRows = SIZE_MAX;  // the default of `most` in functions that make sheets

/// A cell: nothing, text, or a number.
using Cell = std::variant<std::monostate, std::string, double>;

struct Column {
  std::string key;    // of CSV and JSON: "sum_us"
  std::string title;  // for people: "sum us"
  Unit unit = Unit::kText;
  bool in_text = true;  // false: too wide for a terminal; in CSV, JSON and the report only
};

struct Sheet {
  std::string id;     // "kernels"
  std::string title;  // "Kernels by total time"
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows = {};
  std::vector<Interval> intervals =
      {};  // empty, or for each row the time to look at (empty interval: none)
  std::vector<std::string> notes = {};  // sentences below the table
  size_t rows_total = 0;                // where not all rows are here: how many there are

  /// Says that the rows stop at `most` of `total`; how many to add.
  size_t limit(size_t total, size_t most) {
    if (total > most) rows_total = total;
    return std::min(total, most);
  }
  void add(std::vector<Cell> row) { rows.push_back(std::move(row)); }
  void add(std::vector<Cell> row, Interval interval) {
    rows.push_back(std::move(row));
    intervals.push_back(interval);
  }
};

/// A whole number or a time as a cell.
inline Cell cell(int64_t value) {
  return static_cast<double>(value);
}
inline Cell cell(uint64_t value) {
  return static_cast<double>(value);
}
inline Cell cell(int value) {
  return static_cast<double>(value);
}
inline Cell cell(double value) {
  return value;
}
inline Cell cell(std::string_view text) {
  return std::string(text);
}

/// One cell as people read it: "12,345.6", "96.32 %", "-" for nothing.
std::string shown(const Cell& cell, Unit unit);

/// Lined-up columns with a header, for a terminal `width` characters wide: the widest column of
/// text is shortened until the lines fit. At most `rows_max` rows, and a line that says how many
/// are left out. Widths count code points.
std::string text(const Sheet& sheet, int width, size_t rows_max);

/// RFC 4180: a header of keys, quoted where needed, numbers unrounded, times in us. Text that a
/// spreadsheet would take for a formula gets a leading apostrophe.
std::string csv(const Sheet& sheet);

/// {id, title, columns: [{key, title, unit}], rows: [[...]], intervals_us: [[a, b] or null], notes}
Json to_json(const Sheet& sheet);

}  // namespace hadal::trace
