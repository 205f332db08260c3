#include "cli/eplb_input.h"

#include <array>
#include <charconv>
#include <chrono>
#include <numeric>
#include <utility>

#include <fmt/core.h>

#include "base/files.h"
#include "base/threads.h"
#include "cli/terminal.h"
#include "eplb/plan_file.h"

namespace hadal::cli {
namespace {

using eplb::Dispatch;
using eplb::Policy;
using eplb::Scope;
using eplb::Ties;

// In the order of the enums of eplb.h; made from its names, so that the two cannot differ.
template <typename Enum, size_t N>
std::array<std::string_view, N> enum_names() {
  std::array<std::string_view, N> names;
  for (size_t i = 0; i < N; ++i) names[i] = eplb::name(static_cast<Enum>(i));
  return names;
}

/// "expert:gpu" or "layer:expert:gpu".
Result<eplb::Pin> parse_pin(const std::string& text) {
  std::vector<int> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    int number = 0;
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number < 0) break;
    numbers.push_back(number);
    at = stop;
    if (at == end || *at != ':') break;
    ++at;
    if (at == end) numbers.clear();  // a colon with nothing behind it
  }
  if (at == end && numbers.size() == 2) return eplb::Pin{-1, numbers[0], numbers[1]};
  if (at == end && numbers.size() == 3) return eplb::Pin{numbers[0], numbers[1], numbers[2]};
  return fail(Code::kInvalidArgument,
              fmt::format("--pin is '{}'; it must be EXPERT:GPU or LAYER:EXPERT:GPU", text));
}

/// What the option says, or else the file, or else `fallback`; 0 makes it required.
Result<int> shape_number(std::string_view option, std::optional<int> given,
                         std::optional<int> in_file, int fallback, std::string_view path) {
  if (given) return *given;
  if (in_file) return *in_file;
  if (fallback > 0) return fallback;
  return fail(Code::kInvalidArgument, fmt::format(
                                          "{} does not say {}; give --{}", shown_path(path),
                                          [&] {
                                            std::string field(option);
                                            for (char& c : field) c = c == '-' ? '_' : c;
                                            return field;
                                          }(),
                                          option));
}

Result<> fill_problem(const EplbArgs& args, const Loads& loads, eplb::Problem& problem) {
  const eplb::LoadInput& file = loads.input;
  const std::string& path = args.input;
  problem.num_layers = file.num_layers;
  problem.num_experts = file.num_experts;
  problem.num_gpus = TRY(shape_number("num-gpus", args.num_gpus, file.num_gpus, 0, path));
  problem.num_nodes = TRY(shape_number("num-nodes", args.num_nodes, file.num_nodes, 1, path));
  problem.num_groups = TRY(shape_number("num-groups", args.num_groups, file.num_groups, 1, path));
  // Capacities say how many slots there are, unless something else does.
  const int slots = std::accumulate(args.capacity.begin(), args.capacity.end(), 0);
  problem.num_replicas = TRY(shape_number("num-replicas", args.num_replicas,
                                          slots > 0 ? slots : file.num_replicas, slots, path));
  problem.load = loads.load;
  problem.gpu_capacity = args.capacity;
  problem.gpu_speed = args.speed;
  problem.failed_gpus = args.failed;
  problem.min_nodes_per_expert = args.min_nodes;
  problem.max_replicas_per_expert = args.replicas_max;
  return {};
}

std::string explain(const EplbArgs& args, const eplb::Plan& plan) {
  std::string why;
  if (static_cast<Policy>(args.policy) != Policy::kAuto) {
    why = "as asked";
  } else if (plan.policy == Policy::kIncremental) {
    why = "there is a previous plan";
  } else {
    why = "there is no previous plan";
  }
  if (static_cast<Scope>(args.scope) == Scope::kAuto) {
    const bool divides = plan.num_groups % plan.num_nodes == 0;
    const bool whole = plan.scope == Scope::kHierarchical;
    why += fmt::format("; {} {} over {}{}", counted(plan.num_groups, "group"),
                       divides ? "can be divided" : "cannot be divided",
                       counted(plan.num_nodes, "node"),
                       divides && !whole ? ", but the constraints split them" : "");
  }
  return why;
}

}  // namespace

void add_input_options(Command& command, EplbArgs& args) {
  command.file("--input,-i", args.input, "Expert loads: JSON, CSV or .npy, - for standard input")
      .required();
  command.text("--window", args.window,
               "Windows A .. B-1 of the input, added up; negative numbers count from the end "
               "(default: all)",
               "A:B");
}

void add_shape_options(Command& command, EplbArgs& args) {
  command.group("Cluster (overrides what the input says)");
  command.integer("--num-replicas", args.num_replicas, "Expert slots in the whole cluster", 1);
  command.integer("--num-gpus", args.num_gpus, "GPUs", 1);
  command.integer("--num-nodes", args.num_nodes, "Nodes (default 1)", 1);
  command.integer("--num-groups", args.num_groups, "Expert groups of the routing (default 1)", 1);
}

void add_policy_options(Command& command, EplbArgs& args) {
  static const auto kPolicies = enum_names<Policy, 4>();
  static const auto kScopes = enum_names<Scope, 3>();
  static const auto kTies = enum_names<Ties, 2>();
  static const auto kDispatches = enum_names<Dispatch, 2>();
  command.group("Policy");
  command.choice("--policy", args.policy, kPolicies,
                 "auto is incremental with --previous, else optimal");
  command.choice("--scope", args.scope, kScopes,
                 "Whether expert groups stay on one node; auto if the nodes divide the groups");
  command.choice("--ties", args.ties, kTies,
                 "Order of equal loads in the reference policy (default stable)");
  command.choice("--dispatch", args.dispatch, kDispatches,
                 "How tokens divide over replicas (default equal)");
  command.file("--previous", args.previous, "The plan in use now");
  command.number("--max-moves", args.moves_max, "Experts that may be moved, all layers together");
  command.number("--budget-ms", args.budget_ms, "Stop searching after this many milliseconds");
  command.integer64("--steps", args.steps_max, "Search steps per layer at most");
  command.integer64("--seed", args.seed, "Seed of the search");
  command.integer("--threads", args.threads, "Threads (default: all cores)", 1);
}

void add_constraint_options(Command& command, EplbArgs& args) {
  command.group("Constraints");
  command.integers("--capacity", args.capacity, "Slots of each GPU");
  command.numbers("--speed", args.speed, "Relative speed of each GPU");
  command.integers("--failed", args.failed, "GPUs that must stay empty");
  command.texts("--pin", args.pins, "Keep a replica of the expert on the GPU; may be repeated",
                "[LAYER:]EXPERT:GPU");
  command.integer("--min-nodes", args.min_nodes, "Nodes that must hold each expert, at least", 1);
  command.integer("--max-replicas", args.replicas_max, "Replicas of one expert at most", 1);
}

std::string Loads::description(std::string_view path) const {
  std::string text = fmt::format("{}, {} layers x {} experts", shown_path(path), input.num_layers,
                                 input.num_experts);
  if (input.num_windows == 1) return text;
  if (range.last - range.first == 1) {
    return text + fmt::format(", window {} of {}", range.first, input.num_windows);
  }
  return text +
         fmt::format(", windows {}:{} of {} added up", range.first, range.last, input.num_windows);
}

Result<Loads> read_loads_in(const std::string& path, const std::string& window) {
  Loads loads;
  loads.input = TRY(eplb::read_loads(path));
  loads.range = TRY(eplb::parse_window_range(window, loads.input.num_windows));
  Result<std::vector<double>> sum = eplb::sum_windows(loads.input, loads.range);
  if (!sum) return std::unexpected(std::move(sum).error().in(shown_path(path)));
  loads.load = *std::move(sum);
  return loads;
}

Result<> check_shapes(const eplb::Plan& plan, std::string_view plan_name,
                      const eplb::LoadInput& loads, std::string_view loads_name) {
  if (plan.num_layers == loads.num_layers && plan.num_experts == loads.num_experts) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{} is for {} layers x {} experts, but {} has {} x {}",
                          shown_path(plan_name), plan.num_layers, plan.num_experts,
                          shown_path(loads_name), loads.num_layers, loads.num_experts));
}

Result<Planned> make_plan(const EplbArgs& args) {
  Planned planned;
  planned.loads = TRY(read_loads_in(args.input, args.window));
  TRY(fill_problem(args, planned.loads, planned.problem));
  std::vector<eplb::Pin> pins;
  pins.reserve(args.pins.size());
  for (const std::string& text : args.pins) pins.push_back(TRY(parse_pin(text)));
  planned.problem.pins = pins;
  if (!args.previous.empty()) {
    planned.previous = TRY(eplb::read_plan(args.previous));
    TRY(check_shapes(*planned.previous, args.previous, planned.loads.input, args.input));
  }
  eplb::Options options;
  options.policy = static_cast<Policy>(args.policy);
  options.scope = static_cast<Scope>(args.scope);
  options.ties = static_cast<Ties>(args.ties);
  options.dispatch = static_cast<Dispatch>(args.dispatch);
  options.steps_max = args.steps_max;
  options.budget_ms = args.budget_ms;
  options.seed = static_cast<uint64_t>(args.seed);
  options.moves_max = args.moves_max;
  options.threads = args.threads > 0 ? args.threads : available_cores();
  const auto start = std::chrono::steady_clock::now();
  planned.plan = TRY(
      eplb::rebalance(planned.problem, options, planned.previous ? &*planned.previous : nullptr));
  planned.elapsed_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  planned.problem.pins = {};  // they end with this function
  planned.why = explain(args, planned.plan);
  return planned;
}

std::optional<eplb::Plan> contiguous_plan(int num_layers, int num_experts, int num_groups,
                                          int num_nodes, int num_gpus) {
  if (num_experts % num_gpus != 0) return std::nullopt;
  eplb::Plan plan;
  plan.num_layers = num_layers;
  plan.num_experts = num_experts;
  plan.num_slots = num_experts;
  plan.num_groups = num_groups;
  plan.num_nodes = num_nodes;
  plan.num_gpus = num_gpus;
  for (int gpu = 0; gpu <= num_gpus; ++gpu) {
    plan.gpu_first_slot.push_back(gpu * (num_experts / num_gpus));
  }
  plan.phy2log.resize(static_cast<size_t>(num_layers) * num_experts);
  for (size_t i = 0; i < plan.phy2log.size(); ++i) {
    plan.phy2log[i] = static_cast<int32_t>(i % num_experts);
  }
  plan.quality.resize(num_layers);
  if (!eplb::index_plan(plan)) return std::nullopt;
  return plan;
}

}  // namespace hadal::cli
