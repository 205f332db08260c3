// One list of scores (mqa_logits.h) that every backend must get right, and how to tell; cases.h for
// the indexer. What must not matter is NaN: keys that no range has, unused blocks of a cache, the
// queries of empty ranges. What must not be written holds a pattern.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gemm/cases.h"
#include "gemm/mqa_logits.h"

namespace hadal::gemm {

struct MqaCase {
  std::string name = {};  // "mqa_prefill/causal bf16/3 x 700, 64 x 128"
  MqaSpec spec = {};
  Fill fill = Fill::kInteger;              // kNormal, kCodes or kInteger
  std::vector<int32_t> ks = {}, ke = {};   // plain
  std::vector<int32_t> context_lens = {};  // paged; the table is a random permutation
};

/// Names begin with mqa_prefill/ or mqa_decode/.
std::vector<MqaCase> all_mqa_cases();

struct MqaData {
  MqaSpec spec = {};  // resolved
  std::vector<std::byte> q = {}, kv = {}, logits = {};
  std::vector<float> kv_scale = {}, weights = {};
  std::vector<int32_t> ks = {}, ke = {}, context_lens = {}, block_table = {};

  MqaArgs args();
};
Result<MqaData> make_data(const MqaCase& from, uint64_t seed);

/// Runs a case on a CPU context; the output is left in `data`.
Result<> run_case(const Context& context, const MqaCase& c, MqaData& data);
/// The same on a GPU or an emulated one.
Result<> run_case_on(gpu::Device& device, const MqaCase& c, MqaData& data);

/// Compares every element of every row, and what lies between rows, with sums in double precision.
/// `accumulate_error` as for products; calc_diff must also be within DeepGEMM's gates, 5e-6 for
/// float32 and 3e-5 for bf16.
Verdict judge(const MqaCase& from, MqaData& data, double accumulate_error);

}  // namespace hadal::gemm
