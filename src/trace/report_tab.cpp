#include "trace/report_tab.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr size_t kRowsMax = 2000;  // of a table; the command line and CSV have all of them

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

Json table_json(const Sheet& sheet) {
  Sheet head{.id = sheet.id, .title = sheet.title, .columns = sheet.columns};
  const size_t shown = std::min(sheet.rows.size(), kRowsMax);
  head.rows.assign(sheet.rows.begin(), sheet.rows.begin() + static_cast<ptrdiff_t>(shown));
  head.intervals.assign(
      sheet.intervals.begin(),
      sheet.intervals.begin() + static_cast<ptrdiff_t>(std::min(sheet.intervals.size(), shown)));
  Json data = to_json(head);
  Json table = {{"id", sheet.id},
                {"title", sheet.title},
                {"columns", columns_json(sheet)},
                {"rows", std::move(data["rows"])}};
  if (!sheet.intervals.empty()) table["intervals_us"] = std::move(data["intervals_us"]);
  if (!sheet.notes.empty()) table["notes"] = sheet.notes;
  if (shown < sheet.rows.size()) table["rows_total"] = sheet.rows.size();
  return table;
}

Json grid_json(const Grid& grid) {
  Json cells = Json::array();
  for (size_t r = 0; r < grid.rows.size(); ++r) {
    Json line = Json::array();
    for (size_t c = 0; c < grid.columns.size(); ++c) {
      const auto& entry = grid.cells[r * grid.columns.size() + c];
      if (!entry) {
        line.push_back(nullptr);
      } else if (entry->time.length() <= 0) {
        line.push_back(entry->value);
      } else {
        line.push_back({{"value", entry->value},
                        {"start_us", us(entry->time.start)},
                        {"end_us", us(entry->time.end)}});
      }
    }
    cells.push_back(std::move(line));
  }
  return {{"title", grid.title}, {"rows", grid.rows},       {"columns", grid.columns},
          {"unit", grid.unit},   {"neutral", grid.neutral}, {"cells", std::move(cells)}};
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

Json to_json(const ReportTab& tab) {
  Json parts = Json::array();
  for (const auto& part : tab.parts) {
    const Grid* grid = std::get_if<Grid>(&part);
    parts.push_back(grid != nullptr ? grid_json(*grid) : table_json(std::get<Sheet>(part)));
  }
  return {{"id", tab.id}, {"title", tab.title}, {"notes", tab.notes}, {"parts", std::move(parts)}};
}

}  // namespace hadal::trace
