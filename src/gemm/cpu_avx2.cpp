#include <immintrin.h>

#include "cpu/convert_generic.h"
#include "cpu/simd_avx2.h"
#include "gemm/cpu_generic.h"
#include "gemm/cpu_kernels.h"

namespace hadal::gemm {
namespace {

struct Avx2 : cpu::Avx2 {
  static constexpr int kPerDword = 1;
  /// 16 registers and two FMAs of 4 or 5 clocks at once: 12 sums, 3 broadcasts of A and one load of
  /// B for three rows; more columns for fewer rows.
  template <int kRows>
  static constexpr int kTileVectors = kRows == 1 ? 8 : 4;
  template <int kRows>
  static constexpr int kCodeVectors = 2;

  static __m256 f32(V x) { return _mm256_castsi256_ps(x); }
  static V fma_f32(V a, V b, V c) {
    return _mm256_castps_si256(_mm256_fmadd_ps(f32(a), f32(b), f32(c)));
  }
  static V i32_to_f32(V x) { return _mm256_castps_si256(_mm256_cvtepi32_ps(x)); }
  static V div_f32(V a, V b) { return _mm256_castps_si256(_mm256_div_ps(f32(a), f32(b))); }
  static V max_f32_or_nan(V a, V b) { return _mm256_castps_si256(_mm256_max_ps(f32(a), f32(b))); }
  /// As assembly, because g++ 12 copies and spills accumulators around the intrinsic.
  static V multiply_add(V sum, V a, V b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
  }
  /// Words of even and of odd bytes: their products' sums fit 32 bits.
  static constexpr bool kHasDot = false;
  static V dot(V sum, V u, V s) {
    const V even = _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(0xff)),
                                     _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
    const V odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
    return add(sum, add(even, odd));
  }
  static V splat_from(const void* p) {
    float x;
    __builtin_memcpy(&x, p, sizeof(x));
    return _mm256_castps_si256(_mm256_set1_ps(x));
  }

  static V load_once(const void* p) {
    V x = load(p);
    asm("" : "+x"(x));
    return x;
  }
  /// u[4i + j] has, in half h, column 4h + j of rows 4i to 4i + 3; the rest moves halves.
  static void transpose(V (&x)[8]) {
    V u[8];
    for (int i = 0; i < 8; i += 4) {
      const V low01 = _mm256_unpacklo_epi32(x[i], x[i + 1]);
      const V high01 = _mm256_unpackhi_epi32(x[i], x[i + 1]);
      const V low23 = _mm256_unpacklo_epi32(x[i + 2], x[i + 3]);
      const V high23 = _mm256_unpackhi_epi32(x[i + 2], x[i + 3]);
      u[i] = _mm256_unpacklo_epi64(low01, low23);
      u[i + 1] = _mm256_unpackhi_epi64(low01, low23);
      u[i + 2] = _mm256_unpacklo_epi64(high01, high23);
      u[i + 3] = _mm256_unpackhi_epi64(high01, high23);
    }
    for (int j = 0; j < 4; ++j) {
      x[j] = _mm256_permute2x128_si256(u[j], u[4 + j], 0x20);
      x[4 + j] = _mm256_permute2x128_si256(u[j], u[4 + j], 0x31);
    }
  }

  static V pairs_first(V x) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                      0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)));
  }

  /// Dword o of the result is element o / 3 of vector o % 3.
  static void store_interleaved(void* out, V a, V b, V c) {
    uint8_t* to = static_cast<uint8_t*>(out);
    const auto pick = [](V index, V from0, V from1, V from2) {  // lane i is of vector i % 3
      const V x0 = _mm256_permutevar8x32_epi32(from0, index);
      const V x1 = _mm256_permutevar8x32_epi32(from1, index);
      const V x2 = _mm256_permutevar8x32_epi32(from2, index);
      return _mm256_blend_epi32(_mm256_blend_epi32(x0, x1, 0x92), x2, 0x24);
    };
    store(to, pick(_mm256_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2), a, b, c));
    store(to + 32, pick(_mm256_setr_epi32(2, 3, 3, 3, 4, 4, 4, 5), c, a, b));
    store(to + 64, pick(_mm256_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7), b, c, a));
  }

  template <Format kFormat>
  static V load_steps(const uint8_t* p) {
    if constexpr (kFormat == Format::kBf16) return shift_left<16>(load_u16(p));
    float f32[8];
    if constexpr (kFormat == Format::kE4m3) {
      cpu::Convert<cpu::Avx2>::e4m3_to_f32_block(reinterpret_cast<const E4m3*>(p), f32);
    } else {
      cpu::Convert<cpu::Avx2>::e5m2_to_f32_block(reinterpret_cast<const E5m2*>(p), f32);
    }
    return load(f32);
  }

  /// Ordered by k in each half, then halves together: 8 codes of each k.
  template <Format kFormat>
  static void widen(const uint8_t* codes, V (&steps)[4]) {
    const V by_k = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
    alignas(32) uint8_t rows[32];
    store_packed_bytes(rows, _mm256_shuffle_epi8(load(codes), by_k));
    for (int i = 0; i < 4; ++i) steps[i] = load_steps<kFormat>(rows + 8 * i);
  }
};

}  // namespace

constinit const CpuKernels kAvx2CpuKernels = CpuGeneric<Avx2>::table();

}  // namespace hadal::gemm
