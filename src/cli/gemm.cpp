// hadal gemm: what a product will do and cost, and whether this machine computes it right.
#include "gemm/gemm.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cpu/cpu.h"
#include "gemm/cases.h"
#include "gemm/check.h"
#include "gemm/mqa_cases.h"
#include "gpu/emulator/emulator.h"

namespace hadal::cli {
namespace {

constexpr int kSmsOfH200 = 132;

struct CheckArgs {
  std::string device = "cpu", isa, filter;
  int threads = 0, seed = 1, repeats = 1;
  bool packed = false, int8 = false, json = false;
};

/// Cases of a family, which is what a name has before its first slash.
struct Family {
  int cases = 0, failed = 0;
  int64_t compared = 0;
  double calc_diff = 0, max_error = 0;  // the worst
};

Result<gemm::Context> context_of(const std::string& isa, int threads) {
  gemm::CpuOptions options{.threads = threads};
  if (!isa.empty()) options.isa = TRY(in("--isa", cpu::parse_isa(isa)));
  return gemm::Context::cpu(options);
}

void print_families(const std::map<std::string, Family>& families,
                    const std::vector<std::string>& problems, Terminal& terminal) {
  Table table;
  table.add({"cases", "number", "failed", "elements", "calc_diff", "worst error"});
  for (const auto& [name, f] : families) {
    table.add({name, fmt::format("{}", f.cases), fmt::format("{}", f.failed),
               fmt::format("{}", f.compared), fmt::format("{:.2e}", f.calc_diff),
               fmt::format("{:.2e}", f.max_error)});
  }
  terminal.print(table.text());
  for (const std::string& problem : problems) terminal.print(problem + "\n");
  terminal.print(
      "calc_diff and worst error are the largest of a family, against sums in double\n"
      "precision; an error is relative to the sum of the terms' magnitudes\n");
}

/// The device of that name; null: the CPU.
Result<std::unique_ptr<gpu::Device>> device_of(const std::string& name,
                                               const gpu::EmulatorOptions& options) {
  if (name == "cpu") return nullptr;
  if (name == "emulator") return gpu::emulate(options);
  if (name == "gpu") return gpu::open_device(0);
  return fail(Code::kInvalidArgument,
              fmt::format("--device: {} is not one of cpu, emulator, gpu", name));
}

/// Runs a case where the arguments say; false if it is none for GPUs.
Result<bool> run_case(const gemm::Context& context, gpu::Device* device, const gemm::Case& c,
                      gemm::CaseData& data, bool packed) {
  if (device == nullptr) {
    TRY(gemm::run_case(context, c, data, packed));
    return true;
  }
  if (!gemm::is_for_gpus(data)) return false;
  TRY(gemm::run_case_on(*device, c, data));
  return true;
}

/// The same for the indexer's scores.
Result<bool> run_case(const gemm::Context& context, gpu::Device* device, const gemm::MqaCase& c,
                      gemm::MqaData& data, bool) {
  TRY(device == nullptr ? gemm::run_case(context, c, data) : gemm::run_case_on(*device, c, data));
  return true;
}

bool same_output(const gemm::CaseData& a, const gemm::CaseData& b) {
  return a.d == b.d && a.d_scale == b.d_scale;
}
bool same_output(const gemm::MqaData& a, const gemm::MqaData& b) {
  return a.logits == b.logits;
}

/// Runs a case again; a sentence if a bit of its answer has changed.
template <typename Case, typename Data>
Result<std::optional<std::string>> run_again(const gemm::Context& context, gpu::Device* device,
                                             const Case& c, const Data& first,
                                             const CheckArgs& args) {
  for (int i = 1; i < args.repeats; ++i) {
    Data again = TRY(gemm::make_data(c, 1));
    TRY(run_case(context, device, c, again, args.packed));
    if (!same_output(first, again)) {
      return fmt::format("run {} has other bits than the first", i + 1);
    }
  }
  return std::nullopt;
}

/// What check_command() adds up.
struct Tally {
  std::map<std::string, Family> families;
  std::vector<std::string> problems;
  int left_out = 0;
};

template <typename Case>
Result<> check_case(const CheckArgs& args, const gemm::Context& context, gpu::Device* device,
                    const Case& c, Tally& tally) {
  if (c.name.find(args.filter) == std::string::npos) return {};
  // One error of a term: of float32 sums, or of the sums of Hopper's FP8 tensor cores.
  const double accumulate_error = args.device == "gpu" ? 0x1p-11 : 0x1p-20;
  Family& family = tally.families[c.name.substr(0, c.name.find('/'))];
  auto data = TRY(in(c.name, gemm::make_data(c, 1)));
  if (!TRY(in(c.name, run_case(context, device, c, data, args.packed)))) {
    ++tally.left_out;
    return {};
  }
  gemm::Verdict verdict = gemm::judge(c, data, accumulate_error);
  const std::optional<std::string> changed =
      TRY(in(c.name, run_again(context, device, c, data, args)));
  if (verdict.ok && changed) verdict = {.ok = false, .problem = *changed};
  ++family.cases;
  family.compared += verdict.compared;
  family.calc_diff = std::max(family.calc_diff, verdict.calc_diff);
  family.max_error = std::max(family.max_error, verdict.max_error);
  if (verdict.ok) return {};
  ++family.failed;
  tally.problems.push_back(fmt::format("{}: {}", c.name, verdict.problem));
  return {};
}

Result<ExitCode> check_command(const CheckArgs& args, Terminal& terminal) {
  const std::unique_ptr<gpu::Device> device =
      TRY(device_of(args.device, {.seed = static_cast<uint64_t>(args.seed)}));
  if (args.int8 && device != nullptr) {
    return fail(Code::kUnsupported, "--int8: on a GPU there is no such mode");
  }
  const gemm::Context context = TRY(context_of(args.isa, args.threads));
  Tally tally;
  for (const gemm::Case& c : args.int8 ? gemm::int8_cases() : gemm::all_cases()) {
    TRY(check_case(args, context, device.get(), c, tally));
  }
  if (!args.int8) {
    for (const gemm::MqaCase& c : gemm::all_mqa_cases()) {
      TRY(check_case(args, context, device.get(), c, tally));
    }
  }
  const auto& [families, problems, left_out] = tally;
  if (families.empty()) {
    return fail(Code::kInvalidArgument,
                fmt::format("--filter: no case has {} in its name; hadal gemm list shows them",
                            args.filter));
  }
  if (args.json) {
    nlohmann::ordered_json out;
    for (const auto& [name, f] : families) {
      out["families"][name] = {{"cases", f.cases},
                               {"failed", f.failed},
                               {"elements", f.compared},
                               {"calc_diff", f.calc_diff},
                               {"max_error", f.max_error}};
    }
    out["left_out"] = left_out;
    out["problems"] = problems;
    terminal.print(out.dump() + "\n");
  } else {
    print_families(families, problems, terminal);
    if (left_out > 0) {
      terminal.print(fmt::format("{} left out: GPUs want strides of 16 bytes, and no flat groups\n",
                                 counted(left_out, "case")));
    }
  }
  return problems.empty() ? 0 : 1;
}

struct ExplainArgs {
  int m = 0, n = 0, k = 0, threads = 0;
  std::string device = "cpu", isa;
  bool packed = false, int8 = false, json = false;
};

Result<ExitCode> explain_command(const ExplainArgs& args, Terminal& terminal) {
  const std::unique_ptr<gpu::Device> device = TRY(device_of(args.device, {.num_sms = kSmsOfH200}));
  const gemm::Context context =
      device != nullptr ? gemm::Context::on(device.get()) : TRY(context_of(args.isa, args.threads));
  const gemm::Plan plan =
      TRY(context.plan({.m = args.m,
                        .n = args.n,
                        .k = args.k,
                        .b = {.scale = {.block = kPer128x128}, .packed = args.packed},
                        .int8 = args.int8}));
  terminal.print(args.json ? plan.explain().json() + "\n" : plan.explain().text());
  return 0;
}

Result<ExitCode> list_command(const std::string& filter, Terminal& terminal) {
  for (const gemm::Case& c : gemm::all_cases()) {
    if (c.name.find(filter) != std::string::npos) terminal.print(c.name + "\n");
  }
  for (const gemm::MqaCase& c : gemm::all_mqa_cases()) {
    if (c.name.find(filter) != std::string::npos) terminal.print(c.name + "\n");
  }
  return 0;
}

}  // namespace

void add_gemm(Command& root) {
  Command gemm = root.add("gemm", "FP8 and bf16 matrix products: check, bench, explain, list");
  const auto check = std::make_shared<CheckArgs>();
  Command command = gemm.add("check", "Compute the list of cases and compare with exact sums");
  command.text("--device", check->device, "Where: cpu, emulator (of a Hopper GPU) or gpu",
               "cpu|emulator|gpu");
  command.integer("--seed", check->seed, "Of the emulator's schedule");
  command.text("--isa", check->isa, "Instruction set (default: the best of this machine)",
               "scalar|avx2|avx512|avx512bf16");
  command.integer("--threads", check->threads, "Threads; 0: all cores");
  command.text("--filter", check->filter, "Only cases whose name has this in it");
  command.integer("--repeats", check->repeats, "Runs of each case, which must give the same bits",
                  1);
  command.flag("--packed", check->packed, "Pack B first");
  command.flag("--int8", check->int8, "In int8 mode");
  command.flag("--json", check->json, "Print JSON");
  command.run([check](Terminal& terminal) { return check_command(*check, terminal); });

  add_gemm_bench(gemm);

  const auto explain = std::make_shared<ExplainArgs>();
  command = gemm.add("explain", "What a product of this shape will do, and what it should cost");
  command.integer("-m", explain->m, "Rows of A").required();
  command.integer("-n", explain->n, "Rows of B").required();
  command.integer("-k", explain->k, "Depth").required();
  command.text("--device", explain->device, "Where: cpu, emulator (of an H200) or gpu",
               "cpu|emulator|gpu");
  command.text("--isa", explain->isa, "Instruction set (default: the best of this machine)",
               "scalar|avx2|avx512|avx512bf16");
  command.integer("--threads", explain->threads, "Threads; 0: all cores");
  command.flag("--packed", explain->packed, "B is packed");
  command.flag("--int8", explain->int8, "In int8 mode");
  command.flag("--json", explain->json, "Print JSON");
  command.run([explain](Terminal& terminal) { return explain_command(*explain, terminal); });

  const auto filter = std::make_shared<std::string>();
  command = gemm.add("list", "The cases that check computes");
  command.text("--filter", *filter, "Only cases whose name has this in it");
  command.run([filter](Terminal& terminal) { return list_command(*filter, terminal); });
}

}  // namespace hadal::cli
