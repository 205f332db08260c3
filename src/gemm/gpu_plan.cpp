// The Hopper backend: chooses a kernel of the catalog by what it should cost, and launches it.
#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "base/check.h"
#include "gemm/gpu_catalog.h"
#include "gemm/plan.h"
#include "gemm/sm90/parameters.cuh"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

using sm90::Division;
using sm90::Number;
using sm90::Parameters;
using sm90::ScaleKind;
using sm90::Scales;

Division division_of(Grouping grouping) {
  switch (grouping) {
    case Grouping::kNone:
    case Grouping::kBatched: return Division::kUniform;
    case Grouping::kRowEnds: return Division::kRowEnds;
    case Grouping::kRowGroups: return Division::kRowIds;
    case Grouping::kMasked: return Division::kCounts;
    case Grouping::kK:
    case Grouping::kKFlat: return Division::kDepthEnds;
  }
  return Division::kUniform;
}

Number number_of(DType type) {
  switch (type) {
    case DType::kF16: return Number::kF16;
    case DType::kF32: return Number::kF32;
    case DType::kE4m3: return Number::kE4m3;
    default: return Number::kBf16;
  }
}

// ---------------------------------------------------------------- rules of the hardware

Result<> need_multiple(std::string_view what, int64_t bytes, int64_t of = 16) {
  if (bytes % of == 0) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{} is {} bytes; on a GPU it must be a multiple of {}", what, bytes, of));
}

// ---------------------------------------------------------------- what a kernel would cost

/// Rates of one SM per clock: from the widths of the instructions; of the second level cache what
/// DeepGEMM's model takes for H100 (8 TB/s at 1.3 GHz among 132 SMs).
constexpr double kTensorOpsPerColumn = 2;   // clocks of m64nN over 128 bytes of k: 2 N
constexpr double kAddsPerClock = 128;       // fused multiply-adds of float
constexpr double kCacheBytesPerClock = 46;  // second level cache to one SM, all SMs reading
constexpr double kSharedBytesPerClock = 128;
constexpr double kFillClocks = 1200;      // until the first stage is there
constexpr double kExchangeClocks = 1000;  // between the blocks of a split
constexpr double kLatencySeconds = 1e-6;  // of memory that is busy
constexpr double kLaunchSeconds = 3e-6;
constexpr double kMemoryShare = 0.92;  // of the peak that streams reach
constexpr double kClockHz = 1.755e9;   // where the device does not say

struct Machine {
  double clock_hz, memory_bytes_per_s;
  int num_sms;
};

Machine machine_of(const gpu::DeviceInfo& info) {
  return {.clock_hz = info.clock_khz > 0 ? info.clock_khz * 1e3 : kClockHz,
          .memory_bytes_per_s =
              info.memory_bytes_per_s > 0 ? static_cast<double>(info.memory_bytes_per_s) : 4.8e12,
          .num_sms = std::max(info.num_sms, 1)};
}

struct Cost {
  double seconds = 0, waves = 0;
  int64_t tiles = 0;
};

Cost cost_of(const GemmSpec& spec, const GpuKernel& kernel, const Machine& machine) {
  const double groups = spec.num_groups;
  const bool all_rows = spec.grouping == Grouping::kBatched || spec.grouping == Grouping::kK ||
                        spec.grouping == Grouping::kNone;
  const double rows = static_cast<double>(spec.expected_rows) / (all_rows ? 1 : groups);
  const double tile_m = kernel.tile_m() * kernel.share();
  const double columns = static_cast<double>(spec.n);
  const double units = groups * std::ceil(rows / tile_m) * std::ceil(columns / kernel.tile_n());
  const double depth = static_cast<double>(spec.k) / (spec.grouping == Grouping::kK ? groups : 1);
  const double blocks = std::ceil(depth * (is_fp8(spec.a.type) ? 1 : 2) / 128 / kernel.split);

  const double waves64 = kernel.rows / 64.0;
  const double tensor = kTensorOpsPerColumn * kernel.columns * waves64;
  double adds = 0;
  if (is_fp8(spec.a.type)) {
    adds = 64.0 * kernel.columns * waves64 * (kernel.one_scale ? 1 : 2) / kAddsPerClock;
  }
  // Two warpgroups take turns on the tensor cores; one alone waits for its own additions.
  const double math = kernel.warpgroups > 1 ? std::max(tensor, 1.15 * adds) : tensor + adds;
  const double bytes = 128.0 * (kernel.rows + static_cast<double>(kernel.columns) / kernel.share());
  const double block = std::max(math, bytes / kCacheBytesPerClock);
  const double sums = 4.0 * kernel.rows * kernel.columns / kSharedBytesPerClock;
  double epilogue = sums + kFillClocks;
  if (kernel.split > 1) epilogue += 2 * (kernel.split - 1) * sums + kExchangeClocks;
  const double at_once = std::max(1, machine.num_sms / kernel.cluster);
  Cost cost;
  cost.tiles = static_cast<int64_t>(units * kernel.share());
  cost.waves = units / at_once;
  const double compute = std::ceil(cost.waves) * (blocks * block + epilogue) / machine.clock_hz;
  // One SM alone cannot fill the memory: it has as much in flight as its stages hold.
  const double of_one_sm =
      std::min(kCacheBytesPerClock * machine.clock_hz, kernel.stages * bytes / kLatencySeconds);
  const double busy = std::min(units, at_once) * kernel.cluster;
  const double memory = work_of(spec).bytes / std::min(kMemoryShare * machine.memory_bytes_per_s,
                                                       std::max(busy, 1.0) * of_one_sm);
  cost.seconds = kLaunchSeconds + std::max(compute, memory);
  return cost;
}

/// Whether every tile of Y lies within one block of scales.
bool has_one_scale(const GemmSpec& spec, const GpuKernel& kernel) {
  if (!is_fp8(spec.a.type)) return true;
  const ScaleSpec& scale = kernel.swap ? spec.a.scale : spec.b.scale;
  if (scale.block.rows == kPerTensor.rows) return true;
  return !kernel.swap && spec.d.activation != Activation::kSwiglu && scale.block.rows == 128 &&
         128 % kernel.columns == 0;
}

bool fits(const GemmSpec& spec, const GpuKernel& kernel) {
  if (kernel.a_type != spec.a.type || kernel.b_type != spec.b.type) return false;
  if (kernel.fresh != (spec.d.type == DType::kE4m3)) return false;
  if (kernel.one_scale && !has_one_scale(spec, kernel)) return false;
  // What a row sums must not depend on how many others there are.
  if (kernel.split > 1 && spec.batch_invariant) return false;
  if (kernel.share() > 1 && spec.grouping == Grouping::kKFlat) return false;
  const bool swiglu = spec.d.activation == Activation::kSwiglu;
  if (kernel.gated) return swiglu;
  return !swiglu || !(kernel.swap || kernel.fresh);
}

// ---------------------------------------------------------------- parameters

Scales scales_of(const ScaleSpec& scale, const void* data) {
  const bool by_row = scale.layout == ScaleLayout::kRowMajor;
  int32_t shift = 31;
  if (scale.block.rows == 1) shift = 0;
  if (scale.block.rows == 128) shift = 7;
  ScaleKind kind = ScaleKind::kF32;
  if (scale.type == DType::kE8m0) kind = ScaleKind::kE8m0;
  if (scale.layout == ScaleLayout::kPacked4) kind = ScaleKind::kPacked4;
  return {.data = const_cast<void*>(data),
          .row_stride = by_row ? scale.stride : 1,
          .block_stride = by_row ? 1 : scale.stride,
          .group_stride = scale.group_stride,
          .row_shift = shift,
          .block_mask = scale.block.cols == 128 ? -1 : 0,
          .kind = kind,
          .unused = 0};
}

class GpuPlan : public Plan::Impl {
 public:
  GpuPlan(const GemmSpec& resolved, gpu::Device* device, const GpuKernel& chosen,
          const gpu::Kernel* loaded)
      : device_(device), kernel_(chosen), loaded_(loaded) {
    spec = resolved;
    element_ = is_fp8(spec.a.type) ? 1 : 2;
    grid_ = device->info().num_sms / kernel_.cluster * kernel_.cluster;
    grid_ = std::max(grid_, kernel_.cluster);
    fill_constants();
  }

  Result<> run(const GemmArgs& args, gpu::Stream stream) const override {
    if (spec.m == 0 || spec.n == 0) return {};
    TRY(check_args(spec, args, 0));
    TRY(check_pointers(args));
    Parameters p = constants_;
    if (spec.k > 0) {
      TRY(encode_maps(args, p));
      p.a_scale.data = const_cast<void*>(args.a_scale);
      p.b_scale.data = const_cast<void*>(args.b_scale);
    }
    p.d_scale.data = args.d_scale;
    p.c = spec.d.accumulate && args.beta != 0 ? args.c : nullptr;
    p.d = args.d;
    p.bias = spec.d.bias ? args.bias : nullptr;
    p.groups = args.groups;
    p.rows = spec.a_rows != 0 ? args.rows : nullptr;
    p.alpha = args.alpha;
    p.beta = args.beta;
    const gpu::Launch launch = {.grid = {static_cast<uint32_t>(grid_)},
                                .block = {static_cast<uint32_t>(kernel_.source.threads)},
                                .cluster = {static_cast<uint32_t>(kernel_.cluster)},
                                .shared_bytes = static_cast<uint32_t>(kernel_.source.shared_bytes)};
    return device_->launch(*loaded_, launch, std::as_bytes(std::span(&p, 1)), stream);
  }

 private:
  void fill_constants() {
    Parameters& p = constants_;
    if (is_fp8(spec.a.type)) {
      p.a_scale = scales_of(spec.a.scale, nullptr);
      p.b_scale = scales_of(spec.b.scale, nullptr);
    }
    if (spec.d.type == DType::kE4m3) p.d_scale = scales_of(spec.d.scale, nullptr);
    p.c_stride = spec.d.c_stride;
    p.c_group_stride = spec.d.c_group_stride;
    p.d_stride = spec.d.stride;
    p.d_group_stride = spec.d.group_stride;
    p.m = static_cast<int32_t>(spec.m);
    p.n = static_cast<int32_t>(spec.n);
    p.k = static_cast<int32_t>(spec.k);
    p.columns = static_cast<int32_t>(columns(spec));
    p.a_rows = static_cast<int32_t>(spec.a_rows);
    p.num_groups = spec.num_groups;
    p.row_alignment = spec.row_alignment;
    p.own_a = has_own_a(spec);
    p.own_b = has_own_b(spec);
    p.own_d = has_own_d(spec);
    p.flat = spec.grouping == Grouping::kKFlat;
    p.division = division_of(spec.grouping);
    p.d_type = number_of(spec.d.type);
    p.c_type = number_of(spec.d.c_type);
    p.finish = static_cast<sm90::Finish>(spec.d.activation);
    p.scales_are_powers = spec.d.scale.type == DType::kE8m0;
  }

  static Result<> check_pointer(std::string_view name, const void* pointer, size_t alignment) {
    const auto at = reinterpret_cast<uintptr_t>(pointer);
    if (at % alignment == 0) return {};
    return fail(Code::kInvalidArgument,
                fmt::format("{} is at {:#x}; it must be aligned to {}", name, at, alignment));
  }

  Result<> check_pointers(const GemmArgs& args) const {
    TRY(check_pointer("a", args.a, 16));
    TRY(check_pointer("b", args.b, 16));
    TRY(check_pointer("d", args.d, 16));
    if (spec.d.accumulate) TRY(check_pointer("c", args.c, 16));
    TRY(check_pointer("a_scale", args.a_scale, 4));
    TRY(check_pointer("b_scale", args.b_scale, 4));
    TRY(check_pointer("d_scale", args.d_scale, 4));
    TRY(check_pointer("bias", args.bias, 4));
    TRY(check_pointer("groups", args.groups, 4));
    return check_pointer("rows", args.rows, 4);
  }

  Result<gpu::TensorMap> encode(const OperandSpec& x, const void* data, int64_t rows,
                                int64_t groups, int64_t box_rows) const {
    if (spec.grouping == Grouping::kKFlat) return encode_flat(data, rows);
    const auto stride = static_cast<uint64_t>(x.stride * element_);
    const auto group_stride = static_cast<uint64_t>(x.group_stride * element_);
    return device_->encode(
        {.address = reinterpret_cast<gpu::Address>(data),
         .element = element_ == 1 ? gpu::Element::kU8 : gpu::Element::kBf16,
         .rank = 3,
         .dims = {static_cast<uint64_t>(spec.k), static_cast<uint64_t>(rows),
                  static_cast<uint64_t>(groups)},
         .strides_bytes = {stride, groups > 1 ? group_stride : stride},
         .box = {static_cast<uint32_t>(128 / element_), static_cast<uint32_t>(box_rows), 1},
         .swizzle = gpu::Swizzle::k128});
  }

  /// The groups' matrices as lines of 128 bytes; k and each group's part of it are multiples of
  /// 128.
  Result<gpu::TensorMap> encode_flat(const void* data, int64_t rows) const {
    const int64_t depth = 128 / element_;
    return device_->encode(
        {.address = reinterpret_cast<gpu::Address>(data),
         .element = element_ == 1 ? gpu::Element::kU8 : gpu::Element::kBf16,
         .rank = 3,
         .dims = {static_cast<uint64_t>(depth), static_cast<uint64_t>(rows * spec.k / depth), 1},
         .strides_bytes = {128, 128},
         .box = {static_cast<uint32_t>(depth), 1, 1},
         .swizzle = gpu::Swizzle::k128});
  }

  Result<> encode_maps(const GemmArgs& args, Parameters& p) const {
    const int64_t groups_a = has_own_a(spec) ? spec.num_groups : 1;
    const int64_t groups_b = has_own_b(spec) ? spec.num_groups : 1;
    const int64_t rows_a = spec.a_rows != 0 ? 1 : kernel_.tile_m();
    const int64_t rows_b = kernel_.swap ? kernel_.rows : kernel_.columns / 2;
    p.map_a = TRY(encode(spec.a, args.a, rows_of_a(spec), groups_a, rows_a));
    p.map_b = TRY(encode(spec.b, args.b, spec.n, groups_b, rows_b));
    return {};
  }

  gpu::Device* device_;
  const GpuKernel& kernel_;  // of the catalog
  const gpu::Kernel* loaded_;
  int64_t element_ = 1;
  int grid_ = 1;
  Parameters constants_ = {};
};

std::string team_text(const GpuKernel& kernel) {
  if (kernel.split > 1) return fmt::format(", {} blocks split k", kernel.split);
  return kernel.cluster > 1 ? fmt::format(", {} blocks share B", kernel.cluster) : "";
}

void explain(const GemmSpec& spec, const GpuKernel& kernel, const Cost& cost,
             const gpu::DeviceInfo& device, PlanInfo& info) {
  const Machine machine = machine_of(device);
  const Work work = work_of(spec);
  info.backend = device.name;
  info.kernel = fmt::format("{}: tile {}x{}{}{}, {} stages", kernel.source.name, kernel.tile_m(),
                            kernel.tile_n(), kernel.swap ? ", operands exchanged" : "",
                            team_text(kernel), kernel.stages);
  info.tile_m = kernel.tile_m();
  info.tile_n = kernel.tile_n();
  info.tile_k = is_fp8(spec.a.type) ? 128 : 64;
  info.stages = kernel.stages;
  info.cluster = kernel.cluster;
  info.split_k = kernel.split;
  info.tiles = cost.tiles;
  info.waves = cost.waves;
  info.predicted_us = 1e6 * cost.seconds;
  const double peak = machine.clock_hz * machine.num_sms * 8192 / (is_fp8(spec.a.type) ? 1 : 2);
  info.limit_us = 1e6 * std::max(work.flops / peak, work.bytes / machine.memory_bytes_per_s);
  info.flops = work.flops;
  info.bytes = work.bytes;
}

}  // namespace

Result<> check_gpu(const GemmSpec& spec) {
  const int64_t in = is_fp8(spec.a.type) ? 1 : 2;
  const auto out = static_cast<int64_t>(size_bytes(spec.d.type));
  const int64_t unit = std::min<int64_t>(16, 8 * out);  // what a thread stores at once
  TRY(need_multiple("a.stride", spec.a.stride * in));
  TRY(need_multiple("b.stride", spec.b.stride * in));
  if (has_own_a(spec)) TRY(need_multiple("a.group_stride", spec.a.group_stride * in));
  if (has_own_b(spec)) TRY(need_multiple("b.group_stride", spec.b.group_stride * in));
  TRY(need_multiple("d.stride", spec.d.stride * out, unit));
  if (has_own_d(spec)) TRY(need_multiple("d.group_stride", spec.d.group_stride * out, unit));
  if (spec.d.accumulate) {
    const auto c = static_cast<int64_t>(size_bytes(spec.d.c_type));
    TRY(need_multiple("d.c_stride", spec.d.c_stride * c));
    if (has_own_d(spec)) TRY(need_multiple("d.c_group_stride", spec.d.c_group_stride * c));
  }
  if (sm90::has_table(division_of(spec.grouping)) && spec.num_groups > int{sm90::kGroupsMax}) {
    return fail(Code::kUnsupported,
                fmt::format("num_groups is {}; on a GPU groups of rows may be {}", spec.num_groups,
                            sm90::kGroupsMax));
  }
  constexpr int64_t kLinesMax = int64_t{1} << 31;
  const int64_t lines = std::max(spec.m, spec.n) * ceil_div(spec.k * in, 128);
  if (spec.grouping == Grouping::kKFlat && lines >= kLinesMax) {
    return fail(Code::kUnsupported,
                fmt::format("flat groups have {} lines of 128 bytes; on a GPU they may have {}",
                            lines, kLinesMax - 1));
  }
  if (spec.b.packed) {
    return fail(Code::kUnsupported, "b.packed is set; on a GPU B is read as it is");
  }
  if (spec.int8) return fail(Code::kUnsupported, "int8 is set; on a GPU there is no such mode");
  return {};
}

Result<std::shared_ptr<const Plan::Impl>> plan_gpu(const GemmSpec& spec, gpu::Device* device,
                                                   std::string_view kernel_name) {
  TRY(check_gpu(spec));
  const Machine machine = machine_of(device->info());
  Cost best_cost;
  const GpuKernel* best = nullptr;
  for (const GpuKernel& kernel : gpu_kernels()) {
    if (!fits(spec, kernel) || kernel.cluster > device->info().num_sms) continue;
    if (!kernel_name.empty() && kernel.source.name != kernel_name) continue;
    const Cost cost = cost_of(spec, kernel, machine);
    if (best != nullptr && cost.seconds >= best_cost.seconds) continue;
    best_cost = cost;
    best = &kernel;
  }
  if (best == nullptr) {
    return fail(Code::kUnsupported,
                kernel_name.empty()
                    ? std::string("no kernel of the catalog does this")
                    : fmt::format("kernel {} does not exist or does not do this", kernel_name));
  }
  const gpu::Kernel* loaded = TRY(device->load(best->source));
  auto plan = std::make_shared<GpuPlan>(spec, device, *best, loaded);
  explain(spec, *best, best_cost, device->info(), plan->info);
  return plan;
}

}  // namespace hadal::gemm
