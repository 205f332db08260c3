#include "tensor/dtype.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tensor/dtype_oracle.h"

namespace hadal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Overflow kIeee = Overflow::kIeee;

float from_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}

/// Every rule is evaluated by the compiler as well.
static_assert(to_bf16(1.0f).bits == 0x3f80 && to_float(Bf16{0x3f80}) == 1.0f);
static_assert(to_f16(65520.0f).bits == 0x7c00 && to_f16(65519.996f).bits == 0x7bff);
static_assert(to_e4m3(464.0f, kIeee).bits == 0x7e && to_e4m3(464.00003f, kIeee).bits == 0x7f);
static_assert(to_e5m2(61440.0f, kIeee).bits == 0x7c && to_e5m2(61439.996f, kIeee).bits == 0x7b);
static_assert(to_float(E8m0{127}) == 1.0f);

/// Calls encode(float) on every value, every midpoint between neighbours and one ulp around each,
/// up to and beyond the overflow threshold, with both signs, and compares with the nearest value.
template <typename Encode>
void check_rounding_boundaries(const FormatOracle& oracle, uint32_t overflow_step, Encode encode) {
  auto check = [&](float x) {
    ASSERT_EQ(encode(x), oracle.round(x, overflow_step)) << x << " " << std::hexfloat << x;
    ASSERT_EQ(encode(-x), oracle.round(-x, overflow_step)) << -x;
  };
  for (uint32_t code = 0; code <= oracle.max_code(); ++code) {
    const double low = oracle.value(code);
    for (const double point : {low, (low + oracle.value(code + 1)) / 2}) {
      const float x = static_cast<float>(point);
      ASSERT_EQ(static_cast<double>(x), point) << "boundaries are floats";
      ASSERT_NO_FATAL_FAILURE(check(x));
      ASSERT_NO_FATAL_FAILURE(check(std::nextafter(x, kInf)));
      ASSERT_NO_FATAL_FAILURE(check(std::nextafter(x, 0.0f)));
    }
  }
  const double beyond = oracle.value(oracle.max_code() + 1);
  for (const double x : {beyond, std::nextafter(beyond, 0.0), beyond * 1.5, beyond * 1e10}) {
    ASSERT_NO_FATAL_FAILURE(check(static_cast<float>(x)));
  }
  ASSERT_NO_FATAL_FAILURE(check(std::numeric_limits<float>::max()));
  ASSERT_NO_FATAL_FAILURE(check(kInf));
  Rng rng(1);
  for (int i = 0; i < 200'000; ++i) {
    const float x = from_bits(static_cast<uint32_t>(rng.next()));
    if (std::isnan(x)) continue;
    ASSERT_NO_FATAL_FAILURE(check(x));
  }
}

TEST(Dtype, Bf16RoundsToNearestEven) {
  check_rounding_boundaries(bf16_oracle(), 1, [](float x) { return to_bf16(x).bits; });
}
TEST(Dtype, F16RoundsToNearestEven) {
  check_rounding_boundaries(f16_oracle(), 1, [](float x) { return to_f16(x).bits; });
}
TEST(Dtype, E4m3RoundsToNearestEven) {
  check_rounding_boundaries(e4m3_oracle(), 0, [](float x) { return to_e4m3(x).bits; });
  check_rounding_boundaries(e4m3_oracle(), 1, [](float x) { return to_e4m3(x, kIeee).bits; });
}
TEST(Dtype, E5m2RoundsToNearestEven) {
  check_rounding_boundaries(e5m2_oracle(), 0, [](float x) { return to_e5m2(x).bits; });
  check_rounding_boundaries(e5m2_oracle(), 1, [](float x) { return to_e5m2(x, kIeee).bits; });
}

/// Every code widens to the oracle's value and comes back as itself.
template <typename Decode, typename Encode>
void check_round_trip(const FormatOracle& oracle, Decode decode, Encode encode) {
  for (const uint32_t sign : {0u, oracle.sign()}) {
    for (uint32_t code = 0; code <= oracle.max_code(); ++code) {
      const float x = decode(sign | code);
      ASSERT_EQ(static_cast<double>(std::abs(x)), oracle.value(code)) << code;
      ASSERT_EQ(std::signbit(x), sign != 0);
      ASSERT_EQ(encode(x), sign | code);
    }
  }
}

TEST(Dtype, AllBf16CodesRoundTrip) {
  auto decode = [](uint32_t code) { return to_float(Bf16{static_cast<uint16_t>(code)}); };
  check_round_trip(bf16_oracle(), decode, [](float x) { return to_bf16(x).bits; });
  EXPECT_EQ(decode(0x7f80), kInf);
  EXPECT_EQ(decode(0xff80), -kInf);
  for (uint32_t code = 0x7f81; code < 0x8000; ++code) {
    for (const uint32_t sign : {0u, 0x8000u}) {
      ASSERT_EQ(bits_of(decode(code | sign)), (code | sign) << 16);
      ASSERT_EQ(to_bf16(decode(code | sign)).bits, code | sign | 0x40);
    }
  }
}

TEST(Dtype, AllF16CodesRoundTrip) {
  auto decode = [](uint32_t code) { return to_float(F16{static_cast<uint16_t>(code)}); };
  check_round_trip(f16_oracle(), decode, [](float x) { return to_f16(x).bits; });
  EXPECT_EQ(decode(0x7c00), kInf);
  EXPECT_EQ(decode(0xfc00), -kInf);
  for (uint32_t code = 0x7c01; code < 0x8000; ++code) {
    for (const uint32_t sign : {0u, 0x8000u}) {
      ASSERT_TRUE(std::isnan(decode(code | sign)));
      ASSERT_EQ(to_f16(decode(code | sign)).bits, code | sign | 0x200);
    }
  }
}

TEST(Dtype, AllE4m3CodesRoundTrip) {
  auto decode = [](uint32_t code) { return to_float(E4m3{static_cast<uint8_t>(code)}); };
  check_round_trip(e4m3_oracle(), decode, [](float x) { return to_e4m3(x).bits; });
  EXPECT_EQ(decode(0x7e), kE4m3Max);
  EXPECT_EQ(bits_of(decode(0x7f)), 0x7fc00000u);
  EXPECT_EQ(bits_of(decode(0xff)), 0xffc00000u);
  for (uint32_t code = 0; code < 256; ++code) {
    const E4m3 x{static_cast<uint8_t>(code)};
    ASSERT_EQ(bits_of(to_float(to_bf16(x))), bits_of(to_float(x))) << "bf16 holds every e4m3 value";
  }
}

TEST(Dtype, AllE5m2CodesRoundTrip) {
  auto decode = [](uint32_t code) { return to_float(E5m2{static_cast<uint8_t>(code)}); };
  check_round_trip(e5m2_oracle(), decode, [](float x) { return to_e5m2(x).bits; });
  EXPECT_EQ(decode(0x7b), kE5m2Max);
  EXPECT_EQ(decode(0x7c), kInf);
  EXPECT_EQ(decode(0xfc), -kInf);
  for (const uint32_t code : {0x7du, 0x7eu, 0x7fu, 0xfdu, 0xfeu, 0xffu}) {
    EXPECT_TRUE(std::isnan(decode(code)));
    EXPECT_EQ(to_e5m2(decode(code)).bits, (code & 0x80) | 0x7e);
  }
}

TEST(Dtype, NanKeepsItsSignAndIsNeverAnotherNumber) {
  for (const uint32_t payload : {1u, 0x1000u, 0x1fffu, 0xffffu, 0x200000u, 0x400000u, 0x7fffffu}) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float x = from_bits(sign | 0x7f800000 | payload);
      const uint32_t sign8 = sign >> 24;
      EXPECT_EQ(to_e4m3(x).bits, sign8 | 0x7f);
      EXPECT_EQ(to_e5m2(x).bits, sign8 | 0x7e);
      EXPECT_EQ(to_e4m3(x, kIeee).bits, sign8 | 0x7f);
      EXPECT_EQ(to_e5m2(x, kIeee).bits, sign8 | 0x7e);
      EXPECT_EQ(to_bf16(x).bits, (sign >> 16) | 0x7fc0 | (payload >> 16));
      EXPECT_EQ(to_f16(x).bits, (sign >> 16) | 0x7e00 | (payload >> 13));
    }
  }
}

TEST(Dtype, OverflowSaturatesOrFollowsIeee) {
  EXPECT_EQ(to_e4m3(kInf).bits, 0x7e);
  EXPECT_EQ(to_e4m3(-kInf).bits, 0xfe);
  EXPECT_EQ(to_e4m3(kInf, kIeee).bits, 0x7f);
  EXPECT_EQ(to_e5m2(kInf).bits, 0x7b);
  EXPECT_EQ(to_e5m2(-1e30f).bits, 0xfb);
  EXPECT_EQ(to_e5m2(-kInf, kIeee).bits, 0xfc);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_f16(kF16Max).bits, 0x7bff);
}

TEST(Dtype, E8m0CodesArePowersOfTwo) {
  for (uint32_t code = 0; code < 255; ++code) {
    const E8m0 scale{static_cast<uint8_t>(code)};
    const float value = to_float(scale);
    ASSERT_EQ(static_cast<double>(value), std::ldexp(1.0, static_cast<int>(code) - 127));
    ASSERT_EQ(to_e8m0_ceil(value).bits, code);
    ASSERT_EQ(exact_e8m0(value)->bits, code);
    const uint32_t above = code < 254 ? code + 1 : 254;
    ASSERT_EQ(to_e8m0_ceil(std::nextafter(value, kInf)).bits, above);
    ASSERT_EQ(to_e8m0_ceil(std::nextafter(value, 0.0f)).bits, code);
    ASSERT_FALSE(exact_e8m0(std::nextafter(value, kInf)).has_value());
    ASSERT_FALSE(exact_e8m0(-value).has_value());
  }
  EXPECT_TRUE(std::isnan(to_float(E8m0{0xff})));
  EXPECT_EQ(to_e8m0_ceil(0.0f).bits, 0);
  EXPECT_EQ(to_e8m0_ceil(-0.0f).bits, 0);
  EXPECT_EQ(to_e8m0_ceil(from_bits(1)).bits, 0);
  EXPECT_EQ(to_e8m0_ceil(kInf).bits, 254);
  EXPECT_EQ(to_e8m0_ceil(-1.0f).bits, 255);
  EXPECT_EQ(to_e8m0_ceil(-kInf).bits, 255);
  EXPECT_EQ(to_e8m0_ceil(from_bits(0x7fc00000)).bits, 255);
  for (const float x : {0.0f, -0.0f, 3.0f, kInf, -kInf, from_bits(0x7fc00000), from_bits(1)}) {
    EXPECT_FALSE(exact_e8m0(x).has_value()) << x;
  }
}

TEST(Dtype, E8m0CeilIsCeilOfLog2) {
  Rng rng(2);
  for (int i = 0; i < 200'000; ++i) {
    const float x = from_bits(static_cast<uint32_t>(rng.next()) & 0x7fffffff);
    if (!std::isfinite(x) || x > 0x1p127f || x < 0x1p-127f) continue;
    int exponent = 0;
    const double fraction = std::frexp(static_cast<double>(x), &exponent);  // in [0.5, 1)
    ASSERT_EQ(to_e8m0_ceil(x).bits, 127 + exponent - (fraction == 0.5 ? 1 : 0)) << x;
  }
}

TEST(Dtype, NamesAndSizes) {
  EXPECT_EQ(name(DType::kF32), "f32");
  EXPECT_EQ(name(DType::kE8m0), "e8m0");
  EXPECT_EQ(size_bytes(DType::kF32), 4u);
  EXPECT_EQ(size_bytes(DType::kBf16), 2u);
  EXPECT_EQ(size_bytes(DType::kE5m2), 1u);
}

}  // namespace
}  // namespace hadal
