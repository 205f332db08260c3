#include <immintrin.h>

#include "cpu/convert_generic.h"
#include "cpu/kernels.h"
#include "cpu/simd_avx512.h"

namespace hadal::cpu {
namespace {

/// vcvtne2ps2bf16 does it all, except that it takes subnormal floats for zero. A block that has
/// one, which is rare, goes the generic way.
void f32_to_bf16_block(const float* in, Bf16* out) {
  const __m512i a = _mm512_loadu_si512(in);
  const __m512i b = _mm512_loadu_si512(in + 16);
  const __m512i exponent = _mm512_set1_epi32(0x7f800000);
  const __m512i mantissa = _mm512_set1_epi32(0x007fffff);
  // Integer tests: vfpclassps would itself follow the denormals-are-zero flag.
  const __mmask16 in_a =
      _mm512_mask_testn_epi32_mask(_mm512_test_epi32_mask(a, mantissa), a, exponent);
  const __mmask16 in_b =
      _mm512_mask_testn_epi32_mask(_mm512_test_epi32_mask(b, mantissa), b, exponent);
  if (!_mm512_kortestz(in_a, in_b)) [[unlikely]] {
    Convert<Avx512>::f32_to_bf16_block(in, out);
    return;
  }
  const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_castsi512_ps(b), _mm512_castsi512_ps(a));
  __builtin_memcpy(out, &rounded, sizeof(rounded));
}

/// The two bytes of the bf16 magnitude of 64 codes: lookups in tables of 128 bytes, whose index
/// ignores the sign bit. `high` gets the sign.
struct BytePlanes {
  __m512i low, high;
};
BytePlanes look_up(__m512i x) {
  static constexpr E4m3Table kTable = make_e4m3_table();
  const auto plane = [x](const uint8_t* table) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), x, _mm512_load_si512(table + 64));
  };
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  // 0xf8: a | (b & c)
  return {plane(kTable.low), _mm512_ternarylogic_epi32(plane(kTable.high), x, sign, 0xf8)};
}

void e4m3_to_bf16_block(const E4m3* in, Bf16* out) {
  // Interleaving works within 128-bit quarters: order the eighths so that the result is in order.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const BytePlanes planes = look_up(_mm512_permutexvar_epi64(order, _mm512_loadu_si512(in)));
  _mm512_storeu_si512(out, _mm512_unpacklo_epi8(planes.low, planes.high));
  _mm512_storeu_si512(out + 32, _mm512_unpackhi_epi8(planes.low, planes.high));
}

/// As above and once more interleaved with zeros below: the bf16 is the top half of the float.
void e4m3_to_f32_block(const E4m3* in, float* out) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const BytePlanes planes = look_up(_mm512_permutexvar_epi32(order, _mm512_loadu_si512(in)));
  const __m512i first = _mm512_unpacklo_epi8(planes.low, planes.high);
  const __m512i second = _mm512_unpackhi_epi8(planes.low, planes.high);
  const __m512i zero = _mm512_setzero_si512();
  _mm512_storeu_si512(out, _mm512_unpacklo_epi16(zero, first));
  _mm512_storeu_si512(out + 16, _mm512_unpackhi_epi16(zero, first));
  _mm512_storeu_si512(out + 32, _mm512_unpacklo_epi16(zero, second));
  _mm512_storeu_si512(out + 48, _mm512_unpackhi_epi16(zero, second));
}

}  // namespace

constinit const Kernels kAvx512Bf16Kernels = [] {
  Kernels table = Convert<Avx512>::table(convert<E4m3, Bf16, 64, e4m3_to_bf16_block>);
  table.f32_to_bf16 = convert<float, Bf16, 32, f32_to_bf16_block>;
  table.e4m3_to_f32 = convert<E4m3, float, 64, e4m3_to_f32_block>;
  return table;
}();

}  // namespace hadal::cpu
