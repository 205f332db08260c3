// The scores of mqa_logits.h on the CPU. Work is cut into items of some queries by some panels of
// 64 keys; a worker widens the queries of an item once and each panel once, into its own caches.
// Panels that no query of an item has are neither read nor computed.
#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/core.h>

#include "cpu/kernels.h"
#include "gemm/cpu_kernels.h"
#include "gemm/mqa_plan.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

// Wide queries of an item stay in a core's L2, wide panels (16 KB for depth 128) in its L1.
constexpr int64_t kWideQueriesBytes = 512 << 10;
constexpr int64_t kItemQueriesMax = 64;
constexpr int64_t kItemPanelsMax = 64;
constexpr int64_t kItemsPerThread = 8;
constexpr double kBytesPerSecond = 25e9;  // of memory per core, assumed

class CpuMqaPlan final : public MqaPlan::Impl {
 public:
  CpuMqaPlan(const MqaSpec& given, const CpuKernels& kernels, const cpu::Kernels& convert,
             ThreadPool& pool, const CpuMachine& machine);
  Result<> run(const MqaArgs& args, gpu::Stream) const override;

 private:
  /// Queries [row, row + rows) of one request (or of all, where not paged) and keys from
  /// `key_begin` on.
  struct Item {
    int64_t row = 0, rows = 0;
    int64_t key_begin = 0, key_end = 0;        // of the keys, for the scores
    int64_t column_begin = 0, column_end = 0;  // of the rows, for what is filled
    std::byte* scratch = nullptr;
  };

  Result<> check_table(const MqaArgs& args) const;
  Item item_at(int64_t index) const;
  void run_item(const MqaArgs& args, const Item& item) const;
  void widen_queries(const MqaArgs& args, const Item& item) const;
  const uint8_t* gather_keys(const MqaArgs& args, const Item& item, int64_t key,
                             int64_t count) const;
  void widen_keys(const MqaArgs& args, const Item& item, int64_t key, int64_t key_end) const;
  const uint8_t* codes_of(const MqaArgs& args, const Item& item, int64_t key) const;
  void score_panel(const MqaArgs& args, const Item& item, int64_t key, int64_t key_end) const;
  void store(const MqaArgs& args, int64_t row, int64_t column, const float* values,
             int64_t count) const;
  void fill(const MqaArgs& args, int64_t row, int64_t begin, int64_t end) const;

  const CpuKernels& kernels_;
  const cpu::Kernels& convert_;
  ThreadPool& pool_;
  int64_t requests_ = 1, rows_ = 0;  // of a request
  int64_t item_rows_ = 0, item_keys_ = 0;
  int64_t row_items_ = 0, key_items_ = 0;
  int64_t wide_query_bytes_ = 0;
  // Offsets in a worker's scratch.
  int64_t wide_keys_ = 0, packed_ = 0, gathered_ = 0, scales_ = 0, scores_ = 0, scratch_bytes_ = 0;
};

CpuMqaPlan::CpuMqaPlan(const MqaSpec& given, const CpuKernels& kernels, const cpu::Kernels& convert,
                       ThreadPool& pool, const CpuMachine& machine)
    : kernels_(kernels), convert_(convert), pool_(pool) {
  spec = given;
  requests_ = spec.paged ? spec.queries / spec.next_n : 1;
  rows_ = spec.paged ? spec.next_n : spec.queries;
  const int64_t depth = spec.head_dim;
  wide_query_bytes_ = spec.heads * depth * kernels.wide_bytes;
  item_rows_ = std::clamp<int64_t>(kWideQueriesBytes / wide_query_bytes_, 1, kItemQueriesMax);
  item_rows_ = std::min(item_rows_, std::max<int64_t>(rows_, 1));
  row_items_ = ceil_div(rows_, item_rows_);
  const int64_t panels = ceil_div(std::max(spec.keys, spec.columns), kPanel);
  const int64_t wanted =
      ceil_div(kItemsPerThread * pool.size(), std::max<int64_t>(requests_ * row_items_, 1));
  item_keys_ = kPanel * std::clamp<int64_t>(panels / wanted, 1, kItemPanelsMax);
  key_items_ = ceil_div(panels * kPanel, item_keys_);

  const auto take = [this](int64_t bytes) {
    const int64_t at = scratch_bytes_;
    scratch_bytes_ += round_up(bytes, 256);
    return at;
  };
  take(item_rows_ * wide_query_bytes_);
  wide_keys_ = take(kPanel * depth * kernels.wide_bytes);
  packed_ = take(kPanel * depth);
  gathered_ = take(kPanel * depth);
  scales_ = take(kPanel * 4);
  scores_ = take(kPanel * 4);

  describe_work(spec, info);
  info.backend = fmt::format("cpu {}", machine.isa);
  info.kernel =
      fmt::format("{} queries x {} keys, {} threads", item_rows_, item_keys_, pool.size());
  info.tile_m = item_rows_;
  info.tile_n = item_keys_;
  info.tile_k = depth;
  info.tiles = requests_ * row_items_ * key_items_;
  info.waves = static_cast<double>(info.tiles) / pool.size();
  info.workspace_bytes = static_cast<size_t>(scratch_bytes_) * pool.size();
  const double compute = info.flops / (machine.flops_per_s * pool.size());
  const double memory = info.bytes / (kBytesPerSecond * pool.size());
  info.limit_us = info.predicted_us = 1e6 * std::max(compute, memory);
}

Result<> CpuMqaPlan::run(const MqaArgs& args, gpu::Stream) const {
  TRY(check_args(spec, args, info.workspace_bytes));
  if (spec.paged) TRY(check_table(args));
  pool_.parallel_for_dynamic(requests_ * row_items_ * key_items_, 1,
                             [&](int64_t begin, int64_t end, int worker) {
                               for (int64_t i = begin; i < end; ++i) {
                                 Item item = item_at(i);
                                 item.scratch = args.workspace.data() + worker * scratch_bytes_;
                                 run_item(args, item);
                               }
                             });
  return {};
}

Result<> CpuMqaPlan::check_table(const MqaArgs& args) const {
  for (int64_t request = 0; request < requests_; ++request) {
    int64_t keys = 0;
    for (int64_t n = 0; n < rows_; ++n) {
      keys = std::max(keys, keys_of(spec, args, request * rows_ + n).end);
    }
    for (int64_t i = 0; i < ceil_div(keys, spec.block_size); ++i) {
      const int32_t block = args.block_table[request * spec.max_blocks + i];
      if (block >= 0 && block < spec.num_blocks) continue;
      return fail(Code::kInvalidArgument,
                  fmt::format("block_table[{}][{}] is {}; the cache has {} blocks", request, i,
                              block, spec.num_blocks));
    }
  }
  return {};
}

CpuMqaPlan::Item CpuMqaPlan::item_at(int64_t index) const {
  const int64_t keys = index % key_items_, rows = index / key_items_ % row_items_;
  const int64_t request = index / key_items_ / row_items_;
  Item item;
  item.row = request * rows_ + rows * item_rows_;
  item.rows = std::min(item_rows_, rows_ - rows * item_rows_);
  item.key_begin = item.column_begin = keys * item_keys_;
  item.key_end = std::min(item.key_begin + item_keys_, spec.keys);
  item.column_end = std::min(item.key_begin + item_keys_, spec.columns);
  return item;
}

void CpuMqaPlan::run_item(const MqaArgs& args, const Item& item) const {
  MqaRange all{.begin = spec.keys, .end = 0};
  for (int64_t row = item.row; row < item.row + item.rows; ++row) {
    const MqaRange keys = keys_of(spec, args, row);
    if (keys.begin < keys.end) {
      all = {.begin = std::min(all.begin, keys.begin), .end = std::max(all.end, keys.end)};
    }
    if (!spec.clean) continue;
    const MqaRange columns = columns_of(spec, keys);
    fill(args, row, item.column_begin, std::min(item.column_end, columns.begin));
    fill(args, row, std::max(item.column_begin, columns.end), item.column_end);
  }
  const int64_t begin = std::max(all.begin / kPanel * kPanel, item.key_begin);
  const int64_t end = std::min(all.end, item.key_end);
  if (begin >= end) return;
  widen_queries(args, item);
  for (int64_t key = begin; key < end; key += kPanel) score_panel(args, item, key, end);
}

void CpuMqaPlan::widen_queries(const MqaArgs& args, const Item& item) const {
  const int64_t codes = int64_t{spec.heads} * spec.head_dim;
  const E4m3* const q = static_cast<const E4m3*>(args.q) + item.row * codes;
  if (kernels_.wide_bytes == 2) {
    convert_.e4m3_to_bf16(q, reinterpret_cast<Bf16*>(item.scratch), item.rows * codes);
  } else {
    convert_.e4m3_to_f32(q, reinterpret_cast<float*>(item.scratch), item.rows * codes);
  }
}

/// Where a key's codes stand.
const uint8_t* CpuMqaPlan::codes_of(const MqaArgs& args, const Item& item, int64_t key) const {
  const auto* codes = static_cast<const uint8_t*>(args.kv);
  if (spec.paged) {
    const int32_t* const table = args.block_table + item.row / spec.next_n * spec.max_blocks;
    codes += table[key / spec.block_size] * block_bytes(spec);
    key %= spec.block_size;
  }
  return codes + key * spec.head_dim;
}

/// The codes of keys of a cache, and their scales into the scratch. Codes are copied where they are
/// not in one block.
const uint8_t* CpuMqaPlan::gather_keys(const MqaArgs& args, const Item& item, int64_t key,
                                       int64_t count) const {
  const int64_t depth = spec.head_dim;
  auto* const scales = reinterpret_cast<float*>(item.scratch + scales_);
  auto* const gathered = reinterpret_cast<uint8_t*>(item.scratch + gathered_);
  for (int64_t done = 0; done < count;) {
    const int64_t in_block = (key + done) % spec.block_size;
    const int64_t n = std::min(spec.block_size - in_block, count - done);
    const uint8_t* const codes = codes_of(args, item, key + done);
    const uint8_t* const block_end = codes + (spec.block_size - in_block) * depth;
    std::memcpy(scales + done, block_end + 4 * in_block, 4 * n);
    if (n == count) return codes;
    std::memcpy(gathered + done * depth, codes, n * depth);
    done += n;
  }
  return gathered;
}

/// Keys [key, key_end), 64 at most.
void CpuMqaPlan::widen_keys(const MqaArgs& args, const Item& item, int64_t key,
                            int64_t key_end) const {
  const int64_t depth = spec.head_dim, count = std::min<int64_t>(kPanel, key_end - key);
  auto* const scales = reinterpret_cast<float*>(item.scratch + scales_);
  const uint8_t* codes = nullptr;
  if (spec.paged) {
    codes = gather_keys(args, item, key, count);
  } else {
    codes = static_cast<const uint8_t*>(args.kv) + key * depth;
    std::copy_n(args.kv_scale + key, count, scales);
  }
  std::fill(scales + count, scales + kPanel, 0.0f);
  auto* const packed = reinterpret_cast<uint8_t*>(item.scratch + packed_);
  kernels_.pack_b(codes, depth, static_cast<int>(count), depth, packed);
  kernels_.widen_e4m3(packed, depth, item.scratch + wide_keys_);
}

/// Keys [key, key + 64) of those up to `key_end` for every query that has some of them.
void CpuMqaPlan::score_panel(const MqaArgs& args, const Item& item, int64_t key,
                             int64_t key_end) const {
  bool widened = false;
  auto* const scores = reinterpret_cast<float*>(item.scratch + scores_);
  for (int64_t i = 0; i < item.rows; ++i) {
    const int64_t row = item.row + i;
    const MqaRange keys = keys_of(spec, args, row);
    const int64_t begin = std::max(keys.begin, key), end = std::min(keys.end, key + kPanel);
    const int64_t column = begin - (spec.compressed ? keys.begin : 0);
    const int64_t count = std::min(end - begin, spec.columns - column);
    if (count <= 0) continue;
    // Blocks of a cache lie anywhere, so the next panel is asked for while this one is multiplied.
    const bool fetches = !widened && key + kPanel < key_end;
    if (!widened) widen_keys(args, item, key, key_end);
    widened = true;
    kernels_.score({.q = item.scratch + i * wide_query_bytes_,
                    .keys = item.scratch + wide_keys_,
                    .heads = spec.heads,
                    .depth = spec.head_dim,
                    .weights = args.weights + row * spec.heads,
                    .scales = reinterpret_cast<const float*>(item.scratch + scales_),
                    .out = scores,
                    .next = fetches ? codes_of(args, item, key + kPanel) : nullptr,
                    .next_bytes = fetches ? int64_t{kPanel} * spec.head_dim : 0});
    store(args, row, column, scores + (begin - key), count);
  }
}

void CpuMqaPlan::store(const MqaArgs& args, int64_t row, int64_t column, const float* values,
                       int64_t count) const {
  const int64_t at = row * spec.stride + column;
  if (spec.type == DType::kF32) {
    std::copy_n(values, count, static_cast<float*>(args.logits) + at);
  } else {
    convert_.f32_to_bf16(values, static_cast<Bf16*>(args.logits) + at, count);
  }
}

void CpuMqaPlan::fill(const MqaArgs& args, int64_t row, int64_t begin, int64_t end) const {
  if (begin >= end) return;
  const int64_t at = row * spec.stride + begin;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (spec.type == DType::kF32) {
    std::fill_n(static_cast<float*>(args.logits) + at, end - begin, kNone);
  } else {
    std::fill_n(static_cast<Bf16*>(args.logits) + at, end - begin, to_bf16(kNone));
  }
}

}  // namespace

Result<std::shared_ptr<const MqaPlan::Impl>> plan_mqa_cpu(const MqaSpec& spec,
                                                          const CpuKernels& kernels,
                                                          const cpu::Kernels& convert,
                                                          ThreadPool& pool,
                                                          const CpuMachine& machine) {
  return std::make_shared<const CpuMqaPlan>(spec, kernels, convert, pool, machine);
}

}  // namespace hadal::gemm
