#include "cli/program.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <span>

#include <fmt/core.h>

#include "cli/terminal.h"

namespace hadal::cli {
namespace {

int report(const Error& error) {
  fmt::print(stderr, "hadal: {}\n", error.message);
  return exit_code(error);
}

}  // namespace

int run_program(int argc, const char* const* argv,
                void (*add_commands)(Command& root, const CommandTree& tree)) {
  try {
    // A reader that goes away is seen as EPIPE where it is written to, and a closed peer likewise.
    std::signal(SIGPIPE, SIG_IGN);
    CommandTree tree("hadal",
                     "One stack for mixture-of-experts models, from disks to tensor cores.");
    Command root = tree.root();
    add_commands(root, tree);
    Terminal terminal;
    const Result<ExitCode> code =
        tree.run(std::span(argv + (argc > 0 ? 1 : 0), argv + argc), terminal);
    const Result<> written = terminal.flush();
    if (!code) return report(code.error());
    if (!written) return report(written.error());
    return *code;
  } catch (const std::bad_alloc&) {
    return report({Code::kNoSpace, "out of memory"});
  } catch (const std::exception& error) {
    return report({Code::kInternal, error.what()});
  }
}

}  // namespace hadal::cli
