// The indexer's cases on the emulator, for the fast and the slow tests of its Hopper kernels.
#pragma once

#include <cstdint>
#include <string>

#include "gemm/mqa_cases.h"
#include "gpu/emulator/emulator.h"

namespace hadal::gemm {

/// What is wrong with a case under a seed; empty if nothing.
inline std::string problem_of(const MqaCase& c, uint64_t seed, bool truncate_fp8_sums = false) {
  Result<MqaData> data = make_data(c, seed);
  if (!data) return data.error().message;
  const auto device = gpu::emulate({.seed = seed, .truncate_fp8_sums = truncate_fp8_sums});
  const Result<> run = run_case_on(*device, c, *data);
  if (!run) return run.error().message;
  return judge(c, *data, truncate_fp8_sums ? 0x1p-11 : 0x1p-20).problem;
}

}  // namespace hadal::gemm
