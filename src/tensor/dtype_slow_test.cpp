// With dtype_test.cpp this proves the scalar conversions for all 2^32 floats: there the code is
// right at every boundary between two values and one ulp beside it; here it never decreases in
// between.
#include <bit>
#include <cstdint>

#include <gtest/gtest.h>

#include "tensor/dtype.h"

namespace hadal {
namespace {

template <typename Encode>
void check_monotone(uint32_t sign, Encode encode) {
  uint32_t before = 0;
  for (uint32_t bits = 0; bits <= 0x7f800000; ++bits) {
    const uint32_t code = encode(std::bit_cast<float>(bits));
    ASSERT_GE(code, before) << std::hex << bits;
    ASSERT_EQ(encode(std::bit_cast<float>(bits | 0x80000000)), code | sign) << std::hex << bits;
    before = code;
  }
}

TEST(DtypeSlow, Bf16IsMonotone) {
  check_monotone(0x8000, [](float x) { return uint32_t{to_bf16(x).bits}; });
}
TEST(DtypeSlow, F16IsMonotone) {
  check_monotone(0x8000, [](float x) { return uint32_t{to_f16(x).bits}; });
}
TEST(DtypeSlow, E4m3IsMonotone) {
  check_monotone(0x80, [](float x) { return uint32_t{to_e4m3(x).bits}; });
}
TEST(DtypeSlow, E5m2IsMonotone) {
  check_monotone(0x80, [](float x) { return uint32_t{to_e5m2(x).bits}; });
}

}  // namespace
}  // namespace hadal
