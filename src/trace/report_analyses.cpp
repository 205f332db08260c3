#include "trace/report_analyses.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/cause_sheets.h"
#include "trace/findings.h"
#include "trace/hardware.h"
#include "trace/hardware_sheets.h"
#include "trace/report_ranks.h"
#include "trace/report_tab.h"
#include "trace/sheets.h"

namespace hadal::trace {
namespace {

Grid phases_grid(const GpuView& view, const std::vector<RegionUse>& uses) {
  const PhaseGrid phases = phase_grid(view, uses);
  Grid grid{.title = "Phases by layers, busy time", .unit = "us", .rows = phases.phases};
  for (int i = 0; i < phases.num_layers; ++i) grid.columns.push_back(fmt::format("#{}", i));
  for (const uint32_t use : phases.cells) {
    if (use == kNone || uses[use].events == 0) {
      grid.cells.emplace_back();
    } else {
      const RegionUse& u = uses[use];
      grid.cells.emplace_back(Grid::Entry{.value = us(u.busy_ns), .time = {u.start_ns, u.end_ns}});
    }
  }
  return grid;
}

Grid overlap_grid(const OverlapMatrix& m) {
  Grid grid{.title = "Time that two phases run together",
            .unit = "us",
            .rows = m.phases,
            .columns = m.phases};
  for (const int64_t ns : m.overlap_ns) grid.cells.emplace_back(Grid::Entry{.value = us(ns)});
  return grid;
}

/// What was wrong with the file, and what it says of itself and does not say.
Sheet health_sheet(const Trace& trace, const std::vector<std::string>& cannot_tell) {
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
  if (!cannot_tell.empty()) sheet.notes.emplace_back("What this trace does not show:");
  sheet.notes.insert(sheet.notes.end(), cannot_tell.begin(), cannot_tell.end());
  return sheet;
}

class Tabs {
 public:
  Tabs(const GpuView& view, const Model& model, const Hardware& hardware, size_t rank, Json& out)
      : view_(view), model_(model), hardware_(hardware), rank_(rank), out_(out) {}

  void add_all(const std::vector<std::string>& cannot_tell) {
    add_phases();
    add_work();
    add_host();
    add_hardware();
    add(ReportTab{.id = "health", .title = "File"}.add(health_sheet(*view_.trace, cannot_tell)));
  }

 private:
  void add(ReportTab& tab) {
    if (tab.empty()) return;
    out_.push_back(to_json(std::move(tab)));
    out_.back()["rank"] = rank_;
  }

  void add_phases() {
    const auto uses = region_use(view_);
    if (uses.empty()) return;
    const OverlapMatrix matrix = overlap_matrix(view_);
    add(ReportTab{.id = "phases", .title = "Phases"}
            .add(phases_grid(view_, uses))
            .add(regions_sheet(uses, kReportRowsMax)));
    add(ReportTab{.id = "overlap", .title = "Overlap"}
            .add(overlap_grid(matrix))
            .add(phases_sheet(matrix)));
    add(ReportTab{.id = "gates", .title = "Gates"}.add(
        gates_sheet(view_, gates(view_), kReportRowsMax)));
  }

  void add_work() {
    const CommUse comm = comm_use(view_);
    if (comm.roles[0].count + comm.roles[1].count > 0) {
      add(ReportTab{.id = "comm", .title = "Communication"}
              .add(roles_sheet(comm))
              .add(role_growth_sheet(comm))
              .add(comm_kernels_sheet(comm))
              .add(unclassified_sheet(comm)));
    }
    const KernelTable kernels = kernel_table(view_);
    add(ReportTab{.id = "kernels", .title = "Kernels"}
            .add(kernels_sheet(kernels))
            .add(families_sheet(kernels)));
  }

  void add_host() {
    const auto streams = stream_use(view_);
    const LaunchUse launch = launch_use(view_, streams);
    const CriticalPath path = critical_path(replay_graph(view_));
    add(ReportTab{.id = "streams", .title = "Streams"}
            .add(streams_sheet(view_, streams))
            .add(gaps_sheet(view_, streams, kReportRowsMax)));
    add(ReportTab{.id = "host", .title = "Host"}
            .add(launches_sheet(view_, launch))
            .add(api_sheet(launch))
            .add(blocking_sheet(view_, launch, kReportRowsMax)));
    add(ReportTab{.id = "critical", .title = "Critical path"}
            .add(path_classes_sheet(path))
            .add(path_regions_sheet(path))
            .add(path_kernels_sheet(path))
            .add(path_steps_sheet(view_, path, kReportRowsMax)));
  }

  void add_hardware() {
    const MemoryUse memory = memory_use(view_, model_);
    const Patterns found = patterns(view_, hardware_.shapes);
    add(ReportTab{.id = "sms", .title = "SMs"}
            .add(occupancy_sheet(view_, hardware_.occupancy))
            .add(waves_sheet(view_, hardware_.waves))
            .add(contention_sheet(view_, hardware_.contention))
            .add(head_of_line_sheet(view_, hardware_.waves)));
    add(ReportTab{
        .id = "roofline", .title = "Roofline", .notes = roofline_notes(hardware_.roofline)}
            .add(roofline_totals_sheet(hardware_.roofline))
            .add(roofline_sheet(hardware_.roofline))
            .add(comm_bandwidth_sheet(hardware_.roofline)));
    add(ReportTab{.id = "patterns", .title = "Patterns"}
            .add(recompute_sheet(view_, found))
            .add(chains_sheet(view_, found))
            .add(sequences_sheet(view_, found))
            .add(grouped_rows_sheet(view_, found)));
    add(ReportTab{.id = "memory", .title = "Memory", .notes = memory.notes}
            .add(copies_sheet(memory))
            .add(allocation_calls_sheet(memory))
            .add(memory_peaks_sheet(memory)));
  }

  /// The peaks that percentages are of, and what limits them.
  static std::vector<std::string> roofline_notes(const Roofline& roofs) {
    std::vector<std::string> notes = roofs.notes;
    if (roofs.peaks) notes.insert(notes.begin(), peaks_text(*roofs.peaks));
    return notes;
  }

  const GpuView& view_;
  const Model& model_;
  const Hardware& hardware_;
  size_t rank_;
  Json& out_;
};

/// The findings of all ranks, the largest first, each with the rank that its intervals belong to.
class FindingCollector {
 public:
  void add(const Findings& findings, size_t rank) {
    for (size_t i = 0; i < findings.list.size(); ++i) {
      order_.emplace_back(-findings.list[i].ceiling_ns, rank, i);
    }
    lists_.push_back(to_json(findings)["findings"]);
  }

  void append_to(Json& out) {
    std::ranges::sort(order_);
    for (const auto& [ceiling, rank, i] : order_) {
      Json& finding = lists_[rank][i];
      finding["rank"] = rank;
      for (Json& evidence : finding["evidence"]) evidence["rank"] = rank;
      out.push_back(std::move(finding));
    }
  }

 private:
  std::vector<std::tuple<int64_t, size_t, size_t>> order_;
  std::vector<Json> lists_;  // by rank
};

}  // namespace

Json report_analyses(std::span<const GpuView> ranks, const Model& model, const RanksUse* use) {
  Json summaries = Json::array(), tabs = Json::array();
  if (use != nullptr) tabs.push_back(to_json(ranks_tab(*use)));
  FindingCollector collector;
  for (size_t r = 0; r < ranks.size(); ++r) {
    summaries.push_back({{"gpu", to_json(summarize(ranks[r]))}});
    const Hardware hardware(ranks[r], model);
    const Findings findings = find(ranks[r], model, hardware);
    collector.add(findings, r);
    Tabs(ranks[r], model, hardware, r, tabs).add_all(findings.cannot_tell);
  }
  Json out = {{"summary", summaries[0]}};
  if (ranks.size() > 1) out["ranks"] = std::move(summaries);
  out["findings"] = Json::array();
  if (use != nullptr) {
    out["clocks"] = clocks_json(*use);
    out["findings"] = rank_findings_json(*use);
  }
  collector.append_to(out["findings"]);
  out["tabs"] = std::move(tabs);
  return out;
}

}  // namespace hadal::trace
