#include <algorithm>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "gemm/cases.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

constexpr ScaleSpec kRowScale{.block = kPerRow}, kTensorScale{.block = kPerTensor};
constexpr ScaleSpec kBlockScale{.block = kPer128x128};
constexpr ScaleSpec kColMajor{.layout = ScaleLayout::kColMajor};
constexpr ScaleSpec kPacked{.type = DType::kE8m0, .layout = ScaleLayout::kPacked4};

/// A dense product: 1x128 and 128x128 scales, bf16 out.
GemmSpec dense(int64_t m, int64_t n, int64_t k) {
  return {.m = m, .n = n, .k = k};
}

/// The same with 1x128 scales on both sides and float32 out, as weight gradients have.
GemmSpec both_by_row(int64_t m, int64_t n, int64_t k) {
  GemmSpec spec = dense(m, n, k);
  spec.b.scale = {};
  spec.d.type = DType::kF32;
  return spec;
}

class List {
 public:
  void add(std::string name, Case c) {
    c.name = fmt::format("{}/m={} n={} k={}", name, c.spec.m, c.spec.n, c.spec.k);
    cases_.push_back(std::move(c));
  }
  void add(std::string name, const GemmSpec& spec, Fill fill = Fill::kInteger) {
    add(std::move(name), Case{.name = {}, .spec = spec, .fill = fill});
  }
  std::vector<Case> take() { return std::move(cases_); }

 private:
  std::vector<Case> cases_;
};

void add_shapes(List& list) {
  for (int64_t m = 1; m <= 70; ++m) list.add("dense/rows", dense(m, 24, 144));
  for (const int64_t m : {127, 128, 129, 255, 257}) list.add("dense/rows", dense(m, 136, 144));
  for (const int64_t n : {8, 16, 24, 120, 136, 144, 264, 576, 2112}) {
    list.add("dense/columns", dense(5, n, 256));
    list.add("dense/columns", both_by_row(70, n, 144));
  }
  for (const int64_t k : {16, 112, 128, 144, 576, 1152, 4096, 4112, 7168, 9000}) {
    list.add("dense/depth", dense(3, 136, k));
    list.add("dense/depth", dense(33, 72, k), Fill::kNormal);
    list.add("dense/depth", both_by_row(7, 64, k));
  }
  for (const int64_t k : {0, 1, 2, 3, 5, 127, 129, 131})
    list.add("dense/odd depth", dense(7, 64, k));
  for (const int64_t m : {1, 8, 16, 32}) {
    list.add("dense/1x128 on both sides", both_by_row(m, 256, 512), Fill::kNormal);
    list.add("dense/1x128 on both sides", both_by_row(m, 256, 512), Fill::kOneHot);
  }
  list.add("dense/empty", dense(0, 64, 128));
  list.add("dense/empty", dense(4, 0, 128));
  list.add("dense/odd number of tiles", dense(11 * 128, 11 * 128, 128));
}

void add_types(List& list) {
  for (const DType a : {DType::kE4m3, DType::kE5m2}) {
    for (const DType b : {DType::kE4m3, DType::kE5m2}) {
      for (const Fill fill : {Fill::kNormal, Fill::kCodes, Fill::kInteger, Fill::kOneHot}) {
        for (const int64_t m : {2, 35}) {
          GemmSpec spec = both_by_row(m, 136, 400);
          spec.a.type = a;
          spec.b.type = b;
          list.add(fmt::format("types/{} {}", name(a), name(b)), spec, fill);
        }
      }
    }
  }
  for (const DType out : {DType::kBf16, DType::kF16, DType::kF32, DType::kE4m3}) {
    for (const int64_t m : {1, 35}) {
      GemmSpec spec = dense(m, 328, 256);
      spec.d.type = out;
      list.add(fmt::format("out/{}", name(out)), spec, Fill::kNormal);
      spec.a.type = spec.b.type = DType::kBf16;
      list.add(fmt::format("bf16/{}", name(out)), spec, Fill::kNormal);
      list.add(fmt::format("bf16/{}", name(out)), spec, Fill::kInteger);
    }
  }
}

void add_scales(List& list) {
  const std::pair<const char*, ScaleSpec> scales[] = {
      {"1x128", {}},
      {"128x128", kBlockScale},
      {"row", kRowScale},
      {"tensor", kTensorScale},
      {"1x128 by column", kColMajor},
      {"1x128 packed e8m0", kPacked},
      {"1x128 e8m0", {.type = DType::kE8m0}},
      {"128x128 by column", {.block = kPer128x128, .layout = ScaleLayout::kColMajor}}};
  for (const auto& [a_name, a] : scales) {
    for (const auto& [b_name, b] : scales) {
      for (const int64_t m : {3, 131}) {
        GemmSpec spec = both_by_row(m, 200, 400);
        spec.a.scale = a;
        spec.b.scale = b;
        list.add(fmt::format("scales/{}, {}", a_name, b_name), spec,
                 m == 3 ? Fill::kOneHot : Fill::kInteger);
      }
    }
  }
  for (const ScaleLayout layout :
       {ScaleLayout::kRowMajor, ScaleLayout::kColMajor, ScaleLayout::kPacked4}) {
    GemmSpec spec = dense(37, 300 / 8 * 8, 128);
    spec.d.type = DType::kE4m3;
    spec.d.scale.layout = layout;
    if (layout != ScaleLayout::kRowMajor) spec.d.scale.type = DType::kE8m0;
    list.add("fresh scales", spec, Fill::kNormal);
  }
}

void add_epilogues(List& list) {
  for (const DType out : {DType::kBf16, DType::kF16, DType::kF32}) {
    for (const DType c : {DType::kBf16, DType::kF16, DType::kF32}) {
      for (const float beta : {0.0f, 1.0f, 2.0f}) {
        Case x{.name = {},
               .spec = dense(19, 72, 256),
               .fill = Fill::kInteger,
               .alpha = 2,
               .beta = beta};
        x.spec.d.type = out;
        x.spec.d.c_type = c;
        x.spec.d.accumulate = true;
        x.spec.d.c_stride = 80;
        x.spec.d.bias = beta == 2;
        list.add(fmt::format("C/{} {} beta {}", name(out), name(c), beta), x);
      }
    }
    Case x{.name = {}, .spec = both_by_row(66, 136, 256), .fill = Fill::kInteger, .in_place = true};
    x.spec.d.type = x.spec.d.c_type = out;
    x.spec.d.accumulate = true;
    list.add(fmt::format("C/in place {}", name(out)), x);
    x.spec.k = 0;
    list.add(fmt::format("C/in place {} without k", name(out)), x);
  }
  for (const Activation activation : {Activation::kSilu, Activation::kSwiglu}) {
    for (const DType out : {DType::kBf16, DType::kF32, DType::kE4m3}) {
      for (const int64_t n : {16, 144, 272, 528}) {
        GemmSpec spec = dense(21, n, 256);
        spec.d.type = out;
        spec.d.activation = activation;
        spec.d.bias = n == 144;
        list.add(activation == Activation::kSilu ? "SiLU" : "SwiGLU", spec, Fill::kNormal);
      }
    }
  }
}

void add_strides(List& list) {
  for (const int64_t m : {3, 40}) {
    GemmSpec spec = dense(m, 72, 144);
    spec.a.stride = 160;
    spec.b.stride = 272;
    spec.d.stride = 80;
    spec.a.scale.stride = 5;
    spec.b.scale.stride = 7;
    list.add("strides", spec);
    spec.a.scale = kColMajor;
    spec.a.scale.stride = 44;
    list.add("strides", spec);
  }
}

void add_groups(List& list) {
  Case x{.name = {}, .spec = dense(200, 72, 256), .fill = Fill::kInteger};
  x.spec.grouping = Grouping::kRowEnds;
  x.spec.num_groups = 6;
  x.groups = {17, 17, 18, 130, 130, 190};  // empty ones, and rows 190..199 in none
  list.add("groups/ends", x);
  x.spec.m = 640;
  x.spec.row_alignment = 128;
  x.groups = {100, 100, 140, 300, 512, 640};
  list.add("groups/ends aligned to 128", x);
  x.groups = {0, 0, 0, 0, 0, 0};
  list.add("groups/all empty", x);

  x.spec = dense(150, 136, 144);
  x.spec.grouping = Grouping::kRowGroups;
  x.spec.num_groups = 5;
  x.groups.assign(150, -1);
  std::fill_n(x.groups.begin(), 20, 3);
  std::fill_n(x.groups.begin() + 20, 1, 0);
  std::fill_n(x.groups.begin() + 64, 70, 4);  // not in order; padding in between and at the end
  list.add("groups/ids", x);

  x.spec.a_rows = 31;
  for (int row = 0; row < 150; ++row) x.rows.push_back(row * 17 % 31);
  list.add("groups/ids, gathered", x);
  x.spec.grouping = Grouping::kNone;
  x.spec.num_groups = 1;
  x.groups.clear();
  list.add("gathered", x);
  x.rows.clear();

  for (const int64_t m : {1, 20, 70}) {
    for (const int groups : {1, 9}) {
      Case y{.name = {}, .spec = dense(m, 72, 144), .fill = Fill::kInteger};
      y.spec.num_groups = groups;
      y.spec.grouping = Grouping::kMasked;
      for (int g = 0; g < groups; ++g) y.groups.push_back(static_cast<int>(g * 31 % (m + 1)));
      list.add(fmt::format("groups/masked x{}", groups), y);
      y.groups.assign(groups, 0);
      list.add(fmt::format("groups/masked x{}, all empty", groups), y);
      y.spec.grouping = Grouping::kBatched;
      y.groups.clear();
      y.spec.d.bias = true;
      list.add(fmt::format("groups/batched x{}", groups), y);
    }
  }
  Case one{.name = {}, .spec = dense(40, 64, 128), .fill = Fill::kInteger};
  one.spec.grouping = Grouping::kMasked;
  one.spec.num_groups = 256;
  one.groups.assign(256, 0);
  one.groups[200] = 33;
  list.add("groups/masked, one of 256", one);
}

void add_k_groups(List& list) {
  for (const bool accumulate : {false, true}) {
    Case x{.name = {}, .spec = both_by_row(70, 136, 1024), .fill = Fill::kInteger};
    x.spec.grouping = Grouping::kK;
    x.spec.num_groups = 4;
    x.spec.d.accumulate = accumulate;
    x.spec.d.c_type = DType::kF32;
    x.in_place = accumulate;
    x.groups = {384, 384, 640, 896};
    list.add("groups along k", x);
    x.spec.grouping = Grouping::kKFlat;
    list.add("groups along k, flat", x);
    x.spec.grouping = Grouping::kK;
    x.spec.num_groups = 2;
    x.spec.m = x.spec.n = 11 * 128;
    x.groups = {384, 640};
    list.add("groups along k, odd number of tiles", x);
    x.spec.grouping = Grouping::kKFlat;
    x.spec.a.type = x.spec.b.type = DType::kBf16;
    x.spec.m = 5;
    x.spec.n = 72;
    list.add("groups along k, flat, bf16", x);
  }
}

}  // namespace

std::vector<Case> all_cases() {
  List list;
  add_shapes(list);
  add_types(list);
  add_scales(list);
  add_epilogues(list);
  add_strides(list);
  add_groups(list);
  add_k_groups(list);
  return list.take();
}

std::vector<Case> int8_cases() {
  std::vector<Case> out;
  for (Case& c : all_cases()) {
    if (!is_fp8(c.spec.a.type) || c.spec.grouping == Grouping::kKFlat) continue;
    c.spec.int8 = true;
    out.push_back(std::move(c));
  }
  return out;
}

}  // namespace hadal::gemm
