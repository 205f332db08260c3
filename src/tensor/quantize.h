// Block quantization to e4m3: codes and one float scale per block, value = to_float(code) * scale.
//
// The rules are DeepGEMM's (per_token_cast_to_fp8, per_block_cast_to_fp8), in float arithmetic:
//
//   amax  = max |x| over the block, at least amax_min
//   scale = amax / 448            (power_of_two: rounded up to a power of two)
//   code  = to_e4m3(x * (1 / scale))          the reciprocal is rounded first; saturating
//
// Blocks at the right and bottom edge are as small as what is left: neither dimension needs to be a
// multiple of the block. A block that holds a NaN or an infinity gets the scale NaN and NaN codes
// throughout, so that a broken activation is seen and not scaled away.
//
// The arrays are strided views, so scales can be written in any layout (a kernel that wants them
// column-major passes a transposed view). This is the reference: scalar, exact, one thread.
#pragma once

#include <cstdint>
#include <limits>

#include "base/error.h"
#include "tensor/types.h"
#include "tensor/view.h"

namespace hadal {

/// How many rows and columns share a scale.
struct BlockShape {
  int64_t rows = 1;
  int64_t cols = 128;
};

inline constexpr int64_t kWholeExtent = std::numeric_limits<int64_t>::max();
inline constexpr BlockShape kPer1x128{1, 128};      // activations: a token's 128 channels
inline constexpr BlockShape kPer128x128{128, 128};  // weights
inline constexpr BlockShape kPerRow{1, kWholeExtent};
inline constexpr BlockShape kPerTensor{kWholeExtent, kWholeExtent};

/// ceil(shape / block), the shape of the scales. Extents of 0 have no scales.
Shape<2> scale_shape(const Shape<2>& shape, BlockShape block);

struct QuantizeOptions {
  bool power_of_two = false;  // scales that fit E8m0
  float amax_min = 1e-4f;     // >= 2^-117; the scale of an all-zero block is amax_min / 448
};

/// The scale of a block whose largest magnitude is `amax`, by the rules above. NaN if amax is NaN
/// or infinite.
float block_scale(float amax, const QuantizeOptions& options = {});

struct Quantized {
  Tensor<E4m3, 2> codes;    // [m][k]
  Tensor<float, 2> scales;  // [ceil(m / block.rows)][ceil(k / block.cols)]
  BlockShape block;
};

/// Quantizes x [m][k] into caller's memory: codes [m][k], scales of scale_shape(). kInvalidArgument
/// if a shape does not match, a block extent is < 1, or amax_min is below 2^-117 or not finite.
Result<> quantize_into(View<const float, 2> x, BlockShape block, View<E4m3, 2> codes,
                       View<float, 2> scales, const QuantizeOptions& options = {});
Result<> quantize_into(View<const Bf16, 2> x, BlockShape block, View<E4m3, 2> codes,
                       View<float, 2> scales, const QuantizeOptions& options = {});

/// The same into new, contiguous tensors.
Result<Quantized> quantize(View<const float, 2> x, BlockShape block,
                           const QuantizeOptions& options = {});
Result<Quantized> quantize(View<const Bf16, 2> x, BlockShape block,
                           const QuantizeOptions& options = {});

/// out [m][k] = to_float(code) * its block's scale, in float (bf16: rounded once more).
/// kInvalidArgument if a shape does not match.
Result<> dequantize_into(View<const E4m3, 2> codes, View<const float, 2> scales, BlockShape block,
                         View<float, 2> out);
Result<> dequantize_into(View<const E4m3, 2> codes, View<const float, 2> scales, BlockShape block,
                         View<Bf16, 2> out);

}  // namespace hadal
