#include "gemm/spec.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

// Sizes up to this keep every product of two of them, times an element, within int64.
constexpr int64_t kExtentMax = int64_t{1} << 30;
constexpr int64_t kMatrixMax = int64_t{1} << 42;
constexpr int kGroupsMax = 1 << 16;

Result<> bad(std::string message) {
  return fail(Code::kInvalidArgument, std::move(message));
}

Result<> check_range(std::string_view what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return bad(fmt::format("{} is {}; it must be {} to {}", what, value, low, high));
}

bool is_block(const BlockShape& block, const BlockShape& other) {
  return block.rows == other.rows && block.cols == other.cols;
}

bool is_any_block(const BlockShape& block) {
  return is_block(block, kPer1x128) || is_block(block, kPer128x128) || is_block(block, kPerRow) ||
         is_block(block, kPerTensor);
}

Result<> fill_stride(std::string_view what, int64_t& stride, int64_t least) {
  if (stride == 0) stride = least;
  if (stride >= least && stride <= kExtentMax) return {};
  return bad(fmt::format("{} is {}; it must be {} to {}", what, stride, least, kExtentMax));
}

// A stride between groups: 0 becomes tight; less than one matrix is refused, for outputs would
// overlap and an input so laid out is a mistake.
Result<> fill_group_stride(std::string_view what, int64_t& stride, int64_t least) {
  if (stride == 0) stride = least;
  if (stride >= least && stride <= kMatrixMax) return {};
  return bad(
      fmt::format("{} is {}; it must be {} (one group's elements) to 2^42", what, stride, least));
}

Result<> fill_scale(std::string_view name, ScaleSpec& scale, int64_t rows, int64_t k) {
  if (!is_any_block(scale.block)) {
    return bad(
        fmt::format("{}.scale.block is {}x{}; it must be 1x128, 128x128, per row or per "
                    "tensor",
                    name, scale.block.rows, scale.block.cols));
  }
  if (scale.type != DType::kF32 && scale.type != DType::kE8m0) {
    return bad(
        fmt::format("{}.scale.type is {}; it must be f32 or e8m0", name, hadal::name(scale.type)));
  }
  if (scale.layout == ScaleLayout::kPacked4 && scale.type != DType::kE8m0) {
    return bad(fmt::format("{}.scale.layout is kPacked4; its type must be e8m0", name));
  }
  const int64_t num_rows = scale_rows(scale, rows), blocks = scale_blocks(scale, k);
  const bool by_row = scale.layout == ScaleLayout::kRowMajor;
  if (scale.stride == 0) scale.stride = by_row ? blocks : round_up(num_rows, 4);
  TRY(fill_stride(fmt::format("{}.scale.stride", name), scale.stride, by_row ? blocks : num_rows));
  return fill_group_stride(fmt::format("{}.scale.group_stride", name), scale.group_stride,
                           scale_elements(scale, rows, k));
}

Result<> fill_operand(std::string_view name, OperandSpec& x, int64_t rows, int64_t k) {
  if (!is_fp8(x.type) && x.type != DType::kBf16) {
    return bad(
        fmt::format("{}.type is {}; it must be e4m3, e5m2 or bf16", name, hadal::name(x.type)));
  }
  TRY(fill_stride(fmt::format("{}.stride", name), x.stride, k));
  TRY(fill_group_stride(fmt::format("{}.group_stride", name), x.group_stride, rows * x.stride));
  if (is_fp8(x.type)) TRY(fill_scale(name, x.scale, rows, k));
  return {};
}

bool is_float(DType type) {
  return type == DType::kBf16 || type == DType::kF16 || type == DType::kF32;
}

Result<> fill_output(OutputSpec& d, int64_t m, int64_t n) {
  if (!is_float(d.type) && d.type != DType::kE4m3) {
    return bad(fmt::format("d.type is {}; it must be bf16, f16, f32 or e4m3", name(d.type)));
  }
  TRY(fill_stride("d.stride", d.stride, n));
  TRY(fill_group_stride("d.group_stride", d.group_stride, m * d.stride));
  if (d.type == DType::kE4m3) {
    if (!is_block(d.scale.block, kPer1x128)) {
      return bad(fmt::format("d.scale.block is {}x{}; it must be 1x128", d.scale.block.rows,
                             d.scale.block.cols));
    }
    TRY(fill_scale("d", d.scale, m, n));
  }
  if (!d.accumulate) return {};
  if (d.activation == Activation::kSwiglu) {
    return bad("d.accumulate is set with SwiGLU; C has no place among gates");
  }
  if (!is_float(d.c_type)) {
    return bad(fmt::format("d.c_type is {}; it must be bf16, f16 or f32", name(d.c_type)));
  }
  if (d.c_stride == 0) d.c_stride = d.stride;
  TRY(fill_stride("d.c_stride", d.c_stride, n));
  return fill_group_stride("d.c_group_stride", d.c_group_stride, m * d.c_stride);
}

Result<> check_grouping(const GemmSpec& spec) {
  TRY(check_range("num_groups", spec.num_groups, 1, kGroupsMax));
  if (spec.grouping == Grouping::kNone && spec.num_groups != 1) {
    return bad(fmt::format("num_groups is {}; without a grouping it must be 1", spec.num_groups));
  }
  TRY(check_range("row_alignment", spec.row_alignment, 1, 1 << 20));
  if (spec.row_alignment != 1 && spec.grouping != Grouping::kRowEnds) {
    return bad(fmt::format("row_alignment is {}; it is for kRowEnds only", spec.row_alignment));
  }
  TRY(check_range("a_rows", spec.a_rows, 0, kExtentMax));
  if (!has_k_groups(spec)) return {};
  if (spec.a_rows != 0) {
    return bad(fmt::format("a_rows is {}; groups along k cannot gather rows", spec.a_rows));
  }
  if (spec.k % kPer1x128.cols != 0) {
    return bad(fmt::format("k is {}; with groups along k it must be a multiple of 128", spec.k));
  }
  if (spec.grouping == Grouping::kK) return {};
  if (spec.int8) return bad("int8 is set; flat groups have no such mode");
  for (const auto& [name, x] : {std::pair("a", &spec.a), std::pair("b", &spec.b)}) {
    if (x->packed) return bad(fmt::format("{}.packed is set; flat groups cannot be packed", name));
    if (x->stride == 0 || x->stride == spec.k) continue;
    return bad(fmt::format("{}.stride is {}; flat groups are tight", name, x->stride));
  }
  return {};
}

}  // namespace

Result<GemmSpec> resolve(const GemmSpec& given) {
  GemmSpec spec = given;
  TRY(check_range("m", spec.m, 0, kExtentMax));
  TRY(check_range("n", spec.n, 0, kExtentMax));
  TRY(check_range("k", spec.k, 0, kExtentMax));
  if (spec.n % 8 != 0) {
    return fail(Code::kInvalidArgument, fmt::format("n is {}; it must be a multiple of 8", spec.n));
  }
  if (spec.d.activation == Activation::kSwiglu && spec.n % 16 != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("n is {}; with SwiGLU it must be a multiple of 16", spec.n));
  }
  TRY(check_range("expected_rows", spec.expected_rows, 0, kExtentMax));
  TRY(check_grouping(spec));
  if (is_fp8(spec.a.type) != is_fp8(spec.b.type)) {
    return fail(Code::kInvalidArgument,
                fmt::format("a.type is {} and b.type is {}; both must be FP8, or both bf16",
                            name(spec.a.type), name(spec.b.type)));
  }
  if (spec.a.packed) {
    return fail(Code::kInvalidArgument, "a.packed is set; only b can be packed");
  }
  if (spec.int8 && !is_fp8(spec.a.type)) {
    return fail(Code::kInvalidArgument, "int8 is set; a and b must be FP8");
  }
  TRY(fill_operand("a", spec.a, rows_of_a(spec), spec.k));
  TRY(fill_operand("b", spec.b, spec.n, spec.k));
  TRY(fill_output(spec.d, spec.m, columns(spec)));
  if (spec.expected_rows == 0) spec.expected_rows = spec.m;
  return spec;
}

Work work_of(const GemmSpec& spec) {
  const double k = static_cast<double>(spec.k), n = static_cast<double>(spec.n);
  const bool all_groups = spec.grouping == Grouping::kBatched;
  const double rows = static_cast<double>(spec.expected_rows) * (all_groups ? spec.num_groups : 1);
  // Groups along k share k, and each has a D.
  const double d_rows = has_k_groups(spec) ? rows * spec.num_groups : rows;
  const double b_matrices = has_own_b(spec) ? spec.num_groups : 1;
  const double element = is_fp8(spec.a.type) ? 1 + 4.0 / kPer1x128.cols : 2;
  const double out = static_cast<double>(size_bytes(spec.d.type)) +
                     (spec.d.accumulate ? static_cast<double>(size_bytes(spec.d.c_type)) : 0);
  return {.flops = 2 * rows * n * k,
          .bytes = (rows + b_matrices * n) * k * element +
                   d_rows * static_cast<double>(columns(spec)) * out};
}

int64_t element_offset(const GemmSpec& spec, const OperandSpec& x, int64_t rows,
                       const int32_t* groups, int64_t group, int64_t row, int64_t k) {
  if (spec.grouping != Grouping::kKFlat) return group * x.group_stride + row * x.stride + k;
  int64_t begin = 0;
  for (int g = 0; g < spec.num_groups; ++g) {
    if (k < groups[g]) return rows * begin + row * (groups[g] - begin) + k - begin;
    begin = groups[g];
  }
  return rows * begin + row * (spec.k - begin) + k - begin;  // in no group
}

int64_t scale_rows(const ScaleSpec& scale, int64_t rows) {
  if (rows == 0) return 0;
  return scale.block.rows == kWholeExtent ? 1 : ceil_div(rows, scale.block.rows);
}

int64_t scale_blocks(const ScaleSpec& scale, int64_t k) {
  if (k == 0) return 0;
  return scale.block.cols == kWholeExtent ? 1 : ceil_div(k, scale.block.cols);
}

int64_t scale_elements(const ScaleSpec& scale, int64_t rows, int64_t k) {
  const int64_t num_rows = scale_rows(scale, rows), blocks = scale_blocks(scale, k);
  switch (scale.layout) {
    case ScaleLayout::kRowMajor: return num_rows * scale.stride;
    case ScaleLayout::kColMajor: return blocks * scale.stride;
    case ScaleLayout::kPacked4: return ceil_div(blocks, 4) * scale.stride;
  }
  return 0;
}

namespace {

// Where a scale stands: in elements of float32 or bytes of e8m0.
int64_t scale_offset(const ScaleSpec& scale, int64_t group, int64_t row, int64_t k) {
  const int64_t i = scale.block.rows == kWholeExtent ? 0 : row / scale.block.rows;
  const int64_t j = scale.block.cols == kWholeExtent ? 0 : k / scale.block.cols;
  const int64_t base = group * scale.group_stride;
  switch (scale.layout) {
    case ScaleLayout::kRowMajor: return base + i * scale.stride + j;
    case ScaleLayout::kColMajor: return base + j * scale.stride + i;
    case ScaleLayout::kPacked4: return 4 * (base + j / 4 * scale.stride + i) + j % 4;
  }
  return 0;
}

}  // namespace

float scale_at(const ScaleSpec& scale, const void* data, int64_t group, int64_t row, int64_t k) {
  const int64_t offset = scale_offset(scale, group, row, k);
  if (scale.type == DType::kF32) return static_cast<const float*>(data)[offset];
  return to_float(static_cast<const E8m0*>(data)[offset]);
}

void set_scale(const ScaleSpec& scale, void* data, int64_t group, int64_t row, int64_t k,
               float value) {
  const int64_t offset = scale_offset(scale, group, row, k);
  if (scale.type == DType::kF32) {
    static_cast<float*>(data)[offset] = value;
  } else {
    static_cast<E8m0*>(data)[offset] = to_e8m0_ceil(value);
  }
}

}  // namespace hadal::gemm
