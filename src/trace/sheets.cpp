#include "trace/sheets.h"

#include <algorithm>
#include <span>
#include <tuple>

#include <fmt/core.h>

namespace hadal::trace {
namespace {

constexpr int kGridColumnsMax = 16;

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Sheet summary_sheet(const Summary& s) {
  Sheet sheet{.id = "summary",
              .title = "Where the time goes",
              .columns = {{"part", "part", Unit::kText},
                          {"time_us", "us", Unit::kTime},
                          {"percent", "of span", Unit::kPercent}}};
  const auto add = [&](std::string_view part, int64_t ns) {
    sheet.add({cell(part), cell(ns), cell(s.percent_of_span(ns))});
  };
  add("compute", s.compute_ns);
  add("exposed communication", s.exposed_communication_ns);
  add("exposed memory", s.exposed_memory_ns);
  add("idle", s.idle_ns);
  add("= span", s.span_ns);
  return sheet;
}

Sheet streams_sheet(const GpuView& view, const std::vector<StreamUse>& streams) {
  Sheet sheet{.id = "streams",
              .title = "Streams",
              .columns = {{"device", "device", Unit::kText},
                          {"stream", "stream", Unit::kText},
                          {"role", "carries", Unit::kText},
                          {"events", "events", Unit::kCount},
                          {"busy_us", "busy us", Unit::kTime},
                          {"sum_us", "sum us", Unit::kTime},
                          {"host_wait_us", "host wait us", Unit::kTime},
                          {"kernel_wait_us", "kernel wait us", Unit::kTime},
                          {"other_wait_us", "other wait us", Unit::kTime}}};
  for (const StreamUse& s : streams) {
    const char* carries = s.communication_events > s.compute_events ? "communication"
                          : s.compute_events > 0                    ? "compute"
                                                                    : "memory";
    sheet.add({fmt::format("{}", s.device), fmt::format("{}", s.stream), cell(carries),
               cell(s.events), cell(s.busy_ns), cell(s.sum_ns), cell(s.host_wait_ns),
               cell(s.kernel_wait_ns), cell(s.other_wait_ns)},
              {s.start_ns, s.end_ns});
  }
  if (view.unlinked > 0) {
    sheet.notes.push_back(fmt::format(
        "{} activities have no launch in the trace: their gaps cannot be blamed on the host",
        view.unlinked));
  }
  return sheet;
}

Sheet gaps_sheet(const GpuView& view, const std::vector<StreamUse>& streams, size_t gaps_max) {
  Sheet sheet{.id = "gaps",
              .title = "Longest gaps",
              .columns = {{"stream", "stream", Unit::kText},
                          {"start_us", "start us", Unit::kTime},
                          {"length_us", "length us", Unit::kTime},
                          {"cause", "cause", Unit::kText},
                          {"after", "after", Unit::kText},
                          {"before", "before", Unit::kText},
                          {"region", "region", Unit::kText}}};
  std::vector<std::pair<Gap, int64_t>> all;
  for (const StreamUse& s : streams) {
    for (const Gap& gap : s.gaps) all.emplace_back(gap, s.stream);
  }
  std::ranges::sort(all, {}, [](const auto& g) {
    return std::tuple(-g.first.length(), g.first.start_ns, g.second);
  });
  all.resize(std::min(all.size(), gaps_max));
  for (const auto& [gap, stream] : all) {
    const Activity& before = view.activities[gap.before];
    sheet.add({fmt::format("{}", stream), cell(gap.start_ns), cell(gap.length()),
               cell(name(gap.cause)), short_name(view.name_of(view.activities[gap.after])),
               short_name(view.name_of(before)), region_label(view, before.region)},
              {gap.start_ns, gap.end_ns});
  }
  return sheet;
}

Sheet kernels_sheet(const KernelTable& table) {
  Sheet sheet{.id = "kernels",
              .title = "Kernels by total time",
              .columns = {{"short_name", "kernel", Unit::kText},
                          {"class", "class", Unit::kText, false},
                          {"family", "family", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"sum_us", "sum us", Unit::kTime},
                          {"percent", "of sum", Unit::kPercent},
                          {"mean_us", "mean us", Unit::kTime},
                          {"median_us", "median us", Unit::kTime, false},
                          {"min_us", "min us", Unit::kTime, false},
                          {"max_us", "max us", Unit::kTime},
                          {"alone_us", "alone us", Unit::kTime},
                          {"name", "full name", Unit::kText, false}}};
  for (const KernelRow& row : table.kernels) {
    sheet.add({row.short_name, cell(name(row.kind)), cell(row.family), cell(row.time.count),
               cell(row.time.sum_ns), cell(share(row.time.sum_ns, table.sum_ns)),
               cell(row.time.mean_ns), cell(row.time.median_ns), cell(row.time.min_ns),
               cell(row.time.max_ns), cell(row.alone_ns), row.name});
  }
  return sheet;
}

Sheet families_sheet(const KernelTable& table) {
  Sheet sheet{.id = "families",
              .title = "Families of kernels",
              .columns = {{"family", "family", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"sum_us", "sum us", Unit::kTime},
                          {"percent", "of sum", Unit::kPercent},
                          {"mean_us", "mean us", Unit::kTime},
                          {"alone_us", "alone us", Unit::kTime}}};
  for (const KernelRow& row : table.families) {
    sheet.add({cell(row.family), cell(row.time.count), cell(row.time.sum_ns),
               cell(share(row.time.sum_ns, table.sum_ns)), cell(row.time.mean_ns),
               cell(row.alone_ns)});
  }
  return sheet;
}

Sheet roles_sheet(const CommUse& use) {
  Sheet sheet{.id = "comm",
              .title = "Communication by role",
              .columns = {{"role", "role", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"sum_us", "sum us", Unit::kTime},
                          {"percent", "of communication", Unit::kPercent},
                          {"exposed_us", "exposed us", Unit::kTime}}};
  for (const RoleUse& role : use.roles) {
    const bool communicates = role.role != Role::kLayout;
    sheet.add({cell(name(role.role)), cell(role.count), cell(role.sum_ns),
               communicates ? cell(share(role.sum_ns, use.sum_ns)) : Cell(),
               cell(role.exposed_ns)});
  }
  return sheet;
}

Sheet comm_kernels_sheet(const CommUse& use) {
  Sheet sheet{.id = "comm_kernels",
              .title = "Communication kernels",
              .columns = {{"short_name", "kernel", Unit::kText},
                          {"role", "role", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"sum_us", "sum us", Unit::kTime},
                          {"median_us", "median us", Unit::kTime},
                          {"min_us", "min us", Unit::kTime},
                          {"max_us", "max us", Unit::kTime},
                          {"alone_us", "alone us", Unit::kTime},
                          {"name", "full name", Unit::kText, false}}};
  for (const KernelRow& row : use.kernels) {
    sheet.add({row.short_name, cell(name(row.role)), cell(row.time.count), cell(row.time.sum_ns),
               cell(row.time.median_ns), cell(row.time.min_ns), cell(row.time.max_ns),
               cell(row.alone_ns), row.name});
  }
  return sheet;
}

Sheet role_growth_sheet(const CommUse& use) {
  Sheet sheet{.id = "comm_growth",
              .title = "Communication per region, in order of its instances",
              .columns = {{"region", "region", Unit::kText},
                          {"role", "role", Unit::kText},
                          {"sum_us", "sum us", Unit::kTime},
                          {"growth_us", "growth us", Unit::kTime}},
              .notes = {"growth: slope of the least-squares line over the instances"}};
  size_t instances = 0;
  for (const RoleInRegions& row : use.by_region) instances = std::max(instances, row.sum_ns.size());
  instances = std::min<size_t>(instances, kGridColumnsMax);
  for (size_t i = 0; i < instances; ++i) {
    sheet.columns.push_back({fmt::format("sum_{}_us", i), fmt::format("#{}", i), Unit::kTime});
  }
  for (const RoleInRegions& row : use.by_region) {
    int64_t sum = 0;
    for (const int64_t ns : row.sum_ns) sum += ns;
    std::vector<Cell> cells = {row.region, cell(name(row.role)), cell(sum), cell(row.slope_ns)};
    for (size_t i = 0; i < instances; ++i) {
      cells.push_back(i < row.sum_ns.size() ? cell(row.sum_ns[i]) : Cell());
    }
    sheet.add(std::move(cells));
  }
  return sheet;
}

Sheet unclassified_sheet(const CommUse& use) {
  Sheet sheet{.id = "unclassified",
              .title = "Unclassified kernels on streams that communicate",
              .columns = {{"short_name", "kernel", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"sum_us", "sum us", Unit::kTime},
                          {"name", "full name", Unit::kText, false}},
              .notes = {"counted as compute; if one of them communicates, name it in a rules file "
                        "(--rules)"}};
  for (const KernelRow& row : use.unclassified) {
    sheet.add({row.short_name, cell(row.time.count), cell(row.time.sum_ns), row.name});
  }
  return sheet;
}

Sheet regions_sheet(const std::vector<RegionUse>& uses, size_t most) {
  Sheet sheet{.id = "regions",
              .title = "Regions on the GPU",
              .columns = {{"name", "region", Unit::kText},
                          {"index", "#", Unit::kCount},
                          {"events", "events", Unit::kCount},
                          {"busy_us", "busy us", Unit::kTime},
                          {"compute_us", "compute us", Unit::kTime},
                          {"communication_us", "comm us", Unit::kTime},
                          {"barrier_us", "barrier us", Unit::kTime},
                          {"exposed_us", "exposed us", Unit::kTime},
                          {"start_us", "start us", Unit::kTime},
                          {"end_us", "end us", Unit::kTime}}};
  for (const RegionUse& use : std::span(uses).first(sheet.limit(uses.size(), most))) {
    const bool ran = use.events > 0;
    sheet.add(
        {cell(use.name), cell(use.index), cell(use.events), cell(use.busy_ns), cell(use.compute_ns),
         cell(use.communication_ns), cell(use.barrier_ns), cell(use.exposed_ns),
         ran ? cell(use.start_ns) : Cell(), ran ? cell(use.end_ns) : Cell()},
        {use.start_ns, use.end_ns});
  }
  return sheet;
}

Sheet grid_sheet(const PhaseGrid& grid, const std::vector<RegionUse>& uses) {
  Sheet sheet{.id = "grid",
              .title = "Phases by layers, busy us",
              .columns = {{"phase", "phase", Unit::kText}}};
  const int columns = std::min(grid.num_layers, kGridColumnsMax);
  for (int i = 0; i < columns; ++i) {
    sheet.columns.push_back({fmt::format("busy_{}_us", i), fmt::format("#{}", i), Unit::kTime});
  }
  if (columns < grid.num_layers) {
    sheet.notes.push_back(fmt::format("{} more columns are left out", grid.num_layers - columns));
  }
  for (size_t row = 0; row < grid.phases.size(); ++row) {
    std::vector<Cell> cells = {grid.phases[row]};
    for (int i = 0; i < columns; ++i) {
      const uint32_t use = grid.cells[row * grid.num_layers + i];
      cells.push_back(use == kNone ? Cell() : cell(uses[use].busy_ns));
    }
    sheet.add(std::move(cells));
  }
  return sheet;
}

Sheet overlap_sheet(const OverlapMatrix& m) {
  Sheet sheet{.id = "overlap",
              .title = "Time that two phases run together, us",
              .columns = {{"phase", "phase", Unit::kText}}};
  const size_t n = m.phases.size(), columns = std::min<size_t>(n, kGridColumnsMax);
  for (size_t q = 0; q < columns; ++q) {
    sheet.columns.push_back({m.phases[q] + "_us", m.phases[q], Unit::kTime});
  }
  if (columns < n) sheet.notes.push_back(fmt::format("{} more columns are left out", n - columns));
  for (size_t p = 0; p < n; ++p) {
    std::vector<Cell> cells = {m.phases[p]};
    for (size_t q = 0; q < columns; ++q) cells.push_back(cell(m.overlap_ns[p * n + q]));
    sheet.add(std::move(cells));
  }
  return sheet;
}

Sheet phases_sheet(const OverlapMatrix& m) {
  Sheet sheet{.id = "phases",
              .title = "Phases",
              .columns = {{"phase", "phase", Unit::kText},
                          {"busy_us", "busy us", Unit::kTime},
                          {"hidden_us", "hidden comm us", Unit::kTime},
                          {"exposed_us", "exposed comm us", Unit::kTime},
                          {"hidden_percent", "hidden", Unit::kPercent}}};
  for (size_t p = 0; p < m.phases.size(); ++p) {
    const int64_t communication = m.hidden_ns[p] + m.exposed_ns[p];
    sheet.add({m.phases[p], cell(m.busy_ns[p]), cell(m.hidden_ns[p]), cell(m.exposed_ns[p]),
               communication > 0 ? cell(share(m.hidden_ns[p], communication)) : Cell()});
  }
  return sheet;
}

Sheet gates_sheet(const GpuView& view, const std::vector<Gate>& all, size_t most) {
  Sheet sheet{.id = "gates",
              .title = "What the regions waited for",
              .columns = {{"region", "region", Unit::kText},
                          {"stream", "stream", Unit::kText},
                          {"stall_us", "stall us", Unit::kTime},
                          {"wait_us", "wait us", Unit::kTime},
                          {"kind", "released by", Unit::kText},
                          {"released_region", "of region", Unit::kText},
                          {"released_kernel", "by kernel", Unit::kText},
                          {"start_us", "start us", Unit::kTime}},
              .notes = {"stall: the end of a wait in which no stream computed",
                        "that the activity which ended last caused the start is inferred from the "
                        "times"}};
  for (const Gate& gate : std::span(all).first(sheet.limit(all.size(), most))) {
    Cell region, kernel;
    if (gate.released_by != kNone) {
      const Activity& by = view.activities[gate.released_by];
      region = region_label(view, by.region);
      kernel = short_name(view.name_of(by));
    }
    sheet.add({region_label(view, gate.region),
               fmt::format("{}", view.trace->tracks[gate.track].stream), cell(gate.stall_ns),
               cell(gate.wait_ns()), cell(name(gate.kind)), region, kernel, cell(gate.start_ns)},
              {gate.free_ns, gate.start_ns});
  }
  return sheet;
}

Sheet launches_sheet(const GpuView& view, const LaunchUse& use) {
  Sheet sheet{.id = "launches",
              .title = "Launch delay and queue per stream",
              .columns = {{"stream", "stream", Unit::kText},
                          {"launches", "launches", Unit::kCount},
                          {"delay_median_us", "median delay us", Unit::kTime},
                          {"delay_p95_us", "p95 us", Unit::kTime},
                          {"delay_min_us", "min us", Unit::kTime},
                          {"delay_max_us", "max us", Unit::kTime},
                          {"run_ahead_median_us", "run-ahead us", Unit::kTime},
                          {"queue_max", "queue max", Unit::kCount},
                          {"queue_mean", "queue mean", Unit::kNumber},
                          {"queue_full_us", "queue full us", Unit::kTime}}};
  for (const StreamLaunches& s : use.streams) {
    sheet.add({fmt::format("{}", view.trace->tracks[s.track].stream), cell(s.delay.count),
               cell(s.delay.median_ns), cell(s.delay.p95_ns), cell(s.delay.min_ns),
               cell(s.delay.max_ns), cell(s.run_ahead_median_ns), cell(s.queue_max),
               cell(s.queue_mean), cell(s.queue_full_ns)});
  }
  if (use.negative_delays > 0) {
    sheet.notes.push_back(fmt::format(
        "starts before the end of the launch call (conversion of clocks), counted as 0: {}",
        use.negative_delays));
  }
  return sheet;
}

Sheet api_sheet(const LaunchUse& use) {
  Sheet sheet{.id = "api",
              .title = "Calls of the runtime and the driver",
              .columns = {{"name", "call", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"launches", "launches", Unit::kCount},
                          {"sum_us", "sum us", Unit::kTime},
                          {"mean_us", "mean us", Unit::kTime},
                          {"max_us", "max us", Unit::kTime}}};
  for (const ApiRow& row : use.api) {
    sheet.add({row.name, cell(row.time.count), cell(row.launches), cell(row.time.sum_ns),
               cell(row.time.mean_ns), cell(row.time.max_ns)});
  }
  return sheet;
}

Sheet blocking_sheet(const GpuView& view, const LaunchUse& use, size_t most) {
  Sheet sheet{.id = "blocking",
              .title = "Calls that held the host for a millisecond or more",
              .columns = {{"name", "call", Unit::kText},
                          {"start_us", "start us", Unit::kTime},
                          {"duration_us", "duration us", Unit::kTime},
                          {"gpu_idle_us", "GPU idle us", Unit::kTime}},
              .notes = {"a host that waits while the GPU works costs nothing"}};
  const Events& e = view.trace->events;
  const size_t shown = sheet.limit(use.blocking.size(), most);
  for (const BlockingCall& call : std::span(use.blocking).first(shown)) {
    sheet.add({cell(view.trace->name_of(call.row)), cell(e.start_ns[call.row]),
               cell(e.duration_ns[call.row]), cell(call.gpu_idle_ns)},
              {e.start_ns[call.row], e.end_ns(call.row)});
  }
  return sheet;
}

}  // namespace hadal::trace
