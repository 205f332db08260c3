#include "gemm/mqa_plan.h"

namespace hadal::gemm {

Result<std::shared_ptr<const MqaPlan::Impl>> plan_mqa_gpu(const MqaSpec& /*spec*/,
                                                          gpu::Device* /*device*/) {
  return fail(Code::kUnsupported, "the indexer's scores are computed on a CPU only");
}

}  // namespace hadal::gemm
