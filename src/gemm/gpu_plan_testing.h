// Cases on the emulator, for the fast and the slow tests of the Hopper backend.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gemm/check.h"
#include "gemm/gpu_catalog.h"
#include "gpu/emulator/emulator.h"

namespace hadal::gemm {

inline constexpr std::string_view kNotForGpus = "not for GPUs";

/// What is wrong with a case on a kernel (empty: the one that the plan chooses); empty if nothing.
inline std::string problem_of(const Case& c, std::string_view kernel, uint64_t seed) {
  Result<CaseData> data = make_data(c, seed);
  if (!data) return data.error().message;
  if (!is_for_gpus(*data)) return std::string(kNotForGpus);
  const auto device = gpu::emulate({.seed = seed, .num_sms = 8});
  const Result<> run = run_case_on(*device, c, *data, kernel);
  if (!run) return run.error().message;
  constexpr double kAccumulateError = 0x1p-20;  // the emulator sums in float32
  return judge(c, *data, kAccumulateError).problem;
}

/// A product with groups, empty ones among them, and tails in every dimension.
inline Case grouped_case(const GpuKernel& kernel, int64_t m, int64_t n, int64_t k) {
  Case c = {.name = kernel.source.name,
            .spec = {.m = m, .n = n, .k = k, .grouping = Grouping::kRowEnds, .num_groups = 4},
            .groups = {3, 3, static_cast<int32_t>(m) - 9, static_cast<int32_t>(m) - 1}};
  c.spec.a.type = kernel.a_type;
  c.spec.b.type = kernel.b_type;
  if (kernel.fresh) c.spec.d.type = DType::kE4m3;
  if (!kernel.one_scale) c.spec.b.scale.block = kPer1x128;
  return c;
}

}  // namespace hadal::gemm
