#include "trace/occupancy.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr int kWarp = 32;
constexpr int64_t kRegisterUnit = 256;  // a warp's registers are a multiple of this
constexpr int64_t kSchedulers = 4;      // that share an SM's registers
constexpr int64_t kSharedWithoutOptIn = 48 << 10;
constexpr double kRounding = 0.51;  // the profiler prints whole percents

struct Capability {
  int major, minor;
  int warps, blocks;
  int64_t shared_memory, shared_memory_per_block;  // KiB
  int64_t unit, reserved;                          // bytes
};
constexpr Capability kCapabilities[] = {
    {7, 0, 64, 32, 96, 96, 256, 0},       {7, 2, 64, 32, 96, 96, 256, 0},
    {7, 5, 32, 16, 64, 64, 256, 0},       {8, 0, 64, 32, 164, 163, 128, 1024},
    {8, 6, 48, 16, 100, 99, 128, 1024},   {8, 7, 48, 16, 164, 163, 128, 1024},
    {8, 9, 48, 24, 100, 99, 128, 1024},   {9, 0, 64, 32, 228, 227, 128, 1024},
    {10, 0, 64, 32, 228, 227, 128, 1024}, {10, 3, 64, 32, 228, 227, 128, 1024},
    {12, 0, 48, 24, 100, 99, 128, 1024},  {12, 1, 48, 24, 100, 99, 128, 1024},
};

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

int blocks_by_registers(const Launch& launch, const SmLimits& sm, int64_t warps) {
  const int64_t per_warp = round_up(int64_t{launch.registers_per_thread} * kWarp, kRegisterUnit);
  if (per_warp == 0) return sm.blocks;
  return static_cast<int>(
      std::min<int64_t>(sm.registers / kSchedulers / per_warp * kSchedulers / warps, sm.warps));
}

int blocks_by_shared_memory(const Launch& launch, const SmLimits& sm, int64_t max) {
  const int64_t bytes = launch.shared_memory_bytes;
  if (bytes > max) return 0;
  const int64_t taken = round_up(bytes + sm.shared_memory_reserved, sm.shared_memory_unit);
  if (taken == 0) return sm.blocks;
  // Without shared memory of its own a block is limited by other things long before this.
  return static_cast<int>(std::min<int64_t>(sm.shared_memory / taken, sm.warps * kWarp));
}

/// What is wrong with the device of a kernel, as a note.
std::string missing(int id, const Device* device) {
  if (!device) {
    return fmt::format("the trace has no device properties for GPU {}; its kernels have no figure",
                       id);
  }
  return fmt::format(
      "GPU {} is \"{}\", compute capability {}.{} with {} SMs; occupancy is known for NVIDIA GPUs "
      "of compute capability 7.0 to 12.1 whose number of SMs is in the trace",
      id, device->name, device->compute_major, device->compute_minor, device->num_sms);
}

/// The limits of each device of a view, looked up once.
class Limits {
 public:
  explicit Limits(const GpuView& view) : view_(view) {}
  const std::optional<SmLimits>& of(int id, std::vector<std::string>& notes) {
    const auto [at, fresh] = known_.try_emplace(id);
    if (fresh) {
      const Device* device = view_.trace->device(id);
      if (device) at->second = sm_limits(*device);
      if (!at->second) notes.push_back(missing(id, device));
    }
    return at->second;
  }

 private:
  const GpuView& view_;
  std::map<int, std::optional<SmLimits>> known_;
};

KernelOccupancy examine(const GpuView& view, const KernelGroup& group,
                        const std::optional<SmLimits>& sm) {
  KernelOccupancy k{.key = group.key,
                    .device = group.device,
                    .count = group.activities.size(),
                    .total_ns = group.total_ns};
  const Launch* launch = launch_of(view, group.key);
  if (!launch) return k;
  if (std::isfinite(launch->reported_occupancy)) k.reported_percent = launch->reported_occupancy;
  if (!sm) return k;
  k.exact = occupancy(*launch, *sm);
  if (!k.exact || k.reported_percent < 0) return k;
  k.reported_wrong = std::abs(k.exact->percent - k.reported_percent) > kRounding;
  const auto kineto = occupancy(*launch, *sm, kSharedWithoutOptIn);
  k.explained = kineto && std::abs(kineto->percent - k.reported_percent) <= kRounding;
  return k;
}

}  // namespace

std::optional<SmLimits> sm_limits(const Device& device) {
  // A minor version that is not in the table is as the last one before it.
  const Capability* found = nullptr;
  for (const Capability& c : kCapabilities) {
    if (c.major == device.compute_major && c.minor <= device.compute_minor) found = &c;
  }
  if (!found || device.num_sms <= 0 || device.warp_size != kWarp) return std::nullopt;
  const auto or_else = [](int64_t seen, int64_t known) { return seen > 0 ? seen : known; };
  SmLimits sm{.num_sms = device.num_sms,
              .warps = found->warps,
              .blocks = found->blocks,
              .threads = found->warps * kWarp,
              .registers = or_else(device.registers_per_sm, 65536),
              .shared_memory = or_else(device.shared_memory_per_sm, found->shared_memory << 10),
              .shared_memory_unit = found->unit,
              .shared_memory_reserved = found->reserved,
              .shared_memory_per_block = or_else(device.shared_memory_per_block_optin,
                                                 found->shared_memory_per_block << 10)};
  if (device.threads_per_sm_max >= kWarp) {
    sm.threads = device.threads_per_sm_max;
    sm.warps = sm.threads / kWarp;
  }
  return sm;
}

std::string_view name(Limiter limiter) {
  constexpr std::string_view kNames[] = {"grid", "warps", "registers", "shared_memory", "blocks"};
  return kNames[static_cast<size_t>(limiter)];
}

std::optional<Occupancy> occupancy(const Launch& launch, const SmLimits& sm,
                                   std::optional<int64_t> shared_memory_max) {
  const int64_t threads = volume(launch.block);
  const int64_t blocks = volume(launch.grid);
  if (threads == 0 || blocks == 0) return std::nullopt;
  Occupancy o;
  const int64_t warps = threads / kWarp + (threads % kWarp != 0);
  o.by_warps = static_cast<int>(sm.warps / warps);
  o.by_blocks = sm.blocks;
  o.by_registers = blocks_by_registers(launch, sm, warps);
  o.by_shared_memory =
      blocks_by_shared_memory(launch, sm, shared_memory_max.value_or(sm.shared_memory_per_block));
  o.blocks_per_sm_launched = static_cast<double>(blocks) / sm.num_sms;

  // The first of equal ones, in this order: what a grid does not fill nothing else limits.
  const std::pair<double, Limiter> limits[] = {
      {o.blocks_per_sm_launched, Limiter::kGrid},
      {o.by_warps, Limiter::kWarps},
      {o.by_registers, Limiter::kRegisters},
      {o.by_shared_memory, Limiter::kSharedMemory},
      {o.by_blocks, Limiter::kBlocks},
  };
  o.blocks_per_sm = std::min({o.by_warps, o.by_registers, o.by_shared_memory, o.by_blocks});
  const auto least = std::ranges::min_element(limits, {}, &std::pair<double, Limiter>::first);
  o.limiter = least->second;
  o.percent = 100 * least->first * static_cast<double>(threads) / sm.threads;
  return o;
}

SmLimits remaining(const SmLimits& sm, const Launch& resident) {
  SmLimits left = sm;
  const int64_t threads = std::min<int64_t>(volume(resident.block), int64_t{sm.warps} * kWarp);
  const int64_t warps = round_up(threads, kWarp) / kWarp;
  left.warps = static_cast<int>(sm.warps - warps);
  left.blocks = std::max(0, sm.blocks - 1);
  left.registers = std::max<int64_t>(
      0, sm.registers -
             warps * round_up(int64_t{resident.registers_per_thread} * kWarp, kRegisterUnit));
  left.shared_memory = std::max<int64_t>(
      0,
      sm.shared_memory - round_up(int64_t{resident.shared_memory_bytes} + sm.shared_memory_reserved,
                                  sm.shared_memory_unit));
  return left;
}

OccupancyReport occupancy_report(const GpuView& view) {
  OccupancyReport report;
  Limits limits(view);
  double reported = 0, exact = 0;  // percent * ns
  int64_t reported_ns = 0, exact_ns = 0;
  for (const KernelGroup& group : kernel_groups(view)) {
    const KernelOccupancy k = examine(view, group, limits.of(group.device, report.notes));
    report.kernel_ns += k.total_ns;
    report.launches += k.count;
    const auto weight = static_cast<double>(k.total_ns);
    if (k.reported_percent >= 0) {
      reported += k.reported_percent * weight;
      reported_ns += k.total_ns;
    }
    if (k.exact) {
      exact += k.exact->percent * weight;
      exact_ns += k.total_ns;
    } else {
      report.launches_unknown += k.count;
      report.unknown_ns += k.total_ns;
    }
    if (k.reported_wrong) {
      report.launches_wrong += k.count;
      report.wrong_ns += k.total_ns;
    }
    if (k.explained) report.launches_explained += k.count;
    report.kernels.push_back(k);
  }
  if (reported_ns > 0) report.reported_mean_percent = reported / static_cast<double>(reported_ns);
  if (exact_ns > 0) report.exact_mean_percent = exact / static_cast<double>(exact_ns);
  return report;
}

Json to_json(const GpuView& view, const OccupancyReport& report) {
  Json kernels = Json::array();
  for (const KernelOccupancy& k : report.kernels) {
    Json json = kernel_json(view, k.key);
    json["device"] = k.device;
    json["count"] = k.count;
    json["total_us"] = us(k.total_ns);
    if (k.reported_percent >= 0) json["reported_percent"] = k.reported_percent;
    if (k.exact) {
      json["percent"] = k.exact->percent;
      json["limiter"] = name(k.exact->limiter);
      json["blocks_per_sm"] = k.exact->blocks_per_sm;
      json["blocks_per_sm_launched"] = k.exact->blocks_per_sm_launched;
      json["reported_wrong"] = k.reported_wrong;
    }
    kernels.push_back(std::move(json));
  }
  const auto or_null = [](double percent) { return percent < 0 ? Json() : Json(percent); };
  return {{"kernel_us", us(report.kernel_ns)},
          {"launches", report.launches},
          {"launches_unknown", report.launches_unknown},
          {"unknown_us", us(report.unknown_ns)},
          {"reported_mean_percent", or_null(report.reported_mean_percent)},
          {"mean_percent", or_null(report.exact_mean_percent)},
          {"launches_reported_wrong", report.launches_wrong},
          {"reported_wrong_us", us(report.wrong_ns)},
          {"launches_as_kineto_computes", report.launches_explained},
          {"notes", report.notes},
          {"kernels", std::move(kernels)}};
}

}  // namespace hadal::trace
