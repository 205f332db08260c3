// Any bytes are an error or a plan that is valid, prints, reads back the same and can be scored.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "eplb/plan_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal::eplb;
  const auto plan = plan_from_json(std::string(reinterpret_cast<const char*>(data), size));
  if (!plan) {
    CHECK(!plan.error().message.empty());
    return 0;
  }
  CHECK(validate(*plan).has_value());
  const std::string text = plan_to_json(*plan);
  const auto again = plan_from_json(text);
  CHECK(again.has_value());
  CHECK(plan_to_json(*again) == text);
  for (int slot = 0; slot < plan->num_slots; ++slot) {
    const int gpu = plan->gpu_of(slot);
    CHECK(plan->gpu_first_slot[gpu] <= slot && slot < plan->gpu_first_slot[gpu + 1]);
  }
  const std::vector<double> load(static_cast<size_t>(plan->num_layers) * plan->num_experts, 1.0);
  CHECK(evaluate(*plan, load).has_value());
  for (int layer = 0; layer < plan->num_layers; ++layer) {
    CHECK(count_moves(*plan, *again, layer) == 0);
  }
  return 0;
}
