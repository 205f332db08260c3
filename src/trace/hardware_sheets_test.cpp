#include "trace/hardware_sheets.h"

#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

std::vector<Sheet> all_sheets(const GpuView& view) {
  const OccupancyReport occupancy = occupancy_report(view);
  const WaveReport waves = wave_report(view);
  const Shapes shapes = infer_shapes(view);
  const Roofline roof = roofline(view, shapes);
  const MemoryUse memory = memory_use(view);
  const Patterns found = patterns(view, shapes);
  return {occupancy_sheet(view, occupancy),
          waves_sheet(view, waves),
          contention_sheet(view, contention(view)),
          head_of_line_sheet(view, waves),
          roofline_sheet(roof),
          roofline_totals_sheet(roof),
          comm_bandwidth_sheet(roof),
          copies_sheet(memory),
          allocation_calls_sheet(memory),
          memory_peaks_sheet(memory),
          sequences_sheet(view, found),
          recompute_sheet(view, found),
          chains_sheet(view, found),
          grouped_rows_sheet(view, found)};
}

void expect_sound(const std::vector<Sheet>& sheets) {
  std::set<std::string> ids;
  for (const Sheet& sheet : sheets) {
    EXPECT_TRUE(ids.insert(sheet.id).second) << sheet.id;
    for (const auto& row : sheet.rows) EXPECT_EQ(row.size(), sheet.columns.size()) << sheet.id;
    EXPECT_TRUE(sheet.intervals.empty() || sheet.intervals.size() == sheet.rows.size());
    for (const int width : {0, 20, 40, 60, 80, 100, 120, 200}) {
      EXPECT_FALSE(text(sheet, width, 20).empty());
    }
    EXPECT_FALSE(csv(sheet).empty());
    EXPECT_EQ(to_json(sheet)["rows"].size(), sheet.rows.size());
  }
}

TEST(HardwareSheets, OfATraceWithoutEvents) {
  const Trace trace = TestTrace().build();
  const std::vector<Sheet> sheets = all_sheets(gpu_view(trace, Rules()));
  expect_sound(sheets);
  for (const Sheet& sheet : sheets) EXPECT_TRUE(sheet.rows.empty()) << sheet.id;
}

TEST(HardwareSheets, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const std::vector<Sheet> sheets = all_sheets(train.view());
  expect_sound(sheets);
  int empty = 0;
  for (const Sheet& sheet : sheets) empty += sheet.rows.empty();
  EXPECT_EQ(empty, 3);  // no allocations, no allocator's curve, and no bytes of DeepEP
}

}  // namespace
}  // namespace hadal::trace
