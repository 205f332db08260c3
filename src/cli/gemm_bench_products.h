// The products that `hadal gemm bench` times: the shapes of DeepSeek-V3's layers, as DeepGEMM's own
// tests list them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "gemm/gemm.h"

namespace hadal::cli {

struct BenchProduct {
  std::string name;  // "128 x 4096 x 7168", with the groups in front where there are any
  gemm::GemmSpec spec;
  std::vector<int32_t> groups = {};  // GemmArgs::groups
};

/// forward: one token to 4096, dense. grouped: rows of experts one after the other. masked: each
/// expert's rows in a matrix of its own, few of them used. wgrad: gradients of weights, float32,
/// added to what is there. kInvalidArgument for another name.
Result<std::vector<BenchProduct>> bench_products(const std::string& list);
BenchProduct bench_product(int64_t m, int64_t n, int64_t k);

/// Random finite codes and scales of a product. `spec` is resolved, B is not packed.
struct BenchInputs {
  std::vector<std::byte> a, b;
  std::vector<float> a_scale, b_scale, c;
  size_t d_bytes = 0;

  BenchInputs(const gemm::GemmSpec& spec, uint64_t seed);
  /// Host pointers to the inputs and to `d`.
  gemm::GemmArgs args(const BenchProduct& product, std::vector<std::byte>& d) const;
};

/// The largest error of 64 elements of D beyond what int8 mode and the rounding of D make, relative
/// to the sum of magnitudes of their terms; NaN if one is.
Result<double> worst_error(const gemm::GemmSpec& spec, const gemm::GemmArgs& args);

}  // namespace hadal::cli
