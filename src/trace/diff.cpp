#include "trace/diff.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "trace/kernels.h"
#include "trace/saturate.h"

namespace hadal::trace {
namespace {

constexpr std::string_view kNoRegion = "(no region)";

/// Adds to `owned` what the activities of one class own outside of `taken`. The first to start owns
/// the time until it ends, then the next one what is left of it.
void own(const GpuView& view, Class kind, const IntervalSet& taken, std::vector<int64_t>& owned) {
  int64_t frontier = INT64_MIN;
  auto next = taken.begin();  // the first taken interval that ends after the frontier
  for (size_t i = 0; i < owned.size(); ++i) {
    const Activity& a = view.activities[i];
    if (a.kind != kind) continue;
    int64_t start = std::max(a.start_ns, frontier);
    while (start < a.end_ns) {
      while (next != taken.end() && next->end <= start) ++next;
      const bool blocked = next != taken.end() && next->start <= start;
      if (blocked) {
        start = next->end;
        continue;
      }
      const int64_t end = next == taken.end() ? a.end_ns : std::min(a.end_ns, next->start);
      owned[i] += end - start;
      start = end;
    }
    frontier = std::max(frontier, a.end_ns);
  }
}

int64_t by_count(const DiffSide& a, const DiffSide& b) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  if (a.count == 0 || b.count == 0) return subtract_saturated(b.sum_ns, a.sum_ns);
  const double means = number(a.sum_ns) / number(a.count) + number(b.sum_ns) / number(b.count);
  return round_saturated((number(b.count) - number(a.count)) * means / 2);
}

void finish(std::vector<DiffRow>& rows) {
  for (DiffRow& row : rows) {
    row.by_count_ns = by_count(row.a, row.b);
    row.by_duration_ns =
        subtract_saturated(subtract_saturated(row.b.sum_ns, row.a.sum_ns), row.by_count_ns);
  }
  const auto size = [](int64_t ns) { return -std::abs(std::max(ns, -INT64_MAX)); };
  std::ranges::sort(rows, [&](const DiffRow& x, const DiffRow& y) {
    const auto key = [&](const DiffRow& r) {
      return std::pair(size(r.owned_delta_ns()), size(subtract_saturated(r.b.sum_ns, r.a.sum_ns)));
    };
    return std::pair(key(x), std::string_view(x.name)) <
           std::pair(key(y), std::string_view(y.name));
  });
}

/// Collects rows by name.
class Rows {
 public:
  DiffRow& row(std::string_view name) {
    auto at = by_name_.find(name);
    if (at == by_name_.end()) {
      at = by_name_.emplace(name, DiffRow{}).first;
      at->second.name = name;
    }
    return at->second;
  }
  std::vector<DiffRow> take() {
    std::vector<DiffRow> rows;
    for (auto& [name, row] : by_name_) rows.push_back(std::move(row));
    finish(rows);
    return rows;
  }

 private:
  std::map<std::string, DiffRow, std::less<>> by_name_;
};

void add(DiffSide& side, uint64_t count, int64_t sum_ns, int64_t owned_ns) {
  side.count += count;
  side.sum_ns = add_saturated(side.sum_ns, sum_ns);
  side.owned_ns += owned_ns;
}

struct Tables {
  Rows kernels, families, regions;
};

/// Sums by index, then one look-up by name for each.
void collect(const GpuView& view, const std::vector<int64_t>& owned, DiffSide DiffRow::* side,
             Tables& tables) {
  std::map<std::pair<uint32_t, Class>, DiffSide> kernels;
  std::map<uint32_t, DiffSide> regions;
  for (size_t i = 0; i < owned.size(); ++i) {
    const Activity& a = view.activities[i];
    const uint32_t region = a.region == kNone ? kNone : view.regions[a.region].name;
    add(kernels[{a.name, a.kind}], 1, a.duration_ns(), owned[i]);
    add(regions[region], 1, a.duration_ns(), owned[i]);
  }
  for (const auto& [key, sums] : kernels) {
    const std::string_view full = view.trace->names[key.first];
    DiffRow& row = tables.kernels.row(full);
    row.kind = key.second;
    if (row.short_name.empty()) row.short_name = short_name(full);
    add(row.*side, sums.count, sums.sum_ns, sums.owned_ns);
    DiffRow& family_row =
        tables.families.row(key.second == Class::kCompute ? family(full) : name(key.second));
    family_row.kind = key.second;
    add(family_row.*side, sums.count, sums.sum_ns, sums.owned_ns);
  }
  for (const auto& [region, sums] : regions) {
    DiffRow& row = tables.regions.row(
        region == kNone ? kNoRegion : std::string_view(view.trace->names[region]));
    add(row.*side, sums.count, sums.sum_ns, sums.owned_ns);
  }
}

int64_t owned_by(const Region& region, const std::vector<int64_t>& owned) {
  int64_t sum = 0;
  for (const uint32_t i : region.activities) sum += owned[i];
  return sum;
}

std::vector<MatchedRegion> match_regions(const GpuView& a, const std::vector<int64_t>& owned_a,
                                         const GpuView& b, const std::vector<int64_t>& owned_b) {
  std::vector<MatchedRegion> matched;
  std::map<std::pair<std::string_view, int>, size_t> slots;
  for (uint32_t r = 0; r < a.regions.size(); ++r) {
    const Region& region = a.regions[r];
    if (region.activities.empty()) continue;
    const std::string& text = a.trace->names[region.name];
    slots[{text, region.index}] = matched.size();
    matched.push_back({.name = text,
                       .index = region.index,
                       .a = r,
                       .gpu_a_ns = region.gpu_end_ns - region.gpu_start_ns,
                       .owned_a_ns = owned_by(region, owned_a)});
  }
  for (uint32_t r = 0; r < b.regions.size(); ++r) {
    const Region& region = b.regions[r];
    if (region.activities.empty()) continue;
    const std::string& text = b.trace->names[region.name];
    const auto slot = slots.find({text, region.index});
    if (slot == slots.end()) matched.push_back({.name = text, .index = region.index});
    MatchedRegion& row = slot == slots.end() ? matched.back() : matched[slot->second];
    row.b = r;
    row.gpu_b_ns = region.gpu_end_ns - region.gpu_start_ns;
    row.owned_b_ns = owned_by(region, owned_b);
  }
  return matched;
}

Json side_json(const DiffSide& side) {
  return {{"count", side.count}, {"sum_us", us(side.sum_ns)}, {"owned_us", us(side.owned_ns)}};
}

Json rows_json(const std::vector<DiffRow>& rows, bool kernels) {
  Json list = Json::array();
  for (const DiffRow& row : rows) {
    Json json = {{"name", row.name}};
    if (kernels) {
      json["short_name"] = row.short_name;
      json["class"] = name(row.kind);
    }
    json["a"] = side_json(row.a);
    json["b"] = side_json(row.b);
    json["owned_delta_us"] = us(row.owned_delta_ns());
    json["sum_delta_us"] = us(subtract_saturated(row.b.sum_ns, row.a.sum_ns));
    json["by_count_us"] = us(row.by_count_ns);
    json["by_duration_us"] = us(row.by_duration_ns);
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace

std::vector<int64_t> owned_time(const GpuView& view) {
  std::vector<int64_t> owned(view.activities.size());
  IntervalSet taken;
  for (const Class kind : {Class::kCompute, Class::kCommunication, Class::kMemory}) {
    own(view, kind, taken, owned);
    taken = unite(taken, view.busy(kind));
  }
  return owned;
}

TraceDiff diff(const GpuView& a, const GpuView& b) {
  TraceDiff out;
  out.a = summarize(a);
  out.b = summarize(b);
  const std::vector<int64_t> owned_a = owned_time(a), owned_b = owned_time(b);
  Tables tables;
  collect(a, owned_a, &DiffRow::a, tables);
  collect(b, owned_b, &DiffRow::b, tables);
  out.kernels = tables.kernels.take();
  out.families = tables.families.take();
  out.regions = tables.regions.take();
  out.matched = match_regions(a, owned_a, b, owned_b);
  return out;
}

Json to_json(const TraceDiff& d) {
  Json matched = Json::array();
  for (const MatchedRegion& region : d.matched) {
    matched.push_back({{"name", region.name},
                       {"index", region.index},
                       {"in_a", region.a != kNone},
                       {"in_b", region.b != kNone},
                       {"gpu_a_us", us(region.gpu_a_ns)},
                       {"gpu_b_us", us(region.gpu_b_ns)},
                       {"owned_a_us", us(region.owned_a_ns)},
                       {"owned_b_us", us(region.owned_b_ns)},
                       {"owned_delta_us", us(region.owned_b_ns - region.owned_a_ns)}});
  }
  return {{"a", to_json(d.a)},
          {"b", to_json(d.b)},
          {"delta",
           {{"span_us", us(d.span_delta_ns())},
            {"compute_us", us(d.b.compute_ns - d.a.compute_ns)},
            {"exposed_communication_us",
             us(d.b.exposed_communication_ns - d.a.exposed_communication_ns)},
            {"exposed_memory_us", us(d.b.exposed_memory_ns - d.a.exposed_memory_ns)},
            {"idle_us", us(d.b.idle_ns - d.a.idle_ns)}}},
          {"kernels", rows_json(d.kernels, true)},
          {"families", rows_json(d.families, false)},
          {"regions", rows_json(d.regions, false)},
          {"matched_regions", std::move(matched)}};
}

}  // namespace hadal::trace
