// A tab of the report's lower pane and its JSON, which trace/report.h defines. Internal to
// report_analyses.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trace/json.h"
#include "trace/sheet.h"

namespace hadal::trace {

/// Rows of a table and columns of a heat map that a report holds; the command line has all of
/// them. Nobody reads further, and tables of a long trace would outgrow its timeline.
inline constexpr size_t kReportRowsMax = 1000, kReportGridMax = 240;

/// A heat map.
struct Grid {
  struct Entry {
    double value = 0;
    Interval time = {};  // what a click on it zooms to; empty: nothing
  };
  std::string title;
  std::string unit;  // of the values: "us", or empty
  std::vector<std::string> rows = {}, columns = {};
  std::vector<std::optional<Entry>> cells = {};  // row by row; nullopt: nothing there
  double neutral = 0;                            // the value without colour; what is above it has
};

struct ReportTab {
  std::string id, title;
  std::vector<std::string> notes = {};  // sentences above everything
  std::vector<std::variant<Grid, Sheet>> parts = {};

  /// Those without rows are left out, and their notes with them.
  ReportTab& add(Grid grid);
  ReportTab& add(Sheet sheet);
  bool empty() const { return parts.empty(); }
};

Json to_json(ReportTab tab);

}  // namespace hadal::trace
