// The Hopper backend on the emulator, against the oracle. gpu_plan_slow_test.cpp has all cases and
// more seeds.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "gemm/gpu_plan_testing.h"
#include "gemm/plan.h"
#include "gemm/spec.h"

namespace hadal::gemm {
namespace {

TEST(GpuPlan, CasesAreRight) {
  int ran = 0, number = 0;
  for (const Case& c : all_cases()) {
    if (++number % 5 != 0) continue;
    const std::string problem = problem_of(c, "", 3);
    if (problem == kNotForGpus) continue;
    EXPECT_EQ(problem, "") << c.name;
    ++ran;
  }
  EXPECT_GT(ran, 60);
}

TEST(GpuPlan, EveryKernelIsRight) {
  std::set<std::string> names;
  for (const GpuKernel& kernel : gpu_kernels()) {
    EXPECT_TRUE(names.insert(kernel.source.name).second) << kernel.source.name;
    const Case c = grouped_case(kernel, kernel.swap ? 40 : 140, 208, 272);
    EXPECT_EQ(problem_of(c, kernel.source.name, 1), "") << kernel.source.name;
  }
}

/// D of the first `m` rows of a product of 200.
std::vector<std::byte> first_rows(int64_t m, bool batch_invariant, std::string_view kernel) {
  Case c = {.name = "invariance", .spec = {.m = 200, .n = 128, .k = 1040}};
  c.spec.d.type = DType::kF32;
  const Result<CaseData> all = make_data(c, 1);
  c.spec.m = m;
  c.spec.batch_invariant = batch_invariant;
  Result<CaseData> data = make_data(c, 2);
  std::copy_n(all->a.begin(), m * 1040, data->a.begin());
  std::copy_n(all->a_scale.begin(), 4 * m * 9, data->a_scale.begin());
  data->b = all->b;
  data->b_scale = all->b_scale;
  const auto device = gpu::emulate({.seed = 1, .num_sms = 8});
  EXPECT_TRUE(run_case_on(*device, c, *data, kernel));
  return data->d;
}

TEST(GpuPlan, RowsOfABatchInvariantPlanDoNotDependOnOtherRows) {
  const std::vector<std::byte> one = first_rows(1, true, "");
  for (const int64_t m : {2, 17, 70, 200}) {
    const std::vector<std::byte> more = first_rows(m, true, "");
    ASSERT_TRUE(std::equal(one.begin(), one.begin() + 4 * 128, more.begin())) << m;
  }
  // A split of k adds in another order, but in the same one each time.
  constexpr std::string_view kSplit = "gemm_e4m3_e4m3_8x64_swap_split4_each";
  EXPECT_TRUE(first_rows(1, false, kSplit) != one);
  EXPECT_TRUE(first_rows(1, false, kSplit) == first_rows(1, false, kSplit));
}

TEST(GpuPlan, FewTilesSplitK) {
  const auto device = gpu::emulate({.num_sms = 132});
  GemmSpec spec = {.m = 4, .n = 576, .k = 7168};
  EXPECT_GE((*plan_gpu(*resolve(spec), device.get()))->info.split_k, 4);
  spec.batch_invariant = true;
  EXPECT_EQ((*plan_gpu(*resolve(spec), device.get()))->info.split_k, 1);
}

/// The sentence with which a spec is refused.
std::string refusal(const GemmSpec& given) {
  const Result<GemmSpec> spec = resolve(given);
  if (!spec) return spec.error().message;
  const auto device = gpu::emulate();
  const auto plan = plan_gpu(*spec, device.get());
  return plan ? "" : plan.error().message;
}

TEST(GpuPlan, RefusalsNameTheArgument) {
  EXPECT_EQ(refusal({.m = 8, .n = 8, .k = 100}),
            "a.stride is 100 bytes; on a GPU it must be a multiple of 16");
  EXPECT_EQ(refusal({.m = 8, .n = 24, .k = 128, .d = {.stride = 28}}),
            "d.stride is 56 bytes; on a GPU it must be a multiple of 16");
  EXPECT_EQ(refusal({.m = 8, .n = 8, .k = 128, .grouping = Grouping::kMasked, .num_groups = 513}),
            "num_groups is 513; on a GPU groups of rows may be 512");
  EXPECT_EQ(
      refusal({.m = 8, .n = 8, .k = 128, .b = {.scale = {.block = kPer128x128}, .packed = true}}),
      "b.packed is set; on a GPU B is read as it is");
}

TEST(GpuPlan, FewRowsAreExchangedAndManyShareB) {
  const auto device = gpu::emulate({.num_sms = 132});
  const auto info = [&](int64_t m, int64_t n, int64_t k) {
    return (*plan_gpu(*resolve({.m = m, .n = n, .k = k}), device.get()))->info;
  };
  const PlanInfo few = info(4, 7168, 2048);
  EXPECT_EQ(few.tile_m, 8);
  const PlanInfo many = info(4096, 7168, 16384);
  EXPECT_GE(many.tile_m * many.tile_n, 128 * 128);
  EXPECT_EQ(many.workspace_bytes, 0U);
  EXPECT_GE(many.predicted_us, many.limit_us);
  EXPECT_NEAR(many.flops, 2.0 * 4096 * 7168 * 16384, 1);
}

TEST(GpuPlan, ArgumentsAreCheckedBeforeTheLaunch) {
  const auto device = gpu::emulate();
  const Plan plan(*plan_gpu(*resolve({.m = 8, .n = 16, .k = 128}), device.get()));
  const auto at = [](uintptr_t address) { return reinterpret_cast<void*>(address); };
  const GemmArgs args = {.a = at(0x1008),
                         .a_scale = at(0x2000),
                         .b = at(0x3000),
                         .b_scale = at(0x4000),
                         .d = at(0x5000)};
  EXPECT_EQ(plan.run(args).error().message, "a is at 0x1008; it must be aligned to 16");
  EXPECT_EQ(plan.run({}).error().message, "a is null");
  EXPECT_TRUE(device->synchronize(nullptr));
}

}  // namespace
}  // namespace hadal::gemm
