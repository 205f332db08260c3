// hadal eplb evaluate: a plan's score on loads that need not be those it was made from.
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "cli/commands.h"
#include "cli/eplb_input.h"
#include "cli/terminal.h"
#include "eplb/plan_file.h"

namespace hadal::cli {
namespace {

struct EvaluateArgs {
  std::string plan, load, window;
  std::vector<double> speed;
  bool json = false;
};

using Level = eplb::Evaluation::Level;

nlohmann::ordered_json json_of(const Level& level) {
  return {{"max", level.max},
          {"mean", level.mean},
          {"imbalance", level.imbalance},
          {"worst_imbalance", level.worst_imbalance},
          {"balancedness", level.balancedness}};
}

std::string json_text(const eplb::Plan& plan, const Loads& loads, const eplb::Evaluation& result) {
  nlohmann::ordered_json out;
  out["num_layers"] = plan.num_layers;
  out["num_experts"] = plan.num_experts;
  out["num_replicas"] = plan.num_slots;
  out["num_nodes"] = plan.num_nodes;
  out["num_gpus"] = plan.num_gpus;
  out["windows"] = {loads.range.first, loads.range.last};
  out["gpu"] = json_of(result.gpu);
  out["node"] = json_of(result.node);
  out["slot"] = json_of(result.slot);
  out["duplicates"] = result.duplicates;
  out["layer_imbalance"] = result.imbalance;
  nlohmann::ordered_json& rows = out["gpu_load"] = nlohmann::ordered_json::array();
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    const auto first = result.gpu_load.begin() + static_cast<ptrdiff_t>(layer) * plan.num_gpus;
    rows.push_back(std::vector<double>(first, first + plan.num_gpus));
  }
  return out.dump() + "\n";
}

void print_text(const EvaluateArgs& args, const eplb::Plan& plan, const Loads& loads,
                const eplb::Evaluation& result, Terminal& terminal) {
  terminal.print(fmt::format("plan   {}, {} slots on {} in {}\n", shown_path(args.plan),
                             plan.num_slots, counted(plan.num_gpus, "GPU"),
                             counted(plan.num_nodes, "node")));
  terminal.print(fmt::format("loads  {}\n\n", loads.description(args.load)));
  Table table;
  table.add({"per layer, average", "max", "mean", "max/mean", "worst layer", "balancedness"});
  const auto row = [&](std::string name, const Level& level) {
    table.add({std::move(name), fmt::format("{:.6g}", level.max), fmt::format("{:.6g}", level.mean),
               fmt::format("{:.4f}", level.imbalance), fmt::format("{:.4f}", level.worst_imbalance),
               fmt::format("{:.4f}", level.balancedness)});
  };
  row("GPU", result.gpu);
  row("node, per GPU", result.node);
  row("slot", result.slot);
  terminal.print(table.text());
  terminal.print(fmt::format("\n{} of an expert on a GPU that already has it\n",
                             counted(result.duplicates, "duplicate")));
}

Result<ExitCode> evaluate_command(const EvaluateArgs& args, Terminal& terminal) {
  if (args.plan == "-" && args.load == "-") {
    return fail(Code::kInvalidArgument, "--plan and --load are both standard input; one may be");
  }
  const eplb::Plan plan = TRY(eplb::read_plan(args.plan));
  const Loads loads = TRY(read_loads_in(args.load, args.window));
  TRY(check_shapes(plan, args.plan, loads.input, args.load));
  const eplb::Evaluation result = TRY(eplb::evaluate(plan, loads.load, args.speed));
  if (args.json) {
    terminal.print(json_text(plan, loads, result));
  } else {
    print_text(args, plan, loads, result, terminal);
  }
  return 0;
}

}  // namespace

void add_eplb_evaluate(Command& eplb) {
  const auto args = std::make_shared<EvaluateArgs>();
  Command command = eplb.add("evaluate", "Score a plan on loads, its own or later ones");
  command.file("--plan,-p", args->plan, "The plan, - for standard input").required();
  command.file("--load,-l", args->load, "Expert loads: JSON, CSV or .npy, - for standard input")
      .required();
  command.text("--window", args->window,
               "Windows A .. B-1 of the loads, added up; negative numbers count from the end "
               "(default: all)",
               "A:B");
  command.numbers("--speed", args->speed, "Relative speed of each GPU");
  command.flag("--json", args->json, "Print JSON");
  command.run([args](Terminal& terminal) { return evaluate_command(*args, terminal); });
}

}  // namespace hadal::cli
