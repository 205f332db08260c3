#include "base/rng.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

// The golden values stand in docs/formats/random.md. They were computed by an independent model in
// Python, which also reproduces the two published vectors.

template <typename F>
std::vector<uint64_t> draw(int count, F f) {
  std::vector<uint64_t> values(static_cast<size_t>(count));
  for (uint64_t& value : values) value = f();
  return values;
}

TEST(Rng, SplitMix64PublishedValues) {
  uint64_t state = 1234567;
  EXPECT_EQ(draw(5, [&] { return splitmix64(state); }),
            (std::vector<uint64_t>{6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                   4593380528125082431u, 16408922859458223821u}));
}

TEST(Rng, Xoshiro256PlusPlusPublishedValues) {
  Rng rng = Rng::from_state({1, 2, 3, 4});
  EXPECT_EQ(
      draw(10, [&] { return rng.next(); }),
      (std::vector<uint64_t>{41943041u, 58720359u, 3588806011781223u, 3591011842654386u,
                             9228616714210784205u, 9973669472204895162u, 14011001112246962877u,
                             12406186145184390807u, 15849039046786891736u, 10450023813501588000u}));
}

TEST(Rng, Seeding) {
  const auto first = [](uint64_t seed) {
    Rng rng(seed);
    return draw(4, [&] { return rng.next(); });
  };
  EXPECT_EQ(first(0), (std::vector<uint64_t>{0x53175d61490b23df, 0x61da6f3dc380d507,
                                             0x5c0fdf91ec9a7bfc, 0x02eebf8c3bbe5e1a}));
  EXPECT_EQ(first(42), (std::vector<uint64_t>{0xd0764d4f4476689f, 0x519e4174576f3791,
                                              0xfbe07cfb0c24ed8c, 0xb37d9f600cd835b8}));
  EXPECT_EQ(first(UINT64_MAX), (std::vector<uint64_t>{0x56ccf8ce948e27b2, 0xe68588432e5a5b90,
                                                      0xe3e9b5a48119ca8b, 0x460f19495532ae73}));
  Rng from_words = Rng::from_state(
      {0xbdd732262feb6e95, 0x28efe333b266f103, 0x47526757130f9f52, 0x581ce1ff0e4ae394});
  EXPECT_EQ(from_words.next(), 0xd0764d4f4476689fu);
}

TEST(Rng, WorksInConstantExpressions) {
  constexpr uint64_t kFirst = [] {
    Rng rng(42);
    return rng.next();
  }();
  static_assert(kFirst == 0xd0764d4f4476689f);
}

TEST(Rng, BelowGoldenValues) {
  Rng dice(42);
  EXPECT_EQ(draw(12, [&] { return dice.below(6); }),
            (std::vector<uint64_t>{4, 1, 5, 4, 4, 3, 0, 3, 1, 5, 3, 5}));
  Rng prime(42);
  EXPECT_EQ(draw(4, [&] { return prime.below(1000000007); }),
            (std::vector<uint64_t>{814305150, 318821042, 983894175, 701135603}));
}

TEST(Rng, BelowRejectsTheDrawsThatWouldBias) {
  Rng rng(42);
  EXPECT_EQ(draw(4, [&] { return rng.below((uint64_t{1} << 63) + 1); }),
            (std::vector<uint64_t>{2940605065665682376u, 9074821957992740550u, 6466834469879552732u,
                                   5581269471817655715u}));
  EXPECT_EQ(rng.next(), 0x352cf3daf095ccc7u) << "four draws are rejected on the way";
}

TEST(Rng, BelowZeroAndOneConsumeOneDraw) {
  Rng zero(42);
  EXPECT_EQ(zero.below(0), 0u);
  EXPECT_EQ(zero.next(), 0x519e4174576f3791u);
  Rng one(42);
  EXPECT_EQ(one.below(1), 0u);
  EXPECT_EQ(one.next(), 0x519e4174576f3791u);
}

TEST(Rng, BelowIsInRangeAndEven) {
  Rng rng(7);
  for (const uint64_t bound : {uint64_t{2}, uint64_t{3}, uint64_t{1} << 63, UINT64_MAX}) {
    for (int i = 0; i < 1000; ++i) ASSERT_LT(rng.below(bound), bound);
  }
  std::array<double, 7> counts{};
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++counts[rng.below(counts.size())];
  double chi_square = 0;  // 6 degrees of freedom: above 40 with probability 5e-7
  for (const double count : counts) chi_square += (count - 10000) * (count - 10000) / 10000;
  EXPECT_LT(chi_square, 40);
}

TEST(Rng, UniformGoldenValues) {
  Rng rng(42);
  for (const double want :
       {0x1.a0ec9a9e88ecdp-1, 0x1.467905d15dbccp-2, 0x1.f7c0f9f61849dp-1, 0x1.66fb3ec019b06p-1}) {
    EXPECT_EQ(rng.uniform(), want);
  }
}

TEST(Rng, UniformNeverReachesOne) {
  // s0 + s3 = 0 and s0 all ones make next() all ones.
  Rng rng = Rng::from_state({UINT64_MAX, 0, 0, 1});
  EXPECT_EQ(rng.uniform(), 1 - 0x1p-53);
}

TEST(Rng, ChanceAtTheEnds) {
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_FALSE(rng.chance(0));
    ASSERT_TRUE(rng.chance(1));
  }
}

TEST(Rng, NormalHasTheRightMoments) {
  Rng rng(3);
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.02);      // 6 sigma
  EXPECT_NEAR(squares / kDraws, 1, 0.03);  // 6 sigma
  EXPECT_NEAR(fourth / kDraws, 3, 0.2);    // 6 sigma
}

TEST(Rng, ForkGoldenValues) {
  Rng rng(42);
  const auto first = [](Rng child) { return child.next(); };
  EXPECT_EQ(first(rng.fork(0)), 0xd682ed76cd487563u);
  EXPECT_EQ(first(rng.fork(1)), 0x8fb04d1bc218a289u);
  EXPECT_EQ(first(rng.fork(2)), 0x428ed94f47885e09u);
  EXPECT_EQ(first(rng.fork(UINT64_MAX)), 0xf950a44b476d1675u);
  EXPECT_EQ(first(rng.fork(1).fork(2)), 0xd9f15a7a0a52dfb6u);
  EXPECT_EQ(first(rng.fork(2).fork(1)), 0x4c2b1ffcc189e0cau);
  EXPECT_EQ(rng.next(), 0xd0764d4f4476689fu) << "fork must not advance the parent";
  EXPECT_EQ(first(rng.fork(1)), 0x9c976ddf4fefb2a6u);
}

TEST(Rng, ForksOfManyStatesAndKeysAreUncorrelated) {
  Rng parent(5);
  std::set<uint64_t> seen;
  int64_t bits_equal = 0, pairs = 0;
  for (int i = 0; i < 200; ++i, parent.next()) {
    Rng next_parent = parent;
    uint64_t previous = next_parent.next();
    for (uint64_t key = 0; key < 200; ++key) {
      const uint64_t value = parent.fork(key).next();
      seen.insert(value);
      bits_equal += 64 - __builtin_popcountll(value ^ previous);
      previous = value;
      ++pairs;
    }
  }
  EXPECT_EQ(seen.size(), 40000u);
  // Binomial with 64 * pairs trials: six standard deviations.
  const double trials = 64.0 * static_cast<double>(pairs);
  EXPECT_NEAR(static_cast<double>(bits_equal), trials / 2, 6 * std::sqrt(trials) / 2);
}

TEST(Rng, ShuffleGoldenValues) {
  std::vector<int> items(10);
  std::iota(items.begin(), items.end(), 0);
  Rng rng(42);
  shuffle(std::span(items), rng);
  EXPECT_EQ(items, (std::vector<int>{5, 3, 1, 0, 9, 6, 4, 7, 2, 8}));
  EXPECT_EQ(rng.next(), 0xeeefd63219b4a0d4u);
}

TEST(Rng, ShuffleOfNothingDrawsNothing) {
  std::vector<int> items;
  Rng rng(42);
  shuffle(std::span(items), rng);
  items = {1};
  shuffle(std::span(items), rng);
  EXPECT_EQ(rng.next(), 0xd0764d4f4476689fu);
}

TEST(Rng, ShuffleGivesEveryPermutationEquallyOften) {
  std::array<int, 24> counts{};
  Rng rng(11);
  constexpr int kDraws = 48000;
  for (int i = 0; i < kDraws; ++i) {
    std::array<int, 4> items{0, 1, 2, 3};
    shuffle(std::span<int>(items), rng);
    int rank = 0;
    for (size_t a = 0; a < items.size(); ++a) {
      int smaller = 0;
      for (size_t b = a + 1; b < items.size(); ++b) smaller += items[b] < items[a] ? 1 : 0;
      rank = rank * static_cast<int>(items.size() - a) + smaller;
    }
    ++counts[static_cast<size_t>(rank)];
  }
  double chi_square = 0;  // 23 degrees of freedom: above 75 with probability 2e-7
  for (const int count : counts) chi_square += (count - 2000.0) * (count - 2000.0) / 2000.0;
  EXPECT_LT(chi_square, 75);
}

}  // namespace
}  // namespace hadal
