// hadal: one program for all systems. A command is `hadal <system> <verb>`.
#include <csignal>
#include <cstdio>
#include <exception>
#include <span>

#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/terminal.h"

namespace {

using namespace hadal;
using namespace hadal::cli;

int report(const Error& error) {
  fmt::print(stderr, "hadal: {}\n", error.message);
  return exit_code(error);
}

int run(std::span<const char* const> arguments) {
  // A reader that goes away is seen as EPIPE where it is written to, and a closed peer likewise.
  std::signal(SIGPIPE, SIG_IGN);
  CommandTree tree("hadal", "One stack for mixture-of-experts models, from disks to tensor cores.");
  Command root = tree.root();
  add_demo(root);
  add_gemm(root);
  add_trace(root);
  add_eplb(root);
  add_gpu(root);
  add_doctor(root);
  add_completion(root, tree);
  add_version(root);

  Terminal terminal;
  const Result<ExitCode> code = tree.run(arguments, terminal);
  const Result<> written = terminal.flush();
  if (!code) return report(code.error());
  if (!written) return report(written.error());
  return *code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::bad_alloc&) {
    return report({Code::kNoSpace, "out of memory"});
  } catch (const std::exception& error) {
    return report({Code::kInternal, error.what()});
  }
}
