// hadal eplb simulate: what each policy gains and costs while loads drift.
#include <memory>

#include <fmt/core.h>

#include "base/files.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/eplb_input.h"
#include "cli/terminal.h"
#include "eplb/simulate.h"

namespace hadal::cli {
namespace {

constexpr std::string_view kShapes[] = {"lognormal", "zipf", "uniform"};

struct SimulateArgs : EplbArgs {
  eplb::DriftOptions drift{.num_windows = 32, .num_layers = 4};
  size_t shape = 0;
  double budget_percent = 5;
  std::string svg;
  bool json = false;
};

// Replays the file's windows, or draws loads; fills in the shape either way.
Result<eplb::SimulationOptions> prepare(const SimulateArgs& args, std::vector<double>& loads) {
  eplb::SimulationOptions options;
  eplb::Problem& shape = options.shape;
  std::optional<int> replicas = args.num_replicas, groups = args.num_groups, nodes = args.num_nodes,
                     gpus = args.num_gpus;
  if (args.input.empty()) {
    eplb::DriftOptions drift = args.drift;
    drift.shape = static_cast<eplb::DriftOptions::Shape>(args.shape);
    drift.seed = static_cast<uint64_t>(args.seed);
    loads = TRY(eplb::drifting_loads(drift));
    options.num_windows = drift.num_windows;
    shape.num_layers = drift.num_layers;
    shape.num_experts = drift.num_experts;
    if (!gpus) gpus = 32;
    if (!replicas) replicas = drift.num_experts + *gpus;
  } else {
    eplb::LoadInput input = TRY(eplb::read_loads(args.input));
    if (input.num_windows < 2) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{} has one window; a simulation needs two or more", args.input));
    }
    options.num_windows = input.num_windows;
    shape.num_layers = input.num_layers;
    shape.num_experts = input.num_experts;
    if (!replicas) replicas = input.num_replicas;
    if (!groups) groups = input.num_groups;
    if (!nodes) nodes = input.num_nodes;
    if (!gpus) gpus = input.num_gpus;
    loads = std::move(input.load);
    if (!replicas || !gpus) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{} does not say num_{}; give --num-{}", args.input,
                              replicas ? "gpus" : "replicas", replicas ? "gpus" : "replicas"));
    }
  }
  shape.num_replicas = *replicas;
  shape.num_groups = groups.value_or(1);
  shape.num_nodes = nodes.value_or(1);
  shape.num_gpus = *gpus;
  options.loads = loads;
  options.policies =
      eplb::standard_policies(args.budget_percent / 100 * shape.num_layers * shape.num_replicas);
  for (eplb::SimulatedPolicy& policy : options.policies) {
    policy.options.steps_max = args.steps_max;
    policy.options.threads = args.threads;
  }
  return options;
}

void print_text(const SimulateArgs& args, const eplb::SimulationOptions& options,
                const eplb::SimulationResult& result, Terminal& terminal) {
  terminal.print(
      fmt::format("{} of {}, {} slots on {}; planned on one window, scored on the next\n\n",
                  counted(result.num_windows, "window"), counted(result.num_layers, "layer"),
                  result.num_slots, counted(options.shape.num_gpus, "GPU")));
  Table table;
  table.add({"policy", "max/mean", "worst window", "plans", "moves per window", "of slots"});
  const double slots = static_cast<double>(result.num_slots) * result.num_layers;
  for (const eplb::PolicyHistory& p : result.policies) {
    const double moves =
        static_cast<double>(p.total_moves) / std::max<double>(1, result.num_windows - 2);
    table.add({p.name, fmt::format("{:.4f}", p.mean_imbalance),
               fmt::format("{:.4f}", p.worst_imbalance), fmt::format("{}", p.plans),
               fmt::format("{:.1f}", moves), fmt::format("{:.2f} %", 100 * moves / slots)});
  }
  terminal.print(table.text());
  if (!args.svg.empty()) terminal.print(fmt::format("\nplot  {}\n", args.svg));
}

Result<ExitCode> simulate_command(const SimulateArgs& given, Terminal& terminal) {
  SimulateArgs args = given;
  if (args.threads == 0) args.threads = available_cores();
  std::vector<double> loads;
  const eplb::SimulationOptions options = TRY(prepare(args, loads));
  const eplb::SimulationResult result = TRY(eplb::simulate(
      options,
      [](const eplb::Problem& problem, const eplb::Options& plan_options,
         const eplb::Plan* previous) { return eplb::rebalance(problem, plan_options, previous); }));
  if (!args.svg.empty()) TRY(write_output(args.svg, eplb::to_svg(result)));
  if (args.json) {
    terminal.print(eplb::to_json(result));
  } else {
    print_text(args, options, result, terminal);
  }
  return 0;
}

}  // namespace

void add_eplb_simulate(Command& eplb) {
  const auto args = std::make_shared<SimulateArgs>();
  args->steps_max = 1000;
  Command command = eplb.add("simulate", "Compare policies while loads drift over time");
  command.file("--input", args->input, "Replay the windows of this file instead of drawn loads");
  command.file("--svg", args->svg, "Plot imbalance and moves over time");
  command.flag("--json", args->json, "Print every window as JSON");
  add_shape_options(command, *args);
  command.group("Drawn loads");
  command.integer("--windows", args->drift.num_windows, "Windows to draw", 2, 100'000);
  command.integer("--layers", args->drift.num_layers, "Layers to draw", 1, 1000);
  command.integer("--experts", args->drift.num_experts, "Experts per layer", 1, 65'536);
  command.choice("--shape", args->shape, kShapes, "Distribution of a layer's loads");
  command.number("--sigma", args->drift.sigma, "Of lognormal loads");
  command.number("--drift", args->drift.drift, "Change from window to window, 0.05 is 5 %");
  command.integers("--switch", args->drift.switch_windows,
                   "Windows in which a tenth of the experts trade places");
  command.integer64("--seed", args->seed, "Of the drawn loads");
  command.group("Policies");
  command.number("--budget-percent", args->budget_percent,
                 "Slots that the incremental policies may move per window");
  command.integer64("--steps", args->steps_max, "Search steps per layer");
  command.integer("--threads", args->threads, "Layers planned at once; 0: one per core", 0, 1024);
  command.run([args](Terminal& terminal) { return simulate_command(*args, terminal); });
}

}  // namespace hadal::cli
