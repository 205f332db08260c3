// hadal trace ranks: the traces of several ranks against each other.
#include <algorithm>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/rank_sheets.h"

namespace hadal::cli {
namespace {

std::string shown_us(int64_t ns) {
  return trace::shown(trace::cell(ns), trace::Unit::kTime) + " us";
}

/// Who is late and whose GPU is slow, in a sentence each.
std::string headline(const trace::RanksUse& use) {
  int64_t residual = 0;
  for (const trace::RankUse& rank : use.ranks) residual = std::max(residual, rank.residual_ns);
  std::string text = fmt::format(
      "{}, {} matched; clocks {}\n", counted(static_cast<long long>(use.ranks.size()), "rank"),
      counted(static_cast<long long>(use.collectives.size()), "collective"),
      use.collectives.empty() ? "taken as they are" : "agree to " + shown_us(residual));
  if (use.straggler != trace::kNone) {
    const trace::RankUse& late = use.ranks[use.straggler];
    text += use.straggler_stands_out
                ? fmt::format(
                      "late: rank {}: it waited {} less than the mean of the others, and was "
                      "last at {} of {}\n",
                      late.rank, shown_us(use.straggler_lead_ns), late.last,
                      counted(static_cast<long long>(late.collectives), "collective"))
                : "late: no rank stands out from the uncertainty of the clocks\n";
  }
  if (use.slowest_compute != trace::kNone) {
    const trace::RankUse& slow = use.ranks[use.slowest_compute];
    text += fmt::format("slowest to compute: rank {}: {:.3f} times the median rank\n", slow.rank,
                        slow.compute_ratio);
  }
  return text;
}

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
  show(args,
       {.headline = headline(use),
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
