// FP8 codes as int8, for GemmSpec::int8. 128 codes of a row along k become
//
//   q = round(127 * value / largest), ties away from zero, times a step of largest / 127
//
// where `largest` is the largest magnitude among them. There are only 128 magnitudes, so all of it
// is a table, which makes every instruction set agree. A block with a NaN or an infinity has the
// step NaN; one of zeros the step 0.
//
// Declarations only: included by translation units compiled for newer instruction sets.
#pragma once

#include <stdint.h>

namespace hadal::gemm {

struct Int8Table {
  alignas(64) uint8_t magnitude[128][128];  // [code of the largest magnitude][code without sign]
  float step[128];                          // [code of the largest magnitude]
};

extern const Int8Table kInt8OfE4m3, kInt8OfE5m2;

}  // namespace hadal::gemm
