#include "gpu/emulator/mma.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gpu/device/mma.cuh"
#include "tensor/dtype.h"

namespace hadal::gpu::emulator {
namespace {

using device::Operand;

constexpr int kRows = 64;
constexpr int kAlignedBits = 14;

uint32_t field(uint64_t bits, int low) {
  return static_cast<uint32_t>(bits >> low & 0x3fff) << 4;
}

int element_bytes(uint8_t type) {
  switch (static_cast<Operand>(type)) {
    case Operand::kE4m3:
    case Operand::kE5m2: return 1;
    case Operand::kBf16:
    case Operand::kF16: return 2;
    case Operand::kTf32: return 4;
  }
  return 1;
}

float to_value(const uint8_t* from, uint8_t type) {
  uint16_t half = 0;
  uint32_t word = 0;
  switch (static_cast<Operand>(type)) {
    case Operand::kE4m3: return to_float(E4m3{*from});
    case Operand::kE5m2: return to_float(E5m2{*from});
    case Operand::kBf16: std::memcpy(&half, from, 2); return to_float(Bf16{half});
    case Operand::kF16: std::memcpy(&half, from, 2); return to_float(F16{half});
    case Operand::kTf32:
      std::memcpy(&word, from, 4);
      return std::bit_cast<float>(word & 0xffffe000);  // 10 bits of mantissa are read
  }
  return 0;
}

/// The 16-byte unit of a tile: K-major, `row` and the 16 bytes `unit` of K; MN-major, the eight
/// rows from `row` at element `k` of K.
uint32_t k_major_offset(const Descriptor& tile, uint32_t row, uint32_t unit) {
  const uint32_t atom = tile.start + row / 8 * tile.stride;
  if (tile.width == 0) return atom + row % 8 * 16 + unit * tile.leading;
  return atom + row % 8 * tile.width + unit * 16;
}

uint32_t mn_major_offset(const Descriptor& tile, uint32_t row, uint32_t k) {
  if (tile.width == 0) {
    return tile.start + row / 8 * tile.stride + k / 8 * tile.leading + k % 8 * 16;
  }
  const uint32_t rows = tile.width / 2;
  return tile.start + row / rows * tile.leading + k / 8 * tile.stride + k % 8 * tile.width +
         row % rows * 2;
}

/// The swizzle is a function of the address; the base offset moves its phase for atoms that do not
/// start where the pattern does.
uint32_t permute(const Descriptor& tile, uint32_t offset) {
  const uint32_t mask = tile.width == 0 ? 0 : tile.width / 16 - 1;
  return offset ^ (((offset >> 7) - tile.base_offset) & mask) << 4;
}

/// Sum of the products of an instruction and the accumulator, each cut to kAlignedBits below the
/// largest.
float truncated_sum(float accumulator, const float* a, const float* b, int stride_b, int depth) {
  double largest = std::fabs(accumulator);
  double plain = accumulator;
  for (int k = 0; k < depth; ++k) {
    const double product = double{a[k]} * b[k * stride_b];
    largest = std::max(largest, std::fabs(product));
    plain += product;
  }
  if (largest == 0 || !std::isfinite(plain)) return static_cast<float>(plain);
  const double unit = std::ldexp(1.0, std::ilogb(largest) - (kAlignedBits - 1));
  double sum = std::trunc(accumulator / unit);
  for (int k = 0; k < depth; ++k) sum += std::trunc(double{a[k]} * b[k * stride_b] / unit);
  return static_cast<float>(sum * unit);
}

}  // namespace

Descriptor decode_descriptor(uint64_t bits) {
  constexpr uint32_t kWidths[] = {0, 128, 64, 32};
  return {field(bits, 0), field(bits, 16), field(bits, 32), static_cast<uint32_t>(bits >> 49 & 7),
          kWidths[bits >> 62]};
}

int depth(uint8_t type) {
  return 32 / element_bytes(type);
}

std::optional<std::vector<float>> gather(std::span<const uint8_t> shared, uint64_t descriptor,
                                         int rows, uint8_t type, bool mn_major) {
  const Descriptor tile = decode_descriptor(descriptor);
  const int bytes = element_bytes(type);
  const int columns = depth(type);
  const int per_unit = 16 / bytes;
  std::vector<float> values(static_cast<size_t>(rows) * columns);
  const int units = mn_major ? rows / 8 * columns : rows * 2;
  for (int i = 0; i < units; ++i) {
    const int row = mn_major ? i / columns * 8 : i / 2;
    const int k = mn_major ? i % columns : i % 2;
    const uint32_t offset =
        permute(tile, mn_major ? mn_major_offset(tile, row, k) : k_major_offset(tile, row, k));
    if (offset < kSharedBase || offset + 16 > shared.size()) return std::nullopt;
    for (int j = 0; j < per_unit; ++j) {
      const int at = mn_major ? (row + j) * columns + k : row * columns + k * per_unit + j;
      values[at] = to_value(&shared[offset + j * bytes], type);
    }
  }
  return values;
}

std::vector<float> gather_registers(std::span<const uint32_t> a, uint8_t type) {
  const int bytes = element_bytes(type);
  const int columns = depth(type);
  const int per_word = 4 / bytes;
  std::vector<float> values(static_cast<size_t>(kRows) * columns);
  for (int thread = 0; thread < 128; ++thread) {
    const int lane = thread % 32;
    for (int i = 0; i < 4; ++i) {
      const int row = thread / 32 * 16 + lane / 4 + i % 2 * 8;
      const int first = lane % 4 * per_word + i / 2 * (columns / 2);
      uint8_t word[4];
      std::memcpy(word, &a[thread * 4 + i], 4);
      for (int j = 0; j < per_word; ++j) {
        values[row * columns + first + j] = to_value(word + j * bytes, type);
      }
    }
  }
  return values;
}

void multiply(std::span<float> d, std::span<const float> a, std::span<const float> b, int columns,
              int depth, bool truncate) {
  std::vector<float> transposed(static_cast<size_t>(columns) * depth);
  for (int n = 0; n < columns; ++n) {
    for (int k = 0; k < depth; ++k) transposed[k * columns + n] = b[n * depth + k];
  }
  for (int row = 0; row < kRows; ++row) {
    float* sum = &d[static_cast<size_t>(row) * columns];
    if (truncate) {
      for (int n = 0; n < columns; ++n) {
        sum[n] = truncated_sum(sum[n], &a[row * depth], &transposed[n], columns, depth);
      }
      continue;
    }
    for (int k = 0; k < depth; ++k) {
      const float factor = a[row * depth + k];
      const float* products = &transposed[k * columns];
      for (int n = 0; n < columns; ++n) sum[n] += factor * products[n];
    }
  }
}

}  // namespace hadal::gpu::emulator
