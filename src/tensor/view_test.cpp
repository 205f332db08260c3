#include "tensor/view.h"

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

std::vector<int> iota(int n) {
  std::vector<int> items(n);
  std::iota(items.begin(), items.end(), 0);
  return items;
}

TEST(View, IndexesRowMajor) {
  std::vector<int> items = iota(24);
  const View<int, 3> view(items.data(), {2, 3, 4});
  EXPECT_EQ(view(0, 0, 0), 0);
  EXPECT_EQ(view(1, 2, 3), 23);
  EXPECT_EQ(view(1, 0, 2), 14);
  EXPECT_EQ(view.size(), 24);
  EXPECT_EQ(view.stride(0), 12);
  EXPECT_TRUE(view.is_contiguous());
  EXPECT_EQ(view.row(1).row(2)(3), 23);
  view(1, 1, 1) = -1;
  EXPECT_EQ(items[17], -1);
}

TEST(View, SlicesShareMemory) {
  std::vector<int> items = iota(20);
  const View<int, 2> view(items.data(), {4, 5});
  const View<int, 2> block = view.slice(0, 1, 3).slice(1, 2, 5);
  EXPECT_EQ(block.shape(), (Shape<2>{2, 3}));
  EXPECT_EQ(block(0, 0), 7);
  EXPECT_EQ(block(1, 2), 14);
  EXPECT_FALSE(block.is_contiguous());
  EXPECT_TRUE(view.slice(0, 1, 3).is_contiguous());
  EXPECT_EQ(view.slice(0, 1, 3).span()[0], 5);
  EXPECT_TRUE(view.slice(1, 5, 5).empty());
}

TEST(View, TransposeExchangesStrides) {
  std::vector<int> items = iota(6);
  const View<int, 2> turned = View<int, 2>(items.data(), {2, 3}).transpose();
  EXPECT_EQ(turned.shape(), (Shape<2>{3, 2}));
  EXPECT_EQ(turned(2, 1), 5);
  EXPECT_EQ(turned(1, 0), 1);
  EXPECT_FALSE(turned.is_contiguous());
  EXPECT_EQ(turned.transpose().strides(), (Shape<2>{3, 1}));
}

TEST(View, ContiguousIgnoresStridesThatAreNeverTaken) {
  int item = 0;
  EXPECT_TRUE((View<int, 2>(&item, {1, 1}, {77, 99}).is_contiguous()));
  EXPECT_TRUE((View<int, 2>(&item, {0, 5}, {3, 3}).is_contiguous()));
  EXPECT_FALSE((View<int, 2>(&item, {2, 1}, {2, 1}).is_contiguous()));
  EXPECT_FALSE((View<int, 1>(&item, {4}, {0}).is_contiguous()));
}

TEST(View, BroadcastByStrideZero) {
  int item = 7;
  const View<int, 2> view(&item, {3, 4}, {0, 0});
  EXPECT_EQ(view(2, 3), 7);
}

TEST(View, ConstFromMutable) {
  std::vector<int> items = iota(4);
  const View<int, 2> view(items.data(), {2, 2});
  const View<const int, 2> constant = view;
  EXPECT_EQ(constant(1, 1), 3);
  static_assert(!std::is_convertible_v<View<const int, 2>, View<int, 2>>);
}

TEST(ViewDeathTest, RefusesWhatIsOutOfRange) {
  std::vector<int> items = iota(6);
  const View<int, 2> view(items.data(), {2, 3});
  EXPECT_DEATH(view.slice(0, 1, 3), "slice out of range");
  EXPECT_DEATH(view.slice(0, -1, 1), "slice out of range");
  EXPECT_DEATH(view.slice(1, 2, 1), "slice out of range");
  EXPECT_DEATH(view.slice(2, 0, 0), "does not have");
  EXPECT_DEATH(view.transpose().span(), "not contiguous");
#ifndef NDEBUG
  EXPECT_DEATH(view(2, 0), "index out of range");
  EXPECT_DEATH(view(0, -1), "index out of range");
  EXPECT_DEATH(view.row(2), "row out of range");
#endif
}

TEST(Tensor, OwnsAlignedZeroedMemory) {
  Tensor<float, 2> tensor({3, 5});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 64, 0u);
  for (const float x : tensor.span()) EXPECT_EQ(x, 0);
  tensor(2, 4) = 1;
  EXPECT_EQ(tensor.view()(2, 4), 1);
  const Tensor<float, 2> copy = tensor.clone();
  tensor(2, 4) = 2;
  EXPECT_EQ(copy(2, 4), 1);
}

TEST(Tensor, MovesLeaveNothing) {
  Tensor<int, 1> a({4});
  a(3) = 9;
  Tensor<int, 1> b = std::move(a);
  EXPECT_EQ(b(3), 9);
  // The moved-from state is specified.
  EXPECT_EQ(a.size(), 0);  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
  EXPECT_EQ(a.data(), nullptr);
  a = std::move(b);
  EXPECT_EQ(a(3), 9);
}

TEST(Tensor, MayBeEmpty) {
  Tensor<float, 2> none({0, 128});
  EXPECT_EQ(none.size(), 0);
  EXPECT_TRUE(none.span().empty());
  EXPECT_EQ(none.clone().extent(1), 128);
  const Tensor<float, 3> never;
  EXPECT_EQ(never.size(), 0);
}

TEST(TensorDeathTest, RefusesImpossibleShapes) {
  EXPECT_DEATH((Tensor<float, 2>({-1, 2})), "too large");
  EXPECT_DEATH((Tensor<float, 2>({int64_t{1} << 40, int64_t{1} << 40})), "too large");
}

}  // namespace
}  // namespace hadal
