// hadal trace report, findings, check, info.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/trace_input.h"
#include "trace/findings.h"
#include "trace/rank_sheets.h"
#include "trace/report.h"
#include "trace/report_analyses.h"
#include "trace/sheets.h"

namespace hadal::cli {
namespace {

using trace::Json;

struct ReportArgs : ModelArgs {
  std::string output = "report.html";
};

using OpenTraces = std::vector<std::unique_ptr<OpenTrace>>;

std::string title_of(const OpenTraces& traces) {
  constexpr size_t kNamed = 3;
  std::string title;
  for (size_t i = 0; i < std::min(traces.size(), kNamed); ++i) {
    title += (i > 0 ? ", " : "") + traces[i]->trace.path;
  }
  if (traces.size() > kNamed) title += fmt::format(" and {} more", traces.size() - kNamed);
  return title;
}

/// The ranks of one job against each other. nullopt for one trace, and, with a note, for traces
/// that are not of different ranks.
std::optional<trace::RanksUse> compare(const OpenTraces& traces,
                                       std::span<const trace::GpuView> views,
                                       std::vector<std::string>& notes) {
  if (traces.size() < 2) return std::nullopt;
  std::vector<trace::RankSource> sources;
  for (const auto& open : traces) sources.push_back({open->trace.path, open->trace.rank});
  const auto ranks = trace::assign_ranks(sources);
  if (!ranks) {
    notes.push_back(ranks.error().message + "; the report shows the traces side by side");
    return std::nullopt;
  }
  for (size_t i = 0; i < traces.size(); ++i) traces[i]->trace.rank = (*ranks)[i];
  return trace::compare_ranks(views, *ranks);
}

trace::Sheet files_sheet(const OpenTraces& traces, std::span<const trace::GpuView> views) {
  trace::Sheet files{.id = "files",
                     .title = "Traces in the report",
                     .columns = {{"trace", "trace"},
                                 {"rank", "rank", trace::Unit::kCount},
                                 {"span_us", "span us", trace::Unit::kTime},
                                 {"activities", "activities", trace::Unit::kCount}}};
  for (size_t i = 0; i < traces.size(); ++i) {
    const int rank = traces[i]->trace.rank;
    const trace::Summary s = trace::summarize(views[i]);
    files.add({trace::cell(traces[i]->trace.path), rank < 0 ? trace::Cell() : trace::cell(rank),
               trace::cell(s.span_ns), trace::cell(s.num_activities)});
  }
  return files;
}

Json files_json(const OpenTraces& traces, std::span<const trace::GpuView> views) {
  Json list = Json::array();
  for (size_t i = 0; i < traces.size(); ++i) {
    const int rank = traces[i]->trace.rank;
    const trace::Summary s = trace::summarize(views[i]);
    list.push_back({{"trace", traces[i]->trace.path},
                    {"rank", rank < 0 ? Json() : Json(rank)},
                    {"span_us", trace::us(s.span_ns)},
                    {"activities", s.num_activities}});
  }
  return list;
}

Result<ExitCode> report_command(const ReportArgs& args, Terminal& terminal) {
  const trace::Model model = TRY(read_model(args));
  const OpenTraces traces = TRY(open_traces(args));
  std::vector<trace::GpuView> views;
  std::vector<std::string> notes;
  for (const auto& open : traces) views.push_back(std::move(open->view));
  const auto ranks = compare(traces, views, notes);
  std::vector<int64_t> offsets;
  if (ranks) {
    for (const trace::RankUse& rank : ranks->ranks) offsets.push_back(rank.offset_ns);
  }
  const Json analyses = trace::report_analyses(views, model, ranks ? &*ranks : nullptr);
  TRY(trace::write_report({.ranks = views,
                           .title = title_of(traces),
                           .analyses = &analyses,
                           .clock_offsets_ns = offsets},
                          args.output));
  Answer answer;
  for (size_t i = 0; i < views.size(); ++i) answer.headline += headline(traces[i]->trace, views[i]);
  if (ranks) {
    for (const std::string& text : trace::rank_sentences(*ranks)) answer.headline += text + "\n";
  }
  answer.headline += fmt::format("wrote {}\n", args.output);
  answer.notes = std::move(notes);
  for (const auto& open : traces) {
    answer.notes.insert(answer.notes.end(), open->notes.begin(), open->notes.end());
  }
  answer.json = trace::dump({{"output", args.output}, {"traces", files_json(traces, views)}});
  if (args.csv) answer.sheets.push_back(files_sheet(traces, views));
  show(args, answer, terminal);
  return 0;
}

/// `text` in lines of at most `width` characters, each after `indent` blanks.
std::string wrapped(std::string_view text, int width, int indent) {
  std::string out(indent, ' ');
  size_t used = static_cast<size_t>(indent);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (used > static_cast<size_t>(indent) && used + 1 + word.size() > static_cast<size_t>(width)) {
      out += "\n" + std::string(indent, ' ');
      used = static_cast<size_t>(indent);
    } else if (used > static_cast<size_t>(indent)) {
      out += ' ';
      ++used;
    }
    out += word;
    used += word.size();
    at = end + 1;
  }
  return out + "\n";
}

Result<ExitCode> findings_command(const ModelArgs& args, Terminal& terminal) {
  const trace::Model model = TRY(read_model(args));
  const auto open = TRY(open_trace(args));
  const trace::Findings findings = trace::find(open->view, model);
  if (args.json || args.csv) {
    show(args,
         {.headline = "",
          .sheets = {trace::findings_sheet(findings)},
          .json = trace::dump(to_json(findings)),
          .notes = open->notes},
         terminal);
    return 0;
  }
  terminal.print(headline(*open));
  terminal.print(fmt::format("{}; all ceilings together: {} us, {:.1f} % of the span\n",
                             counted(static_cast<long long>(findings.list.size()), "finding"),
                             trace::shown(trace::cell(findings.ceiling_ns), trace::Unit::kTime),
                             findings.span_ns == 0
                                 ? 0.0
                                 : 100.0 * static_cast<double>(findings.ceiling_ns) /
                                       static_cast<double>(findings.span_ns)));
  const int width = std::min(terminal.width(), 110);
  int shown = 0;
  for (const trace::Finding& f : findings.list) {
    if (shown++ == args.top) break;
    terminal.print("\n" + terminal.bold(fmt::format(
                              "{:>9} us  {}  ({}, {})",
                              trace::shown(trace::cell(f.ceiling_ns), trace::Unit::kTime), f.id,
                              trace::name(f.severity), trace::name(f.confidence))));
    terminal.print("\n" + wrapped(f.claim, width, 2) + wrapped("-> " + f.action, width, 2));
    if (!f.evidence.empty()) {
      const trace::Evidence& e = f.evidence[0];
      terminal.print(terminal.faint(fmt::format(
          "  at {} us for {} us: {}{}", trace::shown(trace::cell(e.time.start), trace::Unit::kTime),
          trace::shown(trace::cell(e.time.length()), trace::Unit::kTime), e.label,
          f.evidence.size() > 1 ? fmt::format(", and {} more", f.evidence.size() - 1) : "")));
      terminal.print("\n");
    }
  }
  terminal.print("\nWhat this trace cannot tell\n");
  for (const std::string& text : findings.cannot_tell)
    terminal.print(wrapped("- " + text, width, 2));
  for (const std::string& note : open->notes) terminal.print("note: " + note + "\n");
  return 0;
}

struct CheckArgs : TraceArgs {
  std::string max_exposed, min_overlap, max_idle;
};

/// "4%" or "4" of the span as a number.
Result<double> parse_percent(std::string_view option, std::string_view text) {
  std::string number(text.ends_with('%') ? text.substr(0, text.size() - 1) : text);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !std::isfinite(value) || value < 0 || value > 100) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} is \"{}\"; it must be a percentage from 0% to 100%", option, text));
  }
  return value;
}

Result<ExitCode> check_command(const CheckArgs& args, Terminal& terminal) {
  if (args.max_exposed.empty() && args.min_overlap.empty() && args.max_idle.empty()) {
    return fail(Code::kInvalidArgument,
                "nothing to check; give --max-exposed, --min-overlap or --max-idle");
  }
  struct Limit {
    std::string_view option, what;
    std::string text;
    bool at_most;
  };
  const Limit limits[] = {{"--max-exposed", "exposed communication", args.max_exposed, true},
                          {"--min-overlap", "communication hidden", args.min_overlap, false},
                          {"--max-idle", "idle", args.max_idle, true}};
  std::array<double, 3> allowed{};
  for (size_t i = 0; i < allowed.size(); ++i) {
    if (!limits[i].text.empty()) allowed[i] = TRY(parse_percent(limits[i].option, limits[i].text));
  }
  const auto traces = TRY(open_traces(args));
  Json results = Json::array();
  bool all_hold = true;
  Answer answer;
  trace::Sheet sheet{.id = "checks",
                     .title = "Limits",
                     .columns = {{"trace", "trace"},
                                 {"check", "check"},
                                 {"percent", "seen", trace::Unit::kPercent},
                                 {"allowed_percent", "allowed", trace::Unit::kPercent},
                                 {"holds", "holds"}}};
  for (const auto& open : traces) {
    const trace::Summary s = trace::summarize(open->view);
    if (s.num_activities == 0) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{}: no GPU work in this window, so there is nothing to check",
                              open->trace.path));
    }
    const double overlap = s.overlap_percent() < 0 ? 100 : s.overlap_percent();
    const double seen[] = {s.percent_of_span(s.exposed_communication_ns), overlap,
                           s.percent_of_span(s.idle_ns)};
    for (size_t i = 0; i < allowed.size(); ++i) {
      if (limits[i].text.empty()) continue;
      const bool holds = limits[i].at_most ? seen[i] <= allowed[i] : seen[i] >= allowed[i];
      all_hold = all_hold && holds;
      results.push_back({{"trace", open->trace.path},
                         {"check", limits[i].option.substr(2)},
                         {"percent", seen[i]},
                         {"allowed_percent", allowed[i]},
                         {"holds", holds}});
      sheet.add({trace::cell(open->trace.path), trace::cell(limits[i].option.substr(2)), seen[i],
                 allowed[i], trace::cell(holds ? "true" : "false")});
      answer.headline += fmt::format(
          "{}  {}: {} {:.2f} %, {} {:g} %\n", holds ? "ok    " : "BROKEN", open->trace.path,
          limits[i].what, seen[i], limits[i].at_most ? "at most" : "at least", allowed[i]);
    }
    answer.notes.insert(answer.notes.end(), open->notes.begin(), open->notes.end());
  }
  answer.json = trace::dump({{"holds", all_hold}, {"checks", std::move(results)}});
  if (args.csv) answer.sheets.push_back(std::move(sheet));
  show(args, answer, terminal);
  return all_hold ? 0 : 1;
}

Json info_json(const OpenTrace& open) {
  const trace::Trace& t = open.trace;
  const trace::Health& h = t.health;
  Json categories = Json::object(), devices = Json::array(), losses = Json::array();
  std::array<uint64_t, trace::kNumCategories> counts{};
  for (const trace::Category c : t.events.category) ++counts[static_cast<size_t>(c)];
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) {
      categories[std::string(trace::name(static_cast<trace::Category>(i)))] = counts[i];
    }
  }
  for (const trace::Device& d : t.devices) {
    devices.push_back(
        {{"id", d.id},
         {"name", d.name},
         {"compute_capability", fmt::format("{}.{}", d.compute_major, d.compute_minor)},
         {"sms", d.num_sms},
         {"memory_bytes", d.memory_bytes}});
  }
  for (const trace::Loss& loss : h.losses) {
    losses.push_back({{"offset", loss.offset}, {"reason", loss.reason}});
  }
  Json hints = Json::object();
  for (const trace::Hint& hint : t.hints) hints[hint.name] = hint.value;
  return {{"trace", t.path},
          {"file_bytes", t.file_bytes},
          {"document_bytes", t.document_bytes},
          {"generation", trace::name(t.generation)},
          {"events", t.events.size()},
          {"flows", t.flows.size()},
          {"names", t.names.size()},
          {"tracks", t.tracks.size()},
          {"rank", t.rank},
          {"world_size", t.world_size},
          {"backend", t.backend},
          {"trace_name", t.trace_name},
          {"hints", std::move(hints)},
          {"base_unix_ns", t.base_ns},
          {"resolution_ns", t.resolution_ns},
          {"end_us", trace::us(t.end_ns)},
          {"categories", std::move(categories)},
          {"devices", std::move(devices)},
          {"health",
           {{"clean", h.clean()},
            {"lost_events", h.lost_events},
            {"losses", std::move(losses)},
            {"truncated", h.truncated},
            {"truncated_at", h.truncated ? Json(h.truncated_at) : Json()},
            {"ignored_phases", h.ignored_phases},
            {"unmatched_begins", h.unmatched_begins},
            {"unmatched_ends", h.unmatched_ends},
            {"zero_timestamps", h.zero_timestamps},
            {"clipped_durations", h.clipped_durations},
            {"overlapping_in_stream", h.overlapping_in_stream},
            {"replaced_bytes", h.replaced_bytes}}}};
}

/// A row per trace: what info_json() says in one word or number.
trace::Sheet info_sheet(const Json& infos) {
  constexpr std::array kOwn = {"trace",  "file_bytes", "document_bytes", "generation",
                               "events", "flows",      "names",          "tracks",
                               "rank",   "world_size", "end_us"};
  constexpr std::array kHealth = {"clean", "lost_events", "truncated"};
  trace::Sheet sheet{.id = "info", .title = "Traces", .columns = {}};
  for (const char* key : kOwn) sheet.columns.push_back({key, key, trace::Unit::kNumber});
  for (const char* key : kHealth) sheet.columns.push_back({key, key, trace::Unit::kNumber});
  const auto cell_of = [](const Json& value) -> trace::Cell {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return std::string(value.get<bool>() ? "true" : "false");
    if (value == -1) return {};
    return value.get<double>();
  };
  for (const Json& info : infos) {
    std::vector<trace::Cell> row;
    for (const char* key : kOwn) row.push_back(cell_of(info[key]));
    for (const char* key : kHealth) row.push_back(cell_of(info["health"][key]));
    sheet.add(std::move(row));
  }
  return sheet;
}

Result<ExitCode> info_command(const TraceArgs& args, Terminal& terminal) {
  const auto traces = TRY(open_traces(args));
  Json all = Json::array();
  for (const auto& open : traces) all.push_back(info_json(*open));
  if (args.json) {
    terminal.print(trace::dump(all.size() == 1 ? all[0] : all));
    return 0;
  }
  if (args.csv) {
    terminal.print(trace::csv(info_sheet(all)));
    return 0;
  }
  for (const Json& info : all) {
    terminal.print(info["trace"].get<std::string>() + "\n");
    Table table;
    for (const auto& [key, value] : info.items()) {
      if (key == "trace" || value.is_structured() ||
          (value.is_string() && value.get_ref<const std::string&>().empty()) || value == -1)
        continue;
      table.add({key, value.is_string() ? value.get<std::string>() : value.dump()});
    }
    terminal.print(table.text(2) + "  events by category\n");
    Table categories, health;
    for (const auto& [key, value] : info["categories"].items()) categories.add({key, value.dump()});
    for (const auto& [key, value] : info["health"].items()) {
      if (key == "losses" || value == 0 || value == false || value.is_null()) continue;
      health.add({key, value.dump()});
    }
    terminal.print(categories.text(4) + "  health\n" + health.text(4));
    for (const Json& loss : info["health"]["losses"]) {
      terminal.print(fmt::format("    lost at byte {}: {}\n", loss["offset"].get<uint64_t>(),
                                 loss["reason"].get<std::string>()));
    }
    if (!info["devices"].empty()) {
      const Json& device = info["devices"][0];
      terminal.print(fmt::format("  {} x {}, {} SMs\n", info["devices"].size(),
                                 device["name"].get<std::string>(), device["sms"].get<int>()));
    }
  }
  return 0;
}

}  // namespace

void add_trace_reports(Command& parent) {
  const auto report = std::make_shared<ReportArgs>();
  Command report_verb = parent.add("report", "One offline HTML file: findings, tables, timeline");
  add_trace_options(report_verb, *report);
  add_model_option(report_verb, *report);
  report_verb.file("--output,-o", report->output, "The file to write; default report.html");
  report_verb.run([report](Terminal& terminal) { return report_command(*report, terminal); });

  const auto findings = std::make_shared<ModelArgs>();
  Command findings_verb = parent.add("findings", "What to change, by what it could gain");
  add_trace_options(findings_verb, *findings);
  add_model_option(findings_verb, *findings);
  findings_verb.run(
      [findings](Terminal& terminal) { return findings_command(*findings, terminal); });

  const auto check = std::make_shared<CheckArgs>();
  Command check_verb = parent.add("check", "Exit 1 where a limit is broken: for CI");
  add_trace_options(check_verb, *check);
  check_verb.group("Limits");
  check_verb.text("--max-exposed", check->max_exposed, "Exposed communication, of the span",
                  "PERCENT");
  check_verb.text("--min-overlap", check->min_overlap, "Hidden share of communication", "PERCENT");
  check_verb.text("--max-idle", check->max_idle, "Idle time, of the span", "PERCENT");
  check_verb.run([check](Terminal& terminal) { return check_command(*check, terminal); });

  const auto info = std::make_shared<TraceArgs>();
  Command info_verb = parent.add("info", "What a trace file holds, and its health");
  add_trace_options(info_verb, *info);
  info_verb.run([info](Terminal& terminal) { return info_command(*info, terminal); });
}

}  // namespace hadal::cli
