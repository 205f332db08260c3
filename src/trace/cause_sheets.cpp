#include "trace/cause_sheets.h"

#include <algorithm>
#include <utility>

#include "trace/gates.h"
#include "trace/kernels.h"

namespace hadal::trace {
namespace {

Sheet uses_sheet(std::string id, std::string title, const std::vector<PathUse>& uses,
                 bool kernels) {
  Sheet sheet{.id = std::move(id),
              .title = std::move(title),
              .columns = {{"name", kernels ? "kernel" : "region", Unit::kText},
                          {"steps", "steps", Unit::kCount},
                          {"sum_us", "on the path us", Unit::kTime}}};
  for (const PathUse& use : uses) {
    sheet.add({kernels ? short_name(use.name) : use.name, cell(use.steps), cell(use.sum_ns)});
  }
  return sheet;
}

Sheet rows_sheet(std::string id, std::string title, std::string what,
                 const std::vector<DiffRow>& rows) {
  Sheet sheet{.id = std::move(id),
              .title = std::move(title),
              .columns = {{"name", std::move(what), Unit::kText},
                          {"owned_delta_us", "of the span us", Unit::kTime},
                          {"a_count", "count before", Unit::kCount},
                          {"b_count", "after", Unit::kCount},
                          {"a_sum_us", "sum before us", Unit::kTime},
                          {"b_sum_us", "after us", Unit::kTime},
                          {"by_count_us", "by count us", Unit::kTime},
                          {"by_duration_us", "by duration us", Unit::kTime},
                          {"full_name", "full name", Unit::kText, false}}};
  for (const DiffRow& row : rows) {
    if (row.owned_delta_ns() == 0 && row.a.sum_ns == row.b.sum_ns && row.a.count == row.b.count) {
      continue;
    }
    sheet.add({row.short_name.empty() ? row.name : row.short_name, cell(row.owned_delta_ns()),
               cell(row.a.count), cell(row.b.count), cell(row.a.sum_ns), cell(row.b.sum_ns),
               cell(row.by_count_ns), cell(row.by_duration_ns), row.name});
  }
  return sheet;
}

}  // namespace

Sheet path_classes_sheet(const CriticalPath& path) {
  Sheet sheet{.id = "critical",
              .title = "The critical path by what it is made of",
              .columns = {{"class", "class", Unit::kText},
                          {"time_us", "us", Unit::kTime},
                          {"percent", "of span", Unit::kPercent}}};
  for (int i = 0; i < kNumPathClasses; ++i) {
    const double part = static_cast<double>(path.sum_ns[i]);
    sheet.add({cell(name(static_cast<PathClass>(i))), cell(path.sum_ns[i]),
               path.span_ns > 0 ? cell(100 * part / static_cast<double>(path.span_ns)) : Cell()});
  }
  return sheet;
}

Sheet path_steps_sheet(const GpuView& view, const CriticalPath& path, size_t most) {
  Sheet sheet{.id = "steps",
              .title = "Longest steps of the path",
              .columns = {{"start_us", "start us", Unit::kTime},
                          {"length_us", "length us", Unit::kTime},
                          {"class", "class", Unit::kText},
                          {"cause", "cause", Unit::kText},
                          {"name", "kernel", Unit::kText},
                          {"region", "region", Unit::kText}}};
  std::vector<const PathStep*> longest;
  for (const PathStep& step : path.steps) longest.push_back(&step);
  const size_t kept = sheet.limit(longest.size(), most);
  std::ranges::partial_sort(longest, longest.begin() + static_cast<ptrdiff_t>(kept), {},
                            [](const PathStep* s) { return std::pair(-s->length(), s->start_ns); });
  longest.resize(kept);
  for (const PathStep* step : longest) {
    Cell kernel, region;
    if (step->activity != kNone) {
      const Activity& a = view.activities[step->activity];
      kernel = short_name(view.name_of(a));
      region = region_label(view, a.region);
    }
    sheet.add({cell(step->start_ns), cell(step->length()), cell(name(step->what)),
               cell(name(step->cause)), kernel, region},
              {step->start_ns, step->end_ns});
  }
  return sheet;
}

Sheet what_if_sheet(const std::vector<WhatIf>& results) {
  Sheet sheet{.id = "what_if",
              .title = "What if",
              .columns = {{"scenario", "scenario", Unit::kText},
                          {"new_span_us", "new span us", Unit::kTime},
                          {"gain_us", "gain us", Unit::kTime},
                          {"gain_percent", "gain", Unit::kPercent},
                          {"affected", "affected", Unit::kCount},
                          {"affected_us", "affected us", Unit::kTime}},
              .rows = {},
              .intervals = {},
              .notes = {"upper bounds: the order of the work stays as it is"}};
  for (const WhatIf& w : results) {
    sheet.add({w.scenario, cell(w.new_span_ns), cell(w.gain_ns()),
               w.span_ns > 0
                   ? cell(100.0 * static_cast<double>(w.gain_ns()) / static_cast<double>(w.span_ns))
                   : Cell(),
               cell(w.affected), cell(w.affected_ns)});
  }
  return sheet;
}

Sheet diff_identity_sheet(const TraceDiff& d) {
  Sheet sheet{.id = "diff",
              .title = "Where the difference comes from",
              .columns = {{"part", "part", Unit::kText},
                          {"a_us", "before us", Unit::kTime},
                          {"b_us", "after us", Unit::kTime},
                          {"delta_us", "difference us", Unit::kTime}}};
  const auto add = [&](std::string_view part, int64_t a, int64_t b) {
    sheet.add({cell(part), cell(a), cell(b), cell(b - a)});
  };
  add("compute", d.a.compute_ns, d.b.compute_ns);
  add("exposed communication", d.a.exposed_communication_ns, d.b.exposed_communication_ns);
  add("exposed memory", d.a.exposed_memory_ns, d.b.exposed_memory_ns);
  add("idle", d.a.idle_ns, d.b.idle_ns);
  add("= span", d.a.span_ns, d.b.span_ns);
  return sheet;
}

Sheet path_regions_sheet(const CriticalPath& path) {
  return uses_sheet("path_regions", "Regions on the path", path.regions, false);
}

Sheet path_kernels_sheet(const CriticalPath& path) {
  return uses_sheet("path_kernels", "Kernels on the path", path.kernels, true);
}

Sheet diff_regions_sheet(const TraceDiff& d) {
  return rows_sheet("diff_regions", "Regions", "region", d.regions);
}

Sheet diff_families_sheet(const TraceDiff& d) {
  return rows_sheet("diff_families", "Families", "family", d.families);
}

Sheet diff_kernels_sheet(const TraceDiff& d) {
  return rows_sheet("diff_kernels", "Kernels", "kernel", d.kernels);
}

}  // namespace hadal::trace
