#include <vector>

#include <fmt/core.h>

#include "eplb/eplb.h"

int main() {
  using namespace hadal;
  const std::vector<double> loads = {90, 132, 40,  61, 104, 165, 39,  4,   73,  56, 183, 86,
                                     20, 107, 104, 64, 19,  197, 187, 157, 172, 86, 16,  27};
  eplb::Problem problem;
  problem.num_layers = 2;
  problem.num_experts = 12;
  problem.num_replicas = 16;
  problem.num_groups = 4;
  problem.num_nodes = 2;
  problem.num_gpus = 8;
  problem.load = loads;

  const Result<eplb::Plan> plan = eplb::rebalance(problem);
  if (!plan) {
    fmt::print(stderr, "{}\n", plan.error().message);
    return exit_code(plan.error());
  }
  for (int layer = 0; layer < plan->num_layers; ++layer) {
    fmt::print("layer {}: busiest GPU / mean = {:.3f}, slot 0 holds expert {}\n", layer,
               plan->quality[layer].imbalance, plan->expert(layer, 0));
  }
}
