// The CPU backend against the oracle, over the case list, in every instruction set.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "cpu/cpu.h"
#include "cpu/isa_test.h"
#include "gemm/cases.h"
#include "gemm/check.h"
#include "gemm/gemm.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

Context cpu_context(cpu::Isa isa, int threads) {
  Result<Context> context = Context::cpu({.threads = threads, .isa = isa});
  CHECK(context.has_value());
  return *context;
}

void expect_right(const Context& context, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    Result<CaseData> data = make_data(c, 1);
    ASSERT_TRUE(data) << c.name << ": " << data.error().message;
    const Result<> done = run_case(context, c, *data);
    ASSERT_TRUE(done) << c.name << ": " << done.error().message;
    const Verdict verdict = judge(c, *data, 0x1p-20);
    EXPECT_TRUE(verdict.ok) << c.name << ": " << verdict.problem;
  }
}

class CpuPlan : public cpu::IsaTest {};

TEST_P(CpuPlan, AgreesWithTheOracleOnEveryCase) {
  expect_right(cpu_context(GetParam(), 1), all_cases());
}

// The judge itself: it sees one wrong bit, one stray byte, and one row that was left out.
TEST(Judge, RefusesWhatIsWrong) {
  const Context context = *Context::cpu({.threads = 1});
  Case c{.name = "judged", .spec = {.m = 9, .n = 72, .k = 300}, .fill = Fill::kInteger};
  c.spec.d.stride = 80;
  Result<CaseData> good = make_data(c, 1);
  ASSERT_TRUE(good);
  const CaseData before = *good;
  ASSERT_TRUE(run_case(context, c, *good));
  ASSERT_TRUE(judge(c, *good, 0x1p-20).ok);
  for (const int64_t byte : {0, 1, 8 * 160 + 143}) {
    CaseData bad = *good;
    bad.d[byte] ^= std::byte{1};
    EXPECT_FALSE(judge(c, bad, 0x1p-20).ok) << byte;
  }
  CaseData stray = *good;
  stray.d[144] = std::byte{0};
  EXPECT_EQ(judge(c, stray, 0x1p-20).problem, "byte 144 of D was written, and belongs to no row");
  CaseData row = *good;
  std::copy_n(before.d.begin() + 5 * 160, 144, row.d.begin() + 5 * 160);
  EXPECT_FALSE(judge(c, row, 0x1p-20).ok);
}

TEST_P(CpuPlan, GivesTheSameBitsForAnyThreadsAndPacking) {
  const Context one = cpu_context(GetParam(), 1), four = cpu_context(GetParam(), 4);
  int seen = 0;
  for (const Case& c : all_cases()) {
    if (++seen % 3 != 0) continue;
    Result<CaseData> data = make_data(c, 2);
    ASSERT_TRUE(data);
    CaseData threads = *data, packed = *data;
    ASSERT_TRUE(run_case(one, c, *data));
    ASSERT_TRUE(run_case(four, c, threads));
    ASSERT_TRUE(run_case(four, c, packed, true));
    EXPECT_TRUE(data->d == threads.d && data->d_scale == threads.d_scale) << c.name;
    EXPECT_TRUE(data->d == packed.d && data->d_scale == packed.d_scale) << c.name << ", packed";
  }
}

// Row i has the same bits whatever the number of rows.
TEST_P(CpuPlan, ARowDoesNotDependOnTheOthers) {
  const Context context = cpu_context(GetParam(), 2);
  const int64_t n = 136, k = 7168;
  Case c{.name = "rows", .spec = {.m = 200, .n = n, .k = k}, .fill = Fill::kNormal};
  c.spec.d.type = DType::kF32;
  Result<CaseData> whole = make_data(c, 3);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(run_case(context, c, *whole));
  for (const int64_t m : {1, 2, 3, 4, 5, 64, 129, 199}) {
    c.spec.m = m;
    CaseData part = *whole;
    part.d.assign(m * n * 4, std::byte{0});
    ASSERT_TRUE(run_case(context, c, part));
    EXPECT_EQ(std::memcmp(part.d.data(), whole->d.data(), part.d.size()), 0) << m << " rows";
  }
}

TEST_P(CpuPlan, ANanCodeReachesItsRowAndColumnAndNothingElse) {
  const Context context = cpu_context(GetParam(), 1);
  for (const int64_t m : {2, 7, -2, -7}) {
    Case c{.name = "nan", .spec = {.m = std::abs(m), .n = 72, .k = 200}, .fill = Fill::kNormal};
    c.spec.d.type = DType::kF32;
    c.spec.int8 = m < 0;
    Result<CaseData> data = make_data(c, 4);
    ASSERT_TRUE(data);
    data->a[1 * 200 + 150] = std::byte{0x7f};
    data->b[65 * 200 + 3] = std::byte{0xff};
    ASSERT_TRUE(run_case(context, c, *data));
    const auto* d = reinterpret_cast<const float*>(data->d.data());
    for (int64_t row = 0; row < c.spec.m; ++row) {
      for (int64_t column = 0; column < 72; ++column) {
        EXPECT_EQ(std::isnan(d[row * 72 + column]), row == 1 || column == 65) << row << column;
      }
    }
  }
}

// ---------------------------------------------------------------- int8 mode

TEST_P(CpuPlan, Int8KeepsItsBoundOnEveryCase) {
  expect_right(cpu_context(GetParam(), 1), int8_cases());
}

// What follows the sums is the same too, but for the portable fma of C and SiLU, which rounds
// twice.
TEST_P(CpuPlan, Int8GivesTheSameBitsForAnyIsaThreadsAndPacking) {
  const Context best = cpu_context(cpu::detect(), 1), four = cpu_context(GetParam(), 4);
  int seen = 0;
  for (const Case& c : int8_cases()) {
    const bool portable = GetParam() == cpu::Isa::kScalar;
    const bool fused = c.spec.d.accumulate || c.spec.d.activation != Activation::kNone;
    if (++seen % 3 != 0 || (portable && fused)) continue;
    Result<CaseData> data = make_data(c, 2);
    ASSERT_TRUE(data);
    CaseData plain = *data, packed = *data;
    ASSERT_TRUE(run_case(best, c, *data));
    ASSERT_TRUE(run_case(four, c, plain));
    ASSERT_TRUE(run_case(four, c, packed, true));
    EXPECT_TRUE(data->d == plain.d && data->d_scale == plain.d_scale) << c.name;
    EXPECT_TRUE(data->d == packed.d && data->d_scale == packed.d_scale) << c.name << ", packed";
  }
}

// The codes against the dequantized product; 4.5e-5 is what two roundings to 127 steps cost where
// the largest of 128 normal values is about 2.6.
TEST_P(CpuPlan, Int8IsAsNearAsItsErrorsPredict) {
  const Context context = cpu_context(GetParam(), 1);
  Case c{
      .name = "near", .spec = {.m = 48, .n = 128, .k = 2048, .int8 = true}, .fill = Fill::kNormal};
  c.spec.d.type = DType::kF32;
  Result<CaseData> data = make_data(c, 5);
  ASSERT_TRUE(data);
  ASSERT_TRUE(run_case(context, c, *data));
  const Verdict verdict = judge(c, *data, 0x1p-20);
  EXPECT_TRUE(verdict.ok) << verdict.problem;
  EXPECT_GT(verdict.calc_diff, 2e-5);
  EXPECT_LT(verdict.calc_diff, 7e-5);
}

TEST_P(CpuPlan, Int8RowsDoNotDependOnOthers) {
  const Context context = cpu_context(GetParam(), 2);
  const int64_t n = 136, k = 7168;
  Case c{.name = "rows", .spec = {.m = 200, .n = n, .k = k, .int8 = true}, .fill = Fill::kNormal};
  c.spec.d.type = DType::kF32;
  Result<CaseData> whole = make_data(c, 3);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(run_case(context, c, *whole));
  for (const int64_t m : {1, 2, 3, 5, 64, 199}) {
    c.spec.m = m;
    CaseData part = *whole;
    part.d.assign(m * n * 4, std::byte{0});
    ASSERT_TRUE(run_case(context, c, part));
    EXPECT_EQ(std::memcmp(part.d.data(), whole->d.data(), part.d.size()), 0) << m << " rows";
  }
}

TEST(CpuPlanErrors, Int8WantsFp8) {
  const Result<Context> context = Context::cpu();
  ASSERT_TRUE(context);
  const Result<Plan> plan = context->plan({.m = 8,
                                           .n = 8,
                                           .k = 128,
                                           .a = {.type = DType::kBf16},
                                           .b = {.type = DType::kBf16},
                                           .int8 = true});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().message, "int8 is set; a and b must be FP8");
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuPlan, testing::ValuesIn(cpu::kAllIsas), cpu::IsaName());

}  // namespace
}  // namespace hadal::gemm
