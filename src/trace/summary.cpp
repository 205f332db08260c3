#include "trace/summary.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace hadal::trace {

double Summary::overlap_percent() const {
  if (communication_ns == 0) return -1;
  return 100.0 * static_cast<double>(overlap_ns) / static_cast<double>(communication_ns);
}

double Summary::percent_of_span(int64_t ns) const {
  return span_ns == 0 ? 0 : 100.0 * static_cast<double>(ns) / static_cast<double>(span_ns);
}

Summary summarize(const GpuView& view) {
  Summary s;
  s.num_activities = view.activities.size();
  if (view.activities.empty()) return s;
  s.start_ns = view.activities.front().start_ns;
  for (const Activity& a : view.activities) s.end_ns = std::max(s.end_ns, a.end_ns);
  s.span_ns = s.end_ns - s.start_ns;

  const IntervalSet compute = view.busy(Class::kCompute);
  const IntervalSet communication = view.busy(Class::kCommunication);
  const IntervalSet memory = view.busy(Class::kMemory);
  const IntervalSet working = unite(compute, communication);
  const IntervalSet busy = unite(working, memory);
  const Interval whole{s.start_ns, s.end_ns};
  s.idle = subtract(std::span(&whole, 1), busy);
  s.exposed = subtract(communication, compute);
  for (const Interval& piece : s.exposed) {
    if (piece.length() > kLaunchGapNs) s.structural_exposed.push_back(piece);
  }

  s.busy_ns = length(busy);
  s.idle_ns = s.span_ns - s.busy_ns;
  s.compute_ns = length(compute);
  s.communication_ns = length(communication);
  s.memory_ns = length(memory);
  s.exposed_communication_ns = length(s.exposed);
  s.overlap_ns = s.communication_ns - s.exposed_communication_ns;
  s.exposed_memory_ns = length(subtract(memory, working));
  s.structural_exposed_ns = length(s.structural_exposed);
  return s;
}

Json to_json(const Summary& s) {
  Json overlap_percent;
  if (s.communication_ns > 0) overlap_percent = s.overlap_percent();
  return {{"span_us", us(s.span_ns)},
          {"busy_us", us(s.busy_ns)},
          {"idle_us", us(s.idle_ns)},
          {"compute_us", us(s.compute_ns)},
          {"communication_us", us(s.communication_ns)},
          {"memory_us", us(s.memory_ns)},
          {"overlap_us", us(s.overlap_ns)},
          {"exposed_communication_us", us(s.exposed_communication_ns)},
          {"exposed_memory_us", us(s.exposed_memory_ns)},
          {"structural_exposed_us", us(s.structural_exposed_ns)},
          {"structural_exposed_pieces", s.structural_exposed.size()},
          {"overlap_percent", overlap_percent}};
}

}  // namespace hadal::trace
