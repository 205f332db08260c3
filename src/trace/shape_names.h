// Dimensions that stand in a kernel's name and grid. Internal to shapes.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "trace/shapes.h"

namespace hadal::trace {

/// The template arguments at the top level after the first "NAME<" in `text`; at most 16.
std::vector<std::string_view> template_arguments(std::string_view text, std::string_view name);

/// What a cast or transpose kernel's grid says about the matrices around it.
struct TileEvidence {
  enum class Kind : uint8_t { kNone, kTokenCast, kTileCast, kTranspose };
  Kind kind = Kind::kNone;
  int64_t tile = 128;  // rows and columns of a block, of the last two
};
TileEvidence tile_evidence(std::string_view kernel_name);

/// FlashAttention 2 and 3, forward and backward.
std::optional<Shape> attention_shape(std::string_view kernel_name, const Launch& launch);
/// PyTorch's vectorized elementwise kernels with operands of one type; byte transposes.
std::optional<Shape> elementwise_shape(std::string_view kernel_name, const Launch& launch);

/// Fills flop, bytes.
void fill_work(Shape& shape);

}  // namespace hadal::trace
