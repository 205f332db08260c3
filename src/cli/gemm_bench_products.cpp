#include "cli/gemm_bench_products.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/core.h>

#include "base/rng.h"
#include "gemm/reference.h"
#include "gemm/spec.h"

namespace hadal::cli {
namespace {

using gemm::GemmSpec;
using gemm::Grouping;

constexpr int kSampled = 64;

struct Layer {
  int64_t n, k;
};
constexpr Layer kDense[] = {{2112, 7168},  {576, 7168},  {24576, 1536}, {32768, 512},
                            {7168, 16384}, {4096, 7168}, {7168, 2048}};
constexpr Layer kExperts[] = {{6144, 7168}, {7168, 3072}, {4096, 4096}, {4096, 2048}};

struct Load {
  int groups;
  int64_t rows;  // of a group, expected
};

std::vector<BenchProduct> forward() {
  std::vector<BenchProduct> out;
  for (const int64_t m : {1, 64, 128, 4096}) {
    for (const Layer& layer : kDense) out.push_back(bench_product(m, layer.n, layer.k));
  }
  return out;
}

/// 0.7 to 1.3 times what is expected.
std::vector<int32_t> draw_rows(const Load& load) {
  Rng rng(7);
  std::vector<int32_t> rows(load.groups);
  for (int32_t& r : rows) {
    r = static_cast<int32_t>(load.rows * 7 / 10 + rng.below(load.rows * 6 / 10 + 1));
  }
  return rows;
}

BenchProduct grouped(const Load& load, const Layer& layer) {
  std::vector<int32_t> ends = draw_rows(load);
  for (size_t g = 1; g < ends.size(); ++g) ends[g] += ends[g - 1];
  return {.name = fmt::format("{} groups of about {} x {} x {}", load.groups, load.rows, layer.n,
                              layer.k),
          .spec = {.m = ends.back(),
                   .n = layer.n,
                   .k = layer.k,
                   .grouping = Grouping::kRowEnds,
                   .num_groups = load.groups},
          .groups = ends};
}

BenchProduct masked(const Load& load, const Layer& layer) {
  constexpr int64_t kCapacity = 4096;
  const std::vector<int32_t> counts = draw_rows(load);
  int64_t sum = 0;
  for (const int32_t count : counts) sum += count;
  return {.name = fmt::format("{} groups of about {} in {} x {} x {}", load.groups, load.rows,
                              kCapacity, layer.n, layer.k),
          .spec = {.m = kCapacity,
                   .n = layer.n,
                   .k = layer.k,
                   .grouping = Grouping::kMasked,
                   .num_groups = load.groups,
                   .expected_rows = sum},
          .groups = counts};
}

BenchProduct weight_gradient(const Layer& layer) {
  constexpr int64_t kTokens = 4096;
  BenchProduct out = bench_product(layer.n, layer.k, kTokens);
  out.spec.b.scale.block = kPer1x128;
  out.spec.d = {.type = DType::kF32, .accumulate = true, .c_type = DType::kF32};
  return out;
}

std::vector<std::byte> random_codes(int64_t count, Rng& rng) {
  std::vector<std::byte> out(gemm::round_up(count, 8));
  for (size_t i = 0; i < out.size(); i += 8) {
    // 0x7f and 0xff are NaN: a clear bit in each byte's exponent keeps codes below 32.
    const uint64_t bits = rng.next() & 0xbfbfbfbfbfbfbfbf;
    std::memcpy(out.data() + i, &bits, 8);
  }
  out.resize(count);
  return out;
}

std::vector<float> random_floats(int64_t count, Rng& rng) {
  std::vector<float> out(count);
  for (float& x : out) x = 0.5f + static_cast<float>(rng.below(1024)) / 1024;
  return out;
}

int64_t scale_count(const gemm::ScaleSpec& scale, int64_t groups, int64_t rows, int64_t k) {
  return (groups - 1) * scale.group_stride + gemm::scale_elements(scale, rows, k);
}

}  // namespace

BenchProduct bench_product(int64_t m, int64_t n, int64_t k) {
  return {.name = fmt::format("{} x {} x {}", m, n, k), .spec = {.m = m, .n = n, .k = k}};
}

Result<std::vector<BenchProduct>> bench_products(const std::string& list) {
  std::vector<BenchProduct> out;
  if (list == "forward") return forward();
  if (list == "grouped") {
    for (const Load& load : {Load{4, 8192}, Load{8, 4096}}) {
      for (const Layer& layer : kExperts) out.push_back(grouped(load, layer));
    }
    return out;
  }
  if (list == "masked") {
    for (const Load& load : {Load{32, 192}, Load{6, 1024}, Load{32, 20}, Load{6, 20}}) {
      for (const Layer& layer : kExperts) out.push_back(masked(load, layer));
    }
    return out;
  }
  if (list == "wgrad") {
    for (const Layer& layer : kDense) out.push_back(weight_gradient(layer));
    return out;
  }
  return fail(Code::kInvalidArgument,
              fmt::format("--list: {} is not one of forward, grouped, masked, wgrad", list));
}

BenchInputs::BenchInputs(const GemmSpec& spec, uint64_t seed) {
  Rng rng(seed);
  const int64_t a_groups = gemm::has_own_a(spec) ? spec.num_groups : 1;
  const int64_t b_groups = gemm::has_own_b(spec) ? spec.num_groups : 1;
  const int64_t d_groups = gemm::has_own_d(spec) ? spec.num_groups : 1;
  a = random_codes((a_groups - 1) * spec.a.group_stride + spec.m * spec.a.stride, rng);
  b = random_codes((b_groups - 1) * spec.b.group_stride + spec.n * spec.b.stride, rng);
  a_scale = random_floats(scale_count(spec.a.scale, a_groups, spec.m, spec.k), rng);
  b_scale = random_floats(scale_count(spec.b.scale, b_groups, spec.n, spec.k), rng);
  const int64_t d_count = (d_groups - 1) * spec.d.group_stride + spec.m * spec.d.stride;
  d_bytes = d_count * (spec.d.type == DType::kF32 ? 4 : 2);
  if (spec.d.accumulate) c = random_floats(d_count, rng);
}

gemm::GemmArgs BenchInputs::args(const BenchProduct& product, std::vector<std::byte>& d) const {
  return {.a = a.data(),
          .a_scale = a_scale.data(),
          .b = b.data(),
          .b_scale = b_scale.data(),
          .c = c.empty() ? nullptr : c.data(),
          .d = d.data(),
          .groups = product.groups.empty() ? nullptr : product.groups.data()};
}

Result<double> worst_error(const GemmSpec& spec, const gemm::GemmArgs& args) {
  gemm::Oracle oracle(spec, args);
  const std::vector<gemm::RowUse> uses = TRY(gemm::rows_of(spec, args.groups, args.rows));
  Rng rng(5);
  double worst = 0;
  for (int i = 0; i < kSampled && !uses.empty(); ++i) {
    const gemm::RowUse& use = i == 0 ? uses.back() : uses[rng.below(uses.size())];
    const int64_t column = i == 0 ? spec.n - 1 : static_cast<int64_t>(rng.below(spec.n));
    const gemm::Exact want = oracle.at(use, column);
    const double error = std::abs(gemm::output_at(spec, args, use, column) - want.value);
    if (std::isnan(error)) return error;
    // A bf16 result is off by half a unit in the last place at least.
    const double unit = spec.d.type == DType::kF32 ? 0 : 0x1p-8;
    const double rounding = unit * (std::abs(want.value) + want.int8_error) + want.int8_error;
    worst = std::max(worst, std::max(0.0, error - rounding) / std::max(want.magnitude, 1e-30));
  }
  return worst;
}

}  // namespace hadal::cli
