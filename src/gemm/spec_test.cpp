#include "gemm/spec.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gemm/reference.h"

namespace hadal::gemm {
namespace {

TEST(Spec, FillsInWhatIsTight) {
  GemmSpec given{.m = 33, .n = 136, .k = 200};
  given.a.scale.layout = ScaleLayout::kColMajor;
  given.num_groups = 3;
  given.grouping = Grouping::kMasked;
  const Result<GemmSpec> spec = resolve(given);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->a.stride, 200);
  EXPECT_EQ(spec->a.group_stride, 33 * 200);
  EXPECT_EQ(spec->a.scale.stride, 36);            // 33 rows up to 4
  EXPECT_EQ(spec->a.scale.group_stride, 36 * 2);  // 2 blocks of k
  EXPECT_EQ(spec->b.scale.stride, 2);
  EXPECT_EQ(spec->b.scale.group_stride, 2 * 2);
  EXPECT_EQ(spec->d.stride, 136);
  EXPECT_EQ(spec->expected_rows, 33);
}

TEST(Spec, FindsScalesInEveryLayout) {
  // 3 rows, 6 blocks of k; the scale of (row, block) is 2^(row * 6 + block).
  for (const ScaleLayout layout :
       {ScaleLayout::kRowMajor, ScaleLayout::kColMajor, ScaleLayout::kPacked4}) {
    for (const DType type : {DType::kF32, DType::kE8m0}) {
      if (layout == ScaleLayout::kPacked4 && type == DType::kF32) continue;
      GemmSpec given{.m = 3, .n = 8, .k = 700};
      given.a.scale.layout = layout;
      given.a.scale.type = type;
      const Result<GemmSpec> spec = resolve(given);
      ASSERT_TRUE(spec);
      const ScaleSpec& scale = spec->a.scale;
      std::vector<std::byte> bytes(4 * scale_elements(scale, 3, 700), std::byte{0});
      for (int64_t row = 0; row < 3; ++row) {
        for (int64_t block = 0; block < 6; ++block) {
          set_scale(scale, bytes.data(), 0, row, block * 128,
                    static_cast<float>(1 << (row * 6 + block)));
        }
      }
      for (int64_t row = 0; row < 3; ++row) {
        for (int64_t k = 0; k < 700; ++k) {
          ASSERT_EQ(scale_at(scale, bytes.data(), 0, row, k),
                    static_cast<float>(1 << (row * 6 + k / 128)));
        }
      }
    }
  }
  // The packed form is DeepGEMM's: byte j of a word is the exponent of block 4 i + j, words of a
  // column of rows stand together.
  GemmSpec given{.m = 5, .n = 8, .k = 1024};
  given.a.scale = {.type = DType::kE8m0, .layout = ScaleLayout::kPacked4};
  const ScaleSpec scale = resolve(given)->a.scale;
  std::vector<uint8_t> bytes(4 * 2 * 8);
  set_scale(scale, bytes.data(), 0, 1, 6 * 128, 4.0f);
  EXPECT_EQ(bytes[4 * (1 * 8 + 1) + 2], 127 + 2);
}

TEST(Spec, NamesTheMemberThatIsWrong) {
  struct Wrong {
    std::string sentence;
    std::function<void(GemmSpec&)> breaks;
  };
  const Wrong all[] = {
      {"m is -1; it must be 0 to 1073741824", [](GemmSpec& s) { s.m = -1; }},
      {"n is 12; it must be a multiple of 8", [](GemmSpec& s) { s.n = 12; }},
      {"k is 2147483648; it must be 0 to 1073741824", [](GemmSpec& s) { s.k = int64_t{1} << 31; }},
      {"a.stride is 64; it must be 128 to 1073741824", [](GemmSpec& s) { s.a.stride = 64; }},
      {"b.scale.stride is -3; it must be 1 to 1073741824",
       [](GemmSpec& s) { s.b.scale.stride = -3; }},
      {"a.type is f32; it must be e4m3, e5m2 or bf16",
       [](GemmSpec& s) {
         s.a.type = DType::kF32;
         s.b.type = DType::kBf16;
       }},
      {"a.type is bf16 and b.type is e4m3; both must be FP8, or both bf16",
       [](GemmSpec& s) { s.a.type = DType::kBf16; }},
      {"a.scale.block is 2x128; it must be 1x128, 128x128, per row or per tensor",
       [](GemmSpec& s) { s.a.scale.block = {2, 128}; }},
      {"a.scale.layout is kPacked4; its type must be e8m0",
       [](GemmSpec& s) { s.a.scale.layout = ScaleLayout::kPacked4; }},
      {"d.type is e5m2; it must be bf16, f16, f32 or e4m3",
       [](GemmSpec& s) { s.d.type = DType::kE5m2; }},
      {"d.c_type is e4m3; it must be bf16, f16 or f32",
       [](GemmSpec& s) {
         s.d.accumulate = true;
         s.d.c_type = DType::kE4m3;
       }},
      {"n is 24; with SwiGLU it must be a multiple of 16",
       [](GemmSpec& s) {
         s.n = 24;
         s.d.activation = Activation::kSwiglu;
       }},
      {"num_groups is 4; without a grouping it must be 1", [](GemmSpec& s) { s.num_groups = 4; }},
      {"row_alignment is 128; it is for kRowEnds only", [](GemmSpec& s) { s.row_alignment = 128; }},
      {"k is 200; with groups along k it must be a multiple of 128",
       [](GemmSpec& s) {
         s.k = 200;
         s.grouping = Grouping::kK;
       }},
      {"b.stride is 256; flat groups are tight",
       [](GemmSpec& s) {
         s.b.stride = 256;
         s.grouping = Grouping::kKFlat;
       }},
      {"b.packed is set; flat groups cannot be packed",
       [](GemmSpec& s) {
         s.b.packed = true;
         s.grouping = Grouping::kKFlat;
       }},
      {"a_rows is 5; groups along k cannot gather rows",
       [](GemmSpec& s) {
         s.grouping = Grouping::kK;
         s.a_rows = 5;
       }},
      {"d.group_stride is 10; it must be 512 (one group's elements) to 2^42",
       [](GemmSpec& s) { s.d.group_stride = 10; }},
      {"a.packed is set; only b can be packed", [](GemmSpec& s) { s.a.packed = true; }},
  };
  for (const Wrong& wrong : all) {
    GemmSpec spec{.m = 8, .n = 64, .k = 128};
    wrong.breaks(spec);
    const Result<GemmSpec> resolved = resolve(spec);
    ASSERT_FALSE(resolved) << wrong.sentence;
    EXPECT_EQ(resolved.error().code, Code::kInvalidArgument);
    EXPECT_EQ(resolved.error().message, wrong.sentence);
  }
}

TEST(Spec, SizesNearTheLimitDoNotOverflow) {
  const int64_t most = int64_t{1} << 30;
  const Result<GemmSpec> spec = resolve({.m = most, .n = most, .k = most});
  EXPECT_FALSE(spec);  // 2^60 elements are more than a matrix may have
  EXPECT_TRUE(resolve({.m = 1 << 20, .n = 1 << 20, .k = 1 << 20}));
}

TEST(RowsOf, FollowsEveryGrouping) {
  GemmSpec spec{.m = 8, .n = 8, .k = 256, .grouping = Grouping::kRowEnds, .num_groups = 3};
  const std::vector<int32_t> ends = {3, 3, 7};
  auto uses = rows_of(*resolve(spec), ends.data(), nullptr);
  ASSERT_TRUE(uses);
  ASSERT_EQ(uses->size(), 7u);
  EXPECT_EQ((*uses)[2].group, 0);
  EXPECT_EQ((*uses)[3].group, 2);

  spec.row_alignment = 4;
  uses = rows_of(*resolve(spec), ends.data(), nullptr);
  ASSERT_TRUE(uses);
  ASSERT_EQ(uses->size(), 6u);
  EXPECT_EQ((*uses)[3].d_row, 4);

  const std::vector<int32_t> falling = {5, 2, 7};
  uses = rows_of(*resolve(spec), falling.data(), nullptr);
  ASSERT_FALSE(uses);
  EXPECT_EQ(uses.error().message, "groups[1] is 2; it must be 8 to 8");

  spec = {.m = 4, .n = 8, .k = 256, .grouping = Grouping::kK, .num_groups = 2};
  const std::vector<int32_t> k_ends = {128, 256};
  uses = rows_of(*resolve(spec), k_ends.data(), nullptr);
  ASSERT_TRUE(uses);
  EXPECT_EQ(uses->size(), 8u);
  EXPECT_EQ((*uses)[4].k_begin, 128);
  EXPECT_EQ((*uses)[4].d_group, 1);
}

}  // namespace
}  // namespace hadal::gemm
