// A small kernel with what counts on Hopper: TMA, mbarrier, and wgmma on FP8. For tests and
// benchmarks.
#pragma once

#include "gpu/gpu.h"

namespace hadal::gpu {

/// One warpgroup multiplies a [64, K] by the transpose of a [64, K], both e4m3, to f32. `groups` is
/// what wait_group leaves open: with 1 the accumulators are read too early, which ptxas repairs by
/// giving up the overlap, and says so.
KernelSource wgmma_kernel(int groups = 0);

}  // namespace hadal::gpu
