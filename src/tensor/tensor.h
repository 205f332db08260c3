// Number formats, strided views, quantization and comparison: what every kernel folder shares.
//
//   dtype.h     bf16, f16, e4m3, e5m2, e8m0 and their exact conversions
//   view.h      View<T, Rank>, Tensor<T, Rank>
//   quantize.h  block scales and e4m3 codes
//   compare.h   calc_diff and element errors
//
// Scalar reference code, fast enough for setup, tests and small tensors. Bulk conversions over
// contiguous arrays are in cpu/cpu.h and give the same bits.
#pragma once

#include "tensor/compare.h"   // IWYU pragma: export
#include "tensor/dtype.h"     // IWYU pragma: export
#include "tensor/quantize.h"  // IWYU pragma: export
#include "tensor/types.h"     // IWYU pragma: export
#include "tensor/view.h"      // IWYU pragma: export
