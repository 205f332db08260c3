#include "trace/comm.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr std::array kRoles = {Role::kTransfer, Role::kBarrier, Role::kLayout};

RoleUse role_use(const GpuView& view, Role role, const IntervalSet& compute) {
  RoleUse use{.role = role};
  std::vector<Interval> intervals;
  for (const Activity& a : view.activities) {
    if (a.role != role) continue;
    ++use.count;
    use.sum_ns += a.duration_ns();
    intervals.push_back({a.start_ns, a.end_ns});
  }
  const IntervalSet set = unite(std::move(intervals));
  use.union_ns = length(set);
  use.exposed_ns = length(subtract(set, compute));
  return use;
}

/// The slope of the least-squares line through (0, y[0]), (1, y[1]), ...
double slope(const std::vector<int64_t>& y) {
  const auto n = static_cast<double>(y.size());
  if (y.size() < 2) return 0;
  double sum_y = 0, sum_xy = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    sum_y += static_cast<double>(y[i]);
    sum_xy += static_cast<double>(i) * static_cast<double>(y[i]);
  }
  const double mean_x = (n - 1) / 2, variance_x = (n * n - 1) / 12;
  return (sum_xy / n - mean_x * sum_y / n) / variance_x;
}

std::vector<RoleInRegions> roles_in_regions(const GpuView& view) {
  std::map<std::pair<std::string_view, Role>, std::vector<int64_t>> sums;
  std::map<std::string_view, int> regions_of;
  for (const Region& region : view.regions) {
    int& count = regions_of[view.trace->names[region.name]];
    count = std::max(count, region.index + 1);
  }
  for (const Activity& a : view.activities) {
    if (a.role == Role::kNone || a.region == kNone) continue;
    const Region& region = view.regions[a.region];
    const std::string_view name = view.trace->names[region.name];
    auto& by_index = sums[{name, a.role}];
    by_index.resize(regions_of[name]);
    by_index[region.index] += a.duration_ns();
  }
  std::vector<RoleInRegions> all;
  for (auto& [key, by_index] : sums) {
    RoleInRegions row{.region = std::string(key.first), .role = key.second, .sum_ns = by_index};
    row.slope_ns = slope(by_index);
    all.push_back(std::move(row));
  }
  return all;
}

Json kernel_json(const KernelRow& row) {
  return {{"name", row.name},
          {"short_name", row.short_name},
          {"count", row.time.count},
          {"sum_us", us(row.time.sum_ns)},
          {"min_us", us(row.time.min_ns)},
          {"median_us", us(row.time.median_ns)},
          {"max_us", us(row.time.max_ns)},
          {"alone_us", us(row.alone_ns)}};
}

}  // namespace

CommUse comm_use(const GpuView& view) {
  CommUse use;
  const IntervalSet compute = view.busy(Class::kCompute);
  for (size_t i = 0; i < kRoles.size(); ++i) use.roles[i] = role_use(view, kRoles[i], compute);
  use.sum_ns = use.roles[0].sum_ns + use.roles[1].sum_ns;
  use.union_ns = length(view.busy(Class::kCommunication));
  use.by_region = roles_in_regions(view);

  std::vector<bool> communicates(view.trace->tracks.size());
  for (const Activity& a : view.activities) {
    if (a.kind == Class::kCommunication) communicates[a.track] = true;
  }
  for (KernelRow& row : kernel_table(view).kernels) {
    if (row.role != Role::kNone) {
      use.kernels.push_back(std::move(row));
    } else if (row.kind == Class::kCompute && std::ranges::any_of(row.activities, [&](uint32_t i) {
                 return communicates[view.activities[i].track];
               })) {
      use.unclassified.push_back(std::move(row));
    }
  }
  return use;
}

Json roles_json(const CommUse& use) {
  Json out = Json::object();
  for (const RoleUse& role : use.roles) {
    out[std::string(name(role.role))] = {
        {"count", role.count}, {"sum_us", us(role.sum_ns)}, {"exposed_us", us(role.exposed_ns)}};
  }
  return out;
}

Json to_json(const CommUse& use) {
  Json out = roles_json(use);
  for (const RoleUse& role : use.roles) {
    Json& entry = out[std::string(name(role.role))];
    entry["union_us"] = us(role.union_ns);
    Json& kernels = entry["kernels"] = Json::array();
    for (const KernelRow& row : use.kernels) {
      if (row.role == role.role) kernels.push_back(kernel_json(row));
    }
    Json& regions = entry["by_region"] = Json::array();
    for (const RoleInRegions& row : use.by_region) {
      if (row.role != role.role) continue;
      Json sums = Json::array();
      for (const int64_t ns : row.sum_ns) sums.push_back(us(ns));
      regions.push_back({{"region", row.region},
                         {"sum_us", std::move(sums)},
                         {"growth_us_per_index", row.slope_ns / 1000}});
    }
  }
  return out;
}

}  // namespace hadal::trace
