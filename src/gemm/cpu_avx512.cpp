#include "gemm/cpu_avx512.h"

#include <immintrin.h>

#include "cpu/convert_generic.h"
#include "gemm/cpu_generic.h"
#include "gemm/cpu_kernels.h"

namespace hadal::gemm {
namespace {

struct Avx512F32 : Avx512 {
  static constexpr int kPerDword = 1;

  static V multiply_add(V sum, V a, V b) { return fma_f32(a, b, sum); }

  /// Words of even and of odd bytes: their products' sums fit 32 bits.
  static constexpr bool kHasDot = false;
  static V dot(V sum, V u, V s) {
    const V even = _mm512_madd_epi16(_mm512_and_si512(u, _mm512_set1_epi16(0xff)),
                                     _mm512_srai_epi16(_mm512_slli_epi16(s, 8), 8));
    const V odd = _mm512_madd_epi16(_mm512_srli_epi16(u, 8), _mm512_srai_epi16(s, 8));
    return add(sum, add(even, odd));
  }

  template <Format kFormat>
  static V load_steps(const uint8_t* p) {
    if constexpr (kFormat == Format::kBf16) return shift_left<16>(load_u16(p));
    float f32[16];
    if constexpr (kFormat == Format::kE4m3) {
      cpu::Convert<cpu::Avx512>::e4m3_to_f32_block(reinterpret_cast<const E4m3*>(p), f32);
    } else {
      cpu::Convert<cpu::Avx512>::e5m2_to_f32_block(reinterpret_cast<const E5m2*>(p), f32);
    }
    return load(f32);
  }

  /// Ordered by k in each quarter, then quarters together: 16 codes of each k.
  template <Format kFormat>
  static void widen(const uint8_t* codes, V (&steps)[4]) {
    const V by_k =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
    alignas(64) uint8_t rows[64];
    store_packed_bytes(rows, _mm512_shuffle_epi8(load(codes), by_k));
    for (int i = 0; i < 4; ++i) steps[i] = load_steps<kFormat>(rows + 16 * i);
  }
};

}  // namespace

constinit const CpuKernels kAvx512CpuKernels = CpuGeneric<Avx512F32>::table();

}  // namespace hadal::gemm
