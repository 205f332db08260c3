// The analyses by name, for callers that want JSON.
#include <algorithm>
#include <array>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "trace/activity.h"
#include "trace/comm.h"
#include "trace/critical.h"
#include "trace/findings.h"
#include "trace/gates.h"
#include "trace/kernels.h"
#include "trace/launch.h"
#include "trace/occupancy.h"
#include "trace/regions.h"
#include "trace/roofline.h"
#include "trace/streams.h"
#include "trace/summary.h"
#include "trace/waves.h"

namespace hadal::trace {
namespace {

struct Analysis {
  std::string_view name;
  Json (*run)(const GpuView& view);
};

Json roofline_json(const GpuView& view) {
  const Shapes shapes = infer_shapes(view);
  return to_json(view, shapes, roofline(view, shapes));
}

Json critical_json(const GpuView& view) {
  const ReplayGraph graph = replay_graph(view);
  return to_json(graph, critical_path(graph));
}

constexpr std::array kAnalyses = {
    Analysis{"summary", [](const GpuView& v) { return to_json(summarize(v)); }},
    Analysis{"streams", [](const GpuView& v) { return to_json(v, stream_use(v)); }},
    Analysis{"kernels", [](const GpuView& v) { return to_json(kernel_table(v)); }},
    Analysis{"comm", [](const GpuView& v) { return to_json(comm_use(v)); }},
    Analysis{"regions", [](const GpuView& v) { return to_json(region_use(v)); }},
    Analysis{"overlap", [](const GpuView& v) { return to_json(overlap_matrix(v)); }},
    Analysis{"gates", [](const GpuView& v) { return to_json(v, gates(v)); }},
    Analysis{"launch", [](const GpuView& v) { return to_json(v, launch_use(v, stream_use(v))); }},
    Analysis{"occupancy", [](const GpuView& v) { return to_json(v, occupancy_report(v)); }},
    Analysis{"waves", [](const GpuView& v) { return to_json(v, wave_report(v)); }},
    Analysis{"contention", [](const GpuView& v) { return to_json(v, contention(v)); }},
    Analysis{"roofline", roofline_json},
    Analysis{"critical", critical_json},
    Analysis{"findings", [](const GpuView& v) { return to_json(find(v)); }},
};

Result<GpuView> view_of(const Trace& trace, const View& view) {
  Window window;
  if (!view.window.empty()) window = TRY(parse_window(trace, view.window));
  window.device = view.device;
  Rules rules;
  if (!view.rules_path.empty()) rules = TRY(Rules::read(view.rules_path));
  return gpu_view(trace, rules, window);
}

}  // namespace

std::span<const std::string_view> analysis_names() {
  static constexpr auto kNames = [] {
    std::array<std::string_view, kAnalyses.size()> names;
    for (size_t i = 0; i < names.size(); ++i) names[i] = kAnalyses[i].name;
    return names;
  }();
  return kNames;
}

Result<std::string> analyse(const Trace& trace, std::string_view name, const View& view) {
  const auto at = std::ranges::find(kAnalyses, name, &Analysis::name);
  if (at == kAnalyses.end()) {
    return fail(Code::kInvalidArgument, fmt::format("there is no analysis \"{}\"; there are {}",
                                                    name, fmt::join(analysis_names(), ", ")));
  }
  const GpuView gpu = TRY(view_of(trace, view));
  return dump(at->run(gpu));
}

Result<ActivityColumns> activities(const Trace& trace, const View& view) {
  const GpuView gpu = TRY(view_of(trace, view));
  ActivityColumns out;
  for (const Activity& a : gpu.activities) {
    out.start_ns.push_back(a.start_ns);
    out.end_ns.push_back(a.end_ns);
    out.row.push_back(a.row);
    out.launch_row.push_back(a.launch_row);
    out.region_row.push_back(a.region == kNone ? kNone : gpu.regions[a.region].row);
    out.kind.push_back(static_cast<uint8_t>(a.kind));
    out.role.push_back(static_cast<uint8_t>(a.role));
  }
  return out;
}

}  // namespace hadal::trace
