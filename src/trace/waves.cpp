#include "trace/waves.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/occupancy.h"

namespace hadal::trace {
namespace {

// Kernels of one stream follow each other; a compute kernel that more than this many communication
// kernels of one stream overlap is not one that any single one of them decides.
constexpr int kOverlapsLookedAtMax = 64;

/// One GPU: its limits, its activities by class, and its communication by stream.
struct Gpu {
  std::optional<SmLimits> sm;
  std::vector<uint32_t> compute, communication;            // ascending
  std::map<uint16_t, std::vector<uint32_t>> comm_streams;  // by start
  Interval span{INT64_MAX, INT64_MIN};
};

std::map<int, Gpu> gpus_of(const GpuView& view) {
  std::map<int, Gpu> gpus;
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    const int id = device_of(view, a);
    const auto [at, fresh] = gpus.try_emplace(id);
    Gpu& gpu = at->second;
    if (const Device* device = view.trace->device(id); fresh && device) gpu.sm = sm_limits(*device);
    gpu.span.start = std::min(gpu.span.start, a.start_ns);
    gpu.span.end = std::max(gpu.span.end, a.end_ns);
    if (!is_kernel(view, a)) continue;
    if (a.kind == Class::kCompute) gpu.compute.push_back(i);
    if (a.kind == Class::kCommunication) {
      gpu.communication.push_back(i);
      gpu.comm_streams[a.track].push_back(i);
    }
  }
  return gpus;
}

/// Blocks of an activity, and how many of them fit on an SM; 0 and 0 where unknown.
struct Fit {
  int64_t blocks = 0;
  int per_sm = 0;
  bool one_wave_of_one(int num_sms) const { return per_sm == 1 && blocks <= num_sms; }
};
Fit fit_of(const GpuView& view, uint32_t i, const SmLimits& sm) {
  const Launch* launch = view.launch_of(view.activities[i]);
  if (!launch) return {};
  const auto o = occupancy(*launch, sm);
  return o ? Fit{volume(launch->grid), o->blocks_per_sm} : Fit{};
}

std::vector<Interval> intervals_of(const GpuView& view, const std::vector<uint32_t>& activities) {
  std::vector<Interval> all;
  all.reserve(activities.size());
  for (const uint32_t i : activities) {
    all.push_back({view.activities[i].start_ns, view.activities[i].end_ns});
  }
  return all;
}

/// The block count with the most time; 0 if there is none.
struct MostTime {
  std::map<int64_t, int64_t> by_blocks;
  std::pair<int64_t, int64_t> best() const {  // blocks, ns
    std::pair<int64_t, int64_t> found{0, 0};
    for (const auto& [blocks, ns] : by_blocks) {
      if (ns > found.second) found = {blocks, ns};
    }
    return found;
  }
};

Partition find_partition(const GpuView& view, int id, const Gpu& gpu) {
  Partition p{.device = id, .num_sms = gpu.sm->num_sms};
  MostTime communication, compute;
  int64_t compute_ns = 0, transfer_ns = 0;
  for (const uint32_t i : gpu.communication) {
    const Activity& a = view.activities[i];
    if (a.role != Role::kTransfer) continue;
    transfer_ns += a.duration_ns();
    const Fit fit = fit_of(view, i, *gpu.sm);
    if (fit.blocks > 0 && fit.blocks < p.num_sms) {
      communication.by_blocks[fit.blocks] += a.duration_ns();
    }
  }
  for (const uint32_t i : gpu.compute) {
    const int64_t ns = view.activities[i].duration_ns();
    compute_ns += ns;
    const Fit fit = fit_of(view, i, *gpu.sm);
    if (fit.per_sm == 1 && fit.blocks < p.num_sms) compute.by_blocks[fit.blocks] += ns;
  }
  const auto [blocks, ns] = compute.best();
  p.communication_sms = static_cast<int>(communication.best().first);
  p.compute_sms = static_cast<int>(blocks);
  p.detected = p.communication_sms > 0 && int64_t{p.compute_sms} * 2 >= p.num_sms &&
               int64_t{p.communication_sms} + p.compute_sms <= p.num_sms &&
               static_cast<double>(ns) >= kPartitionShare * static_cast<double>(compute_ns);
  if (p.detected) {
    const auto busy = static_cast<double>(length(unite(intervals_of(view, gpu.compute))));
    p.sequential_ns = std::llround(busy * p.compute_sms / p.num_sms) + transfer_ns;
    p.span_ns = gpu.span.length();
  }
  return p;
}

/// Room for a kernel's blocks beside the communication that runs with it.
struct Room {
  int sms_held = 0;
  int64_t capacity = 0;
};

class RoomFinder {
 public:
  RoomFinder(const GpuView& view, const Gpu& gpu) : view_(view), gpu_(gpu) {}

  Room find(uint32_t activity, const Launch& launch, int per_sm) const {
    const SmLimits& sm = *gpu_.sm;
    int64_t held = 0, beside = 0;
    for (const auto& [track, kernels] : gpu_.comm_streams) {
      if (track == view_.activities[activity].track) continue;
      const Launch* resident = longest_beside(kernels, activity);
      if (!resident) continue;
      const int64_t blocks = std::min<int64_t>(volume(resident->grid), sm.num_sms - held);
      const auto o = occupancy(launch, remaining(sm, *resident));
      held += blocks;
      beside += blocks * (o ? std::min(o->blocks_per_sm, per_sm) : 0);
    }
    return {static_cast<int>(held), per_sm * (sm.num_sms - held) + beside};
  }

 private:
  /// The launch of the kernel that overlaps the activity longest, if all of them together do so for
  /// half of its time.
  const Launch* longest_beside(const std::vector<uint32_t>& kernels, uint32_t activity) const {
    const Activity& a = view_.activities[activity];
    auto at = std::ranges::lower_bound(kernels, a.end_ns, {},
                                       [&](uint32_t i) { return view_.activities[i].start_ns; });
    int64_t overlap = 0, longest = 0;
    const Launch* found = nullptr;
    for (int n = 0; at != kernels.begin() && n < kOverlapsLookedAtMax; ++n) {
      const Activity& b = view_.activities[*--at];
      const int64_t common = std::min(a.end_ns, b.end_ns) - std::max(a.start_ns, b.start_ns);
      if (common <= 0) break;
      overlap += common;
      if (common > longest && view_.launch_of(b)) {
        longest = common;
        found = view_.launch_of(b);
      }
    }
    return 2 * overlap >= a.duration_ns() ? found : nullptr;
  }

  const GpuView& view_;
  const Gpu& gpu_;
};

void add_waves(const GpuView& view, int id, const Gpu& gpu, std::vector<WaveRow>& rows) {
  using Place = std::tuple<KernelKey, int, int64_t>;  // kernel, SMs held, capacity
  std::map<Place, WaveRow> found;
  const RoomFinder rooms(view, gpu);
  for (const uint32_t i : gpu.compute) {
    const Activity& a = view.activities[i];
    const Fit fit = fit_of(view, i, *gpu.sm);
    if (fit.per_sm == 0 || fit.blocks == 0) continue;
    const Room room = rooms.find(i, *view.launch_of(a), fit.per_sm);
    WaveRow& row = found[{key_of(view, a), room.sms_held, room.capacity}];
    row = {.key = key_of(view, a),
           .device = id,
           .company = room.sms_held > 0 ? Company::kCommunication : Company::kAlone,
           .blocks_per_sm = fit.per_sm,
           .sms_held = room.sms_held,
           .blocks = fit.blocks,
           .capacity = room.capacity,
           .count = row.count + 1,
           .total_ns = row.total_ns + a.duration_ns()};
  }
  for (auto& [place, row] : found) {
    if (row.capacity <= 0) continue;  // communication leaves no room: the kernel waits for its end
    row.waves = row.blocks / row.capacity + (row.blocks % row.capacity != 0);
    row.efficiency = static_cast<double>(row.blocks) /
                     (static_cast<double>(row.waves) * static_cast<double>(row.capacity));
    row.flagged =
        row.waves >= 2 &&
        row.efficiency<kEfficiencyFlag&& static_cast<double>(row.total_ns)> kSpanShareFlag *
            static_cast<double>(gpu.span.length());
    rows.push_back(row);
  }
}

void add_queueing(const GpuView& view, const Gpu& gpu, Queueing& queueing) {
  struct Step {
    int64_t time;
    int64_t blocks;  // negative: an end, which comes first
    uint32_t activity;
    auto operator<=>(const Step&) const = default;
  };
  std::vector<Step> steps;
  for (const uint32_t i : gpu.compute) {
    const Activity& a = view.activities[i];
    const Fit fit = fit_of(view, i, *gpu.sm);
    if (!fit.one_wave_of_one(gpu.sm->num_sms) || a.duration_ns() <= 0) continue;
    steps.push_back({a.start_ns, fit.blocks, i});
    steps.push_back({a.end_ns, -fit.blocks, i});
  }
  std::ranges::sort(steps);
  std::vector<Interval> over;
  int64_t blocks = 0, since = 0;
  for (const Step& step : steps) {
    if (blocks > gpu.sm->num_sms && step.time > since) over.push_back({since, step.time});
    blocks += step.blocks;
    since = step.time;
  }
  const IntervalSet set = unite(std::move(over));
  queueing.total_ns += length(set);
  std::vector<uint32_t> concerned;
  for (const Step& step : steps) {
    if (step.blocks < 0) continue;
    const Activity& a = view.activities[step.activity];
    const auto after = std::ranges::lower_bound(set, a.end_ns, {}, &Interval::start);
    if (after == set.begin() || std::prev(after)->end <= a.start_ns) continue;
    concerned.push_back(step.activity);
    queueing.sum_ns += a.duration_ns();
  }
  queueing.union_ns += length(unite(intervals_of(view, concerned)));
  queueing.activities.insert(queueing.activities.end(), concerned.begin(), concerned.end());
}

void add_head_of_line(const GpuView& view, const std::map<int, Gpu>& gpus,
                      std::vector<HeadOfLine>& found) {
  for (const KernelGroup& group : kernel_groups(view)) {
    const auto gpu = gpus.find(group.device);
    const Activity& first = view.activities[group.activities.front()];
    if (first.kind != Class::kCompute || gpu == gpus.end()) continue;
    const auto carries = [&](uint32_t i) {
      return gpu->second.comm_streams.contains(view.activities[i].track);
    };
    std::vector<int64_t> elsewhere;
    for (const uint32_t i : group.activities) {
      if (!carries(i)) elsewhere.push_back(view.activities[i].duration_ns());
    }
    const DurationStats stats = duration_stats(std::move(elsewhere));
    if (stats.median_ns <= 0) continue;
    for (const uint32_t i : group.activities) {
      const auto ns = static_cast<double>(view.activities[i].duration_ns());
      if (carries(i) && ns >= kHeadOfLineFactor * static_cast<double>(stats.median_ns)) {
        found.push_back({i, stats.median_ns, stats.count});
      }
    }
  }
  std::ranges::sort(found, {}, [&](const HeadOfLine& h) {
    return std::pair(-view.activities[h.activity].duration_ns(), h.activity);
  });
}

Json partition_json(const Partition& p) {
  Json json{{"device", p.device},
            {"num_sms", p.num_sms},
            {"detected", p.detected},
            {"communication_sms", p.communication_sms},
            {"compute_sms", p.compute_sms}};
  if (p.detected) {
    json["sequential_us"] = us(p.sequential_ns);
    json["span_us"] = us(p.span_ns);
    json["gain"] = p.gain();
    json["sm_tax"] = p.sm_tax();
  }
  return json;
}

Json wave_json(const GpuView& view, const WaveRow& row) {
  Json json = kernel_json(view, row.key);
  json["device"] = row.device;
  json["company"] = name(row.company);
  json["blocks_per_sm"] = row.blocks_per_sm;
  json["sms_held"] = row.sms_held;
  json["blocks"] = row.blocks;
  json["capacity"] = row.capacity;
  json["waves"] = row.waves;
  json["efficiency"] = row.efficiency;
  json["count"] = row.count;
  json["total_us"] = us(row.total_ns);
  json["flagged"] = row.flagged;
  return json;
}

}  // namespace

double Partition::gain() const {
  return span_ns > 0 ? static_cast<double>(sequential_ns) / static_cast<double>(span_ns) : 0;
}

double Partition::sm_tax() const {
  return detected ? 1 - static_cast<double>(compute_sms) / num_sms : 0;
}

WaveReport wave_report(const GpuView& view) {
  WaveReport report;
  const std::map<int, Gpu> gpus = gpus_of(view);
  for (const auto& [id, gpu] : gpus) {
    if (!gpu.sm) {
      report.notes.push_back(fmt::format(
          "the SMs of GPU {} are not known (no device properties of an NVIDIA GPU in the trace): "
          "no waves, no partition",
          id));
      continue;
    }
    report.partitions.push_back(find_partition(view, id, gpu));
    add_waves(view, id, gpu, report.rows);
    add_queueing(view, gpu, report.queueing);
  }
  std::ranges::sort(report.rows, {}, [](const WaveRow& row) {
    return std::tuple(-row.total_ns, row.device, row.key, row.sms_held, row.capacity);
  });
  std::ranges::sort(report.queueing.activities);
  report.queueing.kernels = report.queueing.activities.size();
  add_head_of_line(view, gpus, report.head_of_line);
  return report;
}

Json to_json(const GpuView& view, const WaveReport& report) {
  Json partitions = Json::array(), rows = Json::array(), lines = Json::array();
  for (const Partition& p : report.partitions) partitions.push_back(partition_json(p));
  for (const WaveRow& row : report.rows) rows.push_back(wave_json(view, row));
  for (const HeadOfLine& h : report.head_of_line) {
    const Activity& a = view.activities[h.activity];
    lines.push_back({{"name", view.name_of(a)},
                     {"start_us", us(a.start_ns)},
                     {"duration_us", us(a.duration_ns())},
                     {"elsewhere_median_us", us(h.elsewhere_median_ns)},
                     {"elsewhere_count", h.elsewhere_count}});
  }
  const Queueing& q = report.queueing;
  return {{"partitions", std::move(partitions)},
          {"kernels", std::move(rows)},
          {"queueing",
           {{"total_us", us(q.total_ns)},
            {"kernels", q.kernels},
            {"sum_us", us(q.sum_ns)},
            {"union_us", us(q.union_ns)}}},
          {"head_of_line", std::move(lines)},
          {"notes", report.notes}};
}

}  // namespace hadal::trace
