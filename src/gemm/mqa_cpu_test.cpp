// The indexer's scores on the CPU against the oracle, in every instruction set.
#include <cmath>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "base/check.h"
#include "cpu/cpu.h"
#include "cpu/isa_test.h"
#include "gemm/mqa_cases.h"
#include "gemm/mqa_logits.h"

namespace hadal::gemm {
namespace {

Context cpu_context(cpu::Isa isa, int threads) {
  Result<Context> context = Context::cpu({.threads = threads, .isa = isa});
  CHECK(context.has_value());
  return *context;
}

class CpuMqa : public cpu::IsaTest {};

TEST_P(CpuMqa, AgreesWithTheOracleAndGivesTheSameBitsForAnyThreads) {
  const Context one = cpu_context(GetParam(), 1), four = cpu_context(GetParam(), 4);
  for (const MqaCase& c : all_mqa_cases()) {
    Result<MqaData> data = make_data(c, 1);
    ASSERT_TRUE(data) << c.name << ": " << data.error().message;
    MqaData threads = *data;
    const Result<> done = run_case(one, c, *data);
    ASSERT_TRUE(done) << c.name << ": " << done.error().message;
    const Verdict verdict = judge(c, *data, 0x1p-20);
    EXPECT_TRUE(verdict.ok) << c.name << ": " << verdict.problem;
    ASSERT_TRUE(run_case(four, c, threads));
    EXPECT_TRUE(threads.logits == data->logits) << c.name;
  }
}

// A compressed row is the part of a plain one that its range has.
TEST_P(CpuMqa, CompressedRowsAreMovedOnly) {
  const Context context = cpu_context(GetParam(), 2);
  MqaCase c;
  c.spec = {.queries = 7, .heads = 64, .head_dim = 128, .keys = 500};
  c.fill = Fill::kNormal;
  for (int i = 0; i < 7; ++i) {
    c.ks.push_back(i * 31);
    c.ke.push_back(500 - i * 20);
  }
  Result<MqaData> plain = make_data(c, 1);
  ASSERT_TRUE(plain);
  ASSERT_TRUE(run_case(context, c, *plain));
  c.spec.compressed = true;
  Result<MqaData> packed = make_data(c, 1);
  ASSERT_TRUE(packed);
  ASSERT_TRUE(run_case(context, c, *packed));
  for (int i = 0; i < 7; ++i) {
    const int64_t size = 4 * (c.ke[i] - c.ks[i]);
    EXPECT_EQ(std::memcmp(plain->logits.data() + 4 * (i * 500 + c.ks[i]),
                          packed->logits.data() + 4 * i * 500, size),
              0)
        << i;
  }
}

TEST_P(CpuMqa, NansReachTheirLogitsAndNothingElse) {
  const Context context = cpu_context(GetParam(), 1);
  for (const uint8_t nan : {0x7f, 0xff}) {
    MqaCase c;
    c.spec = {.queries = 4, .heads = 5, .head_dim = 32, .keys = 70};
    c.fill = Fill::kNormal;
    c.ks.assign(4, 0);
    c.ke.assign(4, 70);
    Result<MqaData> data = make_data(c, 1);
    ASSERT_TRUE(data);
    data->q[(1 * 5 + 4) * 32 + 31] = std::byte{nan};
    data->kv[66 * 32 + 1] = std::byte{nan};
    data->weights[2 * 5 + 1] = std::nanf("");
    data->kv_scale[3] = std::nanf("");
    ASSERT_TRUE(run_case(context, c, *data));
    const auto* out = reinterpret_cast<const float*>(data->logits.data());
    for (int row = 0; row < 4; ++row) {
      for (int key = 0; key < 70; ++key) {
        EXPECT_EQ(std::isnan(out[row * 70 + key]), row == 1 || row == 2 || key == 66 || key == 3)
            << row << " " << key;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuMqa, testing::ValuesIn(cpu::kAllIsas), cpu::IsaName());

// The judge itself: it sees a wrong bit, a wrong mask and a stray byte.
TEST(MqaJudge, RefusesWhatIsWrong) {
  const Context context = *Context::cpu({.threads = 1});
  MqaCase c;
  c.spec = {.queries = 3, .heads = 32, .head_dim = 64, .keys = 100, .stride = 101};
  c.ks.assign(3, 10);
  c.ke.assign(3, 90);
  Result<MqaData> good = make_data(c, 1);
  ASSERT_TRUE(good);
  ASSERT_TRUE(run_case(context, c, *good));
  ASSERT_TRUE(judge(c, *good, 0x1p-20).ok);
  for (const int64_t column : {5, 10, 89, 95, 100}) {
    MqaData bad = *good;
    bad.logits[4 * (101 + column)] ^= std::byte{1};
    EXPECT_FALSE(judge(c, bad, 0x1p-20).ok) << column;
  }
}

/// The sentence with which a spec is refused.
std::string refusal(const MqaSpec& spec) {
  const Result<MqaPlan> plan = plan_mqa_logits(*Context::cpu({.threads = 1}), spec);
  return plan ? "" : plan.error().message;
}

TEST(MqaErrors, RefusalsNameTheMember) {
  EXPECT_EQ(refusal({.queries = 1, .heads = 129, .keys = 8}), "heads is 129; it must be 1 to 128");
  EXPECT_EQ(refusal({.queries = 1, .head_dim = 40, .keys = 8}),
            "head_dim is 40; it must be a multiple of 16 up to 256");
  EXPECT_EQ(refusal({.queries = 1, .keys = 8, .type = DType::kF16}),
            "type is f16; it must be f32 or bf16");
  EXPECT_EQ(refusal({.queries = 1, .keys = 8, .columns = 9}),
            "columns is 9; it must be keys = 8 where rows are not compressed");
  EXPECT_EQ(refusal({.queries = 1, .keys = 8, .stride = 7}),
            "stride is 7; it must be 8 to 1073741824");
  EXPECT_EQ(refusal({.queries = 3, .keys = 8, .paged = true, .next_n = 2}),
            "queries is 3; it must be a multiple of next_n = 2");
  EXPECT_EQ(refusal({.queries = 1, .keys = 8, .paged = true, .block_size = 24}),
            "block_size is 24; it must be a multiple of 16 up to 65536");
}

TEST(MqaErrors, ArgumentsAreCheckedBeforeAnythingIsWritten) {
  const Context context = *Context::cpu({.threads = 1});
  MqaCase c;
  c.spec = {
      .queries = 1, .heads = 32, .keys = 100, .paged = true, .num_blocks = 2, .max_blocks = 2};
  c.context_lens = {100};
  Result<MqaData> data = make_data(c, 1);
  ASSERT_TRUE(data);
  const MqaData before = *data;
  data->block_table[1] = 2;
  EXPECT_EQ(run_case(context, c, *data).error().message,
            "block_table[0][1] is 2; the cache has 2 blocks");
  EXPECT_TRUE(data->logits == before.logits);
  const Result<MqaPlan> plan = plan_mqa_logits(context, c.spec);
  ASSERT_TRUE(plan);
  MqaArgs args = data->args();
  EXPECT_NE(plan->run(args).error().message.find("workspace has 0 bytes"), std::string::npos);
  args.context_lens = nullptr;
  EXPECT_EQ(plan->run(args).error().message, "context_lens is null");
}

}  // namespace
}  // namespace hadal::gemm
