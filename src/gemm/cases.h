// One list of products that every backend must get right, and how to tell. Tests, `hadal gemm
// check` and the benchmarks draw from it.
//
// A case's memory is filled with traps: what a product must not read is NaN, what it must not write
// is a pattern that is looked at afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gemm/gemm.h"
#include "gemm/reference.h"

namespace hadal::gemm {

enum class Fill : uint8_t {
  kNormal,   // N(0, 1), quantized: compared within rounding bounds
  kCodes,    // any finite codes, subnormal ones too, with scales that keep the result in range
  kInteger,  // small integers and scales that are powers of two: every sum is exact, so is the test
  kOneHot,   // each row of A is one 1, B is all ones: D reads back products of scales; exact
};

struct Case {
  std::string name;  // "dense/1x128/m=17 n=24 k=112"
  GemmSpec spec;
  Fill fill = Fill::kNormal;
  std::vector<int32_t> groups = {};  // GemmArgs::groups
  std::vector<int32_t> rows = {};    // GemmArgs::rows
  float alpha = 1, beta = 1;
  bool in_place = false;  // C is D
};

/// Every case of facts that a serving or training user meets, in small; a few hundred of them.
std::vector<Case> all_cases();
/// Those of FP8 operands, with GemmSpec::int8.
std::vector<Case> int8_cases();

/// The inputs of a case in host memory, and room for its output.
struct CaseData {
  GemmSpec spec = {};  // resolved
  std::vector<std::byte> a = {}, a_scale = {}, b = {}, b_scale = {}, c = {}, d = {}, d_scale = {};
  std::vector<float> bias = {};
  std::vector<int32_t> groups = {}, rows = {};
  std::vector<RowUse> uses = {};  // rows of D that the case defines

  GemmArgs args(const Case& from);
};
Result<CaseData> make_data(const Case& from, uint64_t seed);

struct Verdict {
  bool ok = false;
  std::string problem = {};  // the first element that is wrong, in a sentence
  double calc_diff = 0;      // against the exact values
  double max_error = 0;      // |got - exact| over the sum of magnitudes of the terms
  int64_t compared = 0;      // elements
};

/// Compares the output in `data` with the oracle: all of a small case, a sample of a large one, and
/// always everything that must not have been written. `accumulate_error` is the relative error that
/// one term of a sum may have: 2^-22 for float32 sums, 2^-11 for Hopper's FP8 tensor cores. In int8
/// mode the bound of gemm.h is added, also where a case is exact otherwise.
Verdict judge(const Case& from, CaseData& data, double accumulate_error);

}  // namespace hadal::gemm
