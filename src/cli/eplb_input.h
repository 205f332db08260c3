// What the verbs of `hadal eplb` share: the options that describe a problem and a policy, and the
// way from them to a plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/args.h"
#include "eplb/eplb.h"
#include "eplb/load_file.h"

namespace hadal::cli {

/// Values of the options; defaults are those of eplb.h.
struct EplbArgs {
  std::string input;
  std::string window;
  std::optional<int> num_replicas, num_groups, num_nodes, num_gpus;
  size_t policy = 0, scope = 0, ties = 0, dispatch = 0;  // indices, in the order of the enums
  std::string previous;
  double moves_max = -1, budget_ms = 0;
  int64_t steps_max = eplb::Options{}.steps_max, seed = 0;
  int threads = 0;  // 0: one per usable core
  std::vector<int> capacity, failed;
  std::vector<double> speed;
  std::vector<std::string> pins;
  int min_nodes = 1, replicas_max = 0;
};

void add_input_options(Command& command, EplbArgs& args);   // --input --window
void add_shape_options(Command& command, EplbArgs& args);   // --num-replicas ...
void add_policy_options(Command& command, EplbArgs& args);  // --policy ... --previous
void add_constraint_options(Command& command, EplbArgs& args);

/// Loads as a command uses them: the windows asked for, added up.
struct Loads {
  eplb::LoadInput input;
  eplb::WindowRange range;
  std::vector<double> load;  // [layers][experts]

  /// "loads.json, 58 layers x 256 experts, windows 0:100 of 120 added up"
  std::string description(std::string_view path) const;
};

Result<Loads> read_loads_in(const std::string& path, const std::string& window);

/// A plan and how it came about.
struct Planned {
  Loads loads;
  eplb::Problem problem;  // spans point into `loads` and the EplbArgs
  std::optional<eplb::Plan> previous;
  eplb::Plan plan;
  double elapsed_ms = 0;
  std::string why;  // why this policy and scope, for people
};

/// Reads the loads, fills in the shape from file and options, and plans. `args` must outlive the
/// result.
Result<Planned> make_plan(const EplbArgs& args);

/// kInvalidArgument with both names and shapes unless the plan is for loads of this shape.
Result<> check_shapes(const eplb::Plan& plan, std::string_view plan_name,
                      const eplb::LoadInput& loads, std::string_view loads_name);

/// Where no balancer has been: expert e of E on GPU e / (E/D), one replica each. Nothing where D
/// does not divide E.
std::optional<eplb::Plan> contiguous_plan(int num_layers, int num_experts, int num_groups,
                                          int num_nodes, int num_gpus);

}  // namespace hadal::cli
