// Completion scripts for bash and zsh, generated from the command tree, so that they never lag
// behind it. The scripts are self-contained: they do not call hadal while one types.
#pragma once

#include <string>

#include "cli/args.h"

namespace hadal::cli {

/// A script for `source <(hadal completion bash)`: commands, options, enum values, files.
std::string bash_completion(const CommandInfo& root);

/// A script for `source <(hadal completion zsh)`, or a file _hadal in $fpath.
std::string zsh_completion(const CommandInfo& root);

}  // namespace hadal::cli
