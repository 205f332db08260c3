// Any bytes are an error or a LoadInput that keeps its invariants.
#include <cmath>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "eplb/load_file.h"

namespace {

using hadal::eplb::LoadInput;

/// The first byte picks a format by what it puts in front, so that every reader gets its share.
std::string with_prefix(uint8_t pick, std::string bytes) {
  switch (pick % 6) {
    case 0: return "{\"weight\":" + bytes;
    case 1: return "{\"load_history\":[{\"logical_expert_load\":" + bytes;
    case 2: return "\x93NUMPY\x01" + bytes;
    case 3: return "1,2\n" + bytes;
    default: return bytes;
  }
}

void check_invariants(const LoadInput& input) {
  CHECK(input.num_windows >= 1 && input.num_layers >= 1 && input.num_experts >= 1);
  const size_t window = static_cast<size_t>(input.num_layers) * input.num_experts;
  CHECK(input.load.size() == window * input.num_windows);
  for (const double load : input.load) CHECK(load >= 0 && std::isfinite(load));
  for (const auto& number :
       {input.num_replicas, input.num_groups, input.num_nodes, input.num_gpus}) {
    CHECK(!number || *number >= 1);
  }
  const auto sum = hadal::eplb::sum_windows(input, {0, input.num_windows});
  CHECK(!sum || sum->size() == window);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto input = hadal::eplb::parse_loads(with_prefix(data[0], bytes));
  if (input) {
    check_invariants(*input);
  } else {
    CHECK(!input.error().message.empty());
    CHECK(input.error().code == hadal::Code::kInvalidArgument);
  }
  const int windows = 1 + data[0];
  const auto range = hadal::eplb::parse_window_range(bytes, windows);
  CHECK(!range || (range->first >= 0 && range->first < range->last && range->last <= windows));
  return 0;
}
