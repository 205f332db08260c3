#include "trace/comm_bandwidth.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "trace/kernel_groups.h"
#include "trace/kernels.h"

namespace hadal::trace {
namespace {

/// Letters only, lower case: "_allgather_base" -> "allgatherbase".
std::string letters(std::string_view text) {
  std::string kept;
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      kept += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return kept;
}

/// The collective of each kernel that has one, by row.
std::map<uint32_t, const CollectiveInfo*> collectives_of(const Trace& trace) {
  std::map<uint32_t, const CollectiveInfo*> by_row;
  for (const CollectiveCall& call : trace.collectives) {
    if (call.row < trace.events.size() && call.info < trace.collective_infos.size() &&
        trace.events.category[call.row] == Category::kKernel) {
      by_row.emplace(call.row, &trace.collective_infos[call.info]);
    }
  }
  return by_row;
}

/// Logical bytes of one DeepEP kernel by the model file; 0: not one, or the file does not say.
double deep_ep_bytes(std::string_view kernel, const Model& model) {
  const double rows = static_cast<double>(model.tokens) * model.nodes;
  const auto hidden = static_cast<double>(model.hidden);
  if (kernel == "dispatch") return rows * (hidden + 4 * hidden / 128);
  return kernel == "combine" ? rows * 2 * hidden : 0;
}

}  // namespace

double bus_factor(std::string_view collective, int ranks) {
  if (ranks < 2) return 1;
  const std::string what = letters(collective);
  const auto has = [&](std::string_view part) { return what.find(part) != std::string::npos; };
  const double n = ranks;
  if (has("allreduce")) return 2 * (n - 1) / n;
  if (has("allgather") || has("reducescatter") || has("alltoall")) return (n - 1) / n;
  return 1;
}

int dtype_bytes(std::string_view dtype) {
  constexpr std::array<std::pair<std::string_view, int>, 14> kSizes = {{{"bfloat16", 2},
                                                                        {"half", 2},
                                                                        {"float16", 2},
                                                                        {"float8", 1},
                                                                        {"float", 4},
                                                                        {"double", 8},
                                                                        {"int8", 1},
                                                                        {"char", 1},
                                                                        {"byte", 1},
                                                                        {"bool", 1},
                                                                        {"long", 8},
                                                                        {"int64", 8},
                                                                        {"int", 4},
                                                                        {"short", 2}}};
  std::string lower(dtype);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  for (const auto& [name, size] : kSizes) {
    if (lower.starts_with(name)) return size;
  }
  return 0;
}

std::vector<CommBandwidth> comm_bandwidth(const GpuView& view, const Model& model,
                                          std::vector<std::string>& notes) {
  const auto collectives = collectives_of(*view.trace);
  std::map<uint32_t, std::string> short_names;
  using Key = std::tuple<std::string, std::string, std::string, int, int>;
  std::map<Key, CommBandwidth> found;
  bool unknown_deep_ep = false;
  for (const Activity& a : view.activities) {
    if (a.kind != Class::kCommunication || a.role != Role::kTransfer || a.duration_ns() <= 0) {
      continue;
    }
    const auto [at, fresh] = short_names.try_emplace(a.name);
    if (fresh) at->second = short_name(view.name_of(a));
    CommBandwidth one;
    one.name = one.operation = at->second;
    int region = -1;  // a dispatch of the forward pass and one of the backward pass differ
    if (const auto call = collectives.find(a.row); call != collectives.end()) {
      const CollectiveInfo& info = *call->second;
      one.operation = info.collective;
      one.group = info.group;
      one.ranks = static_cast<int>(std::min<uint32_t>(info.group_size, INT32_MAX));
      one.bytes = static_cast<double>(std::max(info.in_elements, info.out_elements)) *
                  dtype_bytes(info.dtype);
      one.bus_factor = bus_factor(info.collective, one.ranks);
      one.source = ShapeSource::kInputDims;
    } else {
      one.bytes = deep_ep_bytes(at->second, model);
      one.source = ShapeSource::kModel;
      const bool deep_ep = at->second == "dispatch" || at->second == "combine";
      unknown_deep_ep = unknown_deep_ep || (deep_ep && one.bytes <= 0);
      if (a.region != kNone) region = static_cast<int>(view.regions[a.region].name);
    }
    if (one.bytes <= 0) continue;
    CommBandwidth& sum = found[{one.name, one.operation, one.group, one.ranks, region}];
    const double bytes = sum.bytes + one.bytes;
    const auto count = sum.count + 1;
    const int64_t total = sum.total_ns + a.duration_ns();
    sum = std::move(one);
    sum.bytes = bytes;
    sum.count = count;
    sum.total_ns = total;
    if (region >= 0) sum.region = view.trace->names[static_cast<size_t>(region)];
  }
  if (unknown_deep_ep) {
    notes.emplace_back(
        "a trace does not hold the bytes of DeepEP's kernels; tokens, hidden and nodes in a model "
        "file give their bandwidth");
  }
  std::vector<CommBandwidth> list;
  for (auto& [key, one] : found) list.push_back(std::move(one));
  std::ranges::sort(list, {}, [](const CommBandwidth& c) {
    return std::tuple(-c.total_ns, std::string_view(c.name), std::string_view(c.group),
                      std::string_view(c.region));
  });
  return list;
}

}  // namespace hadal::trace
