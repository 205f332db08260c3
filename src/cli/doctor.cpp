#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/machine.h"
#include "cli/terminal.h"
#include "cli/version.h"

namespace hadal::cli {
namespace {

void print_json(const std::vector<Probe>& probes, Terminal& terminal) {
  nlohmann::ordered_json out;
  out["hadal"] = version();
  for (const Probe& probe : probes) {
    out["probes"][probe.name] = {{"ok", probe.ok}, {"found", probe.found}, {"costs", probe.costs}};
  }
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  terminal.print(out.dump(2, ' ', false, kReplace) + "\n");
}

void print_text(const std::vector<Probe>& probes, Terminal& terminal) {
  int absent = 0;
  for (const Probe& probe : probes) {
    const std::string state = probe.ok ? "ok     " : "missing";
    terminal.print(fmt::format("{}  {:<9} {}\n", probe.ok ? state : terminal.bold(state),
                               probe.name, probe.found));
    if (probe.ok) continue;
    ++absent;
    terminal.print(terminal.faint(fmt::format("{:19}{}", "", probe.costs)) + "\n");
  }
  terminal.print(absent == 0
                     ? "\nEverything is here.\n"
                     : fmt::format("\n{} of {} are missing; hadal runs without them, at the "
                                   "cost given.\n",
                                   absent, probes.size()));
}

}  // namespace

void add_doctor(Command& root) {
  const auto json = std::make_shared<bool>(false);
  Command command =
      root.add("doctor", "Say what this machine offers, and what each missing thing costs");
  command.flag("--json", *json, "Print JSON");
  command.run([json](Terminal& terminal) -> Result<ExitCode> {
    const std::vector<Probe> probes = probe_machine();
    *json ? print_json(probes, terminal) : print_text(probes, terminal);
    return 0;
  });
}

}  // namespace hadal::cli
