// hadal trace generate: synthetic traces with known answers.
#include <memory>

#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "trace/generate.h"

namespace hadal::cli {
namespace {

namespace gen = trace::gen;

struct GenerateArgs {
  std::string output;
  size_t schedule = static_cast<size_t>(gen::Schedule::kDualPipe);
  size_t format = static_cast<size_t>(gen::Format::kG3);
  gen::Scenario scenario;
  std::string bytes, clock_offset;
  double clock_drift_ppm = 0;
  std::vector<std::string> faults;
  int64_t seed = 1;
  bool gzip = false, json = false;
};

Result<gen::Scenario> scenario_of(const GenerateArgs& args) {
  gen::Scenario scenario = args.scenario;
  scenario.schedule = static_cast<gen::Schedule>(args.schedule);
  scenario.format = static_cast<gen::Format>(args.format);
  scenario.seed = static_cast<uint64_t>(args.seed);
  if (!args.bytes.empty()) scenario.bytes = TRY(in("--bytes", gen::parse_bytes(args.bytes)));
  for (const std::string& text : args.faults) {
    scenario.faults.push_back(TRY(in("--fault", gen::parse_fault(text))));
  }
  int64_t offset_ns = 0;
  if (!args.clock_offset.empty()) {
    offset_ns = TRY(in("--clock-offset", gen::parse_time(args.clock_offset)));
  }
  gen::spread_clocks(scenario, offset_ns, args.clock_drift_ppm);
  return scenario;
}

std::string ms(int64_t ns) {
  return fmt::format("{:.3f}", static_cast<double>(ns) / 1e6);
}

void print_text(const gen::Scenario& scenario, const gen::GeneratedFiles& files,
                Terminal& terminal) {
  constexpr size_t kShownRanks = 16;
  const gen::Answers& answers = files.answers;
  terminal.print(fmt::format("{}, {}, {}, {}\n\n",
                             gen::kScheduleNames[static_cast<size_t>(scenario.schedule)],
                             counted(scenario.ranks, "rank"), counted(answers.steps, "step"),
                             counted(answers.num_collectives, "collective")));
  Table table;
  table.add({"file", "MB", "kernels", "span ms", "busy ms", "compute ms", "comm ms", "exposed ms",
             "waited ms", "clock ms"});
  for (size_t r = 0; r < std::min(kShownRanks, files.traces.size()); ++r) {
    const gen::RankAnswers& rank = answers.ranks[r];
    const gen::Times& t = rank.times;
    table.add({files.traces[r], fmt::format("{:.1f}", static_cast<double>(rank.bytes) / 1e6),
               fmt::format("{}", rank.events.kernel), ms(t.span_ns), ms(t.busy_ns),
               ms(t.compute_ns), ms(t.communication_ns), ms(t.exposed_communication_ns),
               ms(rank.collective_wait_ns), ms(rank.clock_offset_ns)});
  }
  terminal.print(table.text());
  if (files.traces.size() > kShownRanks) {
    terminal.print(fmt::format("and {} more\n", files.traces.size() - kShownRanks));
  }
  for (const gen::Injected& fault : answers.injected) {
    terminal.print(fmt::format("fault {} of rank {}: struck {}", gen::info(fault.fault.kind).name,
                               fault.fault.rank, counted(fault.count, "time")));
    if (fault.extra_ns > 0) terminal.print(fmt::format(", cost {} ms", ms(fault.extra_ns)));
    terminal.print("\n");
  }
  terminal.print(fmt::format("answers  {}\n", files.answers_path));
}

Result<ExitCode> generate_command(const GenerateArgs& args, Terminal& terminal) {
  const gen::Scenario scenario = TRY(scenario_of(args));
  const gen::GeneratedFiles files = TRY(gen::generate_files(scenario, args.output, args.gzip));
  if (args.json) {
    terminal.print(gen::to_json(scenario, files.answers));
  } else {
    print_text(scenario, files, terminal);
  }
  return 0;
}

}  // namespace

void add_trace_generate(Command& trace) {
  const auto args = std::make_shared<GenerateArgs>();
  gen::Scenario& scenario = args->scenario;
  Command command = trace.add("generate", "Write synthetic traces with known answers");
  command.file(
      "--output,-o", args->output,
      "Directory for rank0.json, ... and answers.json; NAME.json or NAME.json.gz: one file");
  command.required();
  command.choice("--schedule", args->schedule, gen::kScheduleNames, "What the job does");
  command.integer("--ranks", scenario.ranks, "GPUs, one file each", 1, 512);
  command.integer("--layers", scenario.layers, "Layers of the model", 1, 1000);
  command.integer("--micro-batches", scenario.micro_batches, "Passes in one step", 1, 1000);
  command.integer("--steps", scenario.steps, "Steps; --bytes goes before", 1, 1'000'000);
  command.text("--bytes", args->bytes, "As many steps as make each file this long, like 1G",
               "SIZE");
  command.choice("--format", args->format, gen::kFormatNames, "Generation of the format");
  command.flag("--shapes", scenario.shapes, "Write the shapes of operators");
  command.flag("--stacks", scenario.stacks, "Write Python frames around operators");
  command.flag("--whole-us", scenario.whole_microseconds, "No nanoseconds in G3 and G4");
  command.flag("--gzip", args->gzip, "Compress the files of a directory");
  command.integer64("--seed", args->seed, "Of everything random");
  command.flag("--json", args->json, "Print the answers as JSON");
  command.group("Faults");
  command.texts("--fault", args->faults,
                "What goes wrong, like straggler:3:20% or truncated; may be repeated",
                "NAME[:RANK|all[:AMOUNT]]");
  command.text("--clock-offset", args->clock_offset,
               "Set the clocks of ranks 1 and up wrong by up to this, like 5ms", "TIME");
  command.number("--clock-drift-ppm", args->clock_drift_ppm, "Let them drift by up to this");
  command.run([args](Terminal& terminal) { return generate_command(*args, terminal); });
}

}  // namespace hadal::cli
