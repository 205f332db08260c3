#include "cli/gpu_catalog.h"

namespace hadal::cli {

std::vector<gpu::KernelSource> gpu_catalog() {
  return {};
}

}  // namespace hadal::cli
