#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "tensor/dtype.h"

namespace hadal {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return a == 0 ? 0 : (a - 1) / b + 1;
}

Result<> need_shape(std::string_view what, const Shape<2>& seen, const Shape<2>& wanted) {
  if (seen == wanted) return {};
  return fail(Code::kInvalidArgument, fmt::format("{} has the shape [{}, {}]; it must be [{}, {}]",
                                                  what, seen[0], seen[1], wanted[0], wanted[1]));
}

Result<> need_block(BlockShape block) {
  if (block.rows >= 1 && block.cols >= 1) return {};
  return fail(
      Code::kInvalidArgument,
      fmt::format("block is {} x {}; both extents must be at least 1", block.rows, block.cols));
}

Result<> need_options(const QuantizeOptions& options) {
  // From 2^-117 on, scale and reciprocal are normal numbers: the same under flush-to-zero.
  if (options.amax_min >= 0x1p-117f && std::isfinite(options.amax_min)) return {};
  return fail(
      Code::kInvalidArgument,
      fmt::format("amax_min is {}; it must be at least 2^-117 and finite", options.amax_min));
}

/// The part of `view` that block (row, col) covers.
template <typename T>
View<T, 2> block_of(View<T, 2> view, BlockShape block, int64_t row, int64_t col) {
  const int64_t top = row == 0 ? 0 : row * block.rows;  // never kWholeExtent times something
  const int64_t left = col == 0 ? 0 : col * block.cols;
  return view.slice(0, top, top + std::min(block.rows, view.extent(0) - top))
      .slice(1, left, left + std::min(block.cols, view.extent(1) - left));
}

/// Largest magnitude; NaN if any element is NaN.
template <typename T>
float amax_of(View<const T, 2> x) {
  float amax = 0;
  for (int64_t i = 0; i < x.extent(0); ++i) {
    for (int64_t j = 0; j < x.extent(1); ++j) {
      const float magnitude = std::abs(to_float(x(i, j)));
      if (!(magnitude <= amax)) amax = magnitude;
      if (std::isnan(amax)) return amax;
    }
  }
  return amax;
}

template <typename T>
void quantize_block(View<const T, 2> x, float scale, View<E4m3, 2> codes) {
  const float reciprocal = 1.0f / scale;
  for (int64_t i = 0; i < x.extent(0); ++i) {
    for (int64_t j = 0; j < x.extent(1); ++j) {
      // The sign of a NaN depends on the machine, so the code is set here.
      codes(i, j) = std::isnan(scale) ? E4m3{0x7f} : to_e4m3(to_float(x(i, j)) * reciprocal);
    }
  }
}

template <typename T>
Result<> quantize_any(View<const T, 2> x, BlockShape block, View<E4m3, 2> codes,
                      View<float, 2> scales, const QuantizeOptions& options) {
  TRY(need_block(block));
  TRY(need_options(options));
  TRY(need_shape("codes", codes.shape(), x.shape()));
  TRY(need_shape("scales", scales.shape(), scale_shape(x.shape(), block)));
  for (int64_t row = 0; row < scales.extent(0); ++row) {
    for (int64_t col = 0; col < scales.extent(1); ++col) {
      const View<const T, 2> values = block_of(x, block, row, col);
      const float scale = block_scale(amax_of(values), options);
      scales(row, col) = scale;
      quantize_block(values, scale, block_of(codes, block, row, col));
    }
  }
  return {};
}

template <typename T>
Result<Quantized> quantize_new(View<const T, 2> x, BlockShape block,
                               const QuantizeOptions& options) {
  TRY(need_block(block));
  Quantized result{Tensor<E4m3, 2>(x.shape()), Tensor<float, 2>(scale_shape(x.shape(), block)),
                   block};
  TRY(quantize_any(x, block, result.codes.view(), result.scales.view(), options));
  return result;
}

void store(float& out, float value) {
  out = value;
}
void store(Bf16& out, float value) {
  out = to_bf16(value);
}

template <typename T>
Result<> dequantize_any(View<const E4m3, 2> codes, View<const float, 2> scales, BlockShape block,
                        View<T, 2> out) {
  TRY(need_block(block));
  TRY(need_shape("out", out.shape(), codes.shape()));
  TRY(need_shape("scales", scales.shape(), scale_shape(codes.shape(), block)));
  for (int64_t i = 0; i < codes.extent(0); ++i) {
    for (int64_t j = 0; j < codes.extent(1); ++j) {
      store(out(i, j), to_float(codes(i, j)) * scales(i / block.rows, j / block.cols));
    }
  }
  return {};
}

}  // namespace

Shape<2> scale_shape(const Shape<2>& shape, BlockShape block) {
  return {ceil_div(shape[0], block.rows), ceil_div(shape[1], block.cols)};
}

float block_scale(float amax, const QuantizeOptions& options) {
  if (!std::isfinite(amax)) return std::numeric_limits<float>::quiet_NaN();
  const float scale = std::max(amax, options.amax_min) / kE4m3Max;
  if (!options.power_of_two) return scale;
  return to_float(to_e8m0_ceil(scale));
}

Result<> quantize_into(View<const float, 2> x, BlockShape block, View<E4m3, 2> codes,
                       View<float, 2> scales, const QuantizeOptions& options) {
  return quantize_any(x, block, codes, scales, options);
}
Result<> quantize_into(View<const Bf16, 2> x, BlockShape block, View<E4m3, 2> codes,
                       View<float, 2> scales, const QuantizeOptions& options) {
  return quantize_any(x, block, codes, scales, options);
}

Result<Quantized> quantize(View<const float, 2> x, BlockShape block,
                           const QuantizeOptions& options) {
  return quantize_new(x, block, options);
}
Result<Quantized> quantize(View<const Bf16, 2> x, BlockShape block,
                           const QuantizeOptions& options) {
  return quantize_new(x, block, options);
}

Result<> dequantize_into(View<const E4m3, 2> codes, View<const float, 2> scales, BlockShape block,
                         View<float, 2> out) {
  return dequantize_any(codes, scales, block, out);
}
Result<> dequantize_into(View<const E4m3, 2> codes, View<const float, 2> scales, BlockShape block,
                         View<Bf16, 2> out) {
  return dequantize_any(codes, scales, block, out);
}

}  // namespace hadal
