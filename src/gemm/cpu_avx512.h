// The vocabulary of gemm/cpu_generic.h for AVX-512, less what depends on the type of wide A and B.
// Empty where the compiler is not told to use it: only cpu_avx512.cpp and cpu_avx512bf16.cpp
// include it for real.
#pragma once

#include "cpu/simd_avx512.h"

#ifdef __AVX512BW__

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace hadal::gemm {
namespace {

struct Avx512 : cpu::Avx512 {
  /// Three rows of a whole panel: 12 sums, 4 vectors of B, a broadcast of A.
  template <int kRows>
  static constexpr int kTileVectors = 4;
  template <int kRows>
  static constexpr int kCodeVectors = 4;

  static __m512 f32(V x) { return _mm512_castsi512_ps(x); }
  static V fma_f32(V a, V b, V c) {
    return _mm512_castps_si512(_mm512_fmadd_ps(f32(a), f32(b), f32(c)));
  }
  static V i32_to_f32(V x) { return _mm512_castps_si512(_mm512_cvtepi32_ps(x)); }
  static V div_f32(V a, V b) { return _mm512_castps_si512(_mm512_div_ps(f32(a), f32(b))); }
  static V max_f32_or_nan(V a, V b) { return _mm512_castps_si512(_mm512_max_ps(f32(a), f32(b))); }
  static V splat_from(const void* p) {
    int32_t x;
    __builtin_memcpy(&x, p, sizeof(x));
    return _mm512_set1_epi32(x);
  }

  static V load_once(const void* p) {
    V x = load(p);
    asm("" : "+v"(x));
    return x;
  }

  /// u[4i + j] has, in quarter q, column 4q + j of rows 4i to 4i + 3; the rest moves quarters.
  static void transpose(V (&x)[16]) {
    V u[16];
    for (int i = 0; i < 16; i += 4) {
      const V low01 = _mm512_unpacklo_epi32(x[i], x[i + 1]);
      const V high01 = _mm512_unpackhi_epi32(x[i], x[i + 1]);
      const V low23 = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]);
      const V high23 = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
      u[i] = _mm512_unpacklo_epi64(low01, low23);
      u[i + 1] = _mm512_unpackhi_epi64(low01, low23);
      u[i + 2] = _mm512_unpacklo_epi64(high01, high23);
      u[i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    for (int j = 0; j < 4; ++j) {
      const V even01 = _mm512_shuffle_i32x4(u[j], u[4 + j], 0x88);
      const V odd01 = _mm512_shuffle_i32x4(u[j], u[4 + j], 0xdd);
      const V even23 = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0x88);
      const V odd23 = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0xdd);
      x[j] = _mm512_shuffle_i32x4(even01, even23, 0x88);
      x[4 + j] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
      x[8 + j] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
      x[12 + j] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
    }
  }

  static V pairs_first(V x) {
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2,
                                                                       3, 6, 7, 10, 11, 14, 15)));
  }

  /// Dword o of the result is element o / 3 of vector o % 3.
  static void store_interleaved(void* out, V a, V b, V c) {
    const V first = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
    const V second = _mm512_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10);
    const V third =
        _mm512_setr_epi32(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15);
    const auto pick = [&](V index, Mask from_b, Mask from_c) {
      const V x = _mm512_permutexvar_epi32(index, a);
      return _mm512_mask_permutexvar_epi32(_mm512_mask_permutexvar_epi32(x, from_b, index, b),
                                           from_c, index, c);
    };
    uint8_t* to = static_cast<uint8_t*>(out);
    store(to, pick(first, 0x2492, 0x4924));
    store(to + 64, pick(second, 0x9249, 0x2492));
    store(to + 128, pick(third, 0x4924, 0x9249));
  }
};

}  // namespace
}  // namespace hadal::gemm

#endif  // __AVX512BW__
