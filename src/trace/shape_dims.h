// Dimensions from the operators that launched kernels. Internal to shapes.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/model.h"

namespace hadal::trace {

struct GemmDims {
  int64_t batch = 1, m = 0, n = 0, k = 0;
  DType type = DType::kUnknown;
};

/// Whether gemm_dims() knows an operator of this name.
bool multiplies(std::string_view operator_name);

/// M, N, K of aten::mm, linear, addmm, bmm, baddbmm, matmul and _scaled_mm from the JSON text of
/// the operator's event; nullopt where it is another operator or has no `Input Dims`.
std::optional<GemmDims> gemm_dims(std::string_view event);

/// The operators that enclose the launch of each of `activities`, innermost first, at most
/// kOperatorsMax; empty where the launch is unknown or outside of all.
inline constexpr size_t kOperatorsMax = 4;
std::vector<std::vector<uint32_t>> launching_operators(const GpuView& view,
                                                       const std::vector<uint32_t>& activities);

}  // namespace hadal::trace
