// The vocabulary of cpu/convert_generic.h for AVX-512 (x86-64-v4). Empty where the compiler is not
// told to use it: only x_avx512.cpp and x_avx512bf16.cpp files include it for real.
#pragma once

#ifdef __AVX512BW__

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace hadal::cpu {
namespace {

struct Avx512 {
  using V = __m512i;
  using H = __m256i;
  using Mask = __mmask16;
  static constexpr size_t kLanes = 16;

  static V splat(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static V load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, V x) { _mm512_storeu_si512(p, x); }
  static V load_u16(const void* p) { return _mm512_cvtepu16_epi32(load_half(p)); }

  static V bit_and(V a, V b) { return _mm512_and_si512(a, b); }
  static V bit_or(V a, V b) { return _mm512_or_si512(a, b); }
  static V add(V a, V b) { return _mm512_add_epi32(a, b); }
  static V sub(V a, V b) { return _mm512_sub_epi32(a, b); }
  static V min_bytes(V a, V b) { return _mm512_min_epu8(a, b); }  // unsigned
  template <int kBits>
  static V shift_right(V x) {
    return _mm512_srli_epi32(x, kBits);
  }
  template <int kBits>
  static V shift_left(V x) {
    return _mm512_slli_epi32(x, kBits);
  }
  static Mask greater(V a, V b) { return _mm512_cmpgt_epi32_mask(a, b); }  // signed
  static V select(Mask mask, V if_true, V if_false) {
    return _mm512_mask_blend_epi32(mask, if_false, if_true);
  }
  static V add_f32(V a, V b) {
    return _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
  }
  /// Of two floats the smaller; b if it is a NaN.
  static V min_f32_or_nan(V a, V b) {
    return _mm512_castps_si512(_mm512_min_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
  }
  static V mul_f32(V a, V b) {
    return _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
  }

  static H load_half(const void* p) { return _mm256_loadu_si256(static_cast<const H*>(p)); }
  static H load_i8(const void* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static H half_splat(int x) { return _mm256_set1_epi16(static_cast<int16_t>(x)); }
  static H half_and(H a, H b) { return _mm256_and_si256(a, b); }
  static H half_or(H a, H b) { return _mm256_or_si256(a, b); }
  static H half_add(H a, H b) { return _mm256_add_epi16(a, b); }
  static H half_equal(H a, H b) { return _mm256_cmpeq_epi16(a, b); }
  template <int kBits>
  static H half_shift_left(H x) {
    return _mm256_slli_epi16(x, kBits);
  }

  static V f16_to_f32(H x) { return _mm512_castps_si512(_mm512_cvtph_ps(x)); }
  static void store_f16(void* p, V x) {
    _mm256_storeu_si256(static_cast<H*>(p),
                        _mm512_cvtps_ph(_mm512_castsi512_ps(x), _MM_FROUND_TO_NEAREST_INT));
  }

  /// 2 * kLanes values below 2^16, in order. Packing works within 128-bit quarters.
  static void store_low16(void* p, V a, V b) {
    const V order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    store(p, _mm512_permutexvar_epi64(order, _mm512_packus_epi32(a, b)));
  }
  /// Four vectors as bytes in an order that store_packed_bytes() undoes. Non-negative values below
  /// 2^15 saturate at 0xff.
  static V pack_bytes(V a, V b, V c, V d) {
    return _mm512_packus_epi16(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d));
  }
  /// The same of signed values, saturating at -128 and 127.
  static V pack_signed_bytes(V a, V b, V c, V d) {
    return _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  }
  static void store_packed_bytes(void* p, V x) {
    const V order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    store(p, _mm512_permutexvar_epi32(order, x));
  }
};

}  // namespace
}  // namespace hadal::cpu

#endif  // __AVX512BW__
