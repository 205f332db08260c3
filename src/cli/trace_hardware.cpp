// hadal trace occupancy, roofline, memory, patterns: what the kernels make of the hardware.
#include <memory>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/hardware_sheets.h"

namespace hadal::cli {
namespace {

using trace::Json;
using trace::Sheet;

void add_if_any(Answer& answer, Sheet sheet) {
  if (!sheet.rows.empty() || !sheet.notes.empty()) answer.sheets.push_back(std::move(sheet));
}

Result<Answer> occupancy_answer(const OpenTrace& open, const trace::Model& /*model*/) {
  const trace::GpuView& view = open.view;
  const trace::OccupancyReport occupancy = trace::occupancy_report(view);
  const trace::WaveReport waves = trace::wave_report(view);
  const trace::Contention contention = trace::contention(view);
  Answer answer;
  answer.headline = headline(open);
  if (occupancy.exact_mean_percent >= 0) {
    answer.headline +=
        fmt::format("occupancy {:.2f} %, weighted by duration", occupancy.exact_mean_percent);
    if (occupancy.launches_wrong > 0 && occupancy.reported_mean_percent >= 0) {
      answer.headline += fmt::format(
          " (as the profiler reports: {:.2f} %; wrong for {} of {} launches, {:.1f} % of the time "
          "of kernels)",
          occupancy.reported_mean_percent, occupancy.launches_wrong, occupancy.launches,
          100.0 * static_cast<double>(occupancy.wrong_ns) /
              static_cast<double>(std::max<int64_t>(occupancy.kernel_ns, 1)));
    }
    answer.headline += "\n";
  }
  answer.sheets.push_back(trace::occupancy_sheet(view, occupancy));
  add_if_any(answer, trace::waves_sheet(view, waves));
  add_if_any(answer, trace::contention_sheet(view, contention));
  add_if_any(answer, trace::head_of_line_sheet(view, waves));
  answer.notes = occupancy.notes;
  Json json = to_json(view, occupancy);
  json["waves"] = to_json(view, waves);
  json["contention"] = to_json(view, contention);
  answer.json = trace::dump(json);
  return answer;
}

Result<Answer> roofline_answer(const OpenTrace& open, const trace::Model& model) {
  const trace::Shapes shapes = trace::infer_shapes(open.view, model);
  const trace::Roofline roofline = trace::roofline(open.view, shapes, model);
  Answer answer;
  answer.headline = headline(open);
  if (roofline.peaks) answer.headline += trace::peaks_text(*roofline.peaks) + "\n";
  answer.sheets.push_back(trace::roofline_totals_sheet(roofline));
  answer.sheets.push_back(trace::roofline_sheet(roofline));
  add_if_any(answer, trace::comm_bandwidth_sheet(roofline));
  answer.notes = roofline.notes;
  answer.json = trace::dump(to_json(open.view, shapes, roofline));
  return answer;
}

Result<Answer> memory_answer(const OpenTrace& open, const trace::Model& model) {
  const trace::MemoryUse use = trace::memory_use(open.view, model);
  Answer answer{.headline = headline(open),
                .sheets = {trace::copies_sheet(use)},
                .json = trace::dump(to_json(use)),
                .notes = use.notes};
  add_if_any(answer, trace::allocation_calls_sheet(use));
  add_if_any(answer, trace::memory_peaks_sheet(use));
  return answer;
}

Result<Answer> patterns_answer(const OpenTrace& open, const trace::Model& model) {
  const trace::Shapes shapes = trace::infer_shapes(open.view, model);
  const trace::Patterns found = trace::patterns(open.view, shapes);
  Answer answer{.headline = headline(open),
                .sheets = {trace::sequences_sheet(open.view, found)},
                .json = trace::dump(to_json(open.view, found)),
                .notes = shapes.notes};
  add_if_any(answer, trace::recompute_sheet(open.view, found));
  add_if_any(answer, trace::chains_sheet(open.view, found));
  add_if_any(answer, trace::grouped_rows_sheet(open.view, found));
  return answer;
}

using AnswerOf = Result<Answer> (*)(const OpenTrace&, const trace::Model&);

Result<ExitCode> run(const ModelArgs& args, AnswerOf answer_of, Terminal& terminal) {
  const trace::Model model = TRY(read_model(args));
  const std::unique_ptr<OpenTrace> open = TRY(open_trace(args));
  Answer answer = TRY(answer_of(*open, model));
  answer.notes.insert(answer.notes.begin(), open->notes.begin(), open->notes.end());
  show(args, answer, terminal);
  return 0;
}

void add_verb(Command& parent, const char* verb, const char* help, bool with_model,
              AnswerOf answer_of) {
  const auto args = std::make_shared<ModelArgs>();
  Command command = parent.add(verb, help);
  add_trace_options(command, *args);
  if (with_model) add_model_option(command, *args);
  command.run([args, answer_of](Terminal& terminal) { return run(*args, answer_of, terminal); });
}

}  // namespace

void add_trace_hardware(Command& parent) {
  add_verb(parent, "occupancy", "Occupancy, waves and contention of kernels", false,
           occupancy_answer);
  add_verb(parent, "roofline", "FLOP and bytes against the peaks of the GPU", true,
           roofline_answer);
  add_verb(parent, "memory", "Copies, allocations and the allocator's peaks", true, memory_answer);
  add_verb(parent, "patterns", "Repeated sequences, recompute, chains of short kernels", true,
           patterns_answer);
}

}  // namespace hadal::cli
