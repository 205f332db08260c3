#include "gemm/cases.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include <fmt/core.h>

#include "base/check.h"
#include "base/rng.h"
#include "gemm/spec.h"
#include "tensor/compare.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

constexpr std::byte kUntouched{0xcb};

/// Elements from the first to the last of `groups` matrices.
int64_t extent(int64_t groups, int64_t group_stride, int64_t rows, int64_t stride) {
  return groups == 0 || rows == 0 ? 0 : (groups - 1) * group_stride + rows * stride;
}

int64_t scale_bytes(const ScaleSpec& scale, int64_t groups, int64_t rows, int64_t k) {
  const int64_t word = scale.type == DType::kF32 || scale.layout == ScaleLayout::kPacked4 ? 4 : 1;
  return groups == 0 ? 0
                     : word * ((groups - 1) * scale.group_stride + scale_elements(scale, rows, k));
}

void store(DType type, std::vector<std::byte>& out, int64_t at, float value) {
  std::byte* const to = out.data() + at * static_cast<int64_t>(size_bytes(type));
  switch (type) {
    case DType::kF32: std::memcpy(to, &value, 4); break;
    case DType::kBf16: new (to) Bf16(to_bf16(value)); break;
    case DType::kF16: new (to) F16(to_f16(value)); break;
    case DType::kE4m3: new (to) E4m3(to_e4m3(value)); break;
    case DType::kE5m2: new (to) E5m2(to_e5m2(value)); break;
    case DType::kE8m0: new (to) E8m0(to_e8m0_ceil(value)); break;
  }
}

/// Memory where every element is a NaN.
std::vector<std::byte> poison(DType type, int64_t elements) {
  std::vector<std::byte> out(elements * static_cast<int64_t>(size_bytes(type)));
  if (type == DType::kE8m0) {
    std::ranges::fill(out, std::byte{0xff});
  } else {
    for (int64_t i = 0; i < elements; ++i) store(type, out, i, std::nanf(""));
  }
  return out;
}

/// Fills A or B, row by row.
class Filler {
 public:
  Filler(const Case& from, Rng& rng) : fill_(from.fill), rng_(rng) {}

  void matrix(const CaseData& data, const OperandSpec& x, int64_t rows, int64_t group, int64_t row,
              bool is_a, std::vector<std::byte>& codes, std::vector<std::byte>& scales) {
    const int64_t k = data.spec.k;
    const bool fp8 = is_fp8(x.type);
    const int64_t block =
        fp8 && x.scale.block.cols != kWholeExtent ? x.scale.block.cols : std::max<int64_t>(k, 1);
    for (int64_t begin = 0; begin < k; begin += block) {
      float scale = 1;
      if (fp8) {
        // The first row of a scale's rows chooses it.
        const bool owner =
            x.scale.block.rows == kWholeExtent ? row == 0 : row % x.scale.block.rows == 0;
        if (owner) set_scale(x.scale, scales.data(), group, row, begin, next_scale(x));
        scale = scale_at(x.scale, scales.data(), group, row, begin);
      }
      for (int64_t i = begin; i < std::min(begin + block, k); ++i) {
        store(x.type, codes, element_offset(data.spec, x, rows, data.groups.data(), group, row, i),
              next_code(x.type, scale, is_a, row, i, k));
      }
    }
  }

  float small_integer() { return static_cast<float>(static_cast<int>(rng_.below(7)) - 3); }
  float normal() { return static_cast<float>(rng_.normal()); }

 private:
  float next_scale(const OperandSpec& x) {
    const bool power = x.scale.type == DType::kE8m0;
    switch (fill_) {
      case Fill::kInteger: return std::ldexp(1.0f, static_cast<int>(rng_.below(4)) - 2);
      case Fill::kOneHot:
        return power ? std::ldexp(1.0f, static_cast<int>(rng_.below(8)) - 4)
                     : 1 + static_cast<float>(rng_.below(1 << 11)) / 2048;
      case Fill::kNormal:
      case Fill::kCodes: break;
    }
    // About what the largest of 128 normal values gives, 3 / 448.
    const float scale = (0.5f + static_cast<float>(rng_.uniform())) * 3 / kE4m3Max;
    return power ? to_float(to_e8m0_ceil(scale)) : scale;
  }

  float next_code(DType type, float scale, bool is_a, int64_t row, int64_t i, int64_t k) {
    switch (fill_) {
      case Fill::kInteger: return small_integer();
      case Fill::kOneHot: return !is_a || i == row * 37 % k ? 1.0f : 0.0f;
      case Fill::kNormal: return normal() / scale;
      case Fill::kCodes: break;
    }
    const auto code = static_cast<uint8_t>(rng_.below(256));
    const float value = type == DType::kE5m2 ? to_float(E5m2{code}) : to_float(E4m3{code});
    return std::isfinite(value) && std::abs(value) <= kE4m3Max ? value : 0.0f;
  }

  Fill fill_;
  Rng& rng_;
};

}  // namespace

GemmArgs CaseData::args(const Case& from) {
  return {.a = a.data(),
          .a_scale = a_scale.data(),
          .b = b.data(),
          .b_scale = b_scale.data(),
          .c = from.in_place ? d.data() : c.data(),
          .bias = bias.data(),
          .d = d.data(),
          .d_scale = d_scale.data(),
          .groups = groups.data(),
          .rows = rows.data(),
          .alpha = from.alpha,
          .beta = from.beta};
}

Result<CaseData> make_data(const Case& from, uint64_t seed) {
  CaseData data{.spec = TRY(resolve(from.spec)), .groups = from.groups, .rows = from.rows};
  const GemmSpec& spec = data.spec;
  data.uses = TRY(rows_of(spec, data.groups.data(), data.rows.data()));
  Rng rng(seed);
  Filler filler(from, rng);

  const int64_t a_groups = has_own_a(spec) ? spec.num_groups : 1;
  const int64_t b_groups = has_own_b(spec) ? spec.num_groups : 1;
  const int64_t d_groups = has_own_d(spec) ? spec.num_groups : 1;
  const int64_t a_rows = rows_of_a(spec);
  data.a = poison(spec.a.type, extent(a_groups, spec.a.group_stride, a_rows, spec.a.stride));
  data.b = poison(spec.b.type, extent(b_groups, spec.b.group_stride, spec.n, spec.b.stride));
  if (is_fp8(spec.a.type)) {
    data.a_scale.assign(scale_bytes(spec.a.scale, a_groups, a_rows, spec.k), std::byte{0xff});
    data.b_scale.assign(scale_bytes(spec.b.scale, b_groups, spec.n, spec.k), std::byte{0xff});
  }
  // Rows of A that nothing uses stay NaN, with the scales that only they have.
  std::vector<char> used(a_groups * a_rows, 0);
  for (const RowUse& use : data.uses) used[use.a_group * a_rows + use.a_row] = 1;
  for (int64_t i = 0; i < a_groups * a_rows; ++i) {
    const bool shares_scale = spec.a.scale.block.rows != 1 && is_fp8(spec.a.type);
    if (!used[i] && !shares_scale) continue;
    filler.matrix(data, spec.a, a_rows, i / a_rows, i % a_rows, true, data.a, data.a_scale);
  }
  for (int64_t i = 0; i < b_groups * spec.n; ++i) {
    filler.matrix(data, spec.b, spec.n, i / spec.n, i % spec.n, false, data.b, data.b_scale);
  }

  const auto d_bytes = static_cast<int64_t>(size_bytes(spec.d.type));
  data.d.assign(d_bytes * extent(d_groups, spec.d.group_stride, spec.m, spec.d.stride), kUntouched);
  if (spec.d.type == DType::kE4m3) {
    data.d_scale.assign(scale_bytes(spec.d.scale, d_groups, spec.m, columns(spec)), kUntouched);
  }
  if (spec.d.accumulate) {
    data.c =
        poison(spec.d.c_type, extent(d_groups, spec.d.c_group_stride, spec.m, spec.d.c_stride));
    for (const RowUse& use : data.uses) {
      for (int64_t j = 0; j < columns(spec); ++j) {
        const float value = from.fill == Fill::kInteger ? filler.small_integer() : filler.normal();
        const int64_t at = use.d_group * spec.d.c_group_stride + use.d_row * spec.d.c_stride + j;
        store(spec.d.c_type, data.c, at, value);
        if (from.in_place) store(spec.d.type, data.d, at, value);
      }
    }
  }
  if (spec.d.bias) {
    data.bias.resize(spec.num_groups * spec.n);
    for (float& x : data.bias) {
      x = from.fill == Fill::kInteger ? filler.small_integer() : filler.normal();
    }
  }
  return data;
}

namespace {

double half_ulp(DType type) {
  switch (type) {
    case DType::kF32: return 0x1p-24;
    case DType::kF16: return 0x1p-11;
    case DType::kBf16: return 0x1p-8;
    default: return 0x1p-4;
  }
}

double rounded(DType type, double exact) {
  const auto x = static_cast<float>(exact);
  switch (type) {
    case DType::kBf16: return to_float(to_bf16(x));
    case DType::kF16: return to_float(to_f16(x));
    default: return x;
  }
}

/// The first byte of D that no row of the case owns and that has changed; -1 if there is none.
int64_t first_stray(const CaseData& data) {
  const GemmSpec& spec = data.spec;
  const auto element = static_cast<int64_t>(size_bytes(spec.d.type));
  std::vector<char> owned(data.d.size(), 0);
  for (const RowUse& use : data.uses) {
    const int64_t at = use.d_group * spec.d.group_stride + use.d_row * spec.d.stride;
    std::fill_n(owned.begin() + at * element, columns(spec) * element, 1);
  }
  for (size_t i = 0; i < owned.size(); ++i) {
    if (!owned[i] && data.d[i] != kUntouched) return static_cast<int64_t>(i);
  }
  return -1;
}

}  // namespace

Verdict judge(const Case& from, CaseData& data, double accumulate_error) {
  const GemmSpec& spec = data.spec;
  GemmArgs args = data.args(from);
  if (from.in_place) args.c = data.c.data();  // what D held before
  Verdict verdict;
  if (const int64_t stray = first_stray(data); stray >= 0) {
    verdict.problem = fmt::format("byte {} of D was written, and belongs to no row", stray);
    return verdict;
  }
  const int64_t total = std::ssize(data.uses) * columns(spec);
  const int64_t budget = std::clamp<int64_t>((16 << 20) / std::max<int64_t>(spec.k, 1), 256, 8192);
  const bool exact = from.fill == Fill::kInteger || from.fill == Fill::kOneHot;
  Rng rng(7);
  Oracle oracle(spec, args);
  double xy = 0, xx_yy = 0;
  for (int64_t n = 0; n < std::min(total, budget); ++n) {
    const int64_t i = total <= budget ? n : static_cast<int64_t>(rng.below(total));
    const RowUse& row = data.uses[i / columns(spec)];
    const int64_t column = i % columns(spec);
    const Exact want = oracle.at(row, column);
    const double got = output_at(spec, args, row, column);
    ++verdict.compared;
    xy += got * want.value;
    xx_yy += got * got + want.value * want.value;
    const double error = std::abs(got - want.value);
    verdict.max_error = std::max(verdict.max_error, error / std::max(want.magnitude, 1e-30));
    double bound = half_ulp(spec.d.type) * 1.01 * (std::abs(want.value) + want.int8_error) +
                   accumulate_error * (want.magnitude + want.int8_error) + want.int8_error + 1e-30;
    if (spec.d.type == DType::kE4m3) {  // subnormal codes
      bound += 0x1p-10 * scale_at(spec.d.scale, args.d_scale, row.d_group, row.d_row, column);
    }
    const bool ok =
        exact && !spec.int8 && spec.d.type != DType::kE4m3 && spec.d.activation == Activation::kNone
            ? got == rounded(spec.d.type, want.value)
            : error <= bound;
    if (!ok) {
      verdict.problem =
          fmt::format("D[{}][{}][{}] is {}; it must be {} (within {:.3g})", row.d_group, row.d_row,
                      column, got, want.value, exact && !spec.int8 ? 0 : bound);
      return verdict;
    }
  }
  verdict.calc_diff = xx_yy == 0 ? 0 : 1 - 2 * xy / xx_yy;
  verdict.ok = true;
  return verdict;
}

}  // namespace hadal::gemm
