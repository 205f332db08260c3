#include "trace/kernel_groups.h"

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include <nlohmann/json.hpp>

namespace hadal::trace {

bool is_kernel(const GpuView& view, const Activity& a) {
  return view.trace->events.category[a.row] == Category::kKernel;
}

KernelKey key_of(const GpuView& view, const Activity& a) {
  return {a.name, is_kernel(view, a) ? view.trace->events.detail[a.row] : kNone};
}

int device_of(const GpuView& view, const Activity& a) {
  return view.trace->tracks[a.track].device;
}

const Launch* launch_of(const GpuView& view, KernelKey key) {
  return key.launch == kNone ? nullptr : &view.trace->launches[key.launch];
}

std::vector<KernelGroup> kernel_groups(const GpuView& view) {
  struct Member {
    KernelKey key;
    int device;
    uint32_t activity;
    auto operator<=>(const Member&) const = default;
  };
  std::vector<Member> members;
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    if (is_kernel(view, a)) members.push_back({key_of(view, a), device_of(view, a), i});
  }
  std::ranges::sort(members);
  std::vector<KernelGroup> groups;
  for (const Member& m : members) {
    if (groups.empty() || groups.back().key != m.key || groups.back().device != m.device) {
      groups.push_back({.key = m.key, .device = m.device, .activities = {}});
    }
    groups.back().total_ns += view.activities[m.activity].duration_ns();
    groups.back().activities.push_back(m.activity);
  }
  std::ranges::sort(groups, {},
                    [](const KernelGroup& g) { return std::tuple(-g.total_ns, g.device, g.key); });
  return groups;
}

std::vector<uint32_t> launch_order(const GpuView& view) {
  const Events& e = view.trace->events;
  std::vector<std::pair<int64_t, uint32_t>> order;
  order.reserve(view.activities.size());
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    order.emplace_back(a.launch_row == kNone ? a.start_ns : e.start_ns[a.launch_row], i);
  }
  std::ranges::sort(order);
  std::vector<uint32_t> indices;
  indices.reserve(order.size());
  for (const auto& [time, i] : order) indices.push_back(i);
  return indices;
}

std::vector<std::vector<uint32_t>> launched_in_regions(const GpuView& view) {
  std::vector<std::vector<uint32_t>> launched(view.regions.size());
  for (const uint32_t i : launch_order(view)) {
    const uint32_t region = view.activities[i].region;
    if (region != kNone) launched[region].push_back(i);
  }
  return launched;
}

int64_t volume(const std::array<uint32_t, 3>& extent) {
  unsigned __int128 product = 1;
  for (const uint32_t n : extent) product *= n;
  constexpr auto kMax = std::numeric_limits<int64_t>::max();
  return product > static_cast<unsigned __int128>(kMax) ? kMax : static_cast<int64_t>(product);
}

Json kernel_json(const GpuView& view, KernelKey key) {
  Json json{{"name", view.trace->names[key.name]}};
  if (const Launch* launch = launch_of(view, key)) {
    json["grid"] = launch->grid;
    json["block"] = launch->block;
    json["registers_per_thread"] = launch->registers_per_thread;
    json["shared_memory_bytes"] = launch->shared_memory_bytes;
  }
  return json;
}

}  // namespace hadal::trace
