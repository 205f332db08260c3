// The kernels of this program, of all systems that have GPU code: what `hadal gpu warm` compiles.
#pragma once

#include <vector>

#include "gpu/gpu.h"

namespace hadal::cli {

/// Sorted by name; no two share one.
std::vector<gpu::KernelSource> gpu_catalog();

}  // namespace hadal::cli
