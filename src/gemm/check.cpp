#include "gemm/check.h"

#include "gemm/plan.h"

namespace hadal::gemm {

AlignedBytes::AlignedBytes(size_t size) : bytes_(size + 256, std::byte{0xa5}) {
  const size_t skip = -reinterpret_cast<uintptr_t>(bytes_.data()) % 256;
  span_ = std::span(bytes_).subspan(skip, size);
}

Result<> run_case(const Context& context, const Case& c, CaseData& data, bool packed) {
  GemmSpec spec = c.spec;
  packed = packed && spec.grouping != Grouping::kKFlat;
  spec.b.packed = packed;
  const Plan plan = TRY(context.plan(spec));
  AlignedBytes workspace(plan.workspace_bytes());
  GemmArgs args = data.args(c);
  args.workspace = workspace.span();
  if (!packed) return plan.run(args);
  AlignedBytes b(TRY(context.packed_b_bytes(spec)));
  TRY(context.pack_b(spec, args.b, args.b_scale, b.span()));
  args.b = b.span().data();
  args.b_scale = nullptr;
  return plan.run(args);
}

Result<> run_case_on(gpu::Device& device, const Case& c, CaseData& data, std::string_view kernel) {
  const Plan plan(TRY(plan_gpu(data.spec, &device, kernel)));
  OnDevice arrays(device);
  GemmArgs args = data.args(c);
  args.a = TRY(arrays.in(data.a));
  args.a_scale = TRY(arrays.in(data.a_scale));
  args.b = TRY(arrays.in(data.b));
  args.b_scale = TRY(arrays.in(data.b_scale));
  args.d = TRY(arrays.in(data.d));
  args.d_scale = TRY(arrays.in(data.d_scale));
  args.c = c.in_place ? args.d : TRY(arrays.in(data.c));
  args.bias = TRY(arrays.in(data.bias));
  args.groups = TRY(arrays.in(data.groups));
  args.rows = TRY(arrays.in(data.rows));
  TRY(plan.run(args));
  TRY(device.synchronize(nullptr));
  TRY(arrays.out(data.d, args.d));
  return arrays.out(data.d_scale, args.d_scale);
}

bool is_for_gpus(const CaseData& data) {
  return check_gpu(data.spec).has_value();
}

}  // namespace hadal::gemm
