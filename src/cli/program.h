// What the programs share: arguments in, an exit code out, errors as one line.
#pragma once

#include "cli/args.h"

namespace hadal::cli {

/// Runs the command that the arguments name among those that `add_commands` adds. Returns the exit
/// code of the process.
int run_program(int argc, const char* const* argv,
                void (*add_commands)(Command& root, const CommandTree& tree));

}  // namespace hadal::cli
