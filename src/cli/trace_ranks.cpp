// hadal trace ranks: the traces of several ranks against each other.
#include <memory>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/rank_sheets.h"

namespace hadal::cli {
namespace {

Result<ExitCode> ranks_command(const TraceArgs& args, Terminal& terminal) {
  const auto traces = TRY(open_traces(args));
  std::vector<trace::RankSource> sources;
  std::vector<trace::GpuView> views;
  std::vector<std::string> notes;
  for (const auto& open : traces) {
    sources.push_back({open->trace.path, open->trace.rank});
    views.push_back(open->view);
    for (const std::string& note : open->notes) {
      notes.push_back(fmt::format("{}: {}", open->trace.path, note));
    }
  }
  const std::vector<int> ranks = TRY(trace::assign_ranks(sources));
  const trace::RanksUse use = trace::compare_ranks(views, ranks);
  notes.insert(notes.end(), use.notes.begin(), use.notes.end());
  std::string headline;
  for (const std::string& sentence : trace::rank_sentences(use)) headline += sentence + "\n";
  show(args,
       {.headline = std::move(headline),
        .sheets = {trace::ranks_sheet(use), trace::collective_kinds_sheet(use),
                   trace::worst_collectives_sheet(use, static_cast<size_t>(args.top)),
                   trace::region_compute_sheet(use)},
        .json = trace::dump(to_json(use)),
        .notes = std::move(notes)},
       terminal);
  return 0;
}

}  // namespace

void add_trace_ranks(Command& parent) {
  const auto args = std::make_shared<TraceArgs>();
  Command command =
      parent.add("ranks", "Several ranks: clocks, who is late, whose GPU is slow, collectives");
  add_trace_options(command, *args);
  command.run([args](Terminal& terminal) { return ranks_command(*args, terminal); });
}

}  // namespace hadal::cli
