// hadal trace query: events by a condition on their columns.
#include <array>
#include <memory>
#include <span>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/rank_sheets.h"

namespace hadal::cli {
namespace {

constexpr std::array<std::string_view, 5> kOrders = {"start", "duration", "delay", "bytes", "name"};

struct QueryArgs : TraceArgs {
  size_t order = 0;
  int limit = 1000;
  bool events = false;
};

/// Adds to each event its text in the file, parsed where that is possible.
Result<> add_texts(std::span<const trace::GpuView> views, const trace::Found& found,
                   trace::Json& events) {
  for (const trace::GpuView& view : views) {
    std::vector<uint32_t> rows;
    std::vector<size_t> places;
    for (size_t i = 0; i < found.events.size(); ++i) {
      if (found.events[i].view != &view) continue;
      rows.push_back(found.events[i].row);
      places.push_back(i);
    }
    if (rows.empty()) continue;
    const std::vector<std::string> texts = TRY(trace::read_events(*view.trace, rows));
    for (size_t k = 0; k < texts.size(); ++k) {
      trace::Json event = trace::Json::parse(texts[k], nullptr, false);
      events[places[k]]["event"] = event.is_discarded() ? trace::Json(texts[k]) : std::move(event);
    }
  }
  return {};
}

Result<ExitCode> query_command(QueryArgs args, Terminal& terminal) {
  if (args.files.size() < 2) {
    return fail(Code::kInvalidArgument,
                "the query is missing; it comes after the files: hadal trace query FILE "
                "'cat=kernel dur>1ms'");
  }
  const trace::Query query = TRY(trace::parse_query(args.files.back()));
  args.files.pop_back();
  if (!args.device) args.device = -1;  // nothing is summed up, so all devices can be searched
  const auto traces = TRY(open_traces(args));
  std::vector<trace::RankSource> sources;
  std::vector<trace::GpuView> views;
  Answer answer;
  for (const auto& open : traces) {
    sources.push_back({open->trace.path, open->trace.rank});
    views.push_back(open->view);
    answer.notes.insert(answer.notes.end(), open->notes.begin(), open->notes.end());
  }
  const std::vector<int> ranks = TRY(trace::assign_ranks(sources));
  const bool text = !args.json && !args.csv;
  const trace::Found found =
      trace::find_events(views, ranks, query, static_cast<trace::QueryOrder>(args.order),
                         static_cast<size_t>(text ? args.top : args.limit));
  trace::Json events = trace::Json::array();
  for (const trace::FoundEvent& event : found.events) events.push_back(to_json(event));
  if (args.events) TRY(add_texts(views, found, events));

  if (found.events.size() < found.matched) {
    answer.notes.push_back(fmt::format("{} of {} events are shown; {} N gives more",
                                       found.events.size(), found.matched,
                                       text ? "--top" : "--limit"));
  }
  answer.headline = counted(static_cast<long long>(found.matched), "event") + " found\n";
  answer.sheets = {trace::events_sheet(found)};
  answer.json = trace::dump({{"found", found.matched}, {"events", events}});
  show(args, answer, terminal);
  if (!args.events || !text) return 0;
  for (const trace::Json& event : events) {
    terminal.print(
        fmt::format("\n{}\n{}\n", event["id"].get<std::string>(), trace::dump(event["event"])));
  }
  return 0;
}

}  // namespace

void add_trace_query(Command& parent) {
  const auto args = std::make_shared<QueryArgs>();
  Command command =
      parent.add("query", "Find events: FILE... 'cat=kernel stream=7 dur>1ms name~gemm'");
  add_trace_options(command, *args);
  command.group("Query");
  command.choice("--sort", args->order, kOrders,
                 "Order: by start (default) or name, or the largest first");
  command.integer("--limit", args->limit, "Events in JSON and CSV at most", 1);
  command.flag("--args", args->events,
               "Show the events as they stand in the file, with all fields");
  command.run([args](Terminal& terminal) { return query_command(*args, terminal); });
}

}  // namespace hadal::cli
