// hadal demo: the systems that exist, on real input, each feeding the next.
//
//   text -> a router -> expert loads -> three plans -> transfers -> drawings
//   the same text -> a small network, in FP8 and in double precision
//   a generated training step -> its analysis; and the same for the trace of all this
#include <filesystem>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/files.h"
#include "base/profiler.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/corpus.h"
#include "cli/demo_gemm.h"
#include "cli/demo_trace.h"
#include "cli/eplb_input.h"
#include "cli/gate.h"
#include "cli/terminal.h"
#include "eplb/heatmap.h"
#include "eplb/plan_file.h"
#include "eplb/simulate.h"
#include "eplb/transfers.h"

namespace hadal::cli {
namespace {

constexpr int64_t kTokensMax = 32'768;
constexpr GateShape kGate;

struct DemoArgs {
  std::string output = "demo-output";
  std::string text;
  bool json = false;
};

// One line of the closing table.
struct Row {
  std::string system, ran, on, result;
  bool check = false;
  double seconds = 0;
};

class Demo {
 public:
  Demo(const DemoArgs& args, Terminal& terminal) : args_(args), terminal_(terminal) {}

  Result<ExitCode> run() {
    Profiler profiler;
    {
      const Profiler::Attach attach(&profiler);
      TRY(prepare());
      TRY(route());
      TRY(plan_first_half());
      TRY(follow_drift());
      TRY(move_weights());
      TRY(simulate_windows());
      TRY(multiply());
      TRY(look_at_a_step());
    }
    TRY(write_trace(profiler));
    print();
    for (const Row& row : rows_) {
      if (!row.check) return 1;
    }
    return 0;
  }

 private:
  std::string path(std::string_view name) const { return fmt::format("{}/{}", args_.output, name); }

  Result<> prepare() {
    std::error_code error;
    std::filesystem::create_directories(args_.output, error);
    if (error) return std::unexpected(os_error(error.value(), args_.output));
    if (args_.text.empty()) {
      text_ = corpus();
      text_name_ = "hadal's own docs and sources";
    } else {
      own_text_ = TRY(read_file(args_.text));
      text_ = own_text_;
      text_name_ = args_.text;
    }
    if (static_cast<int>(text_.size()) < 64 * kGate.windows) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{} has {} bytes; the demo needs {} or more", text_name_,
                              text_.size(), 64 * kGate.windows));
    }
    return {};
  }

  // Runs one stage: what it says goes to standard error at once, what it returns into the table.
  template <typename Body>
  Result<> stage(const char* ran, Profiler::Name span_name, Body body) {
    if (!args_.json) fmt::print(stderr, "{} ...\n", ran);
    const Profiler::Span span(span_name);
    const int64_t start = clock_.now_ns();
    Row row = TRY(body());
    row.ran = ran;
    row.seconds = static_cast<double>(clock_.now_ns() - start) * 1e-9;
    rows_.push_back(std::move(row));
    return {};
  }

  Result<> route() {
    return stage("route text, top 8 of 256", "route text", [&]() -> Result<Row> {
      const auto tokens = std::min<int64_t>(static_cast<int64_t>(text_.size()), kTokensMax);
      loads_ = route_text(text_, kGate, kTokensMax, pool_);
      const size_t table = static_cast<size_t>(kGate.layers) * kGate.experts;
      before_.assign(table, 0);
      after_.assign(table, 0);
      double total = 0;
      for (size_t i = 0; i < loads_.size(); ++i) {
        (i < loads_.size() / 2 ? before_ : after_)[i % table] += loads_[i];
        total += loads_[i];
      }
      TRY(write_loads());
      return Row{
          .system = "gate",
          .ran = {},
          .on = fmt::format("{} tokens of {}", tokens, text_name_),
          .result = fmt::format("{} layers x {} windows of loads", kGate.layers, kGate.windows),
          .check = total == static_cast<double>(tokens * kGate.topk * kGate.layers)};
    });
  }

  Result<> write_loads() {
    nlohmann::ordered_json out;
    out["num_replicas"] = kReplicas;
    out["num_groups"] = kGate.groups;
    out["num_nodes"] = kNodes;
    out["num_gpus"] = kGpus;
    auto& windows = out["weight"] = nlohmann::ordered_json::array();
    const double* at = loads_.data();
    for (int w = 0; w < kGate.windows; ++w) {
      auto& layers = windows.emplace_back(nlohmann::ordered_json::array());
      for (int l = 0; l < kGate.layers; ++l, at += kGate.experts) {
        layers.push_back(std::vector<int64_t>(at, at + kGate.experts));
      }
    }
    return write_file_atomically(path("loads.json"), std::string_view(out.dump()));
  }

  eplb::Problem problem(std::span<const double> load) const {
    eplb::Problem p;
    p.num_layers = kGate.layers;
    p.num_experts = kGate.experts;
    p.num_replicas = kReplicas;
    p.num_groups = kGate.groups;
    p.num_nodes = kNodes;
    p.num_gpus = kGpus;
    p.load = load;
    return p;
  }

  Result<eplb::Plan> plan(eplb::Policy policy, std::span<const double> load,
                          const eplb::Plan* previous = nullptr) const {
    eplb::Options options;
    options.policy = policy;
    options.threads = pool_.size();
    return eplb::rebalance(problem(load), options, previous);
  }

  Result<> plan_first_half() {
    TRY(stage("plan as published", "plan: reference", [&]() -> Result<Row> {
      contiguous_ = *contiguous_plan(kGate.layers, kGate.experts, kGate.groups, kNodes, kGpus);
      reference_ = TRY(plan(eplb::Policy::kReference, before_));
      return plan_row("first half", contiguous_, reference_, before_);
    }));
    TRY(stage("plan for balance", "plan: optimal", [&]() -> Result<Row> {
      optimal_ = TRY(plan(eplb::Policy::kOptimal, before_));
      Row row = TRY(plan_row("first half", reference_, optimal_, before_));
      double bound = 0;
      for (const auto& q : optimal_.quality) bound += q.lower_bound / q.mean / kGate.layers;
      row.result += fmt::format(", bound {:.4f}", bound);
      return row;
    }));
    TRY(write_file_atomically(path("plan.json"), std::string_view(eplb::plan_to_json(optimal_))));
    return draw_heat();
  }

  Result<> follow_drift() {
    return stage("follow the drift", "plan: incremental", [&]() -> Result<Row> {
      next_ = TRY(plan(eplb::Policy::kIncremental, after_, &optimal_));
      Row row = TRY(plan_row("second half", optimal_, next_, after_));
      int64_t moves = 0;
      for (const auto& q : next_.quality) moves += q.moves;
      row.result += fmt::format(", {:.1f} % of slots moved",
                                100.0 * static_cast<double>(moves) / kReplicas / kGate.layers);
      return row;
    });
  }

  // "max/mean 1.41 -> 1.02", and the checks of a plan.
  Result<Row> plan_row(std::string_view on, const eplb::Plan& old, const eplb::Plan& plan,
                       std::span<const double> load) const {
    const eplb::Evaluation was = TRY(eplb::evaluate(old, load));
    const eplb::Evaluation is = TRY(eplb::evaluate(plan, load));
    return Row{
        .system = "eplb",
        .ran = {},
        .on = fmt::format("{}, {} slots, {} GPUs", on, kReplicas, kGpus),
        .result = fmt::format("max/mean {:.4f} -> {:.4f}", was.gpu.imbalance, is.gpu.imbalance),
        .check = eplb::validate(plan).has_value() && is.gpu.imbalance <= was.gpu.imbalance + 1e-9};
  }

  // Carries the second plan out on fake weights, and looks whether every slot then holds its
  // expert.
  Result<> move_weights() {
    return stage("move the weights", "transfers", [&]() -> Result<Row> {
      const eplb::TransferSchedule schedule =
          TRY(eplb::schedule_transfers(optimal_, next_, {.hazard = eplb::Hazard::kStaged}));
      const int slots = optimal_.num_slots;
      const int width = slots + kGpus;  // a spare buffer per GPU behind the slots
      std::vector<int32_t> held(static_cast<size_t>(kGate.layers) * width, -1);
      for (int layer = 0; layer < kGate.layers; ++layer) {
        const auto experts = optimal_.experts(layer);
        std::copy(experts.begin(), experts.end(),
                  held.begin() + static_cast<ptrdiff_t>(layer) * width);
      }
      size_t i = 0;
      while (i < schedule.transfers.size()) {  // a round: all reads, then all writes
        const std::vector<int32_t> seen = held;
        const int round = schedule.transfers[i].round;
        for (; i < schedule.transfers.size() && schedule.transfers[i].round == round; ++i) {
          const eplb::Transfer& t = schedule.transfers[i];
          const size_t row = static_cast<size_t>(t.layer) * width;
          held[row + t.target_slot] = t.source_slot < 0 ? t.expert : seen[row + t.source_slot];
        }
      }
      bool arrived = true;
      for (int layer = 0; layer < kGate.layers; ++layer) {
        const auto experts = next_.experts(layer);
        arrived &= std::equal(experts.begin(), experts.end(),
                              held.begin() + static_cast<ptrdiff_t>(layer) * width);
      }
      return Row{.system = "eplb",
                 .ran = {},
                 .on = fmt::format("{} weights", schedule.transfers.size()),
                 .result = fmt::format("{} rounds, at least {}; {} between nodes", schedule.rounds,
                                       schedule.rounds_bound, schedule.other_node),
                 .check = arrived};
    });
  }

  Result<> simulate_windows() {
    return stage("simulate all windows", "simulate", [&]() -> Result<Row> {
      eplb::SimulationOptions options;
      options.shape = problem({});
      options.loads = loads_;
      options.num_windows = kGate.windows;
      options.policies = eplb::standard_policies(0.05 * kReplicas * kGate.layers);
      for (auto& policy : options.policies) {
        policy.options.steps_max = 500;
        policy.options.threads = pool_.size();
      }
      const eplb::SimulationResult result = TRY(eplb::simulate(
          options, [](const eplb::Problem& p, const eplb::Options& o, const eplb::Plan* previous) {
            return eplb::rebalance(p, o, previous);
          }));
      TRY(write_file_atomically(path("drift.svg"), std::string_view(eplb::to_svg(result))));
      const auto best = std::min_element(
          result.policies.begin(), result.policies.end(),
          [](const auto& a, const auto& b) { return a.mean_imbalance < b.mean_imbalance; });
      return Row{
          .system = "eplb",
          .ran = {},
          .on = fmt::format("{} windows, {} policies", result.num_windows, result.policies.size()),
          .result = fmt::format("best {}: {:.3f}, static {:.3f}", best->name, best->mean_imbalance,
                                result.policies.front().mean_imbalance),
          .check = best->mean_imbalance <= result.policies.front().mean_imbalance};
    });
  }

  Result<> draw_heat() {
    const Profiler::Span span("draw");
    std::vector<eplb::Evaluation> scores;
    std::vector<std::vector<double>> means;
    std::vector<std::string> summaries;
    for (const eplb::Plan* plan : {&contiguous_, &optimal_}) {
      const eplb::Evaluation& score = scores.emplace_back(TRY(eplb::evaluate(*plan, before_)));
      auto& mean = means.emplace_back();
      mean.reserve(kGate.layers);
      for (int layer = 0; layer < kGate.layers; ++layer) {
        const double* row = score.gpu_load.data() + static_cast<size_t>(layer) * kGpus;
        mean.push_back(*std::max_element(row, row + kGpus) / score.imbalance[layer]);
      }
      summaries.push_back(fmt::format("max/mean {:.3f}", score.gpu.imbalance));
    }
    std::vector<eplb::HeatPanel> panels;
    panels.reserve(2);
    for (int i = 0; i < 2; ++i) {
      panels.push_back({.title = i == 0 ? "before: contiguous, no replicas" : "after: optimal plan",
                        .summary = summaries[i],
                        .rows = kGate.layers,
                        .columns = kGpus,
                        .load = scores[i].gpu_load,
                        .mean = means[i]});
    }
    return write_file_atomically(
        path("heat.svg"), std::string_view(eplb::heatmap_svg("Expert load per GPU", panels)));
  }

  Result<> multiply() {
    return stage("guess characters in FP8", "guess characters", [&]() -> Result<Row> {
      DemoGemmResult result = TRY(guess_characters(text_));
      return Row{.system = "gemm",
                 .ran = {},
                 .on = std::move(result.on),
                 .result = std::move(result.result),
                 .check = result.check};
    });
  }

  Result<> look_at_a_step() {
    return stage("analyse a training step", "analyse a step", [&]() -> Result<Row> {
      return row_of(TRY(analyse_step(path("step.json"), path("step.html"))));
    });
  }

  // The last stage reads the trace of those before it, so it is not in it.
  Result<> write_trace(const Profiler& profiler) {
    TRY(profiler.write(path("trace.json")));
    const auto written = nlohmann::json::parse(TRY(read_file(path("trace.json"))), nullptr, false);
    uint64_t events = 0;
    if (written.is_object() && written.contains("traceEvents")) {
      for (const auto& event : written["traceEvents"]) events += event.value("ph", "") != "M";
    }
    return stage("analyse this run", "analyse this run", [&]() -> Result<Row> {
      Row row = row_of(TRY(analyse_run(path("trace.json"), path("trace.html"), events)));
      row.check = row.check && events > rows_.size() && profiler.dropped() == 0;
      return row;
    });
  }

  static Row row_of(DemoTraceResult result) {
    return {.system = "trace",
            .ran = {},
            .on = std::move(result.on),
            .result = std::move(result.result),
            .check = result.check};
  }

  void print() const {
    if (args_.json) {
      nlohmann::ordered_json out;
      auto& rows = out["rows"] = nlohmann::ordered_json::array();
      for (const Row& row : rows_) {
        rows.push_back({{"system", row.system},
                        {"ran", row.ran},
                        {"on", row.on},
                        {"result", row.result},
                        {"check", row.check},
                        {"seconds", row.seconds}});
      }
      out["output"] = args_.output;
      terminal_.print(out.dump() + "\n");
      return;
    }
    size_t ran = 0, on = 0, result = 0;  // widths of the columns of text
    for (const Row& row : rows_) {
      ran = std::max(ran, row.ran.size());
      on = std::max(on, row.on.size());
      result = std::max(result, row.result.size());
    }
    const auto line = [&](const Row& row, std::string_view check, std::string_view time) {
      terminal_.print(fmt::format("{:<8}  {:<{}}  {:<{}}  {:<{}}  {:<6}  {:>6}\n", row.system,
                                  row.ran, ran, row.on, on, row.result, result, check, time));
    };
    terminal_.print("\n");
    line({.system = "system", .ran = "what ran", .on = "on what", .result = "result"}, "check",
         "time");
    for (const Row& row : rows_) {
      line(row, row.check ? "ok" : "FAILED", fmt::format("{:.2f} s", row.seconds));
    }
    terminal_.print(fmt::format(
        "\n{0}/  loads.json, plan.json   input and plan: hadal eplb show --input {0}/loads.json\n"
        "{1}   heat.svg, drift.svg     before and after; imbalance and moves over time\n"
        "{1}   step.html, step.json    a training step: findings and timeline, in a browser\n"
        "{1}   trace.html, trace.json  this run, likewise\n",
        args_.output, std::string(args_.output.size(), ' ')));
  }

  static constexpr int kReplicas = 288;
  static constexpr int kNodes = 4;
  static constexpr int kGpus = 32;

  const DemoArgs& args_;
  Terminal& terminal_;
  RealClock clock_;
  ThreadPool pool_;
  std::string_view text_;
  std::string own_text_, text_name_;
  std::vector<double> loads_;           // [windows][layers][experts]
  std::vector<double> before_, after_;  // [layers][experts], the two halves of the text
  eplb::Plan contiguous_, reference_, optimal_, next_;
  std::vector<Row> rows_;
};

}  // namespace

void add_demo(Command& root) {
  const auto args = std::make_shared<DemoArgs>();
  Command command = root.add("demo", "Run every system on real input, one after another");
  command.file("--output,-o", args->output, "Folder for reports, plans and the trace");
  command.file("--text", args->text, "Route this file instead of hadal's own text");
  command.flag("--json", args->json, "Print the closing table as JSON");
  command.run([args](Terminal& terminal) { return Demo(*args, terminal).run(); });
}

}  // namespace hadal::cli
