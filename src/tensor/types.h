// The storage types of tensors: bare bits, told apart by the type system.
//
// This header declares no function and includes no C++ library header, so that a translation unit
// compiled for a newer instruction set (src/*/x_avx512.cpp) may include it: an inline function seen
// by such a unit could be the copy the linker keeps for the whole program, and older machines would
// then fault in it. Conversions, limits and names are in tensor/dtype.h; docs/formats/dtypes.md
// specifies every bit.
#pragma once

#include <stdint.h>

namespace hadal {

struct Bf16 {  // 1 sign, 8 exponent, 7 mantissa bits: the top half of a float
  uint16_t bits;
};
struct F16 {  // IEEE binary16: 1, 5, 10
  uint16_t bits;
};
struct E4m3 {  // OCP E4M3 ("fn"): 1, 4, 3; no infinity, NaN is S.1111.111, largest 448
  uint8_t bits;
};
struct E5m2 {  // OCP E5M2: 1, 5, 2; IEEE rules, largest finite 57344
  uint8_t bits;
};
struct E8m0 {  // a scale: 2^(bits - 127), no sign, no zero; 0xff is NaN
  uint8_t bits;
};

static_assert(sizeof(Bf16) == 2 && sizeof(F16) == 2);
static_assert(sizeof(E4m3) == 1 && sizeof(E5m2) == 1 && sizeof(E8m0) == 1);

enum class DType : uint8_t { kF32, kBf16, kF16, kE4m3, kE5m2, kE8m0 };

}  // namespace hadal
