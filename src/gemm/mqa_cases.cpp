#include "gemm/mqa_cases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include <fmt/core.h>

#include "base/rng.h"
#include "gemm/check.h"
#include "gemm/mqa_plan.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

constexpr std::byte kUntouched{0xcb};
constexpr std::byte kNanCode{0x7f};
constexpr double kGateF32 = 5e-6, kGateBf16 = 3e-5;  // DeepGEMM's

/// Where the codes and the scale of a key of a request (plain: 0) stand in kv, in bytes.
struct Place {
  int64_t codes = 0, scale = 0;
};
Place place_of(const MqaData& data, int64_t request, int64_t key) {
  const MqaSpec& spec = data.spec;
  const int64_t entry = request * spec.max_blocks + key / spec.block_size;
  const int64_t start = data.block_table[entry] * block_bytes(spec);
  const int64_t in_block = key % spec.block_size;
  return {.codes = start + in_block * spec.head_dim,
          .scale = start + int64_t{spec.block_size} * spec.head_dim + 4 * in_block};
}

class Filler {
 public:
  Filler(Fill fill, uint64_t seed) : fill_(fill), rng_(seed) {}

  void codes(std::byte* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = std::byte{code().bits};
  }
  float scale() {
    if (fill_ == Fill::kInteger) return std::ldexp(1.0f, static_cast<int>(rng_.below(4)) - 2);
    return (0.5f + static_cast<float>(rng_.uniform())) * 3 / kE4m3Max;
  }
  float weight() {
    if (fill_ == Fill::kInteger) return static_cast<float>(static_cast<int>(rng_.below(7)) - 3);
    return static_cast<float>(rng_.normal());
  }
  Rng& rng() { return rng_; }

 private:
  E4m3 code() {
    if (fill_ == Fill::kInteger) {
      return to_e4m3(static_cast<float>(static_cast<int>(rng_.below(7)) - 3));
    }
    if (fill_ == Fill::kNormal) return to_e4m3(static_cast<float>(rng_.normal()) * 100);
    const E4m3 any{static_cast<uint8_t>(rng_.below(256))};
    return std::isnan(to_float(any)) ? E4m3{0} : any;
  }

  Fill fill_;
  Rng rng_;
};

void fill_plain_keys(MqaData& data, Filler& filler) {
  const MqaSpec& spec = data.spec;
  std::vector<char> used(spec.keys, 0);
  const MqaArgs args = data.args();
  for (int64_t i = 0; i < spec.queries; ++i) {
    const MqaRange keys = keys_of(spec, args, i);
    for (int64_t key = keys.begin; key < keys.end; ++key) used[key] = 1;
  }
  data.kv.assign(spec.keys * spec.head_dim, kNanCode);
  data.kv_scale.assign(spec.keys, std::nanf(""));
  for (int64_t key = 0; key < spec.keys; ++key) {
    if (!used[key]) continue;
    filler.codes(data.kv.data() + key * spec.head_dim, spec.head_dim);
    data.kv_scale[key] = filler.scale();
  }
}

void fill_cache(MqaData& data, Filler& filler) {
  const MqaSpec& spec = data.spec;
  std::vector<int32_t> blocks(spec.num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  shuffle(std::span(blocks), filler.rng());
  const int64_t requests = spec.queries / spec.next_n;
  data.block_table.assign(requests * spec.max_blocks, -1);  // entries that nobody needs
  data.kv.assign(spec.num_blocks * block_bytes(spec), std::byte{0xff});  // NaN, scales too
  const MqaArgs args = data.args();
  size_t next = 0;
  for (int64_t request = 0; request < requests; ++request) {
    int64_t keys = 0;
    for (int64_t n = 0; n < spec.next_n; ++n) {
      keys = std::max(keys, keys_of(spec, args, request * spec.next_n + n).end);
    }
    for (int64_t key = 0; key < keys; ++key) {
      if (key % spec.block_size == 0) {
        data.block_table[request * spec.max_blocks + key / spec.block_size] = blocks[next++];
      }
      const Place at = place_of(data, request, key);
      filler.codes(data.kv.data() + at.codes, spec.head_dim);
      const float scale = filler.scale();
      std::memcpy(data.kv.data() + at.scale, &scale, 4);
    }
  }
}

double decode(std::byte code) {
  return to_float(E4m3{static_cast<uint8_t>(code)});
}

/// The logit of a query and a key, in double precision.
Exact exact_logit(const MqaData& data, int64_t query, int64_t key) {
  const MqaSpec& spec = data.spec;
  const std::byte* codes = data.kv.data() + key * spec.head_dim;
  float scale = 0;
  if (spec.paged) {
    const Place at = place_of(data, query / spec.next_n, key);
    codes = data.kv.data() + at.codes;
    std::memcpy(&scale, data.kv.data() + at.scale, 4);
  } else {
    scale = data.kv_scale[key];
  }
  std::vector<double> k(spec.head_dim);
  for (int i = 0; i < spec.head_dim; ++i) k[i] = decode(codes[i]);
  static const std::vector<double> values = [] {
    std::vector<double> out;
    for (int code = 0; code < 256; ++code) out.push_back(decode(std::byte(code)));
    return out;
  }();
  Exact sum;
  for (int h = 0; h < spec.heads; ++h) {
    const std::byte* q = data.q.data() + (query * spec.heads + h) * spec.head_dim;
    double dot = 0, magnitude = 0;
    for (int i = 0; i < spec.head_dim; ++i) {
      const double term = values[static_cast<uint8_t>(q[i])] * k[i];
      dot += term;
      magnitude += std::abs(term);
    }
    const double weight = data.weights[query * spec.heads + h];
    sum.value += weight * std::max(dot, 0.0);
    sum.magnitude += std::abs(weight) * magnitude;
  }
  return {.value = sum.value * scale, .magnitude = sum.magnitude * scale};
}

float logit_at(const MqaData& data, int64_t at) {
  if (data.spec.type == DType::kF32) {
    float x;
    std::memcpy(&x, data.logits.data() + 4 * at, 4);
    return x;
  }
  Bf16 x;
  std::memcpy(&x, data.logits.data() + 2 * at, 2);
  return to_float(x);
}

bool is_untouched(const MqaData& data, int64_t at) {
  const auto size = static_cast<int64_t>(size_bytes(data.spec.type));
  return std::all_of(data.logits.begin() + at * size, data.logits.begin() + (at + 1) * size,
                     [](std::byte b) { return b == kUntouched; });
}

/// Sums for calc_diff, and the first element that is wrong.
class Judge {
 public:
  Judge(const MqaCase& from, const MqaData& data, double accumulate_error)
      : from_(from), data_(data), accumulate_error_(accumulate_error) {}

  void element(int64_t row, int64_t column, const Exact& want) {
    const MqaSpec& spec = data_.spec;
    const double got = logit_at(data_, row * spec.stride + column);
    const bool f32 = spec.type == DType::kF32;
    const auto as_float = static_cast<float>(want.value);
    const double error = std::abs(got - want.value);
    ++verdict.compared;
    verdict.max_error = std::max(verdict.max_error, error / std::max(want.magnitude, 1e-30));
    difference_ += error * error;
    squares_ += got * got + want.value * want.value;
    const double bound = (f32 ? 0x1p-24 : 0x1p-8) * 1.01 * std::abs(want.value) +
                         accumulate_error_ * want.magnitude + 1e-30;
    const double rounded = f32 ? as_float : to_float(to_bf16(as_float));
    if (from_.fill == Fill::kInteger ? got == rounded : error <= bound) return;
    complain(fmt::format("logits[{}][{}] is {}; it must be {}", row, column, got, want.value));
  }
  void outside(int64_t row, int64_t column) {
    const MqaSpec& spec = data_.spec;
    const int64_t at = row * spec.stride + column;
    const bool filled = spec.clean && column < spec.columns;
    const bool ok = filled ? logit_at(data_, at) == -std::numeric_limits<float>::infinity()
                           : is_untouched(data_, at);
    if (!ok) {
      complain(fmt::format("logits[{}][{}] is {}; it must be {}", row, column, logit_at(data_, at),
                           filled ? "-inf" : "as it was"));
    }
  }
  void finish() {
    verdict.calc_diff = squares_ == 0 ? 0 : difference_ / squares_;
    const double gate = data_.spec.type == DType::kF32 ? kGateF32 : kGateBf16;
    if (!(verdict.calc_diff <= gate)) {
      complain(fmt::format("calc_diff is {}; it must be {}", verdict.calc_diff, gate));
    }
    verdict.ok = verdict.problem.empty();
  }

  Verdict verdict;

 private:
  void complain(std::string problem) {
    if (verdict.problem.empty()) verdict.problem = std::move(problem);
  }

  const MqaCase& from_;
  const MqaData& data_;
  double accumulate_error_, difference_ = 0, squares_ = 0;
};

}  // namespace

MqaArgs MqaData::args() {
  return {.q = q.data(),
          .kv = kv.data(),
          .kv_scale = kv_scale.data(),
          .weights = weights.data(),
          .ks = ks.data(),
          .ke = ke.data(),
          .context_lens = context_lens.data(),
          .block_table = block_table.data(),
          .logits = logits.data()};
}

Result<MqaData> make_data(const MqaCase& from, uint64_t seed) {
  MqaData data{.spec = TRY(resolve(from.spec))};
  const MqaSpec& spec = data.spec;
  data.ks = from.ks;
  data.ke = from.ke;
  data.context_lens = from.context_lens;
  Filler filler(from.fill, seed);
  if (spec.paged) {
    fill_cache(data, filler);
  } else {
    fill_plain_keys(data, filler);
  }
  const int64_t codes = int64_t{spec.heads} * spec.head_dim;
  data.q.assign(spec.queries * codes, kNanCode);
  data.weights.assign(spec.queries * spec.heads, std::nanf(""));
  const MqaArgs args = data.args();
  for (int64_t i = 0; i < spec.queries; ++i) {
    const MqaRange keys = keys_of(spec, args, i);
    if (keys.begin == keys.end) continue;
    filler.codes(data.q.data() + i * codes, codes);
    for (int h = 0; h < spec.heads; ++h) data.weights[i * spec.heads + h] = filler.weight();
  }
  data.logits.assign(spec.queries * spec.stride * static_cast<int64_t>(size_bytes(spec.type)),
                     kUntouched);
  return data;
}

Verdict judge(const MqaCase& from, MqaData& data, double accumulate_error) {
  const MqaSpec& spec = data.spec;
  const MqaArgs args = data.args();
  Judge all(from, data, accumulate_error);
  for (int64_t row = 0; row < spec.queries; ++row) {
    const MqaRange keys = keys_of(spec, args, row), columns = columns_of(spec, keys);
    for (int64_t column = 0; column < spec.stride; ++column) {
      if (column < columns.begin || column >= columns.end) {
        all.outside(row, column);
      } else {
        all.element(row, column, exact_logit(data, row, column + keys.begin - columns.begin));
      }
    }
  }
  all.finish();
  return all.verdict;
}

Result<> run_case(const Context& context, const MqaCase& c, MqaData& data) {
  const MqaPlan plan = TRY(plan_mqa_logits(context, c.spec));
  AlignedBytes workspace(plan.workspace_bytes());
  MqaArgs args = data.args();
  args.workspace = workspace.span();
  return plan.run(args);
}

Result<> run_case_on(gpu::Device& device, const MqaCase& c, MqaData& data) {
  const MqaPlan plan = TRY(plan_mqa_logits(Context::on(&device), c.spec));
  OnDevice arrays(device);
  MqaArgs args;
  args.q = TRY(arrays.in(data.q));
  args.kv = TRY(arrays.in(data.kv));
  args.kv_scale = TRY(arrays.in(data.kv_scale));
  args.weights = TRY(arrays.in(data.weights));
  args.ks = TRY(arrays.in(data.ks));
  args.ke = TRY(arrays.in(data.ke));
  args.context_lens = TRY(arrays.in(data.context_lens));
  args.block_table = TRY(arrays.in(data.block_table));
  args.logits = TRY(arrays.in(data.logits));
  TRY(plan.run(args));
  TRY(device.synchronize(nullptr));
  return arrays.out(data.logits, args.logits);
}

}  // namespace hadal::gemm
