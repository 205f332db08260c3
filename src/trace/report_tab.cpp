#include "trace/report_tab.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

Json columns_json(const Sheet& sheet) {
  Json columns = to_json(Sheet{.id = {}, .title = {}, .columns = sheet.columns})["columns"];
  for (Json& column : columns) {
    const bool text = column["unit"] == "text";
    column["align"] = text ? "left" : "right";
    if (text || column["unit"] == "count" || column["unit"] == "number") {
      column.erase("unit");
    } else if (column["unit"] == "percent") {
      column["unit"] = "%";
    }
  }
  return columns;
}

Json table_json(Sheet sheet) {
  const size_t total = std::max(sheet.rows.size(), sheet.rows_total);
  if (sheet.rows.size() > kReportRowsMax) sheet.rows.resize(kReportRowsMax);
  if (sheet.intervals.size() > kReportRowsMax) sheet.intervals.resize(kReportRowsMax);
  Json data = to_json(sheet);
  Json table = {{"id", sheet.id},
                {"title", sheet.title},
                {"columns", columns_json(sheet)},
                {"rows", std::move(data["rows"])}};
  if (!sheet.intervals.empty()) table["intervals_us"] = std::move(data["intervals_us"]);
  if (!sheet.notes.empty()) table["notes"] = sheet.notes;
  if (sheet.rows.size() < total) table["rows_total"] = total;
  return table;
}

Json grid_json(const Grid& grid) {
  Json cells = Json::array();
  const size_t num_rows = std::min(grid.rows.size(), kReportGridMax);
  const size_t num_columns = std::min(grid.columns.size(), kReportGridMax);
  for (size_t r = 0; r < num_rows; ++r) {
    Json line = Json::array();
    for (size_t c = 0; c < num_columns; ++c) {
      const auto& entry = grid.cells[r * grid.columns.size() + c];
      if (!entry) {
        line.push_back(nullptr);
      } else if (entry->time.end <= entry->time.start) {
        line.push_back(entry->value);
      } else {
        line.push_back({{"value", entry->value},
                        {"start_us", us(entry->time.start)},
                        {"end_us", us(entry->time.end)}});
      }
    }
    cells.push_back(std::move(line));
  }
  const auto first = [](const std::vector<std::string>& labels, size_t n) {
    return std::vector<std::string>(labels.begin(), labels.begin() + static_cast<ptrdiff_t>(n));
  };
  Json json = {{"title", grid.title},
               {"rows", first(grid.rows, num_rows)},
               {"columns", first(grid.columns, num_columns)},
               {"unit", grid.unit},
               {"neutral", grid.neutral},
               {"cells", std::move(cells)}};
  if (num_columns < grid.columns.size()) json["columns_total"] = grid.columns.size();
  if (num_rows < grid.rows.size()) json["rows_total"] = grid.rows.size();
  return json;
}

}  // namespace

ReportTab& ReportTab::add(Grid grid) {
  if (!grid.rows.empty() && !grid.columns.empty()) parts.emplace_back(std::move(grid));
  return *this;
}

ReportTab& ReportTab::add(Sheet sheet) {
  if (!sheet.rows.empty()) parts.emplace_back(std::move(sheet));
  return *this;
}

Json to_json(ReportTab tab) {
  Json parts = Json::array();
  for (auto& part : tab.parts) {
    const Grid* grid = std::get_if<Grid>(&part);
    parts.push_back(grid != nullptr ? grid_json(*grid)
                                    : table_json(std::move(std::get<Sheet>(part))));
  }
  return {{"id", tab.id}, {"title", tab.title}, {"notes", tab.notes}, {"parts", std::move(parts)}};
}

}  // namespace hadal::trace
