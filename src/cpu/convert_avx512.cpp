#include <immintrin.h>

#include "cpu/convert_generic.h"
#include "cpu/kernels.h"
#include "cpu/simd_avx512.h"

namespace hadal::cpu {
namespace {

/// Two lookups in tables of 64 words each; the code's bit 6 chooses. Bits above an index are
/// ignored.
void e4m3_to_bf16_block(const E4m3* in, Bf16* out) {
  static constexpr E4m3Table kTable = make_e4m3_table();
  const __m512i table0 = _mm512_load_si512(kTable.bits);
  const __m512i table1 = _mm512_load_si512(kTable.bits + 32);
  const __m512i table2 = _mm512_load_si512(kTable.bits + 64);
  const __m512i table3 = _mm512_load_si512(kTable.bits + 96);
  const __m512i code =
      _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)));
  const __m512i below64 = _mm512_permutex2var_epi16(table0, code, table1);
  const __m512i above64 = _mm512_permutex2var_epi16(table2, code, table3);
  const __mmask32 is_above = _mm512_test_epi16_mask(code, _mm512_set1_epi16(0x40));
  const __m512i magnitude = _mm512_mask_blend_epi16(is_above, below64, above64);
  const __m512i sign = _mm512_and_si512(code, _mm512_set1_epi16(static_cast<int16_t>(0x8000)));
  _mm512_storeu_si512(out, _mm512_or_si512(magnitude, sign));
}

}  // namespace

constinit const Kernels kAvx512Kernels =
    Convert<Avx512>::table(convert<E4m3, Bf16, 32, e4m3_to_bf16_block>);

}  // namespace hadal::cpu
