// All cases on the emulated Hopper, and every kernel under many seeds.
#include <gtest/gtest.h>

#include "gemm/gpu_plan_testing.h"

namespace hadal::gemm {
namespace {

TEST(GpuPlanSlow, EveryCaseIsRight) {
  int ran = 0;
  for (const Case& c : all_cases()) {
    const std::string problem = problem_of(c, "", 5);
    if (problem == kNotForGpus) continue;
    EXPECT_EQ(problem, "") << c.name;
    ++ran;
  }
  EXPECT_GT(ran, 350);
}

TEST(GpuPlanSlow, EveryKernelIsRightWithAnySeed) {
  for (const GpuKernel& kernel : gpu_kernels()) {
    const Case c = grouped_case(kernel, kernel.swap ? 100 : 260, 400, 1040);
    for (uint64_t seed = 0; seed < 8; ++seed) {
      EXPECT_EQ(problem_of(c, kernel.source.name, seed), "") << kernel.source.name << " " << seed;
    }
  }
}

}  // namespace
}  // namespace hadal::gemm
