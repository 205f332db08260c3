#include "trace/memory.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/kernel_groups.h"

namespace hadal::trace {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Does this runtime call allocate or free memory?
bool allocates(std::string_view call) {
  for (const std::string_view part :
       {"Malloc", "Free", "HostAlloc", "MemAlloc", "MemCreate", "HostRegister"}) {
    if (contains(call, part)) return true;
  }
  return false;
}

double limit_of(std::string_view name, Category category, const std::optional<Peaks>& peaks) {
  if (!peaks) return 0;
  if (category == Category::kMemset) return peaks->hbm_tb_s * 1e3;
  if (contains(name, "DtoD")) return peaks->hbm_tb_s * 1e3 / 2;
  return contains(name, "PtoP") ? peaks->nvlink_gb_s : 0;
}

std::vector<CopyRow> copies_of(const GpuView& view, const Model& model) {
  const Events& e = view.trace->events;
  std::map<int, std::optional<Peaks>> peaks;
  std::map<std::tuple<uint32_t, int>, CopyRow> rows;
  for (const Activity& a : view.activities) {
    const Category category = e.category[a.row];
    if (category != Category::kMemcpy && category != Category::kMemset) continue;
    const int id = device_of(view, a);
    const auto [peak, fresh] = peaks.try_emplace(id);
    if (fresh) {
      const Device* device = view.trace->device(id);
      peak->second = model.peaks(device ? device->name : "");
    }
    CopyRow& row = rows[{a.name, id}];
    if (row.count++ == 0) {
      row.name = view.name_of(a);
      row.pageable = contains(row.name, "Pageable");
      row.limit_gb_s = limit_of(row.name, category, peak->second);
    }
    const int64_t ns = copy_duration_ns(view, a);
    row.total_ns += ns;
    if (a.launch_row != kNone && !contains(view.trace->name_of(a.launch_row), "Async")) {
      ++row.synchronous;
    }
    if (e.detail[a.row] == kNone) continue;
    const uint64_t bytes = view.trace->copies[e.detail[a.row]].bytes;
    row.bytes = bytes > UINT64_MAX - row.bytes ? UINT64_MAX : row.bytes + bytes;
    const double gb_s = ns > 0 ? static_cast<double>(bytes) / static_cast<double>(ns) : 0;
    if (bytes > row.largest_bytes) row.largest_gb_s = 0;
    row.largest_bytes = std::max(row.largest_bytes, bytes);
    if (bytes == row.largest_bytes) row.largest_gb_s = std::max(row.largest_gb_s, gb_s);
  }
  std::vector<CopyRow> list;
  for (auto& [key, row] : rows) list.push_back(std::move(row));
  std::ranges::sort(list, {}, [](const CopyRow& row) {
    return std::tuple(-row.total_ns, std::string_view(row.name), row.count);
  });
  return list;
}

std::vector<AllocationCalls> calls_of(const Trace& trace) {
  std::map<uint32_t, AllocationCalls> calls;
  std::vector<int8_t> known(trace.names.size(), -1);
  const Events& e = trace.events;
  for (size_t row = 0; row < e.size(); ++row) {
    if (!is_runtime_call(e.category[row])) continue;
    int8_t& is = known[e.name[row]];
    if (is < 0) is = static_cast<int8_t>(allocates(trace.name_of(row)));
    if (is == 0) continue;
    AllocationCalls& call = calls[e.name[row]];
    call.name = trace.name_of(row);
    ++call.count;
    call.total_ns += e.duration_ns[row];
  }
  std::vector<AllocationCalls> list;
  for (auto& [name, call] : calls) list.push_back(std::move(call));
  std::ranges::sort(list, {}, [](const AllocationCalls& c) {
    return std::pair(-c.total_ns, std::string_view(c.name));
  });
  return list;
}

/// A whole number of an event's arguments.
std::optional<int64_t> argument(const nlohmann::json& args, const char* key) {
  const auto at = args.find(key);
  if (at == args.end() || !at->is_number()) return std::nullopt;
  const auto value = at->get<double>();
  if (!(std::abs(value) < 9e18)) return std::nullopt;
  return at->is_number_integer() ? at->get<int64_t>() : static_cast<int64_t>(value);
}

std::vector<uint32_t> memory_rows(const GpuView& view, std::vector<std::string>& notes) {
  const Trace& trace = *view.trace;
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < trace.events.size(); ++row) {
    if (trace.events.phase[row] == Phase::kInstant && trace.name_of(row) == "[memory]" &&
        trace.events.start_ns[row] >= view.window.start_ns &&
        trace.events.start_ns[row] < view.window.end_ns) {
      rows.push_back(row);
    }
  }
  if (rows.size() <= kMemoryEventsMax) return rows;
  notes.push_back(fmt::format(
      "{} of {} [memory] events were read, evenly spaced; a peak between them is missed",
      kMemoryEventsMax, rows.size()));
  std::vector<uint32_t> some;
  some.reserve(kMemoryEventsMax);
  for (size_t i = 0; i < kMemoryEventsMax; ++i) {
    some.push_back(rows[i * rows.size() / kMemoryEventsMax]);
  }
  return some;
}

std::vector<MemoryCurve> curves_of(const GpuView& view, std::vector<std::string>& notes) {
  const std::vector<uint32_t> rows = memory_rows(view, notes);
  std::vector<MemoryCurve> list;
  if (rows.empty()) return list;
  const auto texts = read_events(*view.trace, rows);
  if (!texts) {
    notes.push_back("the allocator's curve was not read: " + texts.error().message);
    return list;
  }
  std::map<std::pair<int64_t, int64_t>, MemoryCurve> curves;
  uint64_t unreadable = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto event = nlohmann::json::parse((*texts)[i], nullptr, false);
    const auto args = event.is_object() ? event.find("args") : event.end();
    const bool object = event.is_object() && args != event.end() && args->is_object();
    const auto allocated = object ? argument(*args, "Total Allocated") : std::nullopt;
    if (!allocated) {
      ++unreadable;
      continue;
    }
    const int64_t type = argument(*args, "Device Type").value_or(0);
    const int64_t device = argument(*args, "Device Id").value_or(-1);
    MemoryCurve& curve = curves[{type, device}];
    curve.device_type = static_cast<int>(std::clamp<int64_t>(type, INT32_MIN, INT32_MAX));
    curve.device = static_cast<int>(std::clamp<int64_t>(device, INT32_MIN, INT32_MAX));
    curve.points.push_back({view.trace->events.start_ns[rows[i]], *allocated,
                            argument(*args, "Total Reserved").value_or(0)});
  }
  if (unreadable > 0) {
    notes.push_back(fmt::format("{} [memory] events have no \"Total Allocated\"", unreadable));
  }
  for (auto& [key, curve] : curves) {
    std::ranges::sort(curve.points, {}, [](const MemoryPoint& p) {
      return std::tuple(p.time_ns, p.allocated, p.reserved);
    });
    curve.peak = *std::ranges::max_element(curve.points, {}, &MemoryPoint::allocated);
    curve.peak_reserved =
        std::ranges::max_element(curve.points, {}, &MemoryPoint::reserved)->reserved;
    list.push_back(std::move(curve));
  }
  return list;
}

Json copy_json(const CopyRow& row) {
  Json json{{"name", row.name},
            {"pageable", row.pageable},
            {"count", row.count},
            {"synchronous", row.synchronous},
            {"bytes", row.bytes},
            {"total_us", us(row.total_ns)},
            {"gb_s", row.gb_s()},
            {"largest_bytes", row.largest_bytes},
            {"largest_gb_s", row.largest_gb_s}};
  if (row.limit_gb_s > 0) {
    json["limit_gb_s"] = row.limit_gb_s;
    json["percent"] = row.percent();
  }
  return json;
}

Json curve_json(const MemoryCurve& curve, size_t points_max) {
  Json points = Json::array();
  const size_t n = curve.points.size(), step = n / std::max<size_t>(points_max, 1) + 1;
  const auto add = [&](const MemoryPoint& p) {
    points.push_back({us(p.time_ns), p.allocated, p.reserved});
  };
  bool peak_shown = false;
  for (size_t i = 0; i < n; i += step) {
    const MemoryPoint& p = curve.points[i];
    if (!peak_shown && p.time_ns >= curve.peak.time_ns) {
      if (p.time_ns > curve.peak.time_ns) add(curve.peak);
      peak_shown = true;
    }
    add(p);
  }
  if (!peak_shown && n > 0) add(curve.peak);
  return {{"device_type", curve.device_type},
          {"device", curve.device},
          {"peak_bytes", curve.peak.allocated},
          {"peak_at_us", us(curve.peak.time_ns)},
          {"peak_reserved_bytes", curve.peak_reserved},
          {"points", std::move(points)}};  // [time_us, allocated, reserved]
}

}  // namespace

double CopyRow::gb_s() const {
  return total_ns > 0 ? static_cast<double>(bytes) / static_cast<double>(total_ns) : 0;
}
double CopyRow::percent() const {
  return limit_gb_s > 0 ? 100 * largest_gb_s / limit_gb_s : 0;
}

int64_t copy_duration_ns(const GpuView& view, const Activity& a) {
  const Events& e = view.trace->events;
  const int64_t printed = a.duration_ns();
  const Category category = e.category[a.row];
  if ((category != Category::kMemcpy && category != Category::kMemset) ||
      e.detail[a.row] == kNone || printed != e.duration_ns[a.row]) {
    return printed;
  }
  const double exact = view.trace->copies[e.detail[a.row]].exact_ns();
  const auto resolution = static_cast<double>(view.trace->resolution_ns);
  const bool agrees = exact > 0 && std::abs(exact - static_cast<double>(printed)) < resolution;
  return agrees ? std::llround(exact) : printed;
}

MemoryUse memory_use(const GpuView& view, const Model& model) {
  MemoryUse use;
  use.copies = copies_of(view, model);
  use.calls = calls_of(*view.trace);
  use.curves = curves_of(view, use.notes);
  return use;
}

Json to_json(const MemoryUse& use, size_t points_max) {
  Json copies = Json::array(), calls = Json::array(), curves = Json::array();
  for (const CopyRow& row : use.copies) copies.push_back(copy_json(row));
  for (const AllocationCalls& call : use.calls) {
    calls.push_back({{"name", call.name}, {"count", call.count}, {"total_us", us(call.total_ns)}});
  }
  for (const MemoryCurve& curve : use.curves) curves.push_back(curve_json(curve, points_max));
  return {{"copies", std::move(copies)},
          {"allocation_calls", std::move(calls)},
          {"curves", std::move(curves)},
          {"notes", use.notes}};
}

}  // namespace hadal::trace
