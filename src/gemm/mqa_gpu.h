// The Hopper kernels of the indexer's scores: a closed list, as gpu_catalog.h's.
#pragma once

#include <vector>

#include "gpu/gpu.h"

namespace hadal::gemm {

/// Members of sm90::MqaConfig. A kernel does fewer heads and less depth as well.
struct MqaKernel {
  int heads = 0, depth = 0;
  int queries = 0;  // of a tile
  int keys = 0;
  int stages = 0;
  gpu::KernelSource source = {};
};

/// Ascending by depth and heads; made by the first call.
const std::vector<MqaKernel>& mqa_kernels();

}  // namespace hadal::gemm
