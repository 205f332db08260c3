#include "trace/findings.h"

#include <algorithm>
#include <array>
#include <tuple>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/finding_rules.h"

namespace hadal::trace {
namespace {

constexpr double kHighPercent = 1.0, kMediumPercent = 0.3;

double percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

/// Host calls of the trace have an operator with its arguments' shapes only where shapes were
/// recorded; the profiler's own settings are not in the file, so the content must tell.
std::vector<std::string> cannot_tell(const GpuView& view, const Model& model) {
  const Trace& trace = *view.trace;
  std::vector<std::string> all;
  const auto has = [&](Category c) {
    return std::ranges::find(trace.events.category, c) != trace.events.category.end();
  };
  if (!has(Category::kHardwareCounter)) {
    all.emplace_back(
        "no hardware counters: DRAM and NVLink traffic, tensor core use and clocks are not known; "
        "what is said of bandwidth and FLOP/s comes from shapes");
  }
  if (trace.world_size == 1) {
    // Nobody else could be late.
  } else if (trace.rank >= 0 || trace.world_size > 1) {
    all.push_back(fmt::format(
        "one rank of {}: a barrier shows that others were late, not who; `hadal trace ranks` with "
        "the other traces does",
        trace.world_size > 0 ? fmt::format("{}", trace.world_size) : "several"));
  } else {
    all.emplace_back("the trace does not say its rank, nor how many there are");
  }
  if (trace.resolution_ns >= 1000) {
    all.emplace_back(
        "times are whole microseconds: kernels and gaps of a few microseconds are uncertain by "
        "one");
  }
  if (!has(Category::kSync)) {
    all.emplace_back(
        "no synchronisation events: which event a stream waited on is inferred from what ended "
        "just "
        "before");
  }
  if (view.regions.empty()) {
    all.emplace_back("no user annotations: phases and layers are not known");
  }
  const bool sized = model.tokens > 0 && model.hidden > 0 && model.nodes > 0;
  if (trace.collectives.empty() && !sized) {
    all.emplace_back(
        "no sizes of messages: the bandwidth of communication needs a model file (--model)");
  }
  return all;
}

}  // namespace

std::string_view name(Severity severity) {
  constexpr std::string_view kNames[] = {"high", "medium", "low", "info"};
  return kNames[static_cast<size_t>(severity)];
}

std::string_view name(Confidence confidence) {
  constexpr std::string_view kNames[] = {"measured", "derived", "inferred"};
  return kNames[static_cast<size_t>(confidence)];
}

Findings rank_findings(int64_t span_ns, std::vector<Finding> list) {
  Findings findings{.span_ns = span_ns, .list = std::move(list), .cannot_tell = {}};
  for (Finding& f : findings.list) f.ceiling_ns = length(f.recoverable);
  std::ranges::sort(findings.list, {}, [](const Finding& f) {
    return std::tuple(-f.ceiling_ns, std::string_view(f.id));
  });
  IntervalSet claimed;
  for (Finding& f : findings.list) {
    f.additional_ns = length(subtract(f.recoverable, claimed));
    claimed = unite(claimed, f.recoverable);
    const double share = percent(f.ceiling_ns, span_ns);
    f.severity = share >= kHighPercent     ? Severity::kHigh
                 : share >= kMediumPercent ? Severity::kMedium
                 : f.ceiling_ns > 0        ? Severity::kLow
                                           : Severity::kInfo;
    std::ranges::sort(f.evidence, {}, [](const Evidence& e) {
      return std::tuple(-e.time.length(), e.time.start, std::string_view(e.label));
    });
    if (f.evidence.size() > kEvidenceMax) f.evidence.resize(kEvidenceMax);
  }
  findings.ceiling_ns = length(claimed);
  return findings;
}

Findings find(const GpuView& view, const Model& model) {
  return find(view, model, Hardware(view, model));
}

Findings find(const GpuView& view, const Model& model, const Hardware& hardware) {
  std::vector<Finding> list;
  if (view.activities.empty()) {
    Findings none;
    none.cannot_tell.emplace_back("no work of a GPU in this trace: there is nothing to find");
    return none;
  }
  const Analyses analyses(view, hardware);
  find_exposed(analyses, list);
  find_barriers(analyses, list);
  find_host(analyses, list);
  find_hardware(analyses, list);
  find_structure(analyses, list);
  Findings findings = rank_findings(analyses.summary.span_ns, std::move(list));
  findings.cannot_tell = cannot_tell(view, model);
  return findings;
}

Json to_json(const Findings& findings) {
  Json list = Json::array();
  for (const Finding& f : findings.list) {
    Json evidence = Json::array();
    for (const Evidence& e : f.evidence) {
      evidence.push_back(
          {{"start_us", us(e.time.start)}, {"end_us", us(e.time.end)}, {"label", e.label}});
    }
    list.push_back({{"id", f.id},
                    {"severity", name(f.severity)},
                    {"claim", f.claim},
                    {"action", f.action},
                    {"confidence", name(f.confidence)},
                    {"ceiling_us", us(f.ceiling_ns)},
                    {"ceiling_percent", percent(f.ceiling_ns, findings.span_ns)},
                    {"additional_us", us(f.additional_ns)},
                    {"evidence", std::move(evidence)}});
  }
  return {{"span_us", us(findings.span_ns)},
          {"ceiling_us", us(findings.ceiling_ns)},
          {"findings", std::move(list)},
          {"cannot_tell", findings.cannot_tell}};
}

Sheet findings_sheet(const Findings& findings) {
  Sheet sheet{.id = "findings",
              .title = "Findings, by what they could gain",
              .columns = {{"ceiling_us", "ceiling us", Unit::kTime},
                          {"ceiling_percent", "of span", Unit::kPercent},
                          {"severity", "severity", Unit::kText},
                          {"confidence", "confidence", Unit::kText},
                          {"claim", "claim", Unit::kText},
                          {"action", "action", Unit::kText},
                          {"id", "id", Unit::kText}},
              .notes = findings.cannot_tell};
  for (const Finding& f : findings.list) {
    const Interval at = f.evidence.empty() ? Interval{} : f.evidence[0].time;
    sheet.add({cell(f.ceiling_ns), cell(percent(f.ceiling_ns, findings.span_ns)),
               cell(name(f.severity)), cell(name(f.confidence)), f.claim, f.action, f.id},
              at);
  }
  return sheet;
}

}  // namespace hadal::trace
