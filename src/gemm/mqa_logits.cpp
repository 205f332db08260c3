#include "gemm/mqa_logits.h"

#include <string>
#include <string_view>

#include <fmt/core.h>

#include "cpu/cpu.h"
#include "gemm/mqa_plan.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

constexpr int64_t kExtentMax = int64_t{1} << 30;

[[nodiscard]] std::unexpected<Error> bad(std::string message) {
  return fail(Code::kInvalidArgument, std::move(message));
}

Result<> check_range(std::string_view what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return bad(fmt::format("{} is {}; it must be {} to {}", what, value, low, high));
}

Result<> check_multiple(std::string_view what, int64_t value, int64_t of, int64_t high) {
  if (value >= of && value <= high && value % of == 0) return {};
  return bad(fmt::format("{} is {}; it must be a multiple of {} up to {}", what, value, of, high));
}

Result<> check_pages(const MqaSpec& spec) {
  TRY(check_range("next_n", spec.next_n, 1, kExtentMax));
  if (spec.queries % spec.next_n != 0) {
    return bad(fmt::format("queries is {}; it must be a multiple of next_n = {}", spec.queries,
                           spec.next_n));
  }
  TRY(check_multiple("block_size", spec.block_size, 16, 1 << 16));
  TRY(check_range("num_blocks", spec.num_blocks, 1, kExtentMax));
  return check_range("max_blocks", spec.max_blocks, 1, kExtentMax);
}

Result<> need(bool given, std::string_view name) {
  if (given) return {};
  return bad(fmt::format("{} is null", name));
}

}  // namespace

Result<MqaSpec> resolve(const MqaSpec& given) {
  MqaSpec spec = given;
  TRY(check_range("queries", spec.queries, 0, kExtentMax));
  TRY(check_range("heads", spec.heads, 1, 128));
  TRY(check_multiple("head_dim", spec.head_dim, 16, 256));
  TRY(check_range("keys", spec.keys, 0, kExtentMax));
  if (spec.type != DType::kF32 && spec.type != DType::kBf16) {
    return bad(fmt::format("type is {}; it must be f32 or bf16", name(spec.type)));
  }
  if (spec.columns == 0) spec.columns = spec.keys;
  if (!spec.compressed && spec.columns != spec.keys) {
    return bad(fmt::format("columns is {}; it must be keys = {} where rows are not compressed",
                           spec.columns, spec.keys));
  }
  TRY(check_range("columns", spec.columns, 0, kExtentMax));
  if (spec.stride == 0) spec.stride = spec.columns;
  TRY(check_range("stride", spec.stride, spec.columns, kExtentMax));
  if (spec.paged) TRY(check_pages(spec));
  return spec;
}

Result<> check_args(const MqaSpec& spec, const MqaArgs& args, size_t workspace_bytes) {
  TRY(need(args.logits != nullptr, "logits"));
  TRY(need(args.q != nullptr, "q"));
  TRY(need(args.kv != nullptr || keys_max(spec) == 0, "kv"));
  TRY(need(args.weights != nullptr, "weights"));
  if (spec.paged) {
    TRY(need(args.context_lens != nullptr, "context_lens"));
    TRY(need(args.block_table != nullptr, "block_table"));
  } else {
    TRY(need(args.kv_scale != nullptr || spec.keys == 0, "kv_scale"));
    TRY(need(args.ks != nullptr, "ks"));
    TRY(need(args.ke != nullptr, "ke"));
  }
  const auto at = reinterpret_cast<uintptr_t>(args.workspace.data());
  if (args.workspace.size() < workspace_bytes || (workspace_bytes > 0 && at % 256 != 0)) {
    return bad(
        fmt::format("workspace has {} bytes at {:#x}; the plan needs {} at a multiple of 256",
                    args.workspace.size(), at, workspace_bytes));
  }
  return {};
}

void describe_work(const MqaSpec& spec, PlanInfo& info) {
  const auto queries = static_cast<double>(spec.queries), keys = static_cast<double>(spec.keys);
  const double heads = spec.heads, depth = spec.head_dim;
  info.flops = 2 * queries * keys * heads * depth;
  const double requests = spec.paged ? queries / spec.next_n : 1;
  info.bytes = queries * heads * (depth + 4) + requests * keys * (depth + 4) +
               queries * keys * static_cast<double>(size_bytes(spec.type));
}

Result<> MqaPlan::run(const MqaArgs& args, gpu::Stream stream) const noexcept {
  if (impl_->spec.queries == 0 || impl_->spec.columns == 0) return {};
  return impl_->run(args, stream);
}

size_t MqaPlan::workspace_bytes() const {
  return impl_->info.workspace_bytes;
}
const PlanInfo& MqaPlan::explain() const {
  return impl_->info;
}
const MqaSpec& MqaPlan::spec() const {
  return impl_->spec;
}

Result<MqaPlan> plan_mqa_logits(const Context& context, const MqaSpec& given) {
  const MqaSpec spec = TRY(resolve(given));
  const Context::Impl& impl = *context.impl_;
  if (impl.device != nullptr) return MqaPlan(TRY(plan_mqa_gpu(spec, impl.device)));
  const cpu::Kernels* const convert = TRY(cpu::kernels(TRY(cpu::parse_isa(impl.machine.isa))));
  return MqaPlan(TRY(plan_mqa_cpu(spec, *impl.kernels, *convert, *impl.pool, impl.machine)));
}

}  // namespace hadal::gemm
