// The oracle: products of decoded codes and scales, summed in double precision, one element at a
// time, straight from the definition in gemm.h. It shares nothing with the backends but the
// meaning of a spec.
#pragma once

#include <cstdint>
#include <vector>

#include "gemm/gemm.h"

namespace hadal::gemm {

/// A row of D that the product defines: which matrix and row of it, and which row of A and group of
/// B it comes from.
struct RowUse {
  int64_t d_group = 0, d_row = 0;
  int64_t a_group = 0, a_row = 0;
  int64_t group = 0;  // of B, bias and k
  int64_t k_begin = 0, k_end = 0;
};

/// The rows of D that a product writes, in ascending order. `spec` is resolved; `groups` and `rows`
/// are as in GemmArgs. kInvalidArgument as Plan::run() on the CPU.
Result<std::vector<RowUse>> rows_of(const GemmSpec& spec, const int32_t* groups,
                                    const int32_t* rows);

struct Exact {
  double value = 0;       // of D before it is rounded to its type (and before fresh scales)
  double magnitude = 0;   // sum of the magnitudes of all terms, for error bounds
  double int8_error = 0;  // what int8 mode may add to the error of a float32 sum; else 0
};

/// Computes elements of one product, in any order; fastest row by row. `spec` is resolved; pointers
/// are the host's and outlive the oracle. One thread.
class Oracle {
 public:
  Oracle(const GemmSpec& spec, const GemmArgs& args) : spec_(spec), args_(args) {}
  Exact at(const RowUse& row, int64_t column);

 private:
  Exact before_activation(const RowUse& row, int64_t n);
  double requantization_error(const std::vector<double>& b, int64_t k_begin, int64_t k_end) const;

  const GemmSpec& spec_;
  const GemmArgs args_;
  // Decoded rows: the last one of A, and those of B that were needed.
  int64_t a_key_ = -1;
  std::vector<double> a_;
  std::vector<std::vector<double>> b_;
};

/// The element of a matrix of D or C as a double. e4m3 is scaled.
double output_at(const GemmSpec& spec, const GemmArgs& args, const RowUse& row, int64_t column);

}  // namespace hadal::gemm
