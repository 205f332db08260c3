// What stands behind MqaPlan, and what every backend of it needs to know of a spec.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "gemm/mqa_logits.h"
#include "gemm/plan.h"

namespace hadal::cpu {
struct Kernels;
}

namespace hadal::gemm {

struct MqaPlan::Impl {
  virtual ~Impl() = default;
  virtual Result<> run(const MqaArgs& args, gpu::Stream stream) const = 0;

  MqaSpec spec;  // resolved
  PlanInfo info;
};

/// The spec with every 0 that stands for something filled in, and its rules checked.
Result<MqaSpec> resolve(const MqaSpec& given);

/// The sentence for an argument that the spec needs and `args` lacks.
Result<> check_args(const MqaSpec& spec, const MqaArgs& args, size_t workspace_bytes);

/// Keys of a query, or columns of its row.
struct MqaRange {
  int64_t begin = 0, end = 0;
};

/// Keys that a request can have at most.
constexpr int64_t keys_max(const MqaSpec& spec) {
  return spec.paged ? std::min(spec.keys, spec.max_blocks * spec.block_size) : spec.keys;
}

/// The keys of a query; begin == end where there are none. Arrays of `args` are the host's.
inline MqaRange keys_of(const MqaSpec& spec, const MqaArgs& args, int64_t query) {
  MqaRange keys;
  if (spec.paged) {
    const int64_t n = query % spec.next_n;
    keys.end = spec.length_per_query
                   ? args.context_lens[query]
                   : int64_t{args.context_lens[query / spec.next_n]} - spec.next_n + n + 1;
  } else {
    keys = {.begin = std::max(args.ks[query], 0), .end = args.ke[query]};
  }
  keys.end = std::min(keys.end, keys_max(spec));
  if (keys.begin >= keys.end) return {};
  return keys;
}

/// The columns that these keys fill.
constexpr MqaRange columns_of(const MqaSpec& spec, MqaRange keys) {
  if (!spec.compressed) return keys;
  return {.begin = 0, .end = std::min(keys.end - keys.begin, spec.columns)};
}

/// Bytes of a block of the cache.
constexpr int64_t block_bytes(const MqaSpec& spec) {
  return int64_t{spec.block_size} * (spec.head_dim + 4);
}

/// PlanInfo's figures that depend on the spec alone.
void describe_work(const MqaSpec& spec, PlanInfo& info);

/// What they are given outlives the plans.
Result<std::shared_ptr<const MqaPlan::Impl>> plan_mqa_cpu(const MqaSpec& spec,
                                                          const CpuKernels& kernels,
                                                          const cpu::Kernels& convert,
                                                          ThreadPool& pool,
                                                          const CpuMachine& machine);
Result<std::shared_ptr<const MqaPlan::Impl>> plan_mqa_gpu(const MqaSpec& spec, gpu::Device* device);

}  // namespace hadal::gemm
