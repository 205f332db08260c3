#include "gemm/gemm.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/threads.h"
#include "cpu/cpu.h"
#include "gemm/cpu_kernels.h"
#include "gemm/plan.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {

namespace {

const CpuKernels& table(cpu::Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case cpu::Isa::kScalar: break;
    case cpu::Isa::kAvx2: return kAvx2CpuKernels;
    case cpu::Isa::kAvx512: return kAvx512CpuKernels;
    case cpu::Isa::kAvx512Bf16: return kAvx512Bf16CpuKernels;
  }
#endif
  return kScalarCpuKernels;
}

Result<> need(bool given, std::string_view name) {
  if (given) return {};
  return fail(Code::kInvalidArgument, fmt::format("{} is null", name));
}

}  // namespace

Result<> check_args(const GemmSpec& spec, const GemmArgs& args, size_t workspace_bytes) {
  const bool reads = spec.k > 0, fp8 = is_fp8(spec.a.type);
  TRY(need(!reads || args.a != nullptr, "a"));
  TRY(need(!reads || args.b != nullptr, "b"));
  TRY(need(!reads || !fp8 || args.a_scale != nullptr, "a_scale"));
  TRY(need(!reads || !fp8 || spec.b.packed || args.b_scale != nullptr, "b_scale"));
  TRY(need(args.d != nullptr, "d"));
  TRY(need(spec.d.type != DType::kE4m3 || args.d_scale != nullptr, "d_scale"));
  TRY(need(!spec.d.accumulate || args.c != nullptr, "c"));
  TRY(need(!spec.d.bias || args.bias != nullptr, "bias"));
  const bool has_groups = spec.grouping != Grouping::kNone && spec.grouping != Grouping::kBatched;
  TRY(need(!has_groups || args.groups != nullptr, "groups"));
  TRY(need(spec.a_rows == 0 || args.rows != nullptr, "rows"));
  if (args.workspace.size() < workspace_bytes) {
    return fail(Code::kInvalidArgument, fmt::format("workspace has {} bytes; the plan needs {}",
                                                    args.workspace.size(), workspace_bytes));
  }
  if (reinterpret_cast<uintptr_t>(args.workspace.data()) % 256 != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("workspace is at {:#x}; it must be aligned to 256",
                            reinterpret_cast<uintptr_t>(args.workspace.data())));
  }
  if (spec.d.accumulate && args.c == args.d &&
      (spec.d.c_type != spec.d.type || spec.d.c_stride != spec.d.stride ||
       spec.d.c_group_stride != spec.d.group_stride)) {
    return fail(Code::kInvalidArgument, "c is d; their types and strides must then be the same");
  }
  return {};
}

Result<> Plan::run(const GemmArgs& args, gpu::Stream stream) const noexcept {
  return impl_->run(args, stream);
}
std::string PlanInfo::text() const {
  std::string out = fmt::format("{}\n{}\n", backend, kernel);
  const auto line = [&out](std::string_view name, const std::string& value) {
    out += fmt::format("  {:<12}{}\n", name, value);
  };
  line("tiles",
       fmt::format("{} of {} x {} x {}, {:.2f} waves", tiles, tile_m, tile_n, tile_k, waves));
  if (stages > 0) line("stages", fmt::format("{}", stages));
  if (cluster > 1) line("cluster", fmt::format("{}", cluster));
  if (split_k > 1) line("split of k", fmt::format("{}", split_k));
  line("work", fmt::format("{:.4g} GFLOP, {:.4g} MB", 1e-9 * flops, 1e-6 * bytes));
  line("predicted", fmt::format("{:.4g} us", predicted_us));
  line("limit", fmt::format("{:.4g} us, {:.1f} % of the prediction", limit_us,
                            predicted_us > 0 ? 100 * limit_us / predicted_us : 100.0));
  line("workspace", fmt::format("{:.4g} MB", 1e-6 * static_cast<double>(workspace_bytes)));
  return out;
}

std::string PlanInfo::json() const {
  return fmt::format(
      R"({{"backend":"{}","kernel":"{}","tile_m":{},"tile_n":{},"tile_k":{},"stages":{},)"
      R"("cluster":{},"split_k":{},"tiles":{},"waves":{},"predicted_us":{},"limit_us":{},)"
      R"("flops":{},"bytes":{},"workspace_bytes":{}}})",
      backend, kernel, tile_m, tile_n, tile_k, stages, cluster, split_k, tiles, waves, predicted_us,
      limit_us, flops, bytes, workspace_bytes);
}

size_t Plan::workspace_bytes() const {
  return impl_->info.workspace_bytes;
}
const PlanInfo& Plan::explain() const {
  return impl_->info;
}
const GemmSpec& Plan::spec() const {
  return impl_->spec;
}

Result<Context> Context::cpu(const CpuOptions& options) {
  const hadal::cpu::Isa isa = options.isa.value_or(hadal::cpu::detect());
  TRY(hadal::cpu::need(isa));
  auto impl = std::make_shared<Impl>();
  impl->kernels = &table(isa);
  impl->pool =
      std::make_unique<ThreadPool>(ThreadPool::Options{.threads = options.threads, .name = "gemm"});
  impl->machine = {.isa = std::string(hadal::cpu::name(isa)),
                   .threads = impl->pool->size(),
                   .flops_per_s = measure_tile_flops_per_s(*impl->kernels, false),
                   .int8_ops_per_s = measure_tile_flops_per_s(*impl->kernels, true)};
  return Context(std::move(impl));
}

Context Context::on(gpu::Device* device) {
  auto impl = std::make_shared<Impl>();
  impl->device = device;
  return Context(std::move(impl));
}

Result<Plan> Context::plan(const GemmSpec& given) const {
  const GemmSpec spec = TRY(resolve(given));
  if (impl_->device != nullptr) {
    return Plan(TRY(plan_gpu(spec, impl_->device)));
  }
  return Plan(TRY(plan_cpu(spec, *impl_->kernels, *impl_->pool, impl_->machine)));
}

Result<size_t> Context::packed_b_bytes(const GemmSpec& given) const {
  const GemmSpec spec = TRY(resolve(given));
  if (impl_->kernels == nullptr) {
    return fail(Code::kUnsupported, "B is packed on the CPU only; a GPU reads it as it is");
  }
  return PackedB(spec, *impl_->kernels).total_bytes(has_own_b(spec) ? spec.num_groups : 1);
}

Result<> Context::pack_b(const GemmSpec& given, const void* b, const void* b_scale,
                         std::span<std::byte> packed) const {
  const GemmSpec spec = TRY(resolve(given));
  const size_t size = TRY(packed_b_bytes(given));
  if (packed.size() < size || reinterpret_cast<uintptr_t>(packed.data()) % 64 != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("packed has {} bytes at {:#x}; it must have {} and be aligned to 64",
                            packed.size(), reinterpret_cast<uintptr_t>(packed.data()), size));
  }
  TRY(need(size == 0 || spec.k == 0 || b != nullptr, "b"));
  TRY(need(size == 0 || spec.k == 0 || !is_fp8(spec.b.type) || b_scale != nullptr, "b_scale"));
  if (spec.k == 0) return {};
  const PackedB layout(spec, *impl_->kernels);
  const int64_t panels = layout.halves * layout.panels;
  const int64_t groups = has_own_b(spec) ? spec.num_groups : 1;
  impl_->pool->parallel_for(groups * panels, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / panels, half = i % panels / layout.panels;
      const int64_t row = i % layout.panels * kPanel;
      const int64_t first = half * layout.half_rows + row, rows = layout.half_rows - row;
      std::byte* const out = packed.data() + i * layout.panel_bytes;
      float* const scales =
          reinterpret_cast<float*>(out + round_up(spec.k, kQuad) * layout.code_bytes);
      if (spec.int8) {
        panel_int8(spec, *impl_->kernels, b, b_scale, group, first, rows, 0, spec.k, out, scales);
        continue;
      }
      panel_codes(spec, *impl_->kernels, b, group * spec.b.group_stride + first * spec.b.stride,
                  spec.b.stride, rows, spec.k, out);
      panel_scales(spec, layout, b_scale, group, first, rows, scales);
    }
  });
  return {};
}

}  // namespace hadal::gemm
