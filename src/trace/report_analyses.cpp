#include "trace/report_analyses.h"

#include <algorithm>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/cause_sheets.h"
#include "trace/findings.h"
#include "trace/hardware_sheets.h"
#include "trace/sheets.h"

namespace hadal::trace {
namespace {

constexpr size_t kRowsMax = 2000;  // of a table; the command line and CSV have all of them
constexpr size_t kGapsMax = 500;

/// A sheet as the page's table: the interval of a row becomes two columns at its end.
Json table_of(Sheet sheet) {
  const size_t left_out = sheet.rows.size() > kRowsMax ? sheet.rows.size() - kRowsMax : 0;
  if (left_out > 0) {
    sheet.rows.resize(kRowsMax);
    if (!sheet.intervals.empty()) sheet.intervals.resize(kRowsMax);
  }
  if (!sheet.intervals.empty()) {
    sheet.columns.push_back({"from_us", "from us", Unit::kTime});
    sheet.columns.push_back({"to_us", "to us", Unit::kTime});
    for (size_t i = 0; i < sheet.rows.size(); ++i) {
      const Interval& at = sheet.intervals[i];
      const bool some = at.end > at.start;
      sheet.rows[i].push_back(some ? cell(at.start) : Cell());
      sheet.rows[i].push_back(some ? cell(at.end) : Cell());
    }
  }
  const Json data = to_json(sheet);
  Json table = {{"title", sheet.title}, {"columns", data["columns"]}, {"rows", data["rows"]}};
  for (Json& column : table["columns"]) {
    column["align"] = column["unit"] == "text" ? "left" : "right";
    if (column["unit"] == "text" || column["unit"] == "count" || column["unit"] == "number") {
      column.erase("unit");
    } else if (column["unit"] == "percent") {
      column["unit"] = "%";
    }
  }
  if (!sheet.intervals.empty()) {
    table["row_interval"] = {sheet.columns.size() - 2, sheet.columns.size() - 1};
  }
  if (left_out > 0) table["title"] = fmt::format("{} (first {})", sheet.title, kRowsMax);
  return table;
}

class Tab {
 public:
  Tab(std::string_view id, std::string_view title)
      : tab_{{"id", id},
             {"title", title},
             {"notes", Json::array()},
             {"tables", Json::array()},
             {"grids", Json::array()}} {}
  Tab& note(std::string_view text) {
    tab_["notes"].push_back(text);
    return *this;
  }
  Tab& table(const Sheet& sheet) {
    if (sheet.rows.empty()) return *this;
    tab_["tables"].push_back(table_of(sheet));
    for (const std::string& text : sheet.notes) note(text);
    return *this;
  }
  Tab& grid(Json grid) {
    tab_["grids"].push_back(std::move(grid));
    return *this;
  }
  bool empty() const { return tab_["tables"].empty() && tab_["grids"].empty(); }
  Json take() { return std::move(tab_); }

 private:
  Json tab_;
};

Json phases_grid(const GpuView& view, const std::vector<RegionUse>& uses) {
  const PhaseGrid grid = phase_grid(view, uses);
  Json rows = Json::array(), columns = Json::array(), cells = Json::array();
  for (int i = 0; i < grid.num_layers; ++i) columns.push_back(fmt::format("#{}", i));
  for (size_t row = 0; row < grid.phases.size(); ++row) {
    rows.push_back(grid.phases[row]);
    Json line = Json::array();
    for (int i = 0; i < grid.num_layers; ++i) {
      const uint32_t use = grid.cells[row * grid.num_layers + i];
      if (use == kNone || uses[use].events == 0) {
        line.push_back(nullptr);
      } else {
        line.push_back({{"value", us(uses[use].busy_ns)},
                        {"start_us", us(uses[use].start_ns)},
                        {"end_us", us(uses[use].end_ns)}});
      }
    }
    cells.push_back(std::move(line));
  }
  return {{"title", "Phases by layers, busy time"},
          {"rows", std::move(rows)},
          {"columns", std::move(columns)},
          {"unit", "us"},
          {"cells", std::move(cells)}};
}

Json overlap_grid(const OverlapMatrix& m) {
  Json cells = Json::array();
  for (size_t p = 0; p < m.phases.size(); ++p) {
    Json line = Json::array();
    for (size_t q = 0; q < m.phases.size(); ++q) {
      line.push_back(us(m.overlap_ns[p * m.phases.size() + q]));
    }
    cells.push_back(std::move(line));
  }
  return {{"title", "Time that two phases run together"},
          {"rows", m.phases},
          {"columns", m.phases},
          {"unit", "us"},
          {"cells", std::move(cells)}};
}

/// What was wrong with the file, and what it says of itself.
Sheet health_sheet(const Trace& trace) {
  Sheet sheet{.id = "health",
              .title = "The file",
              .columns = {{"what", "what", Unit::kText}, {"value", "value", Unit::kText}}};
  const auto add = [&](std::string_view what, const std::string& value) {
    sheet.add({cell(what), value});
  };
  const auto count = [&](std::string_view what, uint64_t n) {
    if (n > 0) add(what, fmt::format("{}", n));
  };
  const Health& health = trace.health;
  add("file", trace.path);
  add("generation of the format", std::string(name(trace.generation)));
  add("events", fmt::format("{}", trace.events.size()));
  add("resolution of times", fmt::format("{} ns", trace.resolution_ns));
  if (trace.rank >= 0) add("rank", fmt::format("{} of {}", trace.rank, trace.world_size));
  if (!trace.trace_name.empty()) add("name", trace.trace_name);
  for (const Device& device : trace.devices) {
    if (device.id == 0) add("device", fmt::format("{}, {} SMs", device.name, device.num_sms));
  }
  count("events that could not be read", health.lost_events);
  if (health.truncated) add("truncated at byte", fmt::format("{}", health.truncated_at));
  count("events with time 0, left out", health.zero_timestamps);
  count("durations repaired", health.clipped_durations);
  count("overlaps within a stream, kept", health.overlapping_in_stream);
  count("begins without an end", health.unmatched_begins);
  count("ends without a begin", health.unmatched_ends);
  count("events of kinds that are ignored", health.ignored_phases);
  count("bytes of names replaced", health.replaced_bytes);
  for (const Loss& loss : health.losses) {
    add("lost", fmt::format("at byte {}: {}", loss.offset, loss.reason));
  }
  return sheet;
}

/// What the machine did with the kernels.
template <typename Add>
void add_hardware_tabs(const GpuView& view, const Add& add) {
  const WaveReport waves = wave_report(view);
  const Shapes shapes = infer_shapes(view);
  const Roofline roofs = roofline(view, shapes);
  const MemoryUse memory = memory_use(view);
  const Patterns found = patterns(view, shapes);
  Tab sms("sms", "SMs");
  add(sms.table(occupancy_sheet(view, occupancy_report(view)))
          .table(waves_sheet(view, waves))
          .table(contention_sheet(view, contention(view)))
          .table(head_of_line_sheet(view, waves)));
  Tab roof("roofline", "Roofline");
  add(roof.table(roofline_totals_sheet(roofs))
          .table(roofline_sheet(roofs))
          .table(comm_bandwidth_sheet(roofs)));
  Tab repeats("patterns", "Patterns");
  add(repeats.table(recompute_sheet(view, found))
          .table(chains_sheet(view, found))
          .table(sequences_sheet(view, found))
          .table(grouped_rows_sheet(view, found)));
  Tab bytes("memory", "Memory");
  add(bytes.table(copies_sheet(memory))
          .table(allocation_calls_sheet(memory))
          .table(memory_peaks_sheet(memory)));
}

void add_tabs(const GpuView& view, size_t rank, Json& tabs) {
  const auto add = [&](Tab& tab) {
    if (tab.empty()) return;
    tabs.push_back(tab.take());
    tabs.back()["rank"] = rank;
  };
  const auto uses = region_use(view);
  const OverlapMatrix matrix = overlap_matrix(view);
  const auto streams = stream_use(view);
  const CommUse comm = comm_use(view);
  const LaunchUse launch = launch_use(view, streams);
  const KernelTable kernels = kernel_table(view);
  if (!uses.empty()) {
    Tab phases("phases", "Phases");
    add(phases.grid(phases_grid(view, uses)).table(regions_sheet(uses)));
    Tab overlap("overlap", "Overlap");
    add(overlap.grid(overlap_grid(matrix)).table(phases_sheet(matrix)));
    Tab gate("gates", "Gates");
    add(gate.table(gates_sheet(view, gates(view))));
  }
  Tab communication("comm", "Communication");
  if (comm.roles[0].count + comm.roles[1].count > 0) {
    add(communication.table(roles_sheet(comm))
            .table(role_growth_sheet(comm))
            .table(comm_kernels_sheet(comm))
            .table(unclassified_sheet(comm)));
  }
  Tab kernel("kernels", "Kernels");
  add(kernel.table(families_sheet(kernels)).table(kernels_sheet(kernels)));
  Tab stream("streams", "Streams");
  add(stream.table(streams_sheet(view, streams)).table(gaps_sheet(view, streams, kGapsMax)));
  Tab host("host", "Host");
  add(host.table(launches_sheet(view, launch))
          .table(api_sheet(launch))
          .table(blocking_sheet(view, launch)));
  const CriticalPath path = critical_path(replay_graph(view));
  Tab critical("critical", "Critical path");
  add(critical.table(path_classes_sheet(path))
          .table(path_regions_sheet(path))
          .table(path_kernels_sheet(path))
          .table(path_steps_sheet(view, path)));
  add_hardware_tabs(view, add);
  Tab health("health", "File");
  add(health.table(health_sheet(*view.trace)));
}

}  // namespace

Json report_analyses(std::span<const GpuView> ranks) {
  Json summaries = Json::array(), all = Json::array(), tabs = Json::array();
  for (size_t r = 0; r < ranks.size(); ++r) {
    summaries.push_back({{"gpu", to_json(summarize(ranks[r]))}});
    const Findings findings = find(ranks[r]);
    Json list = to_json(findings)["findings"];
    for (Json& finding : list) {
      for (Json& evidence : finding["evidence"]) evidence["rank"] = r;
      if (ranks.size() > 1) {
        finding["claim"] =
            fmt::format("rank {}: {}", ranks[r].trace->rank, finding["claim"].get<std::string>());
      }
      all.push_back(std::move(finding));
    }
    add_tabs(ranks[r], r, tabs);
    if (r == 0 && !findings.cannot_tell.empty()) {
      Tab limits("limits", "What it cannot tell");
      Sheet sheet{.id = "limits",
                  .title = "What this trace does not show",
                  .columns = {{"limit", "limit", Unit::kText}}};
      for (const std::string& text : findings.cannot_tell) sheet.add({text});
      limits.table(sheet);
      tabs.push_back(limits.take());
    }
  }
  Json out = {{"summary", summaries[0]}};
  if (ranks.size() > 1) out["ranks"] = std::move(summaries);
  out["findings"] = std::move(all);
  out["tabs"] = std::move(tabs);
  return out;
}

}  // namespace hadal::trace
