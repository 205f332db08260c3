// vdpbf16ps multiplies bf16 pairs exactly and adds in float32, but takes subnormal bf16 inputs for
// zero. FP8 codes never become one: the smallest e4m3 is 2^-9 and the smallest e5m2 2^-16. In A and
// B that are bf16 themselves, magnitudes below 2^-126 count as zero here and in no other
// instruction set. So do subnormal sums of a block.
#include <immintrin.h>

#include "cpu/convert_generic.h"
#include "gemm/cpu_avx512.h"
#include "gemm/cpu_generic.h"
#include "gemm/cpu_kernels.h"

namespace hadal::gemm {
namespace {

struct Avx512Bf16 : Avx512 {
  static constexpr int kPerDword = 2;

  /// As assembly, because g++ 12 copies accumulators around the intrinsic.
  static V multiply_add(V sum, V a, V b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }

  static constexpr bool kHasDot = true;
  static V dot(V sum, V u, V s) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(s));
    return sum;
  }

  template <uint8_t kOffset>
  static uint8_t look_up_int8(const uint8_t* codes, const Int8Table& table, uint8_t* out) {
    const __m512i magnitude = _mm512_set1_epi8(0x7f);
    const __m512i x[2] = {load(codes), load(codes + 64)};
    const __m512i most =
        _mm512_max_epu8(_mm512_and_si512(x[0], magnitude), _mm512_and_si512(x[1], magnitude));
    const __m256i half =
        _mm256_max_epu8(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    // There is an instruction for the smallest of eight words, and so for the largest.
    __m128i rest = _mm_max_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    rest = _mm_max_epu8(rest, _mm_srli_epi16(rest, 8));
    rest = _mm_sub_epi16(_mm_set1_epi16(0xff), _mm_and_si128(rest, _mm_set1_epi16(0xff)));
    const int largest = 0xff - (_mm_cvtsi128_si32(_mm_minpos_epu16(rest)) & 0xff);
    const uint8_t* row = table.magnitude[largest];
    for (int i = 0; i < 2; ++i) {
      const __m512i q = _mm512_permutex2var_epi8(load(row), x[i], load(row + 64));
      const __m512i zero = _mm512_setzero_si512();
      const __m512i with_sign = _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(x[i]), zero, q);
      store(out + 64 * i,
            _mm512_xor_si512(with_sign, _mm512_set1_epi8(static_cast<char>(kOffset))));
    }
    return static_cast<uint8_t>(largest);
  }

  /// The two bytes of the bf16 of 64 codes: lookups in tables of 128 bytes, whose index ignores
  /// the sign bit. `high` gets the sign.
  struct BytePlanes {
    __m512i low, high;
  };
  template <Format kFormat>
  static BytePlanes look_up(__m512i x) {
    static constexpr cpu::E4m3Table kTable =
        kFormat == Format::kE4m3 ? cpu::make_e4m3_table() : make_e5m2_table();
    const auto plane = [x](const uint8_t* table) {
      return _mm512_permutex2var_epi8(_mm512_load_si512(table), x, _mm512_load_si512(table + 64));
    };
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    // 0xf8: a | (b & c)
    return {plane(kTable.low), _mm512_ternarylogic_epi32(plane(kTable.high), x, sign, 0xf8)};
  }

  template <Format kFormat>
  static void widen(const uint8_t* codes, V (&pairs)[2]) {
    const BytePlanes planes = look_up<kFormat>(load_once(codes));
    pairs[0] = _mm512_unpacklo_epi8(planes.low, planes.high);
    pairs[1] = _mm512_unpackhi_epi8(planes.low, planes.high);
  }

  template <Format kFormat>
  static V load_steps(const uint8_t* p) {
    if constexpr (kFormat == Format::kBf16) return load(p);
    // Interleaving takes the lower half of each 128-bit quarter.
    const __m512i order = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    const __m512i codes = _mm512_castsi256_si512(load_half(p));
    const BytePlanes planes = look_up<kFormat>(_mm512_permutexvar_epi64(order, codes));
    return _mm512_unpacklo_epi8(planes.low, planes.high);
  }
};

}  // namespace

constinit const CpuKernels kAvx512Bf16CpuKernels = CpuGeneric<Avx512Bf16>::table();

}  // namespace hadal::gemm
