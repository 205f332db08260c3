// hadal trace cut and merge: traces from traces.
#include <cmath>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/cut.h"
#include "trace/json.h"

namespace hadal::cli {
namespace {

struct CutArgs {
  std::string input, output, window;
  bool json = false;
};

struct MergeArgs {
  std::vector<std::string> files;
  std::string output;
  std::vector<double> offsets_us;
  bool json = false;
};

void print(const trace::CutSummary& summary, const std::string& output, bool json,
           Terminal& terminal) {
  if (json) {
    terminal.print(trace::dump({{"output", output},
                                {"events", summary.events},
                                {"rows", summary.rows},
                                {"lost_events", summary.lost_events},
                                {"truncated", summary.truncated}}));
    return;
  }
  terminal.print(fmt::format("wrote {}: {}\n", output,
                             counted(static_cast<long long>(summary.events), "event")));
  if (summary.lost_events > 0) {
    terminal.print(
        fmt::format("note: {} could not be read and left out; `hadal trace info` lists them\n",
                    counted(static_cast<long long>(summary.lost_events), "event")));
  }
  for (const std::string& path : summary.truncated) {
    terminal.print(fmt::format("note: {} ends in the middle\n", path));
  }
}

Result<ExitCode> cut_command(const CutArgs& args, Terminal& terminal) {
  const trace::Trace whole = TRY(trace::load(args.input));
  const trace::Window window = TRY(trace::parse_window(whole, args.window));
  print(TRY(trace::cut(args.input, window.start_ns, window.end_ns, args.output)), args.output,
        args.json, terminal);
  return 0;
}

Result<ExitCode> merge_command(const MergeArgs& args, Terminal& terminal) {
  std::vector<int64_t> offsets_ns;
  for (const double us : args.offsets_us) {
    if (std::abs(us) > 1e15) {
      return fail(Code::kInvalidArgument,
                  fmt::format("--clock-offsets has {}; offsets are up to 1e15 us", us));
    }
    offsets_ns.push_back(-std::llround(us * 1000));
  }
  print(TRY(trace::merge(args.files, offsets_ns, args.output)), args.output, args.json, terminal);
  return 0;
}

}  // namespace

void add_trace_files(Command& parent) {
  const auto cut = std::make_shared<CutArgs>();
  Command cut_verb = parent.add("cut", "Write the part of a trace inside of a window");
  cut_verb.file("input", cut->input, "Trace file").required();
  cut_verb.text("--window", cut->window, "START:END (us, ms, s) or ann:NAME").required();
  cut_verb.file("--output,-o", cut->output, "File to write; .gz and .zst compress").required();
  cut_verb.flag("--json", cut->json, "Print what was written as JSON");
  cut_verb.run([cut](Terminal& terminal) { return cut_command(*cut, terminal); });

  const auto merge = std::make_shared<MergeArgs>();
  Command merge_verb = parent.add("merge", "Write the traces of several ranks as one");
  merge_verb.files("files", merge->files, "Trace files, one per rank").required();
  merge_verb.file("--output,-o", merge->output, "File to write; .gz and .zst compress").required();
  merge_verb.numbers(
      "--clock-offsets", merge->offsets_us,
      "Clock of each trace minus true time, in us, as `hadal trace ranks` finds them", -1e15);
  merge_verb.flag("--json", merge->json, "Print what was written as JSON");
  merge_verb.run([merge](Terminal& terminal) { return merge_command(*merge, terminal); });
}

}  // namespace hadal::cli
