#include "gemm/int8_table.h"

#include <limits>

#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

/// `kFinite`: the first code without sign that is no number. Values times `kUnits` are integers.
template <typename T, int kFinite, int64_t kUnits>
consteval Int8Table make_table() {
  Int8Table table{};
  int64_t value[kFinite] = {};
  for (int code = 0; code < kFinite; ++code) {
    const float x = to_float(T{static_cast<uint8_t>(code)});
    value[code] = static_cast<int64_t>(static_cast<double>(x) * kUnits);
    table.step[code] = x / 127;
  }
  for (int code = kFinite; code < 128; ++code) {
    table.step[code] = std::numeric_limits<float>::quiet_NaN();
  }
  for (int largest = 1; largest < kFinite; ++largest) {
    for (int code = 1; code <= largest; ++code) {
      table.magnitude[largest][code] =
          static_cast<uint8_t>((2 * 127 * value[code] + value[largest]) / (2 * value[largest]));
    }
  }
  return table;
}

}  // namespace

constinit const Int8Table kInt8OfE4m3 = make_table<E4m3, 0x7f, 1 << 9>();
constinit const Int8Table kInt8OfE5m2 = make_table<E5m2, 0x7c, 1 << 16>();

}  // namespace hadal::gemm
