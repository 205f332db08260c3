// NumPy's .npy format, versions 1 to 3, for real numeric arrays: numpy/lib/format.py describes it.
//
// Ten to twelve bytes of magic, version and header length, then a Python dict literal with the keys
// descr, fortran_order and shape, then the values. The header comes from outside: extents are
// checked against the bytes that are there before anything is allocated.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::eplb {

struct NpyArray {
  std::vector<int64_t> shape;  // at most 32 extents, each >= 0
  std::vector<double> values;  // row-major whatever the file's order; size is the product of shape
};

/// Whether `bytes` begin like an .npy file.
bool is_npy(std::string_view bytes);

/// The array of a whole file. dtypes: b1, i1 i2 i4 i8, u1 u2 u4 u8, f2 f4 f8, either byte order;
/// 64-bit integers are rounded to nearest. Errors are kInvalidArgument.
Result<NpyArray> read_npy(std::string_view bytes);

}  // namespace hadal::eplb
