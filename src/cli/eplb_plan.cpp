// hadal eplb plan: from loads to a plan.
#include <algorithm>
#include <memory>
#include <numeric>

#include <fmt/core.h>

#include "base/files.h"
#include "cli/commands.h"
#include "cli/eplb_input.h"
#include "cli/terminal.h"
#include "eplb/plan_file.h"

namespace hadal::cli {
namespace {

constexpr size_t kLayersShown = 5;

struct PlanArgs : EplbArgs {
  std::string output;
  bool json = false;
};

/// One placement in the table of totals.
struct Column {
  std::string name, imbalance, worst, balancedness;
};

Column column(std::string name, const eplb::Evaluation& evaluation) {
  return {std::move(name), fmt::format("{:.4f}", evaluation.gpu.imbalance),
          fmt::format("{:.4f}", evaluation.gpu.worst_imbalance),
          fmt::format("{:.4f}", evaluation.gpu.balancedness)};
}

/// The lower bounds as if a plan had met them.
Column bound_column(const eplb::Plan& plan) {
  double sum = 0, worst = 1, means = 0, bounds = 0;
  for (const eplb::LayerQuality& quality : plan.quality) {
    const double imbalance =
        quality.mean > 0 ? std::max(quality.lower_bound / quality.mean, 1.0) : 1;
    sum += imbalance;
    worst = std::max(worst, imbalance);
    means += quality.mean;
    bounds += std::max(quality.lower_bound, quality.mean);
  }
  return {"bound", fmt::format("{:.4f}", sum / static_cast<double>(plan.quality.size())),
          fmt::format("{:.4f}", worst), fmt::format("{:.4f}", bounds > 0 ? means / bounds : 1)};
}

Result<std::string> totals(const EplbArgs& args, const Planned& planned) {
  const eplb::Plan& plan = planned.plan;
  std::vector<Column> columns;
  if (planned.previous) {
    columns.push_back(
        column("previous", TRY(eplb::evaluate(*planned.previous, planned.loads.load, args.speed))));
  } else if (args.failed.empty()) {
    const auto contiguous = contiguous_plan(plan.num_layers, plan.num_experts, plan.num_groups,
                                            plan.num_nodes, plan.num_gpus);
    if (contiguous) {
      columns.push_back(
          column("contiguous", TRY(eplb::evaluate(*contiguous, planned.loads.load, args.speed))));
    }
  }
  columns.push_back(column("plan", TRY(eplb::evaluate(plan, planned.loads.load, args.speed))));
  columns.push_back(bound_column(plan));

  std::vector<std::string> names = {"GPU load"}, imbalance = {"max/mean, average layer"},
                           worst = {"max/mean, worst layer"}, balanced = {"balancedness"};
  for (Column& c : columns) {
    names.push_back(std::move(c.name));
    imbalance.push_back(std::move(c.imbalance));
    worst.push_back(std::move(c.worst));
    balanced.push_back(std::move(c.balancedness));
  }
  Table table;
  for (std::vector<std::string>* row : {&names, &imbalance, &worst, &balanced}) {
    table.add(std::move(*row));
  }
  return table.text();
}

/// The layers with the largest imbalance, worst first; equal ones in their order.
std::string worst_layers(const eplb::Plan& plan, bool with_moves) {
  std::vector<int> order(plan.num_layers);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    const double x = plan.quality[a].imbalance, y = plan.quality[b].imbalance;
    return x != y ? x > y : a < b;
  });
  const size_t shown = std::min(order.size(), kLayersShown);
  Table table;
  std::vector<std::string> header = {"layer", "max", "mean", "max/mean", "bound", "gap"};
  if (with_moves) header.emplace_back("moves");
  table.add(std::move(header));
  for (size_t i = 0; i < shown; ++i) {
    const eplb::LayerQuality& q = plan.quality[order[i]];
    std::vector<std::string> row = {
        fmt::format("{}", order[i]),          fmt::format("{:.6g}", q.max),
        fmt::format("{:.6g}", q.mean),        fmt::format("{:.4f}", q.imbalance),
        fmt::format("{:.6g}", q.lower_bound), fmt::format("{:.2f} %", 100 * q.gap)};
    if (with_moves) row.push_back(fmt::format("{}", q.moves));
    table.add(std::move(row));
  }
  std::string text = table.text();
  if (shown < order.size()) {
    text += fmt::format("{}: max/mean {:.4f} .. {:.4f}\n",
                        counted(static_cast<long long>(order.size() - shown), "more layer"),
                        plan.quality[order.back()].imbalance, plan.quality[order[shown]].imbalance);
  }
  return text;
}

Result<> print_plan(const PlanArgs& args, const Planned& planned, Terminal& terminal) {
  const eplb::Plan& plan = planned.plan;
  terminal.print(fmt::format("loads    {}\n", planned.loads.description(args.input)));
  terminal.print(fmt::format("cluster  {} slots on {} in {}, {} redundant\n", plan.num_slots,
                             counted(plan.num_gpus, "GPU"), counted(plan.num_nodes, "node"),
                             plan.num_slots - plan.num_experts));
  terminal.print(fmt::format("policy   {}, {}, {} dispatch ({})\n\n", name(plan.policy),
                             name(plan.scope), name(plan.dispatch), planned.why));
  terminal.print(TRY(totals(args, planned)));
  terminal.print(fmt::format("\n{}\n", worst_layers(plan, planned.previous.has_value())));
  if (planned.previous) {
    long long moves = 0;
    for (const eplb::LayerQuality& quality : plan.quality) moves += quality.moves;
    const double slots = static_cast<double>(plan.phy2log.size());
    terminal.print(fmt::format("{} from the previous plan, {:.1f} % of the slots\n",
                               counted(moves, "move"), 100 * static_cast<double>(moves) / slots));
  }
  terminal.print(fmt::format("planned in {:.3g} ms{}\n", planned.elapsed_ms,
                             plan.cut_short ? ", cut short by the time budget" : ""));
  if (!args.output.empty()) terminal.print(fmt::format("written to {}\n", args.output));
  return {};
}

Result<ExitCode> plan_command(const PlanArgs& args, Terminal& terminal) {
  const Planned planned = TRY(make_plan(args));
  std::string text;
  if (args.json || !args.output.empty()) text = eplb::plan_to_json(planned.plan);
  if (!args.output.empty()) TRY(write_output(args.output, text));
  if (args.json) {
    terminal.print(text);
    return 0;
  }
  TRY(print_plan(args, planned, terminal));
  return 0;
}

}  // namespace

void add_eplb(Command& root) {
  Command eplb = root.add("eplb", "Balance expert load: replicas and placement");
  add_eplb_plan(eplb);
  add_eplb_evaluate(eplb);
  add_eplb_show(eplb);
  add_eplb_simulate(eplb);
}

void add_eplb_plan(Command& eplb) {
  const auto args = std::make_shared<PlanArgs>();
  Command command = eplb.add("plan", "Choose replicas and placement for measured loads");
  add_input_options(command, *args);
  command.file("--output,-o", args->output, "Write the plan as JSON, atomically");
  command.flag("--json", args->json, "Print the plan as JSON");
  add_shape_options(command, *args);
  add_policy_options(command, *args);
  add_constraint_options(command, *args);
  command.run([args](Terminal& terminal) { return plan_command(*args, terminal); });
}

}  // namespace hadal::cli
