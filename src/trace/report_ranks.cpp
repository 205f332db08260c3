#include "trace/report_ranks.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/kernels.h"
#include "trace/rank_sheets.h"
#include "trace/saturate.h"

namespace hadal::trace {
namespace {

constexpr size_t kWorstMax = 200;
constexpr size_t kEvidenceShown = 12;
constexpr double kSlowRatio = 1.02;  // of the median rank's computation: worth a finding

std::string text_us(int64_t ns) {
  return shown(cell(ns), Unit::kTime) + " us";
}

std::vector<std::string> rank_labels(const RanksUse& use) {
  std::vector<std::string> labels;
  for (const RankUse& rank : use.ranks) labels.push_back(fmt::format("rank {}", rank.rank));
  return labels;
}

/// A time of the common clock on that of the first rank.
int64_t on_first(const RanksUse& use, int64_t time_ns) {
  return add_saturated(time_ns, use.ranks[0].offset_ns);
}

/// From the first start to the last end of a collective, on the first rank's clock.
Interval whole(const RanksUse& use, const Collective& c) {
  int64_t end = c.start_ns;
  for (uint32_t m = c.begin; m < c.end; ++m) end = std::max(end, use.members[m].end_ns);
  return {on_first(use, c.start_ns), on_first(use, end)};
}

/// How long each rank waits in collectives of each kind.
Grid waits_grid(const RanksUse& use) {
  Grid grid{.title = "Waits by rank and collective", .unit = "us", .rows = rank_labels(use)};
  for (const CollectiveKind& kind : use.kinds) {
    grid.columns.push_back(kind.group.empty()
                               ? short_name(kind.collective)
                               : fmt::format("{} in {}", kind.collective, kind.group));
  }
  grid.cells.resize(grid.rows.size() * grid.columns.size());
  std::vector<int64_t> waits(grid.cells.size(), -1);
  for (const Collective& c : use.collectives) {
    int64_t latest = INT64_MIN;
    for (uint32_t m = c.begin; m < c.end; ++m) {
      latest = std::max(latest, use.members[m].start_ns);
    }
    for (uint32_t m = c.begin; m < c.end; ++m) {
      int64_t& sum = waits[use.members[m].rank * grid.columns.size() + c.kind];
      sum = add_saturated(std::max<int64_t>(sum, 0),
                          subtract_saturated(latest, use.members[m].start_ns));
    }
  }
  for (size_t i = 0; i < waits.size(); ++i) {
    if (waits[i] >= 0) grid.cells[i] = {.value = us(waits[i])};
  }
  return grid;
}

/// Computation of each rank by region, as a multiple of the median rank's.
Grid compute_grid(const RanksUse& use) {
  Grid grid{.title = "Computation by region, against the median rank",
            .unit = "x",
            .rows = rank_labels(use),
            .neutral = 1};
  std::vector<const RegionCompute*> regions;
  for (const RegionCompute& region : use.regions) {
    if (region.median_ns > 0) regions.push_back(&region);
  }
  for (const RegionCompute* region : regions) grid.columns.push_back(region->name);
  for (size_t r = 0; r < use.ranks.size(); ++r) {
    for (const RegionCompute* region : regions) {
      const int64_t own = region->compute_ns[r];
      if (own == 0) {
        grid.cells.emplace_back();
      } else {
        const double ratio = static_cast<double>(own) / static_cast<double>(region->median_ns);
        grid.cells.emplace_back(Grid::Entry{.value = ratio});
      }
    }
  }
  return grid;
}

/// The single collectives with the longest waits, where a click shows them.
Sheet worst_sheet(const RanksUse& use) {
  Sheet sheet = worst_collectives_sheet(use, kWorstMax);
  const auto worst = worst_collectives(use, kWorstMax);
  for (size_t i = 0; i < worst.size(); ++i) {
    sheet.intervals.push_back(whole(use, *worst[i]));
    sheet.rows[i][0] = cell(sheet.intervals[i].start);
  }
  return sheet;
}

std::string clock_note(const RanksUse& use) {
  int64_t offset = 0, residual = 0;
  double drift = 0;
  for (const RankUse& rank : use.ranks) {
    offset = std::max({offset, rank.offset_ns, subtract_saturated(0, rank.offset_ns)});
    residual = std::max(residual, rank.residual_ns);
    drift = std::max(drift, std::abs(rank.drift_ppm));
  }
  std::string text = fmt::format(
      "The timeline has the ranks on one clock: each is shifted by what its clock shows too much, "
      "up to {}, as the ends of {} common collectives tell; it is uncertain by up to {} (median "
      "absolute deviation)",
      text_us(offset), use.collectives.size(), text_us(residual));
  if (drift > 0) {
    text += fmt::format(
        ". The shift is that of the middle of the trace: clocks drift by up to {:.1f} us in a "
        "second, which the figures below take out and the timeline does not",
        drift);
  }
  return text + ".";
}

Json finding(std::string_view id, const std::string& claim, std::string_view action) {
  return {{"id", id},
          {"severity", "medium"},
          {"claim", claim},
          {"action", action},
          {"confidence", "measured"},
          {"all_ranks", true},
          {"evidence", Json::array()}};
}

/// Without the column that is the same for all.
Sheet comparable_ranks_sheet(const RanksUse& use) {
  Sheet sheet = ranks_sheet(use);
  const auto at = std::ranges::find(sheet.columns, "component", &Column::key);
  if (use.num_components > 1 || at == sheet.columns.end()) return sheet;
  const auto index = at - sheet.columns.begin();
  sheet.columns.erase(at);
  for (auto& row : sheet.rows) row.erase(row.begin() + index);
  return sheet;
}

}  // namespace

ReportTab ranks_tab(const RanksUse& use) {
  ReportTab tab{.id = "ranks", .title = "Ranks", .notes = rank_sentences(use)};
  tab.notes[0] += '.';
  if (!use.collectives.empty()) tab.notes.push_back(clock_note(use));
  tab.notes.insert(tab.notes.end(), use.notes.begin(), use.notes.end());
  tab.add(comparable_ranks_sheet(use)).add(waits_grid(use)).add(compute_grid(use));
  return tab.add(collective_kinds_sheet(use)).add(worst_sheet(use)).add(region_compute_sheet(use));
}

Json clocks_json(const RanksUse& use) {
  Json clocks = Json::array();
  for (const RankUse& rank : use.ranks) {
    clocks.push_back({{"offset_us", us(rank.offset_ns)},
                      {"residual_us", us(rank.residual_ns)},
                      {"drift_ppm", rank.drift_ppm},
                      {"component", rank.component},
                      {"collectives", rank.collectives}});
  }
  return clocks;
}

Json rank_findings_json(const RanksUse& use) {
  Json list = Json::array();
  if (use.straggler != kNone && use.straggler_stands_out) {
    const RankUse& late = use.ranks[use.straggler];
    list.push_back(finding(
        fmt::format("late:rank{}", late.rank),
        fmt::format("the others wait for rank {}: it was the last at {} of {} collectives, and "
                    "waited {} less than the mean of the others",
                    late.rank, late.last, late.collectives, text_us(use.straggler_lead_ns)),
        "Look at its GPU, its host and its share of the work: the tab Ranks compares them."));
    for (const Collective* c : worst_collectives(use, kWorstMax)) {
      Json& evidence = list.back()["evidence"];
      if (c->last != use.straggler) continue;
      if (evidence.size() == kEvidenceShown) break;
      const Interval time = whole(use, *c);
      evidence.push_back({{"start_us", us(time.start)},
                          {"end_us", us(time.end)},
                          {"label", short_name(use.kinds[c->kind].collective)}});
    }
  }
  if (use.slowest_compute != kNone && use.ranks[use.slowest_compute].compute_ratio > kSlowRatio) {
    const RankUse& slow = use.ranks[use.slowest_compute];
    list.push_back(finding(
        fmt::format("slow:rank{}", slow.rank),
        fmt::format("the GPU of rank {} computes {:.3f} times as long as that of the median rank",
                    slow.rank, slow.compute_ratio),
        "Compare its share of the work; where that is even, its clock and temperature."));
  }
  return list;
}

}  // namespace hadal::trace
