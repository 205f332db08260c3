#include "trace/kernels.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

#include "trace/saturate.h"

namespace hadal::trace {
namespace {

/// Nearest rank of a sorted list: the smallest value with at least `percent` of the list at or
/// below.
int64_t percentile(const std::vector<int64_t>& sorted, size_t percent) {
  const size_t rank = (sorted.size() * percent + 99) / 100;
  return sorted[std::max<size_t>(rank, 1) - 1];
}

void sort_rows(std::vector<KernelRow>& rows) {
  std::ranges::sort(rows, {}, [](const KernelRow& row) {
    return std::tuple(-row.time.sum_ns, std::string_view(row.name));
  });
}

std::vector<int64_t> durations(const GpuView& view, const std::vector<uint32_t>& activities) {
  std::vector<int64_t> all;
  all.reserve(activities.size());
  for (const uint32_t i : activities) all.push_back(view.activities[i].duration_ns());
  return all;
}

/// Adds up rows of kernels that share a family.
std::vector<KernelRow> family_rows(const GpuView& view, const std::vector<KernelRow>& kernels) {
  std::map<std::string_view, KernelRow> families;
  std::map<std::string_view, std::vector<int64_t>> times;
  for (const KernelRow& kernel : kernels) {
    KernelRow& row = families[kernel.family];
    row.name = row.short_name = kernel.family;
    row.family = kernel.family;
    row.kind = kernel.kind;
    row.alone_ns += kernel.alone_ns;
    for (const int64_t ns : durations(view, kernel.activities)) times[kernel.family].push_back(ns);
  }
  std::vector<KernelRow> rows;
  for (auto& [family, row] : families) {
    row.time = duration_stats(std::move(times[family]));
    rows.push_back(std::move(row));
  }
  sort_rows(rows);
  return rows;
}

Json row_json(const KernelRow& row) {
  return {{"name", row.name},
          {"short_name", row.short_name},
          {"class", name(row.kind)},
          {"role", name(row.role)},
          {"family", row.family},
          {"count", row.time.count},
          {"sum_us", us(row.time.sum_ns)},
          {"mean_us", row.time.mean_ns / 1000},
          {"median_us", us(row.time.median_ns)},
          {"p95_us", us(row.time.p95_ns)},
          {"min_us", us(row.time.min_ns)},
          {"max_us", us(row.time.max_ns)},
          {"deviation_us", row.time.deviation_ns / 1000},
          {"alone_us", us(row.alone_ns)}};
}

}  // namespace

DurationStats duration_stats(std::vector<int64_t> values) {
  DurationStats stats;
  if (values.empty()) return stats;
  std::ranges::sort(values);
  stats.count = values.size();
  for (const int64_t ns : values) stats.sum_ns = add_saturated(stats.sum_ns, ns);
  stats.min_ns = values.front();
  stats.max_ns = values.back();
  stats.median_ns = percentile(values, 50);
  stats.p95_ns = percentile(values, 95);
  const auto count = static_cast<double>(values.size());
  stats.mean_ns = static_cast<double>(stats.sum_ns) / count;
  double squares = 0;
  for (const int64_t ns : values) {
    squares +=
        (static_cast<double>(ns) - stats.mean_ns) * (static_cast<double>(ns) - stats.mean_ns);
  }
  if (values.size() > 1) stats.deviation_ns = std::sqrt(squares / (count - 1));
  return stats;
}

std::vector<int64_t> time_alone(const GpuView& view) {
  struct Edge {
    int64_t time;
    uint32_t activity;
    bool start;
  };
  std::vector<int64_t> alone(view.activities.size());
  std::map<int, std::vector<Edge>> by_device;
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    if (a.end_ns <= a.start_ns) continue;
    auto& edges = by_device[view.trace->tracks[a.track].device];
    edges.push_back({a.start_ns, i, true});
    edges.push_back({a.end_ns, i, false});
  }
  for (auto& [device, edges] : by_device) {
    std::ranges::sort(edges, {}, [](const Edge& e) { return std::tuple(e.time, e.activity); });
    // The number and the sum of the running ones: while one runs, the sum is its index.
    uint64_t running = 0, sum = 0;
    int64_t since = 0;
    for (const Edge& edge : edges) {
      if (running == 1) alone[sum] += edge.time - since;
      since = edge.time;
      running += edge.start ? 1 : -1;
      sum += edge.start ? edge.activity : -uint64_t{edge.activity};
    }
  }
  return alone;
}

KernelTable kernel_table(const GpuView& view) {
  KernelTable table;
  const std::vector<int64_t> alone = time_alone(view);
  std::vector<uint32_t> slot(view.trace->names.size(), kNone);
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    uint32_t& at = slot[a.name];
    if (at == kNone) {
      at = static_cast<uint32_t>(table.kernels.size());
      const std::string_view full = view.name_of(a);
      table.kernels.push_back({.name = std::string(full),
                               .short_name = short_name(full),
                               .kind = a.kind,
                               .role = a.role,
                               .family = a.kind == Class::kCompute ? family(full) : name(a.kind),
                               .time = {},
                               .activities = {}});
    }
    table.kernels[at].activities.push_back(i);
    table.kernels[at].alone_ns += alone[i];
  }
  for (KernelRow& row : table.kernels) {
    row.time = duration_stats(durations(view, row.activities));
    table.sum_ns += row.time.sum_ns;
  }
  sort_rows(table.kernels);
  table.families = family_rows(view, table.kernels);
  return table;
}

Json to_json(const KernelTable& table) {
  Json kernels = Json::array(), families = Json::array();
  for (const KernelRow& row : table.kernels) kernels.push_back(row_json(row));
  for (const KernelRow& row : table.families) {
    families.push_back({{"family", row.family},
                        {"count", row.time.count},
                        {"sum_us", us(row.time.sum_ns)},
                        {"mean_us", row.time.mean_ns / 1000},
                        {"alone_us", us(row.alone_ns)}});
  }
  return {{"sum_us", us(table.sum_ns)},
          {"kernels", std::move(kernels)},
          {"families", std::move(families)}};
}

}  // namespace hadal::trace
