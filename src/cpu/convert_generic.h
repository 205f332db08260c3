// The conversions, written once over a small vocabulary S that each instruction set supplies
// (cpu/simd_avx2.h, cpu/simd_avx512.h).
//
// S has kLanes lanes of 32 bits in a V, which holds integers or the bits of floats, and the same
// number of 16-bit lanes in an H. Rounding to e4m3 and e5m2 is integer arithmetic for normal
// results; for subnormal ones it is a float addition of 2^23 steps of the format, which leaves the
// rounded number of steps in the low mantissa bits. No operation here reads or makes a subnormal
// float that matters, so flush-to-zero changes nothing.
//
// S lives in an unnamed namespace, so that each translation unit has its own copy of all this,
// compiled for its own instruction set and invisible to the linker.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cpu/kernels.h"
#include "tensor/types.h"

namespace hadal::cpu {

/// Applies `kConvertBlock`, which converts exactly kBlock elements, to n. The rest is one more
/// block that overlaps the one before, or, in arrays shorter than a block, goes through a buffer.
template <typename In, typename Out, size_t kBlock, void (*kConvertBlock)(const In*, Out*)>
void convert(const In* in, Out* out, size_t n) {
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) kConvertBlock(in + i, out + i);
  if (i == n) return;
  if (n >= kBlock) {
    kConvertBlock(in + n - kBlock, out + n - kBlock);
    return;
  }
  In in_block[kBlock] = {};
  Out out_block[kBlock];
  __builtin_memcpy(in_block, in, n * sizeof(In));
  kConvertBlock(in_block, out_block);
  __builtin_memcpy(out, out_block, n * sizeof(Out));
}

template <class S>
struct Convert {
  using V = typename S::V;
  using H = typename S::H;
  static constexpr size_t kLanes = S::kLanes;
  static constexpr uint32_t kInfinity = 0x7f800000;

  static V round_bf16(V x) {
    const V odd = S::bit_and(S::template shift_right<16>(x), S::splat(1));
    const V rounded = S::add(S::add(x, S::splat(0x7fff)), odd);
    const V quiet = S::bit_or(x, S::splat(0x400000));
    const V magnitude = S::bit_and(x, S::splat(0x7fffffff));
    const auto is_nan = S::greater(magnitude, S::splat(kInfinity));
    return S::template shift_right<16>(S::select(is_nan, quiet, rounded));
  }

  /// The code of |x| in each lane; a NaN gives a number above 0xff.
  template <int kExponentBits, int kMantissaBits, uint32_t kMaxCode>
  static V round_fp8(V x) {
    constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
    constexpr int kDropped = 23 - kMantissaBits;
    constexpr uint32_t kRebias = static_cast<uint32_t>(127 - kBias) << 23;
    constexpr uint32_t kMax = (kMaxCode << kDropped) + kRebias;
    constexpr uint32_t kMinNormal = static_cast<uint32_t>(128 - kBias) << 23;
    // 2^23 steps of 2^(1 - bias - mantissa bits).
    constexpr uint32_t kSteps = static_cast<uint32_t>(127 + 23 + 1 - kBias - kMantissaBits) << 23;

    const V magnitude = S::bit_and(x, S::splat(0x7fffffff));
    const V clipped = S::min_f32_or_nan(S::splat(kMax), magnitude);
    const V odd = S::bit_and(S::template shift_right<kDropped>(clipped), S::splat(1));
    const V half_less_rebias = S::splat((1u << (kDropped - 1)) - 1 - kRebias);
    const V normal =
        S::template shift_right<kDropped>(S::add(S::add(clipped, half_less_rebias), odd));
    const V subnormal = S::sub(S::add_f32(clipped, S::splat(kSteps)), S::splat(kSteps));
    return S::select(S::greater(S::splat(kMinNormal), clipped), subnormal, normal);
  }

  /// NaN and sign are settled on packed bytes, four times as many at once: packing saturates, which
  /// makes 0xff of a NaN's number, and packing the floats themselves as signed integers keeps
  /// signs.
  template <int kExponentBits, int kMantissaBits, uint32_t kMaxCode, uint8_t kNanCode>
  static void f32_to_fp8_block(const float* in, void* out) {
    constexpr auto round = round_fp8<kExponentBits, kMantissaBits, kMaxCode>;
    const V x0 = S::load(in);
    const V x1 = S::load(in + kLanes);
    const V x2 = S::load(in + 2 * kLanes);
    const V x3 = S::load(in + 3 * kLanes);
    const V numbers = S::pack_bytes(round(x0), round(x1), round(x2), round(x3));
    const V codes = S::min_bytes(numbers, S::splat(kNanCode * 0x01010101u));
    const V signs = S::bit_and(S::pack_signed_bytes(x0, x1, x2, x3), S::splat(0x80808080));
    S::store_packed_bytes(out, S::bit_or(codes, signs));
  }

  static void f32_to_bf16_block(const float* in, Bf16* out) {
    S::store_low16(out, round_bf16(S::load(in)), round_bf16(S::load(in + kLanes)));
  }

  static void f32_to_f16_block(const float* in, F16* out) { S::store_f16(out, S::load(in)); }

  static void f32_to_e4m3_block(const float* in, E4m3* out) {
    f32_to_fp8_block<4, 3, 0x7e, 0x7f>(in, out);
  }

  static void f32_to_e5m2_block(const float* in, E5m2* out) {
    f32_to_fp8_block<5, 2, 0x7b, 0x7e>(in, out);
  }

  static void bf16_to_f32_block(const Bf16* in, float* out) {
    S::store(out, S::template shift_left<16>(S::load_u16(in)));
  }

  static void f16_to_f32_block(const F16* in, float* out) {
    S::store(out, S::f16_to_f32(S::load_half(in)));
  }

  /// Exponent and mantissa of an e4m3 moved to their places in an f16 make a number 2^8 too small,
  /// subnormals included. Code 0x7f, which would be 480, becomes an f16 NaN before.
  static void e4m3_to_f32_block(const E4m3* in, float* out) {
    const H code =
        S::load_i8(in);  // the sign of the byte extended: shifted by 7, bit 15 is the sign
    const H magnitude = S::half_and(S::template half_shift_left<7>(code), S::half_splat(0x3f80));
    const H sign = S::half_and(code, S::half_splat(0x8000));
    const H is_nan = S::half_equal(magnitude, S::half_splat(0x3f80));
    const H to_nan = S::half_and(is_nan, S::half_splat(0x7e00 - 0x3f80));
    const H half = S::half_or(S::half_add(magnitude, to_nan), sign);
    S::store(out, S::mul_f32(S::f16_to_f32(half), S::splat(0x43800000)));  // 2^8
  }

  static void e5m2_to_f32_block(const E5m2* in, float* out) {
    S::store(out, S::f16_to_f32(S::template half_shift_left<8>(S::load_i8(in))));
  }

  /// The table, with the one conversion that shares nothing between instruction sets.
  static consteval Kernels table(void (*e4m3_to_bf16)(const E4m3*, Bf16*, size_t)) {
    return {
        .f32_to_bf16 = convert<float, Bf16, 2 * kLanes, f32_to_bf16_block>,
        .f32_to_f16 = convert<float, F16, kLanes, f32_to_f16_block>,
        .f32_to_e4m3 = convert<float, E4m3, 4 * kLanes, f32_to_e4m3_block>,
        .f32_to_e5m2 = convert<float, E5m2, 4 * kLanes, f32_to_e5m2_block>,
        .bf16_to_f32 = convert<Bf16, float, kLanes, bf16_to_f32_block>,
        .f16_to_f32 = convert<F16, float, kLanes, f16_to_f32_block>,
        .e4m3_to_f32 = convert<E4m3, float, kLanes, e4m3_to_f32_block>,
        .e5m2_to_f32 = convert<E5m2, float, kLanes, e5m2_to_f32_block>,
        .e4m3_to_bf16 = e4m3_to_bf16,
    };
  }
};

/// bf16 of the 128 e4m3 codes without sign, as 16-bit entries and as two byte planes.
struct E4m3Table {
  alignas(64) uint16_t bits[128];
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};

consteval E4m3Table make_e4m3_table() {
  E4m3Table table{};
  for (uint32_t code = 0; code < 128; ++code) {
    uint32_t bits = (code << 4) + (120u << 7);
    if (code == 0x7f) bits = 0x7fc0;
    if (code < 8) {  // code * 2^-9: the leading one becomes implicit
      uint32_t top = 0;
      while (code >> (top + 1) != 0) ++top;
      bits = code == 0 ? 0 : ((127 - 9 + top) << 7) | ((code << (7 - top)) & 0x7f);
    }
    table.bits[code] = static_cast<uint16_t>(bits);
    table.low[code] = static_cast<uint8_t>(bits);
    table.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return table;
}

}  // namespace hadal::cpu
