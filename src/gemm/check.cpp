#include "gemm/check.h"

namespace hadal::gemm {

AlignedBytes::AlignedBytes(size_t size) : bytes_(size + 256, std::byte{0xa5}) {
  const size_t skip = -reinterpret_cast<uintptr_t>(bytes_.data()) % 256;
  span_ = std::span(bytes_).subspan(skip, size);
}

Result<> run_case(const Context& context, const Case& c, CaseData& data, bool packed) {
  GemmSpec spec = c.spec;
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

}  // namespace hadal::gemm
