#include "gemm/reference.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

double element(DType type, const void* data, int64_t offset) {
  switch (type) {
    case DType::kF32: return static_cast<const float*>(data)[offset];
    case DType::kBf16: return to_float(static_cast<const Bf16*>(data)[offset]);
    case DType::kF16: return to_float(static_cast<const F16*>(data)[offset]);
    case DType::kE4m3: return to_float(static_cast<const E4m3*>(data)[offset]);
    case DType::kE5m2: return to_float(static_cast<const E5m2*>(data)[offset]);
    case DType::kE8m0: return to_float(static_cast<const E8m0*>(data)[offset]);
  }
  return 0;
}

/// A row of A or B, which has `rows`, decoded and scaled.
std::vector<double> decode(const GemmSpec& spec, const OperandSpec& x, const void* data,
                           const void* scale, const int32_t* groups, int64_t rows, int64_t group,
                           int64_t row) {
  std::vector<double> out(spec.k);
  for (int64_t i = 0; i < spec.k; ++i) {
    out[i] = element(x.type, data, element_offset(spec, x, rows, groups, group, row, i));
    if (is_fp8(x.type)) out[i] *= scale_at(x.scale, scale, group, row, i);
  }
  return out;
}

constexpr double kSiluSlope = 1.1;  // at most, of either sign
double silu(double x) {
  return x / (1 + std::exp(-x));
}

/// Collects rows of D; A's row follows from D's, or from `rows`.
class RowList {
 public:
  RowList(const GemmSpec& spec, const int32_t* rows) : spec_(spec), rows_(rows) {}

  Result<> add(int64_t matrix, int64_t row, int64_t group) {
    RowUse use{.d_group = matrix,
               .d_row = row,
               .a_group = matrix,
               .a_row = row,
               .group = group,
               .k_begin = 0,
               .k_end = spec_.k};
    if (spec_.a_rows != 0) {
      use.a_row = rows_[matrix * spec_.m + row];
      if (use.a_row < 0) {
        return fail(Code::kInvalidArgument, fmt::format("rows[{}] is {}; it must be 0 or more",
                                                        matrix * spec_.m + row, use.a_row));
      }
    }
    list_.push_back(use);
    return {};
  }

  std::vector<RowUse>& list() { return list_; }

 private:
  const GemmSpec& spec_;
  const int32_t* rows_;
  std::vector<RowUse> list_;
};

Result<> check_groups(int g, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("groups[{}] is {}; it must be {} to {}", g, value, low, high));
}

Result<> add_row_ends(const GemmSpec& spec, const int32_t* ends, RowList& out) {
  int64_t end = 0;
  for (int g = 0; g < spec.num_groups; ++g) {
    const int64_t begin = round_up(end, spec.row_alignment);
    if (ends[g] != end) TRY(check_groups(g, ends[g], begin, spec.m));
    if (ends[g] == end) continue;  // empty: its start does not matter
    for (int64_t row = begin; row < ends[g]; ++row) TRY(out.add(0, row, g));
    end = ends[g];
  }
  return {};
}

Result<> add_k_groups(const GemmSpec& spec, const int32_t* ends, RowList& out) {
  int64_t begin = 0;
  for (int g = 0; g < spec.num_groups; ++g) {
    TRY(check_groups(g, ends[g], begin, spec.k));
    if (ends[g] % kPer1x128.cols != 0) {
      return fail(Code::kInvalidArgument,
                  fmt::format("groups[{}] is {}; it must be a multiple of 128", g, ends[g]));
    }
    for (int64_t row = 0; row < spec.m; ++row) {
      out.list().push_back({.d_group = g,
                            .d_row = row,
                            .a_group = 0,
                            .a_row = row,
                            .group = g,
                            .k_begin = begin,
                            .k_end = ends[g]});
    }
    begin = ends[g];
  }
  return {};
}

}  // namespace

Result<std::vector<RowUse>> rows_of(const GemmSpec& spec, const int32_t* groups,
                                    const int32_t* rows) {
  RowList out(spec, rows);
  switch (spec.grouping) {
    case Grouping::kNone:
    case Grouping::kBatched:
    case Grouping::kMasked:
      for (int g = 0; g < spec.num_groups; ++g) {
        const int64_t count = spec.grouping == Grouping::kMasked ? groups[g] : spec.m;
        TRY(check_groups(g, count, 0, spec.m));
        for (int64_t row = 0; row < count; ++row) TRY(out.add(g, row, g));
      }
      break;
    case Grouping::kRowEnds: TRY(add_row_ends(spec, groups, out)); break;
    case Grouping::kRowGroups:
      for (int64_t row = 0; row < spec.m; ++row) {
        TRY(check_groups(static_cast<int>(row), groups[row], -1, spec.num_groups - 1));
        if (groups[row] >= 0) TRY(out.add(0, row, groups[row]));
      }
      break;
    case Grouping::kK:
    case Grouping::kKFlat: TRY(add_k_groups(spec, groups, out)); break;
  }
  return std::move(out.list());
}

// The bound of gemm.h, of a range of k.
double Oracle::requantization_error(const std::vector<double>& b, int64_t k_begin,
                                    int64_t k_end) const {
  double error = 0;
  for (int64_t begin = k_begin; begin < k_end; begin += kPer1x128.cols) {
    const int64_t end = std::min(begin + kPer1x128.cols, k_end);
    double a_sum = 0, b_sum = 0, a_max = 0, b_max = 0;
    for (int64_t k = begin; k < end; ++k) {
      a_sum += std::abs(a_[k]);
      b_sum += std::abs(b[k]);
      a_max = std::max(a_max, std::abs(a_[k]));
      b_max = std::max(b_max, std::abs(b[k]));
    }
    const double a_off = a_max / 254, b_off = b_max / 254;
    error += b_off * a_sum + a_off * b_sum + static_cast<double>(end - begin) * a_off * b_off;
  }
  return error;
}

// alpha * A B + bias, for row n of B.
Exact Oracle::before_activation(const RowUse& row, int64_t n) {
  if (const int64_t key = row.a_group * rows_of_a(spec_) + row.a_row; key != a_key_) {
    a_ = decode(spec_, spec_.a, args_.a, args_.a_scale, args_.groups, rows_of_a(spec_), row.a_group,
                row.a_row);
    a_key_ = key;
  }
  const int64_t b_group = has_own_b(spec_) ? row.group : 0;
  if (b_.empty()) b_.resize((has_own_b(spec_) ? spec_.num_groups : 1) * spec_.n);
  std::vector<double>& b = b_[b_group * spec_.n + n];
  if (b.empty()) {
    b = decode(spec_, spec_.b, args_.b, args_.b_scale, args_.groups, spec_.n, b_group, n);
  }
  Exact sum;
  for (int64_t k = row.k_begin; k < row.k_end; ++k) {
    sum.value += a_[k] * b[k];
    sum.magnitude += std::abs(a_[k] * b[k]);
  }
  if (spec_.int8) sum.int8_error = requantization_error(b, row.k_begin, row.k_end);
  sum.value *= args_.alpha;
  sum.magnitude *= std::abs(args_.alpha);
  sum.int8_error *= std::abs(args_.alpha);
  if (spec_.d.bias) {
    const double bias = args_.bias[row.group * spec_.n + n];
    sum.value += bias;
    sum.magnitude += std::abs(bias);
  }
  return sum;
}

Exact Oracle::at(const RowUse& row, int64_t column) {
  const Exact x = before_activation(row, column);
  double c = 0;
  if (spec_.d.accumulate && args_.beta != 0) {
    const int64_t offset = row.d_group * spec_.d.c_group_stride + row.d_row * spec_.d.c_stride;
    c = args_.beta * element(spec_.d.c_type, args_.c, offset + column);
  }
  switch (spec_.d.activation) {
    case Activation::kNone: return {x.value + c, x.magnitude + std::abs(c), x.int8_error};
    case Activation::kSilu:
      return {silu(x.value + c), x.magnitude + std::abs(c), kSiluSlope * x.int8_error};
    case Activation::kSwiglu: {
      const Exact up = before_activation(row, spec_.n / 2 + column);
      const double gate = silu(x.value), gate_error = kSiluSlope * x.int8_error;
      return {gate * up.value, x.magnitude * (1 + up.magnitude),
              std::abs(gate) * up.int8_error + gate_error * (std::abs(up.value) + up.int8_error)};
    }
  }
  return {};
}

double output_at(const GemmSpec& spec, const GemmArgs& args, const RowUse& row, int64_t column) {
  const int64_t offset = row.d_group * spec.d.group_stride + row.d_row * spec.d.stride + column;
  const double code = element(spec.d.type, args.d, offset);
  if (spec.d.type != DType::kE4m3) return code;
  return code * scale_at(spec.d.scale, args.d_scale, row.d_group, row.d_row, column);
}

}  // namespace hadal::gemm
