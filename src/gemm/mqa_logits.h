// The scores of DeepSeek-V3.2's lightning indexer: how much each query wants each key, from FP8
// codes, before the few best keys are chosen for attention.
//
//   logits[i, j] = kv_scale[j] * sum_h max(0, dot(q[i, h], kv[j])) * weights[i, h]
//
// for the keys ks[i] <= j < ke[i] of query i. Prefill has one array of keys for all queries; decode
// finds the keys of each request in blocks of a cache.
//
//   MqaSpec spec{.queries = 2048, .heads = 64, .head_dim = 128, .keys = 8192};
//   MqaPlan plan = TRY(plan_mqa_logits(context, spec));
//   TRY(plan.run({.q = q, .kv = kv, .kv_scale = scale, .weights = w, .ks = ks, .ke = ke,
//                 .logits = out, .workspace = workspace}));
//
// Ranges. Negative ks count as 0, and ke beyond the keys as their number; a range may be empty.
// Outside of its range a row is exactly -infinity (`clean`) or is not touched. Keys that no range
// has are not computed, and whatever stands there (NaN too) changes nothing.
//
// Memory. q [queries][heads][head_dim], weights [queries][heads] and plain kv [keys][head_dim] are
// dense. A row of logits has exactly `columns` elements; no room behind it is wanted, and its
// stride may be odd. Pointers are the host's for a CPU context and the device's for a GPU context;
// there q and kv are multiples of 16 bytes.
//
// Arithmetic. Products of codes are exact; dots, and the sum over the heads in ascending order
// (four interleaved sums on a GPU), are float32, the result is scaled once and rounded once. A NaN
// that takes part makes its logits NaN. The same bits for any number of threads, and for a query
// whatever the others are.
//
// Threads. A plan may be used from any number of threads; each run needs its own workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "gpu/gpu.h"
#include "tensor/types.h"

namespace hadal::gemm {

class Context;  // gemm.h, which includes this header
struct PlanInfo;

struct MqaSpec {
  int64_t queries = 0;       // paged: requests * next_n
  int heads = 64;            // 1..128; GPU kernels are made for 32, 64 and 128
  int head_dim = 128;        // a multiple of 16 up to 256; GPU kernels: 64, 128, 256
  int64_t keys = 0;          // paged: the longest context that may come
  DType type = DType::kF32;  // of the logits: kF32 or kBf16
  bool compressed = false;   // key j stands in column j - ks[i] instead of j
  int64_t columns = 0;       // compressed only: what does not fit is left out; 0: keys
  int64_t stride = 0;        // of the logits' rows, in elements; 0: columns
  bool clean = true;         // fill the rest of each row with -infinity

  // Paged: kv is a cache of blocks, each block_size * head_dim codes followed by block_size scales
  // (float32), as DeepGEMM's fused cache. Query n of a request has the keys [0, length) of its
  // context_lens, or, with one length per request, the first length - next_n + n + 1.
  bool paged = false;
  int next_n = 1;          // queries of a request
  int block_size = 64;     // keys; a multiple of 16 up to 65536
  int64_t num_blocks = 0;  // of the cache
  int64_t max_blocks = 0;  // of a row of the block table; longer contexts are cut off there
  bool length_per_query = false;
};

/// `workspace` is aligned to 256. On a CPU entries of the block table that are needed are checked;
/// on a GPU one that is out of range stands for a block of zeros.
struct MqaArgs {
  const void* q = nullptr;
  const void* kv = nullptr;               // codes, or the cache
  const float* kv_scale = nullptr;        // [keys]; not paged
  const float* weights = nullptr;         // [queries][heads]
  const int32_t* ks = nullptr;            // [queries]; not paged
  const int32_t* ke = nullptr;            // [queries]; not paged
  const int32_t* context_lens = nullptr;  // paged: [requests], or [queries]
  const int32_t* block_table = nullptr;   // paged: [requests][max_blocks]
  void* logits = nullptr;
  std::span<std::byte> workspace = {};
};

class MqaPlan {
 public:
  /// As Plan::run(): done when it returns on a CPU, one launch on a GPU; allocates nothing.
  /// kInvalidArgument names the argument; nothing has been written then.
  Result<> run(const MqaArgs& args, gpu::Stream stream = nullptr) const noexcept;

  size_t workspace_bytes() const;   // 0 on a GPU
  const PlanInfo& explain() const;  // as if every range were full
  const MqaSpec& spec() const;

  struct Impl;
  explicit MqaPlan(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

/// kInvalidArgument names the member of the spec. On a GPU kernels are compiled or loaded here.
Result<MqaPlan> plan_mqa_logits(const Context& context, const MqaSpec& given);

}  // namespace hadal::gemm
