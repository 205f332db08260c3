// hadal eplb show: GPU loads as heat maps, before and after.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "cli/commands.h"
#include "cli/eplb_input.h"
#include "cli/terminal.h"
#include "eplb/heatmap.h"
#include "eplb/plan_file.h"

namespace hadal::cli {
namespace {

struct ShowArgs : EplbArgs {
  std::string plan, svg;
  std::optional<int> layer;
  bool json = false;
};

/// A plan with its score and what a heat map of it needs.
struct Scored {
  std::string title;
  eplb::Plan plan;
  eplb::Evaluation result;
  std::vector<double> mean;  // [layers] per GPU
  std::string summary;
};

Result<Scored> score(std::string title, eplb::Plan plan, const ShowArgs& args, const Loads& loads) {
  Scored scored;
  scored.title = std::move(title);
  scored.result = TRY(eplb::evaluate(plan, loads.load, args.speed));
  scored.plan = std::move(plan);
  const int gpus = scored.plan.num_gpus;
  for (int layer = 0; layer < scored.plan.num_layers; ++layer) {
    const double* load = scored.result.gpu_load.data() + static_cast<size_t>(layer) * gpus;
    scored.mean.push_back(*std::max_element(load, load + gpus) / scored.result.imbalance[layer]);
  }
  return scored;
}

/// What to draw: the plan, and before it the previous plan or the contiguous placement, if any.
Result<std::vector<Scored>> collect(const ShowArgs& args, Loads& loads) {
  std::optional<eplb::Plan> before, after;
  std::string before_title = "before: contiguous, no replicas", after_title;
  if (!args.plan.empty()) {
    if (args.plan == "-" && args.input == "-") {
      return fail(Code::kInvalidArgument, "--plan and --input are both standard input; one may be");
    }
    after = TRY(eplb::read_plan(args.plan));
    loads = TRY(read_loads_in(args.input, args.window));
    TRY(check_shapes(*after, args.plan, loads.input, args.input));
    after_title = fmt::format("after: {}", args.plan);
  } else {
    Planned planned = TRY(make_plan(args));
    after = std::move(planned.plan);
    before = std::move(planned.previous);
    loads = std::move(planned.loads);
    after_title = fmt::format("after: {}, {}", name(after->policy), name(after->scope));
  }
  if (before) {
    before_title = fmt::format("before: {}", args.previous);
  } else if (args.failed.empty()) {
    before = contiguous_plan(after->num_layers, after->num_experts, after->num_groups,
                             after->num_nodes, after->num_gpus);
  }
  std::vector<Scored> all;
  if (before) all.push_back(TRY(score(before_title, std::move(*before), args, loads)));
  all.push_back(TRY(score(after_title, std::move(*after), args, loads)));
  return all;
}

/// The panels point into `all`, which gets the summaries that fit.
std::vector<eplb::HeatPanel> panels_of(std::vector<Scored>& all, std::optional<int> layer) {
  std::vector<eplb::HeatPanel> panels;
  for (Scored& scored : all) {
    scored.summary =
        layer ? fmt::format("max/mean {:.3f}", scored.result.imbalance[*layer])
              : fmt::format("max/mean {:.3f}, worst layer {:.3f}", scored.result.gpu.imbalance,
                            scored.result.gpu.worst_imbalance);
    const int gpus = scored.plan.num_gpus;
    eplb::HeatPanel panel{.title = scored.title,
                          .summary = scored.summary,
                          .rows = scored.plan.num_layers,
                          .columns = gpus,
                          .load = scored.result.gpu_load,
                          .mean = scored.mean};
    if (layer) {
      panel.rows = 1;
      panel.first_row = *layer;
      panel.load = panel.load.subspan(static_cast<size_t>(*layer) * gpus, gpus);
      panel.mean = panel.mean.subspan(*layer, 1);
    }
    panels.push_back(panel);
  }
  return panels;
}

/// "3 7x2 250": the experts of a GPU, with the number of copies where there are several.
std::string experts_on(const eplb::Plan& plan, int layer, int gpu) {
  std::map<int, int> copies;
  for (int slot = plan.gpu_first_slot[gpu]; slot < plan.gpu_first_slot[gpu + 1]; ++slot) {
    if (plan.expert(layer, slot) >= 0) ++copies[plan.expert(layer, slot)];
  }
  std::string text;
  for (const auto& [expert, count] : copies) {
    text += fmt::format("{}{}", text.empty() ? "" : " ", expert);
    if (count > 1) text += fmt::format("x{}", count);
  }
  return text;
}

/// One layer in full: a line per GPU with its load, a bar and its experts.
std::string layer_text(const Scored& scored, int layer, double scale) {
  constexpr int kBarWidth = 24;
  const eplb::Plan& plan = scored.plan;
  std::string text = fmt::format("{}, layer {}: max/mean {:.4f}\n", scored.title, layer,
                                 scored.result.imbalance[layer]);
  text +=
      fmt::format("{:>5}  {:>12}  {:>6}  {:<{}}  experts\n", "GPU", "load", "/mean", "", kBarWidth);
  for (int gpu = 0; gpu < plan.num_gpus; ++gpu) {
    const double load = scored.result.gpu_load[static_cast<size_t>(layer) * plan.num_gpus + gpu];
    const double ratio = scored.mean[layer] > 0 ? load / scored.mean[layer] : 1;
    const int bar =
        std::clamp(static_cast<int>(std::lround(ratio / scale * kBarWidth)), 0, kBarWidth);
    text += fmt::format("{:>5}  {:>12.6g}  {:>6.3f}  {:<{}}  {}\n", gpu, load, ratio,
                        std::string(bar, '#'), kBarWidth, experts_on(plan, layer, gpu));
  }
  return text;
}

std::string json_text(const std::vector<Scored>& all, std::optional<int> layer) {
  nlohmann::ordered_json out;
  for (size_t i = 0; i < all.size(); ++i) {
    const Scored& scored = all[i];
    nlohmann::ordered_json& side = out[i + 1 == all.size() ? "after" : "before"];
    side["title"] = scored.title;
    side["num_gpus"] = scored.plan.num_gpus;
    side["imbalance"] = scored.result.gpu.imbalance;
    side["worst_imbalance"] = scored.result.gpu.worst_imbalance;
    nlohmann::ordered_json& layers = side["layers"] = nlohmann::ordered_json::array();
    for (int row = 0; row < scored.plan.num_layers; ++row) {
      if (layer && row != *layer) continue;
      const auto first =
          scored.result.gpu_load.begin() + static_cast<ptrdiff_t>(row) * scored.plan.num_gpus;
      layers.push_back({{"layer", row},
                        {"imbalance", scored.result.imbalance[row]},
                        {"mean", scored.mean[row]},
                        {"gpu_load", std::vector<double>(first, first + scored.plan.num_gpus)}});
    }
  }
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  return out.dump(-1, ' ', false, kReplace) + "\n";
}

Result<ExitCode> show_command(const ShowArgs& args, Terminal& terminal) {
  Loads loads;
  std::vector<Scored> all = TRY(collect(args, loads));
  if (args.layer && *args.layer >= loads.input.num_layers) {
    return fail(Code::kInvalidArgument,
                fmt::format("--layer is {}; it must be below {}, the number of layers", *args.layer,
                            loads.input.num_layers));
  }
  const std::vector<eplb::HeatPanel> panels = panels_of(all, args.layer);
  if (!args.svg.empty()) {
    const std::string title =
        fmt::format("Expert load per GPU: {}", loads.description(args.input)) +
        (args.layer ? fmt::format(", layer {}", *args.layer) : "");
    TRY(write_output(args.svg, eplb::heatmap_svg(title, panels)));
  }
  if (args.json) {
    terminal.print(json_text(all, args.layer));
    return 0;
  }
  terminal.print(fmt::format("{}\n", loads.description(args.input)));
  const double scale = eplb::heat_scale(panels);
  for (size_t i = 0; i < all.size(); ++i) {
    terminal.print("\n");
    terminal.print(args.layer
                       ? layer_text(all[i], *args.layer, scale)
                       : eplb::heatmap_text(panels[i], scale, terminal.width(), terminal.colour()));
  }
  if (!args.svg.empty()) terminal.print(fmt::format("\nwritten to {}\n", args.svg));
  return 0;
}

}  // namespace

void add_eplb_show(Command& eplb) {
  const auto args = std::make_shared<ShowArgs>();
  Command command = eplb.add("show", "Draw GPU loads before and after, layer by layer");
  add_input_options(command, *args);
  command.file("--plan,-p", args->plan, "Draw this plan instead of making one");
  command.integer("--layer", args->layer, "One layer in full: loads and experts of every GPU");
  command.file("--svg", args->svg, "Write the heat maps as an SVG file");
  command.flag("--json", args->json, "Print JSON");
  add_shape_options(command, *args);
  add_policy_options(command, *args);
  add_constraint_options(command, *args);
  command.run([args](Terminal& terminal) { return show_command(*args, terminal); });
}

}  // namespace hadal::cli
