// What the verbs of `hadal trace` share: which traces to read, how to look at them, and how to show
// an answer as text, JSON or CSV.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/args.h"
#include "trace/activity.h"
#include "trace/model.h"
#include "trace/sheet.h"

namespace hadal::cli {

struct TraceArgs {
  std::vector<std::string> files;
  std::string rules, window;
  std::optional<int> device;
  int threads = 0, top = 20;
  bool json = false, csv = false;
};

/// FILE..., --rules, --window, --device, --threads, --top, --json, --csv.
void add_trace_options(Command& command, TraceArgs& args);

/// Verbs that ask what the kernels make of the hardware.
struct ModelArgs : TraceArgs {
  std::string model;
};

/// --model.
void add_model_option(Command& command, ModelArgs& args);

/// What --model names; empty without it.
Result<trace::Model> read_model(const ModelArgs& args);

/// A trace with the view of it that the options ask for. The view points into the trace.
struct OpenTrace {
  trace::Trace trace;
  trace::Rules rules;
  trace::GpuView view;
  std::vector<std::string>
      notes;  // what the reader of any answer must know: losses, devices chosen
};

/// Reads all files of the command line, in order, with progress on a terminal. A trace of several
/// devices is looked at on --device (-1: all), else on the busiest one, with a note. At least one
/// file.
Result<std::vector<std::unique_ptr<OpenTrace>>> open_traces(const TraceArgs& args);

/// The same for verbs that take exactly one file.
Result<std::unique_ptr<OpenTrace>> open_trace(const TraceArgs& args);

/// What a verb answers. `headline` are lines above the tables; JSON is printed as it is, CSV is the
/// first sheet. Notes go below the text and, with --json or --csv, to standard error.
struct Answer {
  std::string headline;
  std::vector<trace::Sheet> sheets;
  std::string json;  // the document
  std::vector<std::string> notes;
};
void show(const TraceArgs& args, const Answer& answer, Terminal& terminal);

/// "trace.json: 129,012 us of GPU 0, 983 activities on 3 streams".
std::string headline(const trace::Trace& trace, const trace::GpuView& view);
inline std::string headline(const OpenTrace& open) {
  return headline(open.trace, open.view);
}

}  // namespace hadal::cli
