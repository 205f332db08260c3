#include "cli/demo_trace.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "cli/terminal.h"
#include "trace/findings.h"
#include "trace/generate.h"
#include "trace/report.h"
#include "trace/report_analyses.h"
#include "trace/sheets.h"

namespace hadal::cli {
namespace {

Result<> write_page(const trace::GpuView& view, const std::string& title, const std::string& path) {
  const trace::Json analyses = trace::report_analyses(std::span(&view, 1));
  return trace::write_report(
      {.ranks = std::span(&view, 1), .title = title, .analyses = &analyses, .clock_offsets_ns = {}},
      path);
}

}  // namespace

Result<DemoTraceResult> analyse_run(const std::string& trace_path, const std::string& report_path,
                                    uint64_t events_expected) {
  const trace::Trace t = TRY(trace::load(trace_path));
  const trace::Events& e = t.events;
  // The longest row of the demo's own thread: its stages.
  size_t longest = 0;
  uint64_t spans = 0;
  for (size_t row = 0; row < e.size(); ++row) {
    spans += e.phase[row] == trace::Phase::kComplete;
    if (e.duration_ns[row] > e.duration_ns[longest]) longest = row;
  }
  TRY(write_page(trace::gpu_view(t, trace::Rules()), "hadal demo", report_path));
  if (e.size() == 0) return DemoTraceResult{.on = "the demo's trace", .result = "empty"};
  return DemoTraceResult{
      .on = fmt::format("this run: {} on {}", counted(static_cast<long long>(spans), "span"),
                        counted(static_cast<long long>(t.tracks.size()), "thread")),
      .result = fmt::format(
          "longest: {}, {:.0f} % of the run", t.name_of(longest),
          100.0 * static_cast<double>(e.duration_ns[longest]) / static_cast<double>(t.end_ns)),
      .check = t.health.clean() && e.size() == events_expected};
}

Result<DemoTraceResult> analyse_step(const std::string& trace_path,
                                     const std::string& report_path) {
  trace::gen::Scenario scenario;
  scenario.ranks = 1;
  scenario.steps = 1;
  scenario.layers = 8;
  scenario.faults = {{.kind = trace::gen::FaultKind::kBarrierGrowth, .amount = 400'000}};
  const trace::gen::Generated job = TRY(trace::gen::generate(scenario));
  TRY(write_file_atomically(trace_path, std::string_view(job.documents[0])));
  const trace::Trace t = TRY(trace::load(trace_path));
  const trace::GpuView view = trace::gpu_view(t, trace::Rules());
  const trace::Summary s = trace::summarize(view);
  const trace::Findings findings = trace::find(view);
  TRY(write_page(view, "a generated training step", report_path));
  const trace::gen::Times& known = job.answers.ranks[0].times;
  return DemoTraceResult{
      .on = fmt::format("a training step, {} events", t.events.size()),
      .result = fmt::format("{:.2f} % of communication hidden, {} findings", s.overlap_percent(),
                            findings.list.size()),
      .check = t.health.clean() && s.span_ns == known.span_ns && s.busy_ns == known.busy_ns &&
               s.communication_ns == known.communication_ns && s.overlap_ns == known.overlap_ns &&
               s.exposed_communication_ns == known.exposed_communication_ns &&
               s.structural_exposed_ns == known.structural_exposed_ns && !findings.list.empty()};
}

}  // namespace hadal::cli
