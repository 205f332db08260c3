// hadal sim list, run: systems in a simulated world, from seeds.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/clock.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/sim_targets.h"
#include "cli/terminal.h"
#include "sim/search.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kAll = "all";

void print(const Json& json, Terminal& terminal) {
  terminal.print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// --- list -----------------------------------------------------------------------------------

Result<ExitCode> list_command(bool json, Terminal& terminal) {
  Json out = {{"targets", Json::array()}};
  for (const sim::Target& target : sim_targets()) {
    out["targets"].push_back({{"name", target.name},
                              {"what", target.what},
                              {"steps", target.steps},
                              {"faults", target.faults},
                              {"broken", target.broken}});
    if (json) continue;
    terminal.print(fmt::format("{}  {}\n  {} steps; faults {}; broken {}\n",
                               terminal.bold(target.name), target.what, target.steps,
                               fmt::join(target.faults, ", "), fmt::join(target.broken, ", ")));
  }
  if (json) print(out, terminal);
  return 0;
}

// --- run ------------------------------------------------------------------------------------

struct RunArgs {
  size_t target = 0;  // of the choices; the last one is all
  std::string seeds = "0..99";
  std::optional<int> jobs;
  int64_t steps = 0;  // 0: the target's
  std::string faults;
  std::string broken;
  bool json = false, no_minimize = false;
};

struct Seeds {
  uint64_t first = 0, last = 0;
  bool one = false;  // written as a single number: that very run, with its log
};

Result<Seeds> parse_seeds(std::string_view text) {
  const auto number = [](std::string_view part) -> std::optional<uint64_t> {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(part.begin(), part.end(), value);
    // The largest number stands for no seed.
    if (error != std::errc() || end != part.end() || value == UINT64_MAX) return {};
    return value;
  };
  const size_t dots = text.find("..");
  const auto first = number(text.substr(0, dots));
  const auto last = dots == text.npos ? first : number(text.substr(dots + 2));
  if (first && last && *first <= *last) return Seeds{*first, *last, dots == text.npos};
  return fail(Code::kInvalidArgument,
              fmt::format("--seeds is '{}'; it must be a number, or FIRST..LAST", text));
}

/// Each of the names in the list is one of the target's.
Result<> check_names(std::string_view option, const std::vector<std::string>& names,
                     const std::vector<std::string_view>& known, std::string_view target) {
  for (const std::string& name : names) {
    if (std::ranges::find(known, name) != known.end()) continue;
    return fail(Code::kInvalidArgument,
                fmt::format("{} has '{}'; {} knows {}", option, name, target,
                            known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
  }
  return {};
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

Result<sim::Scenario> scenario_of(const RunArgs& args, const sim::Target& target) {
  sim::Scenario scenario = target.scenario(0, args.broken);
  if (args.steps > 0) scenario.steps = args.steps;
  if (args.faults == "none") scenario.faults.clear();
  if (!args.faults.empty() && args.faults != "none") scenario.faults = split(args.faults);
  TRY(check_names("--faults", scenario.faults, target.faults, target.name));
  if (!args.broken.empty()) TRY(check_names("--broken", {args.broken}, target.broken, target.name));
  return scenario;
}

/// What one target gave.
struct Ran {
  sim::Target target;
  uint64_t runs = 0, events = 0;
  std::optional<sim::Failure> failure = {};
  std::string log = {};  // of a single seed
};

/// The very run of one seed.
Result<Ran> run_one(const sim::Target& target, sim::Scenario scenario, uint64_t seed) {
  scenario.seed = seed;
  sim::Outcome outcome = TRY(sim::run_apart(target, scenario));
  Ran ran{.target = target, .runs = 1, .events = outcome.events, .log = outcome.log};
  if (!outcome.failure.empty()) ran.failure = {std::move(scenario), std::move(outcome)};
  return ran;
}

Result<Ran> run_many(const RunArgs& args, const sim::Target& target, const sim::Scenario& scenario,
                     const Seeds& seeds) {
  const bool shows = ::isatty(STDERR_FILENO) != 0;
  const RealClock clock;
  const int64_t start_ns = clock.now_ns();
  const auto progress = [&](uint64_t runs, uint64_t events) {
    if (!shows) return;
    const double seconds = static_cast<double>(clock.now_ns() - start_ns) / kSecond;
    fmt::print(stderr, "\r\33[K{}: {} of {} runs, {:.1f} M events, {:.0f} runs/s", target.name,
               runs, seeds.last - seeds.first + 1, static_cast<double>(events) / 1e6,
               static_cast<double>(runs) / std::max(seconds, 0.001));
    std::fflush(stderr);
  };
  const sim::Found found =
      TRY(sim::search(target, {.scenario = scenario,
                               .first_seed = seeds.first,
                               .last_seed = seeds.last,
                               .processes = args.jobs.value_or(available_cores()),
                               .progress = progress}));
  Ran ran{.target = target, .runs = found.runs, .events = found.events};
  if (found.failed) {
    if (shows)
      fmt::print(stderr, "\r\33[K{}: seed {} fails", target.name, found.first.scenario.seed);
    ran.failure = args.no_minimize ? found.first : TRY(sim::minimize(target, found.first));
  }
  if (shows) fmt::print(stderr, "\r\33[K");
  return ran;
}

Json json_of(const Ran& ran) {
  Json out = {{"target", ran.target.name},
              {"runs", ran.runs},
              {"events", ran.events},
              {"passed", !ran.failure},
              {"failure", nullptr}};
  if (!ran.failure) return out;
  const auto& [scenario, outcome] = *ran.failure;
  out["failure"] = {{"seed", scenario.seed},
                    {"steps", scenario.steps},
                    {"faults", scenario.faults},
                    {"broken", scenario.broken},
                    {"what", outcome.failure},
                    {"log", outcome.log},
                    {"replay", sim::replay_command(ran.target, scenario)}};
  return out;
}

void print_text(const Ran& ran, Terminal& terminal) {
  if (!ran.failure) {
    terminal.print(ran.log);
    terminal.print(fmt::format("{}: {} passed, {}\n", ran.target.name,
                               counted(static_cast<long long>(ran.runs), "run"),
                               counted(static_cast<long long>(ran.events), "event")));
    return;
  }
  const auto& [scenario, outcome] = *ran.failure;
  terminal.print(outcome.log);
  terminal.print(fmt::format(
      "{}: {}: {}\n  {}, faults: {}\n  again: {}\n", ran.target.name,
      terminal.bold(fmt::format("seed {} fails", scenario.seed)), outcome.failure,
      counted(scenario.steps, "step"),
      scenario.faults.empty() ? "none" : fmt::format("{}", fmt::join(scenario.faults, ", ")),
      sim::replay_command(ran.target, scenario)));
}

Result<ExitCode> run_command(const RunArgs& args, Terminal& terminal) {
  const Seeds seeds = TRY(parse_seeds(args.seeds));
  std::vector<sim::Target> targets = sim_targets();
  if (args.target < targets.size()) targets = {targets[args.target]};
  // All of the command line first: a run may take hours.
  for (const sim::Target& target : targets) TRY(scenario_of(args, target));
  Json out = {{"passed", true}, {"targets", Json::array()}};
  bool passed = true;
  for (const sim::Target& target : targets) {
    const sim::Scenario scenario = TRY(scenario_of(args, target));
    const Ran ran = TRY(seeds.one ? run_one(target, scenario, seeds.first)
                                  : run_many(args, target, scenario, seeds));
    passed = passed && !ran.failure;
    if (args.json) {
      out["targets"].push_back(json_of(ran));
    } else {
      print_text(ran, terminal);
    }
  }
  out["passed"] = passed;
  if (args.json) print(out, terminal);
  return passed ? 0 : 1;
}

void add_run(Command& sim) {
  const auto args = std::make_shared<RunArgs>();
  Command command = sim.add("run", "Run targets from seeds; exit 1 where one fails");
  std::vector<sim::Target> targets = sim_targets();
  std::vector<std::string_view> choices;
  for (const sim::Target& target : targets) choices.push_back(target.name);
  choices.push_back(kAll);
  command.choice("target", args->target, choices, "What `hadal sim list` lists, or all").required();
  command.text("--seeds", args->seeds,
               "FIRST..LAST (0..99), or one number: that very run, with its log", "SEEDS");
  command.integer("--jobs,-j", args->jobs, "Processes; without it one per core", 1, 256);
  command.integer64("--steps", args->steps, "Of the workload; without it the target's own", 1);
  command.text("--faults", args->faults, "Kinds that happen, A,B, or none; without it all",
               "FAULTS");
  command.text("--broken", args->broken, "Plant this mistake, which the checks must find", "NAME");
  command.flag("--no-minimize", args->no_minimize, "Do not look for a shorter story of what fails");
  command.flag("--json", args->json, "Print JSON");
  command.run([args](Terminal& terminal) { return run_command(*args, terminal); });
}

}  // namespace

void add_sim(Command& root) {
  Command sim = root.add("sim", "Run servers in a simulated world of crashes and faults");
  const auto json = std::make_shared<bool>(false);
  Command list = sim.add("list", "What can be run, with its faults");
  list.flag("--json", *json, "Print JSON");
  list.run([json](Terminal& terminal) { return list_command(*json, terminal); });
  add_run(sim);
}

}  // namespace hadal::cli
