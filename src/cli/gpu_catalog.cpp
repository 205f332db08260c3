#include "cli/gpu_catalog.h"

#include <algorithm>

#include "gemm/gpu_catalog.h"
#include "gemm/mqa_gpu.h"

namespace hadal::cli {

std::vector<gpu::KernelSource> gpu_catalog() {
  std::vector<gpu::KernelSource> out;
  for (const gemm::GpuKernel& kernel : gemm::gpu_kernels()) out.push_back(kernel.source);
  for (const gemm::MqaKernel& kernel : gemm::mqa_kernels()) out.push_back(kernel.source);
  std::ranges::sort(out, {}, &gpu::KernelSource::name);
  return out;
}

}  // namespace hadal::cli
