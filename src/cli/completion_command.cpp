#include <array>
#include <memory>

#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/terminal.h"

namespace hadal::cli {

void add_completion(Command& root, const CommandTree& tree) {
  static constexpr std::array<std::string_view, 2> kShells = {"bash", "zsh"};
  const auto shell = std::make_shared<size_t>(0);
  Command command =
      root.add("completion", "Print a completion script: source <(hadal completion bash)");
  command.choice("shell", *shell, kShells, "bash or zsh").required();
  command.run([shell, &tree](Terminal& terminal) -> Result<ExitCode> {
    const CommandInfo info = tree.describe();
    terminal.print(*shell == 0 ? bash_completion(info) : zsh_completion(info));
    return 0;
  });
}

}  // namespace hadal::cli
