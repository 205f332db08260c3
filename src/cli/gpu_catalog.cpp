#include "cli/gpu_catalog.h"

#include <algorithm>

#include "gemm/gpu_catalog.h"

namespace hadal::cli {

std::vector<gpu::KernelSource> gpu_catalog() {
  std::vector<gpu::KernelSource> out;
  for (gemm::GpuKernel& kernel : gemm::gpu_kernels()) out.push_back(std::move(kernel.source));
  std::ranges::sort(out, {}, &gpu::KernelSource::name);
  return out;
}

}  // namespace hadal::cli
