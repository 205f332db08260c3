// What a GemmSpec means: its defaults filled in, its rules checked, its shapes and scales computed.
// Shared by the backends, the reference and the tools.
#pragma once

#include <cstdint>

#include "gemm/gemm.h"

namespace hadal::gemm {

/// The spec with every 0 that stands for something filled in, so that no one else needs to know the
/// rules. kInvalidArgument: "b.stride is 100; it must be at least k = 128".
Result<GemmSpec> resolve(const GemmSpec& given);

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

constexpr bool is_fp8(DType type) {
  return type == DType::kE4m3 || type == DType::kE5m2;
}

/// Columns of D: n, or n / 2 with SwiGLU.
constexpr int64_t columns(const GemmSpec& spec) {
  return spec.d.activation == Activation::kSwiglu ? spec.n / 2 : spec.n;
}

/// Rows of (each group's) A: m, or those that are gathered from.
constexpr int64_t rows_of_a(const GemmSpec& spec) {
  return spec.a_rows != 0 ? spec.a_rows : spec.m;
}

/// Whether groups are ranges of k.
constexpr bool has_k_groups(const GemmSpec& spec) {
  return spec.grouping == Grouping::kK || spec.grouping == Grouping::kKFlat;
}

/// Whether A and D have a matrix for each group (else groups are ranges of rows of one).
constexpr bool has_own_a(const GemmSpec& spec) {
  return spec.grouping == Grouping::kBatched || spec.grouping == Grouping::kMasked;
}
constexpr bool has_own_b(const GemmSpec& spec) {
  return spec.grouping != Grouping::kNone && !has_k_groups(spec);
}
constexpr bool has_own_d(const GemmSpec& spec) {
  return has_own_a(spec) || has_k_groups(spec);
}

/// Where element (row, k) of A or B stands, in elements; the operand has `rows` rows. `groups` are
/// GemmArgs::groups, which kKFlat needs.
int64_t element_offset(const GemmSpec& spec, const OperandSpec& x, int64_t rows,
                       const int32_t* groups, int64_t group, int64_t row, int64_t k);

/// What a product needs at least: operations, and bytes of inputs and outputs, each once. Rows are
/// expected_rows (of all groups), B's matrices all of them.
struct Work {
  double flops = 0;
  double bytes = 0;
};
Work work_of(const GemmSpec& spec);

/// How many rows or blocks of scales a matrix of `rows` rows and k columns has.
int64_t scale_rows(const ScaleSpec& scale, int64_t rows);
int64_t scale_blocks(const ScaleSpec& scale, int64_t k);
/// Elements (bytes of kE8m0, words of kPacked4) from the first to the last scale of one matrix.
int64_t scale_elements(const ScaleSpec& scale, int64_t rows, int64_t k);

/// The scale of row `row` (of the matrix, not of the scales) at `k` of group `group`. `scale` is
/// resolved.
float scale_at(const ScaleSpec& scale, const void* data, int64_t group, int64_t row, int64_t k);
/// The inverse, for D's fresh scales. kE8m0: `value` is a power of two.
void set_scale(const ScaleSpec& scale, void* data, int64_t group, int64_t row, int64_t k,
               float value);

}  // namespace hadal::gemm
