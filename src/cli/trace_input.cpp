#include "cli/trace_input.h"

#include <algorithm>
#include <map>

#include <fmt/core.h>
#include <unistd.h>

#include "base/threads.h"
#include "cli/terminal.h"
#include "trace/sheets.h"

namespace hadal::cli {
namespace {

constexpr size_t kShortTable = 8;
constexpr uint64_t kProgressBytes = 200'000'000;  // smaller files take less than a second

void show_progress(uint64_t done, uint64_t total) {
  if (total < kProgressBytes || isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r{}",
             done < total ? fmt::format("reading: {} %", done * 100 / total)
                          : std::string("             \r"));
}

/// What a reader of the figures must know about the file.
std::vector<std::string> notes_of(const trace::Trace& t) {
  const trace::Health& health = t.health;
  std::vector<std::string> notes;
  if (health.lost_events > 0) {
    notes.push_back(
        fmt::format("{} could not be read, the first at byte {} ({}); `hadal trace info` "
                    "lists them",
                    counted(static_cast<long long>(health.lost_events), "event"),
                    health.losses.empty() ? 0 : health.losses[0].offset,
                    health.losses.empty() ? "" : health.losses[0].reason));
  }
  if (health.truncated) {
    notes.push_back(fmt::format("the file ends in the middle, at byte {}", health.truncated_at));
  }
  if (health.zero_timestamps > 0) {
    notes.push_back(fmt::format("{} left out: their time is 0",
                                counted(static_cast<long long>(health.zero_timestamps), "event")));
  }
  return notes;
}

/// The device with the most time in kernels, of those in the trace; -1 if there is at most one.
int busiest_device(const trace::Trace& t) {
  std::map<int, int64_t> busy;
  for (const trace::Track& track : t.tracks) {
    if (track.kind != trace::TrackKind::kGpu) continue;
    for (uint32_t row = track.begin; row < track.end; ++row) {
      busy[track.device] +=
          trace::is_gpu_activity(t.events.category[row]) ? t.events.duration_ns[row] : 0;
    }
  }
  if (busy.size() < 2) return -1;
  return std::ranges::max_element(busy, {}, [](const auto& entry) { return entry.second; })->first;
}

Result<std::unique_ptr<OpenTrace>> open_one(const std::string& path, const TraceArgs& args,
                                            const trace::Rules& rules) {
  auto open = std::make_unique<OpenTrace>();
  open->trace = TRY(trace::load(path, {.threads = args.threads, .progress = show_progress}));
  open->rules = rules;
  open->notes = notes_of(open->trace);
  trace::Window window;
  if (!args.window.empty()) window = TRY(trace::parse_window(open->trace, args.window));
  window.device = args.device.value_or(busiest_device(open->trace));
  if (!args.device && window.device >= 0) {
    open->notes.push_back(
        fmt::format("the trace has several devices; this is device {}, the busiest (--device N)",
                    window.device));
  }
  open->view = trace::gpu_view(open->trace, open->rules, window);
  if (open->view.activities.empty()) {
    const bool one_device = args.device.value_or(-1) >= 0;
    const bool whole = args.window.empty() && !one_device;
    open->notes.push_back(fmt::format("no kernels, copies or memsets{} in this {}{}",
                                      one_device ? fmt::format(" of device {}", *args.device) : "",
                                      args.window.empty() ? "trace" : "window",
                                      whole ? ": it shows the host only" : ""));
  }
  return open;
}

}  // namespace

void add_trace_options(Command& command, TraceArgs& args) {
  command.files("files", args.files, "Trace files: .json, .json.gz or .json.zst").required();
  command.flag("--json", args.json, "Print JSON; times are in microseconds");
  command.flag("--csv", args.csv, "Print the first table as CSV");
  command.integer("--top", args.top, "Rows of a table that are shown", 1);
  command.group("View");
  command.text("--window", args.window, "Look at a part: START:END (us, ms, s) or ann:NAME");
  command.integer("--device", args.device, "Look at one GPU of a trace that has several");
  command.file("--rules", args.rules, "TOML file that says which kernels communicate");
  command.integer("--threads", args.threads, "Threads that read; 0: all cores", 0,
                  ThreadPool::kThreadsMax);
}

void add_model_option(Command& command, ModelArgs& args) {
  command.file("--model", args.model, "TOML file with peaks of the GPU and shapes of the model");
}

Result<trace::Model> read_model(const ModelArgs& args) {
  if (args.model.empty()) return trace::Model{};
  return trace::Model::read(args.model);
}

Result<std::vector<std::unique_ptr<OpenTrace>>> open_traces(const TraceArgs& args) {
  if (args.json && args.csv) {
    return fail(Code::kInvalidArgument, "--json and --csv exclude each other; give one of them");
  }
  trace::Rules rules;
  if (!args.rules.empty()) rules = TRY(trace::Rules::read(args.rules));
  std::vector<std::unique_ptr<OpenTrace>> traces;
  for (const std::string& path : args.files) {
    traces.push_back(TRY(open_one(path, args, rules)));
  }
  return traces;
}

Result<std::unique_ptr<OpenTrace>> open_trace(const TraceArgs& args) {
  if (args.files.size() != 1) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} files were given; this command takes one", args.files.size()));
  }
  auto traces = TRY(open_traces(args));
  return std::move(traces[0]);
}

void show(const TraceArgs& args, const Answer& answer, Terminal& terminal) {
  if (args.json || args.csv) {
    terminal.print(args.json               ? answer.json
                   : answer.sheets.empty() ? ""
                                           : trace::csv(answer.sheets[0]));
    for (const std::string& note : answer.notes) fmt::print(stderr, "hadal: note: {}\n", note);
    return;
  }
  terminal.print(answer.headline);
  for (const trace::Sheet& sheet : answer.sheets) {
    if (sheet.rows.empty()) continue;
    terminal.print("\n" + terminal.bold(sheet.title) + "\n");
    // A short table makes no sense without some of its rows.
    const size_t rows =
        std::max<size_t>(args.top, sheet.rows.size() <= kShortTable ? kShortTable : 0);
    terminal.print(trace::text(sheet, terminal.width(), rows));
    for (const std::string& note : sheet.notes) terminal.print(terminal.faint("  " + note) + "\n");
  }
  if (!answer.notes.empty()) terminal.print("\n");
  for (const std::string& note : answer.notes) terminal.print("note: " + note + "\n");
}

std::string headline(const trace::Trace& trace, const trace::GpuView& view) {
  const trace::Summary summary = trace::summarize(view);
  std::string what = fmt::format("{}: ", trace.path);
  if (trace.rank >= 0) what += fmt::format("rank {}, ", trace.rank);
  if (view.window.description != "whole trace") {
    what += fmt::format("window {}, ", view.window.description);
  }
  return what + fmt::format("{} us of GPU time, {} on {}\n",
                            trace::shown(trace::cell(summary.span_ns), trace::Unit::kTime),
                            summary.num_activities == 1
                                ? "1 activity"
                                : fmt::format("{} activities", summary.num_activities),
                            counted(static_cast<long long>(view.streams.size()), "stream"));
}

}  // namespace hadal::cli
