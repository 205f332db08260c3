// What stands behind Plan and Context: one Impl per backend.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/threads.h"
#include "gemm/gemm.h"
#include "gemm/int8_table.h"

namespace hadal::gemm {

struct Plan::Impl {
  virtual ~Impl() = default;
  virtual Result<> run(const GemmArgs& args, gpu::Stream stream) const = 0;

  GemmSpec spec;  // resolved
  PlanInfo info;
};

/// The sentence for an argument that the spec needs and `args` lacks, for every backend.
Result<> check_args(const GemmSpec& spec, const GemmArgs& args, size_t workspace_bytes);

struct CpuKernels;

/// What a CPU context knows of its machine.
struct CpuMachine {
  std::string isa;
  int threads = 1;
  double flops_per_s = 0;  // of one thread inside a tile, measured when the context was made
  double int8_ops_per_s = 0;
};
double measure_tile_flops_per_s(const CpuKernels& kernels, bool int8);

struct Context::Impl {
  std::unique_ptr<ThreadPool> pool;     // CPU
  const CpuKernels* kernels = nullptr;  // CPU
  CpuMachine machine;                   // CPU
  gpu::Device* device = nullptr;        // GPU
};

/// `kernels` and `pool` outlive the plan.
Result<std::shared_ptr<const Plan::Impl>> plan_cpu(const GemmSpec& spec, const CpuKernels& kernels,
                                                   ThreadPool& pool, const CpuMachine& machine);

/// What a GPU asks of a spec beyond resolve()'s rules: strides, groups, what it cannot do.
Result<> check_gpu(const GemmSpec& spec);

/// `kernel`, if not empty, names the one of the catalog (gpu_catalog.h) to use. `device` outlives
/// the plan.
Result<std::shared_ptr<const Plan::Impl>> plan_gpu(const GemmSpec& spec, gpu::Device* device,
                                                   std::string_view kernel = {});

/// Packed B: for each group, each half (SwiGLU has two) and each panel of 64 rows, the codes (wide
/// values for bf16, int8 in int8 mode) of all k, then the panel's scales.
struct PackedB {
  PackedB() = default;
  PackedB(const GemmSpec& spec, const CpuKernels& kernels);

  int64_t halves = 1, half_rows = 0;  // rows of B in a half
  int64_t panels = 0;                 // of a half
  int64_t code_bytes = 0;             // of one k in a panel: 64, or 64 * wide_bytes
  int64_t scale_floats = 0;           // of a panel
  int64_t scale_step = 0;             // between the scales of two blocks of k
  bool scale_per_column = false;
  int64_t panel_bytes = 0;

  int64_t total_bytes(int64_t groups) const { return groups * halves * panels * panel_bytes; }
  int64_t offset(int64_t group, int64_t half, int64_t panel) const {
    return ((group * halves + half) * panels + panel) * panel_bytes;
  }
};

/// The scales of one panel, as PackedB says: floats, 64-byte aligned.
void panel_scales(const GemmSpec& spec, const PackedB& layout, const void* b_scale, int64_t group,
                  int64_t first_row, int64_t num_rows, float* out);
/// The codes (bf16: wide values) of one panel, `k` of each row. The first stands at `offset`,
/// rows are `stride` apart, both in elements.
void panel_codes(const GemmSpec& spec, const CpuKernels& kernels, const void* b, int64_t offset,
                 int64_t stride, int64_t num_rows, int64_t k, void* out);
/// Both in int8 mode: codes of that range of k, which starts with a block, and the range's scales.
void panel_int8(const GemmSpec& spec, const CpuKernels& kernels, const void* b, const void* b_scale,
                int64_t group, int64_t first_row, int64_t num_rows, int64_t k_begin, int64_t k,
                void* codes, float* scales);

inline const Int8Table& int8_table(DType type) {
  return type == DType::kE4m3 ? kInt8OfE4m3 : kInt8OfE5m2;
}

}  // namespace hadal::gemm
