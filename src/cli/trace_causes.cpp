// hadal trace critical and diff: what the span is made of, and what changed between two.
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/cause_sheets.h"

namespace hadal::cli {
namespace {

struct CriticalArgs : TraceArgs {
  std::vector<std::string> what_if;
  bool host_fixed = false;
};

Result<ExitCode> critical_command(const CriticalArgs& args, Terminal& terminal) {
  std::vector<trace::Scenario> scenarios;
  for (const std::string& text : args.what_if) {
    scenarios.push_back(TRY(in("--what-if", trace::parse_scenario(text))));
    scenarios.back().host_follows = !args.host_fixed;
  }
  const auto open = TRY(open_trace(args));
  const trace::ReplayGraph graph = trace::replay_graph(open->view);
  const trace::CriticalPath path = trace::critical_path(graph);
  std::vector<trace::WhatIf> results;
  for (const trace::Scenario& scenario : scenarios) {
    results.push_back(trace::what_if(graph, scenario));
  }
  trace::Json json = to_json(graph, path);
  trace::Json& what_if = json["what_if"] = trace::Json::array();
  for (const trace::WhatIf& result : results) what_if.push_back(to_json(result));
  Answer answer{.headline = headline(*open),
                .sheets = {trace::path_classes_sheet(path)},
                .json = trace::dump(json),
                .notes = open->notes};
  if (!results.empty()) answer.sheets.push_back(trace::what_if_sheet(results));
  answer.sheets.push_back(trace::path_regions_sheet(path));
  answer.sheets.push_back(trace::path_kernels_sheet(path));
  answer.sheets.push_back(trace::path_steps_sheet(open->view, path));
  show(args, answer, terminal);
  return 0;
}

Result<ExitCode> diff_command(const TraceArgs& args, Terminal& terminal) {
  if (args.files.size() != 2) {
    return fail(Code::kInvalidArgument,
                fmt::format("diff takes two traces, before and after; {} given",
                            args.files.size() == 1 ? "one was"
                                                   : fmt::format("{} were", args.files.size())));
  }
  const auto traces = TRY(open_traces(args));
  const trace::TraceDiff d = trace::diff(traces[0]->view, traces[1]->view);
  Answer answer{.headline = "before: " + headline(*traces[0]) + "after:  " + headline(*traces[1]),
                .sheets = {trace::diff_identity_sheet(d), trace::diff_regions_sheet(d),
                           trace::diff_families_sheet(d), trace::diff_kernels_sheet(d)},
                .json = trace::dump(to_json(d)),
                .notes = traces[0]->notes};
  answer.notes.insert(answer.notes.end(), traces[1]->notes.begin(), traces[1]->notes.end());
  show(args, answer, terminal);
  return 0;
}

}  // namespace

void add_trace_causes(Command& parent) {
  const auto critical = std::make_shared<CriticalArgs>();
  Command critical_verb = parent.add("critical", "The chain that the span hangs on, and what-if");
  add_trace_options(critical_verb, *critical);
  critical_verb.group("What if");
  critical_verb.texts("--what-if", critical->what_if,
                      "Replay with a change: barrier=0, transfer*0.8, name~gemm*0.5, gaps=0",
                      "SCENARIO");
  critical_verb.flag("--host-fixed", critical->host_fixed, "Launches stay where they were");
  critical_verb.run(
      [critical](Terminal& terminal) { return critical_command(*critical, terminal); });

  const auto diff = std::make_shared<TraceArgs>();
  Command diff_verb = parent.add("diff", "What changed between two traces, exactly");
  add_trace_options(diff_verb, *diff);
  diff_verb.run([diff](Terminal& terminal) { return diff_command(*diff, terminal); });
}

}  // namespace hadal::cli
