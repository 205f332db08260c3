// Runs cases of the list on a backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gemm/cases.h"
#include "gemm/gemm.h"

namespace hadal::gemm {

/// Host memory aligned as workspaces and packed weights must be; starts as garbage, not zeros.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size);
  std::span<std::byte> span() { return span_; }

 private:
  std::vector<std::byte> bytes_;
  std::span<std::byte> span_;
};

/// Runs a case on a CPU context, on B as it is or packed first. Its output is left in `data`.
Result<> run_case(const Context& context, const Case& c, CaseData& data, bool packed = false);

}  // namespace hadal::gemm
