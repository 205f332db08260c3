// All cases of the indexer on the emulated Hopper, under several seeds.
#include <gtest/gtest.h>

#include "gemm/mqa_gpu_testing.h"

namespace hadal::gemm {
namespace {

TEST(GpuMqaSlow, EveryCaseIsRightWithAnySeed) {
  for (const MqaCase& c : all_mqa_cases()) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      EXPECT_EQ(problem_of(c, seed), "") << c.name << " " << seed;
    }
  }
}

}  // namespace
}  // namespace hadal::gemm
