#include "base/hash.h"

#include <bit>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal {
namespace {

TEST(Hash, TextGoldenValues) {
  EXPECT_EQ(hash_text(""), 0x2d06800538d394c2u);
  EXPECT_EQ(hash_text("a"), 0xe6c632b61e964e1fu);
  EXPECT_EQ(hash_text("abc"), 0x78af5f94892f3950u);
  EXPECT_EQ(hash_text("hadal"), 0x064bbded2c3a5c9du);
  EXPECT_EQ(hash_text("hadal", 1), 0x54de3dfdb2bdd7eeu);
}

/// The buffer and lengths of xxHash's own sanity check: one length for each of XXH3's code paths.
TEST(Hash, EveryLengthClassOfXxh3) {
  constexpr uint64_t kPrime = 11400714785074694797u;
  std::vector<std::byte> data(2367);
  uint64_t word = 2654435761;
  for (std::byte& byte : data) {
    byte = static_cast<std::byte>(word >> 56);
    word *= kPrime;
  }
  const struct {
    size_t size;
    uint64_t plain, seeded;
  } cases[] = {
      {1, 0xc44bdff4074eecdb, 0x032be332dd766ef8},
      {6, 0x27b56a84cd2d7325, 0x84589c116ab59ab9},
      {12, 0xa713daf0dfbb77e7, 0xe7303e1b2336de0e},
      {24, 0xa3fe70bf9d3510eb, 0x850e80fc35bdd690},
      {80, 0xbcdefbbb2c47c90a, 0xc6dd0cb699532e73},
      {195, 0xcd94217ee362ec3a, 0xba68003d370cb3d9},
      {403, 0xcdeb804d65c6dea4, 0x6259f6ecfd6443fd},
      {512, 0x617e49599013cb6b, 0x3ce457de14c27708},
      {2048, 0xdd59e2c3a5f038e0, 0x66f81670669ababc},
      {2367, 0xcb37aeb9e5d361ed, 0xd2db3415b942b42a},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(hash_bytes(std::span(data).first(c.size)), c.plain) << c.size;
    EXPECT_EQ(hash_bytes(std::span(data).first(c.size), kPrime), c.seeded) << c.size;
  }
}

/// The same buffer and the 128-bit values of the same check.
TEST(Hash, EveryLengthClassOf128Bits) {
  std::vector<std::byte> data(2367);
  uint64_t word = 2654435761;
  for (std::byte& byte : data) {
    byte = static_cast<std::byte>(word >> 56);
    word *= 11400714785074694797u;
  }
  const struct {
    size_t size;
    Hash128 hash;
  } cases[] = {
      {0, {0x6001c324468d497f, 0x99aa06d3014798d8}},
      {1, {0xc44bdff4074eecdb, 0xa6cd5e9392000f6a}},
      {6, {0x3e7039bdda43cfc6, 0x082afe0b8162d12a}},
      {12, {0x061a192713f69ad9, 0x6e3efd8fc7802b18}},
      {24, {0x1e7044d28b1b901d, 0x0ce966e4678d3761}},
      {81, {0x5e8bafb9f95fb803, 0x4952f58181ab0042}},
      {222, {0xf1aebd597cec6b3a, 0x337e09641b948717}},
      {403, {0xcdeb804d65c6dea4, 0x1b6de21e332dd73d}},
      {512, {0x617e49599013cb6b, 0x18d2d110dcc9bca1}},
      {2367, {0xcb37aeb9e5d361ed, 0xe89c0f6ff369b427}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(hash_bytes_128(std::span(data).first(c.size)), c.hash) << c.size;
  }
  EXPECT_EQ(hash_bytes_128(std::as_bytes(std::span(std::string_view("hadal")))),
            (Hash128{0x1edcf73065ff4ac6, 0xec9aaf7aca286ec9}));
}

TEST(Hash, MixerGoldenValues) {
  EXPECT_EQ(hash_u64(0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(hash_u64(1), 0x910a2dec89025cc1u);
  EXPECT_EQ(hash_u64(UINT64_MAX), 0xe4d971771b652c20u);
  EXPECT_EQ(hash_combine(1, 2), 0xbcd9dbb49673066bu);
  EXPECT_EQ(hash_combine(2, 1), 0xe06dd043328bd285u);
  EXPECT_EQ(hash_combine(0, 0), 0xa706dd2f4d197e6fu);
}

TEST(Hash, EveryInputBitMovesEveryOutputBit) {
  constexpr int kTrials = 4096;
  Rng rng(1);
  std::vector<int> flips(64 * 64);
  for (int trial = 0; trial < kTrials; ++trial) {
    const uint64_t x = rng.next();
    for (size_t in = 0; in < 64; ++in) {
      const uint64_t diff = hash_u64(x) ^ hash_u64(x ^ (uint64_t{1} << in));
      for (size_t out = 0; out < 64; ++out) flips[in * 64 + out] += (diff >> out) & 1 ? 1 : 0;
    }
  }
  for (const int count : flips) {  // half of the trials, seven standard deviations of 32
    ASSERT_GT(count, kTrials / 2 - 224);
    ASSERT_LT(count, kTrials / 2 + 224);
  }
}

}  // namespace
}  // namespace hadal
