// hadal trace summary, kernels, streams, regions, overlap, gates, launch, comm: one trace, one
// analysis, one answer.
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/sheets.h"

namespace hadal::cli {
namespace {

using trace::GpuView;
using trace::Json;

Answer summary_answer(const OpenTrace& open) {
  const GpuView& view = open.view;
  const trace::Summary summary = trace::summarize(view);
  const auto streams = trace::stream_use(view);
  const trace::CommUse comm = trace::comm_use(view);
  const auto regions = trace::region_use(view);
  Json stream_list = Json::array(), region_list = Json::array();
  for (const trace::StreamUse& s : streams) {
    stream_list.push_back({{"device", s.device},
                           {"stream", s.stream},
                           {"events", s.events},
                           {"busy_us", trace::us(s.busy_ns)}});
  }
  for (const trace::RegionUse& use : regions) {
    Json entry = {{"name", use.name},     {"index", use.index},
                  {"events", use.events}, {"busy_us", trace::us(use.busy_ns)},
                  {"start_us", nullptr},  {"end_us", nullptr}};
    if (use.events > 0) {
      entry["start_us"] = trace::us(use.start_ns);
      entry["end_us"] = trace::us(use.end_ns);
    }
    region_list.push_back(std::move(entry));
  }
  Answer answer;
  const Json json = {{"trace", open.trace.path},          {"rank", open.trace.rank},
                     {"window", view.window.description}, {"gpu", to_json(summary)},
                     {"streams", std::move(stream_list)}, {"comm", trace::roles_json(comm)},
                     {"regions", std::move(region_list)}};
  answer.json = trace::dump(json);
  answer.headline = headline(open);
  if (summary.communication_ns > 0) {
    answer.headline += fmt::format(
        "communication {} us, {:.2f} % hidden under compute; {} us exposed, of which {} us in {} "
        "structural pieces\n",
        trace::shown(trace::cell(summary.communication_ns), trace::Unit::kTime),
        summary.overlap_percent(),
        trace::shown(trace::cell(summary.exposed_communication_ns), trace::Unit::kTime),
        trace::shown(trace::cell(summary.structural_exposed_ns), trace::Unit::kTime),
        summary.structural_exposed.size());
  }
  answer.sheets = {trace::summary_sheet(summary), trace::streams_sheet(view, streams)};
  if (summary.communication_ns > 0) answer.sheets.push_back(trace::roles_sheet(comm));
  if (!regions.empty()) {
    answer.sheets.push_back(trace::grid_sheet(trace::phase_grid(view, regions), regions));
  }
  return answer;
}

Answer kernels_answer(const OpenTrace& open) {
  const trace::KernelTable table = trace::kernel_table(open.view);
  Answer answer{.headline = headline(open),
                .sheets = {trace::kernels_sheet(table), trace::families_sheet(table)},
                .json = trace::dump(to_json(table)),
                .notes = {}};
  return answer;
}

Answer streams_answer(const OpenTrace& open) {
  const auto streams = trace::stream_use(open.view);
  constexpr size_t kGapsMax = 1000;
  return {.headline = headline(open),
          .sheets = {trace::streams_sheet(open.view, streams),
                     trace::gaps_sheet(open.view, streams, kGapsMax)},
          .json = trace::dump(to_json(open.view, streams)),
          .notes = {}};
}

Answer regions_answer(const OpenTrace& open) {
  const auto uses = trace::region_use(open.view);
  Answer answer{.headline = headline(open),
                .sheets = {trace::regions_sheet(uses)},
                .json = trace::dump(trace::to_json(uses)),
                .notes = {}};
  if (uses.empty()) {
    answer.notes.emplace_back(
        "the trace has no user annotations; record_function(\"attn\") around a phase makes one");
  } else {
    answer.sheets.push_back(trace::grid_sheet(trace::phase_grid(open.view, uses), uses));
  }
  if (open.view.outside_regions > 0) {
    answer.notes.push_back(fmt::format("{} activities were launched outside of all annotations",
                                       open.view.outside_regions));
  }
  return answer;
}

Answer overlap_answer(const OpenTrace& open) {
  const trace::OverlapMatrix matrix = trace::overlap_matrix(open.view);
  const auto uses = trace::region_use(open.view);
  Json json = to_json(matrix);
  json["grid"] = to_json(trace::phase_grid(open.view, uses), uses);
  return {.headline = headline(open),
          .sheets = {trace::overlap_sheet(matrix), trace::phases_sheet(matrix)},
          .json = trace::dump(json),
          .notes = {}};
}

Answer gates_answer(const OpenTrace& open) {
  const auto gates = trace::gates(open.view);
  return {.headline = headline(open),
          .sheets = {trace::gates_sheet(open.view, gates)},
          .json = trace::dump(trace::to_json(open.view, gates)),
          .notes = {}};
}

Answer launch_answer(const OpenTrace& open) {
  const auto streams = trace::stream_use(open.view);
  const trace::LaunchUse use = trace::launch_use(open.view, streams);
  Answer answer{.headline = headline(open),
                .sheets = {trace::launches_sheet(open.view, use), trace::api_sheet(use),
                           trace::blocking_sheet(open.view, use)},
                .json = trace::dump(trace::to_json(open.view, use)),
                .notes = {}};
  answer.headline +=
      use.launch_bound
          ? fmt::format("launch bound: the host is late for {:.1f} % of the span\n",
                        100 * use.host_wait_share)
          : fmt::format("not launch bound: the host runs {} us ahead (median)\n",
                        trace::shown(trace::cell(use.delay.median_ns), trace::Unit::kTime));
  return answer;
}

Answer comm_answer(const OpenTrace& open) {
  const trace::CommUse use = trace::comm_use(open.view);
  Answer answer{.headline = headline(open),
                .sheets = {trace::roles_sheet(use), trace::comm_kernels_sheet(use),
                           trace::role_growth_sheet(use), trace::unclassified_sheet(use)},
                .json = trace::dump(to_json(use)),
                .notes = {}};
  if (use.sum_ns == 0) {
    answer.notes.emplace_back(
        "no kernel is known to communicate; a rules file (--rules) can name those that do");
  }
  return answer;
}

void add_view(Command& parent, const char* verb, const char* help,
              Answer (*answer_of)(const OpenTrace&)) {
  const auto args = std::make_shared<TraceArgs>();
  Command command = parent.add(verb, help);
  add_trace_options(command, *args);
  command.run([args, answer_of](Terminal& terminal) -> Result<ExitCode> {
    const std::unique_ptr<OpenTrace> open = TRY(open_trace(*args));
    Answer answer = answer_of(*open);
    answer.notes.insert(answer.notes.begin(), open->notes.begin(), open->notes.end());
    show(*args, answer, terminal);
    return 0;
  });
}

}  // namespace

void add_trace_views(Command& parent) {
  add_view(parent, "summary", "Where the time of the GPU goes", summary_answer);
  add_view(parent, "kernels", "Kernels and their families", kernels_answer);
  add_view(parent, "streams", "Streams, their gaps and the causes", streams_answer);
  add_view(parent, "regions", "Annotated phases on the GPU", regions_answer);
  add_view(parent, "overlap", "Which phases run together", overlap_answer);
  add_view(parent, "gates", "What each phase waited for", gates_answer);
  add_view(parent, "launch", "The host: run-ahead, queue, API calls", launch_answer);
  add_view(parent, "comm", "Communication by role", comm_answer);
}

}  // namespace hadal::cli
