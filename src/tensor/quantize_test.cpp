#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tensor/compare.h"
#include "tensor/dtype.h"

namespace hadal {
namespace {

Tensor<float, 2> normal(int64_t m, int64_t k, uint64_t seed, float stddev = 1) {
  Tensor<float, 2> x({m, k});
  Rng rng(seed);
  for (float& value : x.span()) value = static_cast<float>(rng.normal()) * stddev;
  return x;
}

/// Element by element from the definition, without blocks or views.
void check_against_definition(const Tensor<float, 2>& x, BlockShape block,
                              const QuantizeOptions& options) {
  const Result<Quantized> result = quantize(x.view(), block, options);
  ASSERT_TRUE(result.has_value());
  const int64_t m = x.extent(0);
  const int64_t k = x.extent(1);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      float amax = options.amax_min;
      for (int64_t p = 0; p < m; ++p) {
        for (int64_t q = 0; q < k; ++q) {
          if (p / block.rows == i / block.rows && q / block.cols == j / block.cols) {
            amax = std::max(amax, std::abs(x(p, q)));
          }
        }
      }
      float scale = amax / 448.0f;
      if (options.power_of_two) scale = std::exp2(std::ceil(std::log2(scale)));
      ASSERT_EQ(result->scales(i / block.rows, j / block.cols), scale);
      ASSERT_EQ(result->codes(i, j).bits, to_e4m3(x(i, j) * (1.0f / scale)).bits);
    }
  }
}

TEST(Quantize, FollowsTheDefinitionForEveryGranularity) {
  for (const bool power_of_two : {false, true}) {
    for (const BlockShape block : {BlockShape{1, 8}, {4, 4}, kPerRow, kPerTensor, {3, 1}, {1, 1}}) {
      for (const auto& [m, k] : {std::pair{1, 1}, {5, 19}, {8, 8}, {3, 16}}) {
        check_against_definition(normal(m, k, 7), block, {.power_of_two = power_of_two});
      }
    }
  }
}

TEST(Quantize, ScaleShapes) {
  EXPECT_EQ(scale_shape({5, 300}, kPer1x128), (Shape<2>{5, 3}));
  EXPECT_EQ(scale_shape({129, 128}, kPer128x128), (Shape<2>{2, 1}));
  EXPECT_EQ(scale_shape({5, 300}, kPerRow), (Shape<2>{5, 1}));
  EXPECT_EQ(scale_shape({5, 300}, kPerTensor), (Shape<2>{1, 1}));
  EXPECT_EQ(scale_shape({0, 300}, kPerTensor), (Shape<2>{0, 1}));
  EXPECT_EQ(scale_shape({4, 0}, kPer1x128), (Shape<2>{4, 0}));
}

TEST(Quantize, TailBlocksAreShort) {
  Tensor<float, 2> x = normal(130, 200, 3);
  x(129, 199) = 1000;
  const Quantized weights = *quantize(x.view(), kPer128x128);
  EXPECT_EQ(weights.scales.shape(), (Shape<2>{2, 2}));
  EXPECT_EQ(weights.scales(1, 1), 1000 / 448.0f);
  EXPECT_LT(weights.scales(0, 1), 0.05f);
  EXPECT_EQ(weights.codes(129, 199).bits, 0x7e);
}

TEST(Quantize, AmaxClampAndZeroBlocks) {
  Tensor<float, 2> x({1, 256});
  x(0, 200) = 5e-5f;
  const Quantized result = *quantize(x.view(), kPer1x128);
  EXPECT_EQ(result.scales(0, 0), 1e-4f / 448);
  EXPECT_EQ(result.scales(0, 1), 1e-4f / 448);
  EXPECT_EQ(result.codes(0, 0).bits, 0);
  EXPECT_EQ(result.codes(0, 200).bits, to_e4m3(224).bits);
}

TEST(Quantize, PowerOfTwoScalesAreE8m0AndNeverSaturate) {
  Rng rng(4);
  for (int i = 0; i < 20'000; ++i) {
    const float amax = static_cast<float>(std::exp2(rng.uniform() * 230 - 110));
    const float scale = block_scale(amax, {.power_of_two = true});
    ASSERT_TRUE(exact_e8m0(scale).has_value()) << amax;
    ASSERT_GE(scale, block_scale(amax));
    ASSERT_LT(scale, 2 * block_scale(amax));
    ASSERT_LE(amax / scale, 448);
  }
  // Exactly 448 * 2^n needs no rounding up.
  EXPECT_EQ(block_scale(448 * 0.25f, {.power_of_two = true}), 0.25f);
  EXPECT_EQ(block_scale(std::nextafter(448 * 0.25f, 999.0f), {.power_of_two = true}), 0.5f);
  EXPECT_EQ(block_scale(std::numeric_limits<float>::max(), {.power_of_two = true}), 0x1p120f);
  // The rule of the 656-byte FP8 KV cache row, 2^ceil(log2(max(amax / 448, 1e-4))).
  EXPECT_EQ(block_scale(0, {.power_of_two = true, .amax_min = 1e-4f * 448}), 0x1p-13f);
}

TEST(Quantize, NonFiniteBlocksArePoisonedWhole) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::quiet_NaN()}) {
    Tensor<float, 2> x = normal(2, 256, 5);
    x(1, 130) = bad;
    x(1, 131) = 1e30f;
    for (const bool power_of_two : {false, true}) {
      const Quantized result = *quantize(x.view(), kPer1x128, {.power_of_two = power_of_two});
      EXPECT_TRUE(std::isnan(result.scales(1, 1)));
      for (int j = 128; j < 256; ++j) EXPECT_EQ(result.codes(1, j).bits, 0x7f);
      EXPECT_FALSE(std::isnan(result.scales(1, 0)));
      EXPECT_FALSE(std::isnan(result.scales(0, 1)));
      EXPECT_NE(result.codes(1, 127).bits, 0x7f);
    }
  }
}

TEST(Quantize, RoundTripErrorOfNormalData) {
  const Tensor<float, 2> x = normal(256, 1000, 6, 3);
  Tensor<float, 2> back(x.shape());
  for (const BlockShape block : {kPer1x128, kPer128x128, kPerRow, kPerTensor}) {
    for (const bool power_of_two : {false, true}) {
      const Quantized q = *quantize(x.view(), block, {.power_of_two = power_of_two});
      ASSERT_TRUE(dequantize_into(q.codes.view(), q.scales.view(), block, back.view()));
      const Comparison result = compare(back.view(), x.view());
      EXPECT_GT(result.calc_diff, 2.5e-4);  // e4m3 cannot do better on normal data
      EXPECT_LT(result.calc_diff, 4.5e-4);
      // Half a step of 2^-3 relative, or of 2^-9 scales near zero.
      const float scale = *std::max_element(q.scales.span().begin(), q.scales.span().end());
      EXPECT_TRUE(all_close(back.view(), x.view(), 0x1p-4 * 1.001, scale * 0x1p-10 * 1.001));
    }
  }
}

TEST(Quantize, Bf16InputAndOutput) {
  const Tensor<float, 2> x = normal(3, 300, 8);
  Tensor<Bf16, 2> narrow(x.shape());
  Tensor<float, 2> wide(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    narrow.span()[i] = to_bf16(x.span()[i]);
    wide.span()[i] = to_float(narrow.span()[i]);
  }
  const Quantized a = *quantize(narrow.view(), kPer1x128);
  const Quantized b = *quantize(wide.view(), kPer1x128);
  EXPECT_EQ(calc_diff(a.scales.view(), b.scales.view()), 0);
  EXPECT_EQ(calc_diff(a.codes.view(), b.codes.view()), 0);
  Tensor<Bf16, 2> out16(x.shape());
  Tensor<float, 2> out32(x.shape());
  ASSERT_TRUE(dequantize_into(a.codes.view(), a.scales.view(), a.block, out16.view()));
  ASSERT_TRUE(dequantize_into(a.codes.view(), a.scales.view(), a.block, out32.view()));
  for (int64_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(out16.span()[i].bits, to_bf16(out32.span()[i]).bits);
  }
}

TEST(Quantize, StridedArraysAndColumnMajorScales) {
  const Tensor<float, 2> x = normal(9, 260, 9);
  Tensor<float, 2> padded({9, 300});
  for (int i = 0; i < 9; ++i) {
    for (int j = 0; j < 260; ++j) padded(i, j) = x(i, j);
  }
  const Quantized wanted = *quantize(x.view(), kPer1x128);
  Tensor<E4m3, 2> codes({9, 264});
  Tensor<float, 2> scales({3, 12});  // [k blocks][m, padded to 4]
  ASSERT_TRUE(quantize_into(padded.view().slice(1, 0, 260), kPer1x128,
                            codes.view().slice(1, 0, 260),
                            scales.view().slice(1, 0, 9).transpose()));
  EXPECT_EQ(calc_diff(codes.view().slice(1, 0, 260), wanted.codes.view()), 0);
  EXPECT_EQ(calc_diff(scales.view().slice(1, 0, 9).transpose(), wanted.scales.view()), 0);
  EXPECT_EQ(codes(3, 260).bits, 0);
  EXPECT_EQ(scales(2, 9), 0);
}

TEST(Quantize, EmptyArrays) {
  const Tensor<float, 2> x({0, 128});
  const Quantized result = *quantize(x.view(), kPer1x128);
  EXPECT_EQ(result.scales.shape(), (Shape<2>{0, 1}));
}

TEST(Quantize, ErrorsNameTheArgument) {
  const Tensor<float, 2> x({4, 256});
  Tensor<E4m3, 2> codes({4, 255});
  Tensor<float, 2> scales({4, 2});
  EXPECT_EQ(quantize_into(x.view(), kPer1x128, codes.view(), scales.view()).error().message,
            "codes has the shape [4, 255]; it must be [4, 256]");
  EXPECT_EQ(quantize(x.view(), {1, 0}).error().message,
            "block is 1 x 0; both extents must be at least 1");
  EXPECT_EQ(quantize(x.view(), kPerRow, {.amax_min = 0}).error().message,
            "amax_min is 0; it must be at least 2^-117 and finite");
  Tensor<E4m3, 2> right({4, 256});
  Tensor<float, 2> out({4, 256});
  EXPECT_EQ(dequantize_into(right.view(), scales.view(), kPerRow, out.view()).error().message,
            "scales has the shape [4, 2]; it must be [4, 1]");
}

}  // namespace
}  // namespace hadal
