#include "trace/regions.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr std::string_view kOutside = "(no region)";

/// The busy times of one region, or of everything outside of regions.
struct Instance {
  size_t phase = 0;
  IntervalSet busy, communication;
};

IntervalSet busy_of(const GpuView& view, const std::vector<uint32_t>& activities,
                    bool communication_only) {
  std::vector<Interval> all;
  for (const uint32_t i : activities) {
    const Activity& a = view.activities[i];
    if (!communication_only || a.kind == Class::kCommunication) {
      all.push_back({a.start_ns, a.end_ns});
    }
  }
  return unite(std::move(all));
}

/// Names of regions in order of first appearance, and the row of each.
std::vector<std::string> phase_names(const GpuView& view, std::map<std::string, size_t>& row_of) {
  std::vector<std::string> names;
  for (const Region& region : view.regions) {
    const std::string& name = view.trace->names[region.name];
    if (row_of.emplace(name, names.size()).second) names.push_back(name);
  }
  return names;
}

/// Instances with time on the GPU, by start.
std::vector<Instance> instances_of(const GpuView& view, std::vector<std::string>& phases) {
  std::map<std::string, size_t> row_of;
  phases = phase_names(view, row_of);
  std::vector<Instance> instances;
  const auto add = [&](size_t phase, const std::vector<uint32_t>& activities) {
    Instance instance{phase, busy_of(view, activities, false), busy_of(view, activities, true)};
    if (!instance.busy.empty()) instances.push_back(std::move(instance));
  };
  for (const Region& region : view.regions) {
    add(row_of[view.trace->names[region.name]], region.activities);
  }
  std::vector<uint32_t> outside;
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    if (view.activities[i].region == kNone) outside.push_back(i);
  }
  if (!outside.empty()) {
    phases.emplace_back(kOutside);
    add(phases.size() - 1, outside);
  }
  std::ranges::sort(instances, {}, [](const Instance& i) {
    return std::tuple(i.busy.front().start, i.busy.back().end, i.phase);
  });
  return instances;
}

}  // namespace

std::vector<RegionUse> region_use(const GpuView& view) {
  const IntervalSet compute = view.busy(Class::kCompute);
  std::vector<RegionUse> uses;
  uses.reserve(view.regions.size());
  for (uint32_t r = 0; r < view.regions.size(); ++r) {
    const Region& region = view.regions[r];
    RegionUse use{.region = r,
                  .name = view.trace->names[region.name],
                  .index = region.index,
                  .events = region.activities.size(),
                  .start_ns = region.gpu_start_ns,
                  .end_ns = region.gpu_end_ns};
    std::vector<Interval> own_compute;
    for (const uint32_t i : region.activities) {
      const Activity& a = view.activities[i];
      if (a.kind == Class::kCompute) own_compute.push_back({a.start_ns, a.end_ns});
      if (a.role == Role::kBarrier) use.barrier_ns += a.duration_ns();
    }
    const IntervalSet communication = busy_of(view, region.activities, true);
    use.busy_ns = length(busy_of(view, region.activities, false));
    use.compute_ns = length(unite(std::move(own_compute)));
    use.communication_ns = length(communication);
    // Only the part of the computation that lies under this region is looked at.
    if (!communication.empty()) {
      const auto first =
          std::ranges::lower_bound(compute, communication.front().start, {}, &Interval::end);
      use.exposed_ns = length(subtract(communication, std::span(first, compute.end())));
    }
    uses.push_back(use);
  }
  return uses;
}

PhaseGrid phase_grid(const GpuView& view, const std::vector<RegionUse>& uses) {
  PhaseGrid grid;
  std::map<std::string, size_t> row_of;
  grid.phases = phase_names(view, row_of);
  for (const RegionUse& use : uses) grid.num_layers = std::max(grid.num_layers, use.index + 1);
  // A name that repeats without bound (one annotation per iteration of a long loop) is no layer.
  if (grid.phases.size() * static_cast<size_t>(grid.num_layers) > 1'000'000) return {};
  grid.cells.assign(grid.phases.size() * grid.num_layers, kNone);
  for (uint32_t i = 0; i < uses.size(); ++i) {
    const size_t row = row_of[std::string(uses[i].name)];
    grid.cells[row * grid.num_layers + uses[i].index] = i;
  }
  return grid;
}

OverlapMatrix overlap_matrix(const GpuView& view) {
  OverlapMatrix matrix;
  const std::vector<Instance> instances = instances_of(view, matrix.phases);
  const size_t n = matrix.phases.size();
  matrix.overlap_ns.assign(n * n, 0);
  matrix.busy_ns.assign(n, 0);
  matrix.hidden_ns.assign(n, 0);
  matrix.exposed_ns.assign(n, 0);
  const IntervalSet compute = view.busy(Class::kCompute);
  std::vector<size_t> open;  // instances that may reach past the present one's start
  for (size_t i = 0; i < instances.size(); ++i) {
    const Instance& now = instances[i];
    std::erase_if(open,
                  [&](size_t j) { return instances[j].busy.back().end <= now.busy.front().start; });
    for (const size_t j : open) {
      const int64_t common = common_length(instances[j].busy, now.busy);
      matrix.overlap_ns[instances[j].phase * n + now.phase] += common;
      if (instances[j].phase != now.phase) {
        matrix.overlap_ns[now.phase * n + instances[j].phase] += common;
      }
    }
    open.push_back(i);
    matrix.busy_ns[now.phase] += length(now.busy);
    if (now.communication.empty()) continue;
    const auto first =
        std::ranges::lower_bound(compute, now.communication.front().start, {}, &Interval::end);
    const int64_t hidden = common_length(now.communication, std::span(first, compute.end()));
    matrix.hidden_ns[now.phase] += hidden;
    matrix.exposed_ns[now.phase] += length(now.communication) - hidden;
  }
  return matrix;
}

Json to_json(const std::vector<RegionUse>& uses) {
  Json out = Json::array();
  for (const RegionUse& use : uses) {
    Json entry = {{"name", use.name},
                  {"index", use.index},
                  {"events", use.events},
                  {"busy_us", us(use.busy_ns)},
                  {"start_us", nullptr},
                  {"end_us", nullptr},
                  {"compute_us", us(use.compute_ns)},
                  {"communication_us", us(use.communication_ns)},
                  {"barrier_us", us(use.barrier_ns)},
                  {"exposed_us", us(use.exposed_ns)}};
    if (use.events > 0) {
      entry["start_us"] = us(use.start_ns);
      entry["end_us"] = us(use.end_ns);
    }
    out.push_back(std::move(entry));
  }
  return out;
}

Json to_json(const PhaseGrid& grid, const std::vector<RegionUse>& uses) {
  Json busy = Json::array();
  for (size_t row = 0; row < grid.phases.size(); ++row) {
    Json line = Json::array();
    for (int layer = 0; layer < grid.num_layers; ++layer) {
      const uint32_t cell = grid.cells[row * grid.num_layers + layer];
      line.push_back(cell == kNone ? Json() : Json(us(uses[cell].busy_ns)));
    }
    busy.push_back(std::move(line));
  }
  return {{"phases", grid.phases}, {"layers", grid.num_layers}, {"busy_us", std::move(busy)}};
}

Json to_json(const OverlapMatrix& m) {
  const size_t n = m.phases.size();
  Json rows = Json::array(), phases = Json::array();
  for (size_t p = 0; p < n; ++p) {
    Json line = Json::array();
    for (size_t q = 0; q < n; ++q) line.push_back(us(m.overlap_ns[p * n + q]));
    rows.push_back(std::move(line));
    phases.push_back({{"name", m.phases[p]},
                      {"busy_us", us(m.busy_ns[p])},
                      {"hidden_communication_us", us(m.hidden_ns[p])},
                      {"exposed_communication_us", us(m.exposed_ns[p])}});
  }
  return {{"phases", std::move(phases)}, {"overlap_us", std::move(rows)}};
}

}  // namespace hadal::trace
