#include "tensor/compare.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Comparison compare_items(const std::vector<double>& x, const std::vector<double>& y) {
  return compare(view_of(std::span(x)), view_of(std::span(y)));
}

bool close(const std::vector<double>& x, const std::vector<double>& y, double relative,
           double absolute) {
  return all_close(view_of(std::span(x)), view_of(std::span(y)), relative, absolute);
}

TEST(Compare, MatchesTheFormulas) {
  const Comparison result = compare_items({1, 2, 4}, {1, 2, 3});
  EXPECT_DOUBLE_EQ(result.calc_diff, 1 - 2 * 17.0 / (21 + 14));
  EXPECT_DOUBLE_EQ(result.cosine, 17 / std::sqrt(21.0 * 14.0));
  EXPECT_EQ(result.max_abs_error, 1);
  EXPECT_DOUBLE_EQ(result.max_rel_error, 1 / 3.0);
  EXPECT_EQ(result.worst, 2);
}

TEST(Compare, EqualAndZeroTensors) {
  for (const std::vector<double>& x : {std::vector<double>{}, {0, 0}, {3, -1, 1e-300}}) {
    const Comparison same = compare_items(x, x);
    EXPECT_EQ(same.calc_diff, 0);
    EXPECT_DOUBLE_EQ(same.cosine, 1);
    EXPECT_EQ(same.max_abs_error, 0);
    EXPECT_EQ(same.max_rel_error, 0);
    EXPECT_EQ(same.worst, -1);
  }
  const Comparison one_zero = compare_items({1, 2}, {0, 0});
  EXPECT_EQ(one_zero.calc_diff, 1);
  EXPECT_EQ(one_zero.cosine, 0);
  EXPECT_EQ(one_zero.max_rel_error, kInf);
  EXPECT_EQ(compare_items({0, 0}, {1, 2}).calc_diff, 1);
  EXPECT_EQ(compare_items({0, 0}, {1, 2}).max_rel_error, 1);
  EXPECT_DOUBLE_EQ(compare_items({-1, -2}, {1, 2}).calc_diff, 2);
}

TEST(Compare, ResolvesTinyDifferences) {
  EXPECT_NEAR(compare_items({1 + 1e-12}, {1}).calc_diff, 0.5e-24, 1e-28);
}

TEST(Compare, HidesNoNan) {
  for (const auto& [x, y] : {std::pair{kNan, 1.0}, {1.0, kNan}, {kNan, kNan}, {kInf, 1.0}}) {
    const Comparison result = compare_items({1, x, 1}, {1, y, 1});
    EXPECT_FALSE(result.calc_diff < 1e9);
    EXPECT_EQ(result.max_abs_error, kInf);
    EXPECT_EQ(result.max_rel_error, kInf);
    EXPECT_EQ(result.worst, 1);
    EXPECT_FALSE(close({1, x, 1}, {1, y, 1}, 1e9, 1e9));
  }
  EXPECT_EQ(compare_items({kInf, 1}, {kInf, 1}).max_abs_error, 0);
  EXPECT_EQ(compare_items({-kInf}, {kInf}).max_abs_error, kInf);
}

TEST(Compare, AllCloseIsRelativeToTheReference) {
  EXPECT_TRUE(close({11, 1}, {10, 1}, 0.1, 0));
  EXPECT_FALSE(close({11.1, 1}, {10, 1}, 0.1, 0));
  EXPECT_TRUE(close({0.05}, {0}, 0, 0.05));
  EXPECT_FALSE(close({0.05}, {0}, 1, 0.04));
  EXPECT_TRUE(close({kInf}, {kInf}, 0, 0));
  EXPECT_FALSE(close({1}, {kInf}, 1, 1));
}

TEST(Compare, TakesStridedViewsOfAnyFormat) {
  Tensor<Bf16, 2> x({2, 3});
  Tensor<float, 2> y({3, 2});
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) {
      x(i, j) = to_bf16(static_cast<float>(i * 3 + j));
      y(j, i) = static_cast<float>(i * 3 + j);
    }
  }
  EXPECT_EQ(calc_diff(x.view(), y.view().transpose()), 0);
  y(2, 1) = 6;
  const Comparison result = compare(x.view(), y.view().transpose());
  EXPECT_EQ(result.worst, 5);
  EXPECT_EQ(result.max_abs_error, 1);
}

TEST(CompareDeathTest, NeedsOneShape) {
  EXPECT_DEATH(compare_items({1, 2}, {1}), "one shape");
}

}  // namespace
}  // namespace hadal
