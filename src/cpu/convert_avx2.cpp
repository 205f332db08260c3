#include <immintrin.h>

#include "cpu/convert_generic.h"
#include "cpu/kernels.h"
#include "cpu/simd_avx2.h"

namespace hadal::cpu {
namespace {

/// The two bytes of each bf16 are made apart, 32 codes at a time, and interleaved at the end.
/// Normal codes need a shift and a bias of 120 exponents; the 8 subnormal ones are looked up.
void e4m3_to_bf16_block(const E4m3* in, Bf16* out) {
  static constexpr E4m3Table kTable = make_e4m3_table();
  const auto splat = [](int x) { return _mm256_set1_epi8(static_cast<char>(x)); };
  // Interleaving works within 128-bit halves: order the quarters so that the result is in order.
  const __m256i x = _mm256_permute4x64_epi64(Avx2::load(in), 0xd8);
  const __m256i code = _mm256_and_si256(x, splat(0x7f));

  const __m256i low_normal = _mm256_and_si256(_mm256_slli_epi16(code, 4), splat(0xf0));
  const __m256i high_normal =
      _mm256_add_epi8(_mm256_and_si256(_mm256_srli_epi16(code, 4), splat(0x0f)), splat(0x3c));
  const auto lookup = [&](const uint8_t* table) {
    const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), code);
  };
  const __m256i is_subnormal = _mm256_cmpgt_epi8(splat(8), code);
  __m256i low = _mm256_blendv_epi8(low_normal, lookup(kTable.low), is_subnormal);
  __m256i high = _mm256_blendv_epi8(high_normal, lookup(kTable.high), is_subnormal);

  // Code 0x7f is 0x43f0 so far; the NaN is 0x7fc0.
  const __m256i is_nan = _mm256_cmpeq_epi8(code, splat(0x7f));
  low = _mm256_xor_si256(low, _mm256_and_si256(is_nan, splat(0xf0 ^ 0xc0)));
  high = _mm256_or_si256(high, _mm256_and_si256(is_nan, splat(0x7f)));
  high = _mm256_or_si256(high, _mm256_and_si256(x, splat(0x80)));
  Avx2::store(out, _mm256_unpacklo_epi8(low, high));
  Avx2::store(out + 16, _mm256_unpackhi_epi8(low, high));
}

}  // namespace

constinit const Kernels kAvx2Kernels =
    Convert<Avx2>::table(convert<E4m3, Bf16, 32, e4m3_to_bf16_block>);

}  // namespace hadal::cpu
