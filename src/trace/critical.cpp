#include "trace/critical.h"

#include <algorithm>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "trace/gates.h"
#include "trace/kernels.h"
#include "trace/streams.h"

namespace hadal::trace {
namespace {

PathClass class_of(const Activity& a) {
  switch (a.kind) {
    case Class::kCompute: return PathClass::kCompute;
    case Class::kMemory: return PathClass::kMemory;
    case Class::kCommunication: break;
  }
  return a.role == Role::kBarrier ? PathClass::kBarrier : PathClass::kTransfer;
}

/// Walks back in time. Every move goes to an item that stands earlier in the graph's order, so the
/// walk ends.
class Walk {
 public:
  explicit Walk(const ReplayGraph& graph)
      : graph_(graph), all_(graph.view->activities), now_(graph.end_ns) {}

  std::vector<PathStep> run() {
    uint32_t at = 0;
    for (uint32_t i = 0; i < all_.size(); ++i) {
      if (all_[i].end_ns > all_[at].end_ns) at = i;
    }
    while (at != kNone) at = before(at);
    to(graph_.start_ns, PathClass::kGap, kNone);
    std::ranges::reverse(steps_);
    return std::move(steps_);
  }

 private:
  /// A step from `start_ns` (not before the span) to where the walk stands.
  void to(int64_t start_ns, PathClass what, uint32_t activity, Cause cause = Cause::kBegin) {
    const int64_t start = std::clamp(start_ns, graph_.start_ns, now_);
    if (start < now_) steps_.push_back({start, now_, what, activity, cause});
    now_ = start;
  }

  /// Steps over activity `i` and what delayed it. Returns the activity before it on the path.
  uint32_t before(uint32_t i) {
    const CauseNode& node = graph_.nodes[i];
    to(all_[i].start_ns, class_of(all_[i]), i, node.cause);
    const bool is_long = node.delay_ns > kKernelWaitNs;
    const PathClass short_delay =
        node.cause == Cause::kLaunch ? PathClass::kHost : PathClass::kDelay;
    to(all_[i].start_ns - node.delay_ns, is_long ? PathClass::kGap : short_delay, i);
    switch (node.cause) {
      case Cause::kStream: return node.previous;
      case Cause::kGate: return node.gate;
      case Cause::kLaunch: return host(node.sync, i);
      case Cause::kBegin: break;
    }
    return kNone;
  }

  /// Follows the host back to the last wait that the GPU held up. One step for all.
  uint32_t host(uint32_t sync, uint32_t launched) {
    for (; sync != kNone; sync = graph_.syncs[sync].previous) {
      const HostSync& call = graph_.syncs[sync];
      if (call.end_ns <= graph_.start_ns) break;
      if (call.waited == kNone || all_[call.waited].end_ns <= call.start_ns) continue;
      to(all_[call.waited].start_ns + call.waited_part_ns, PathClass::kHost, launched);
      return call.waited;
    }
    to(graph_.start_ns, PathClass::kHost, launched);
    return kNone;
  }

  const ReplayGraph& graph_;
  const std::vector<Activity>& all_;
  int64_t now_;
  std::vector<PathStep> steps_;
};

/// Sums by text, largest first.
class Sums {
 public:
  void add(std::string_view text, int64_t ns) {
    auto at = by_name_.find(text);
    if (at == by_name_.end()) at = by_name_.emplace(text, PathUse{std::string(text)}).first;
    ++at->second.steps;
    at->second.sum_ns += ns;
  }
  std::vector<PathUse> sorted() const {
    std::vector<PathUse> uses;
    for (const auto& [text, use] : by_name_) uses.push_back(use);
    std::ranges::sort(uses, {}, [](const PathUse& u) { return std::pair(-u.sum_ns, u.name); });
    return uses;
  }

 private:
  std::map<std::string, PathUse, std::less<>> by_name_;
};

Json uses_json(const std::vector<PathUse>& uses, bool kernels) {
  Json list = Json::array();
  for (const PathUse& use : uses) {
    Json row = {{"name", use.name}};
    if (kernels) row["short_name"] = short_name(use.name);
    row["steps"] = use.steps;
    row["sum_us"] = us(use.sum_ns);
    list.push_back(std::move(row));
  }
  return list;
}

}  // namespace

std::string_view name(PathClass c) {
  switch (c) {
    case PathClass::kCompute: return "compute";
    case PathClass::kTransfer: return "transfer";
    case PathClass::kBarrier: return "barrier";
    case PathClass::kMemory: return "memory";
    case PathClass::kDelay: return "delay";
    case PathClass::kHost: return "host";
    case PathClass::kGap: break;
  }
  return "gap";
}

CriticalPath critical_path(const ReplayGraph& graph) {
  CriticalPath path;
  if (graph.nodes.empty()) return path;
  const GpuView& view = *graph.view;
  path.span_ns = graph.span_ns();
  path.steps = Walk(graph).run();
  Sums kernels, regions;
  for (const PathStep& step : path.steps) {
    path.sum_ns[static_cast<size_t>(step.what)] += step.length();
    const bool runs = step.what < PathClass::kDelay;
    if (!runs) continue;
    const Activity& a = view.activities[step.activity];
    kernels.add(view.name_of(a), step.length());
    regions.add(a.region == kNone ? std::string_view("(no region)")
                                  : view.trace->names[view.regions[a.region].name],
                step.length());
  }
  path.kernels = kernels.sorted();
  path.regions = regions.sorted();
  return path;
}

Json to_json(const ReplayGraph& graph, const CriticalPath& path) {
  const GpuView& view = *graph.view;
  Json classes, steps = Json::array();
  for (int c = 0; c < kNumPathClasses; ++c) {
    classes[std::string(name(static_cast<PathClass>(c))) + "_us"] = us(path.sum_ns[c]);
  }
  for (const PathStep& step : path.steps) {
    Json row = {{"class", name(step.what)},
                {"start_us", us(step.start_ns)},
                {"duration_us", us(step.length())}};
    if (step.activity != kNone) {
      const Activity& a = view.activities[step.activity];
      if (step.what < PathClass::kDelay) row["cause"] = name(step.cause);
      row["event"] = a.row;
      row["name"] = view.name_of(a);
      row["stream"] = view.trace->tracks[a.track].stream;
      row["region"] = nullptr;
      if (a.region != kNone) row["region"] = region_label(view, a.region);
    }
    steps.push_back(std::move(row));
  }
  return {{"span_us", us(path.span_ns)},
          {"classes", std::move(classes)},
          {"kernels", uses_json(path.kernels, true)},
          {"regions", uses_json(path.regions, false)},
          {"steps", std::move(steps)}};
}

}  // namespace hadal::trace
