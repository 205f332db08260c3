// The indexer's Hopper kernels on the emulator, against the oracle. mqa_gpu_slow_test.cpp has all
// cases and more seeds.
#include "gemm/mqa_gpu.h"

#include <string>

#include <gtest/gtest.h>

#include "gemm/mqa_gpu_testing.h"

namespace hadal::gemm {
namespace {

TEST(GpuMqa, CasesAreRight) {
  int ran = 0, number = 0;
  for (const MqaCase& c : all_mqa_cases()) {
    if (++number % 5 != 0) continue;
    EXPECT_EQ(problem_of(c, 3), "") << c.name;
    ++ran;
  }
  EXPECT_GE(ran, 20);
}

/// Sliding ranges of 5 queries over three tiles of keys.
MqaCase case_of(const MqaKernel& kernel) {
  MqaCase c;
  c.spec = {.queries = 5, .heads = kernel.heads, .head_dim = kernel.depth, .keys = 600};
  for (int i = 0; i < 5; ++i) {
    c.ks.push_back(i * 60);
    c.ke.push_back(i * 60 + 400);
  }
  return c;
}

TEST(GpuMqa, EveryKernelIsRight) {
  for (const MqaKernel& kernel : mqa_kernels()) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      EXPECT_EQ(problem_of(case_of(kernel), seed), "") << kernel.source.name << " " << seed;
    }
  }
}

// With the sums of a real Hopper, which keep 14 bits, the gates of DeepGEMM hold.
TEST(GpuMqa, SumsOfTensorCoresAreGoodEnough) {
  for (const MqaKernel& kernel : mqa_kernels()) {
    MqaCase c = case_of(kernel);
    c.fill = Fill::kNormal;
    EXPECT_EQ(problem_of(c, 1, true), "") << kernel.source.name;
  }
}

TEST(GpuMqa, TheSameBitsEveryTime) {
  MqaCase c = case_of(mqa_kernels()[4]);
  c.fill = Fill::kNormal;
  const Result<MqaData> data = make_data(c, 1);
  ASSERT_TRUE(data);
  MqaData first = *data;
  ASSERT_TRUE(run_case_on(*gpu::emulate({.seed = 0, .num_sms = 1}), c, first));
  for (uint64_t seed = 1; seed < 4; ++seed) {
    MqaData again = *data;
    const int num_sms = static_cast<int>(4 * seed);
    ASSERT_TRUE(run_case_on(*gpu::emulate({.seed = seed, .num_sms = num_sms}), c, again));
    EXPECT_TRUE(again.logits == first.logits) << seed;
  }
}

TEST(GpuMqa, ABlockThatIsOutOfRangeIsZeros) {
  MqaCase c;
  c.spec = {
      .queries = 1, .heads = 32, .keys = 130, .paged = true, .num_blocks = 9, .max_blocks = 3};
  c.context_lens = {130};
  Result<MqaData> data = make_data(c, 1);
  ASSERT_TRUE(data);
  MqaData good = *data;
  ASSERT_TRUE(run_case_on(*gpu::emulate(), c, good));
  data->block_table[0] = 9;
  data->block_table[1] = -1;
  ASSERT_TRUE(run_case_on(*gpu::emulate(), c, *data));
  const auto* out = reinterpret_cast<const float*>(data->logits.data());
  const auto* want = reinterpret_cast<const float*>(good.logits.data());
  for (int key = 0; key < 130; ++key) EXPECT_EQ(out[key], key < 128 ? 0 : want[key]) << key;
}

TEST(GpuMqa, ArgumentsAreCheckedBeforeTheLaunch) {
  const auto device = gpu::emulate({.num_sms = 132});
  const Result<MqaPlan> plan =
      plan_mqa_logits(Context::on(device.get()), {.queries = 2048, .heads = 64, .keys = 8192});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->workspace_bytes(), 0U);
  EXPECT_GE(plan->explain().predicted_us, plan->explain().limit_us);
  int32_t ints[1] = {};
  float floats[1] = {};
  const auto at = [](uintptr_t address) { return reinterpret_cast<void*>(address); };
  EXPECT_EQ(plan->run({.q = at(0x1008),
                       .kv = at(0x2000),
                       .kv_scale = floats,
                       .weights = floats,
                       .ks = ints,
                       .ke = ints,
                       .logits = floats})
                .error()
                .message,
            "q is at 0x1008; it must be aligned to 16");
  EXPECT_EQ(plan->run({}).error().message, "logits is null");
}

}  // namespace
}  // namespace hadal::gemm
