// The vocabulary of cpu/convert_generic.h for AVX2 with F16C (x86-64-v3). Empty where the compiler
// is not told to use them: only x_avx2.cpp files include it for real.
#pragma once

#ifdef __AVX2__

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace hadal::cpu {
namespace {

struct Avx2 {
  using V = __m256i;
  using H = __m128i;
  using Mask = __m256i;
  static constexpr size_t kLanes = 8;

  static V splat(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static V load(const void* p) { return _mm256_loadu_si256(static_cast<const V*>(p)); }
  static void store(void* p, V x) { _mm256_storeu_si256(static_cast<V*>(p), x); }
  static V load_u16(const void* p) { return _mm256_cvtepu16_epi32(load_half(p)); }

  static V bit_and(V a, V b) { return _mm256_and_si256(a, b); }
  static V bit_or(V a, V b) { return _mm256_or_si256(a, b); }
  static V add(V a, V b) { return _mm256_add_epi32(a, b); }
  static V sub(V a, V b) { return _mm256_sub_epi32(a, b); }
  static V min_bytes(V a, V b) { return _mm256_min_epu8(a, b); }  // unsigned
  template <int kBits>
  static V shift_right(V x) {
    return _mm256_srli_epi32(x, kBits);
  }
  template <int kBits>
  static V shift_left(V x) {
    return _mm256_slli_epi32(x, kBits);
  }
  static Mask greater(V a, V b) { return _mm256_cmpgt_epi32(a, b); }  // signed
  static V select(Mask mask, V if_true, V if_false) {
    return _mm256_blendv_epi8(if_false, if_true, mask);
  }
  static V add_f32(V a, V b) {
    return _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
  }
  /// Of two floats the smaller; b if it is a NaN.
  static V min_f32_or_nan(V a, V b) {
    return _mm256_castps_si256(_mm256_min_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
  }
  static V mul_f32(V a, V b) {
    return _mm256_castps_si256(_mm256_mul_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
  }

  static H load_half(const void* p) { return _mm_loadu_si128(static_cast<const H*>(p)); }
  static H load_i8(const void* p) {
    return _mm_cvtepi8_epi16(_mm_loadl_epi64(static_cast<const H*>(p)));
  }
  static H half_splat(int x) { return _mm_set1_epi16(static_cast<int16_t>(x)); }
  static H half_and(H a, H b) { return _mm_and_si128(a, b); }
  static H half_or(H a, H b) { return _mm_or_si128(a, b); }
  static H half_add(H a, H b) { return _mm_add_epi16(a, b); }
  static H half_equal(H a, H b) { return _mm_cmpeq_epi16(a, b); }
  template <int kBits>
  static H half_shift_left(H x) {
    return _mm_slli_epi16(x, kBits);
  }

  static V f16_to_f32(H x) { return _mm256_castps_si256(_mm256_cvtph_ps(x)); }
  static void store_f16(void* p, V x) {
    _mm_storeu_si128(static_cast<H*>(p),
                     _mm256_cvtps_ph(_mm256_castsi256_ps(x), _MM_FROUND_TO_NEAREST_INT));
  }

  /// 2 * kLanes values below 2^16, in order. Packing works within 128-bit halves.
  static void store_low16(void* p, V a, V b) {
    store(p, _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8));
  }
  /// Four vectors as bytes in an order that store_packed_bytes() undoes. Non-negative values below
  /// 2^15 saturate at 0xff.
  static V pack_bytes(V a, V b, V c, V d) {
    return _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
  }
  /// The same of signed values, saturating at -128 and 127.
  static V pack_signed_bytes(V a, V b, V c, V d) {
    return _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  }
  static void store_packed_bytes(void* p, V x) {
    store(p, _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
};

}  // namespace
}  // namespace hadal::cpu

#endif  // __AVX2__
