// The command tree: what commands there are, what they take, and what runs.
//
// A thin layer over CLI11, which is included in args.cpp alone because it costs four seconds of
// compile time per file. It adds what the command line of hadal promises everywhere: every value is
// checked with a sentence that names the option, the value seen and what is allowed; parse errors
// are kInvalidArgument (exit code 2); and the tree can be described to the completion generator.
//
//   struct Args { std::string input; int num_gpus = 0; };
//   auto args = std::make_shared<Args>();
//   Command command = parent.add("plan", "Plan replicas and placement");
//   command.file("--input", args->input, "loads", "FILE or - for standard input").required();
//   command.run([args](Terminal& terminal) { return plan(*args, terminal); });
//
// Variables are written while the command line is parsed and must live until the command has run: a
// shared struct captured by the run function does that. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's own
class App;
class Option;
}  // namespace CLI

namespace hadal::cli {

class Terminal;

/// What a command function returns: 0 done, 1 the answer is no. An Error gives 2 or 3.
using ExitCode = int;

/// One option, for the completion generator and the tests.
struct OptionInfo {
  std::vector<std::string> names;  // "--input", "-i"; empty for a positional argument
  std::string help;
  bool takes_value = false;
  bool is_file = false;
  std::vector<std::string> choices = {};
};

/// One command with all below it.
struct CommandInfo {
  std::string name;
  std::string help;
  std::vector<OptionInfo> options = {};  // positional arguments as well
  std::vector<CommandInfo> commands = {};
};

class Command {
 public:
  /// A command below this one.
  Command add(const std::string& name, const std::string& help);

  /// Options that follow are listed under this heading.
  Command& group(const std::string& heading);
  /// The option added last must be given.
  Command& required();

  // Options. `names` is CLI11's: "--input,-i" or, for a positional argument, "input". An option
  // that is not given leaves its variable alone; one given twice is an error.
  Command& flag(const std::string& names, bool& value, const std::string& help);
  Command& text(const std::string& names, std::string& value, const std::string& help,
                const std::string& shown = "TEXT");
  Command& file(const std::string& names, std::string& value, const std::string& help);
  /// One or more files, as the last positional argument.
  Command& files(const std::string& name, std::vector<std::string>& value, const std::string& help);
  Command& integer(const std::string& names, int& value, const std::string& help, int least = 0,
                   int most = std::numeric_limits<int>::max());
  Command& integer(const std::string& names, std::optional<int>& value, const std::string& help,
                   int least = 0, int most = std::numeric_limits<int>::max());
  Command& integer64(const std::string& names, int64_t& value, const std::string& help,
                     int64_t least = 0);
  Command& number(const std::string& names, double& value, const std::string& help,
                  double least = 0);
  /// Comma-separated lists: "0,3,5".
  Command& integers(const std::string& names, std::vector<int>& value, const std::string& help,
                    int least = 0);
  Command& numbers(const std::string& names, std::vector<double>& value, const std::string& help,
                   double least = 0);
  /// May be repeated; every value is kept as it is.
  Command& texts(const std::string& names, std::vector<std::string>& value, const std::string& help,
                 const std::string& shown);
  /// One of `choices`; `value` becomes its index.
  Command& choice(const std::string& names, size_t& value,
                  std::span<const std::string_view> choices, const std::string& help);

  /// What the command does. A command without run() only holds others.
  Command& run(std::function<Result<ExitCode>(Terminal&)> body);

 private:
  friend class CommandTree;
  struct Tree;
  Command(Tree& tree, CLI::App& app) : tree_(&tree), app_(&app) {}

  Command& remember(CLI::Option* option);
  /// An option whose value goes through `store`, which returns the rule that the value breaks.
  Command& checked(const std::string& names, const std::string& shown, const std::string& help,
                   std::function<std::string(const std::string&)> store);

  Tree* tree_;
  CLI::App* app_;
  CLI::Option* last_ = nullptr;
  std::string heading_ = "Options";
};

/// The root, which owns everything.
class CommandTree {
 public:
  CommandTree(const std::string& program, const std::string& help);
  ~CommandTree();
  CommandTree(const CommandTree&) = delete;
  CommandTree& operator=(const CommandTree&) = delete;

  Command root();

  /// Parses the arguments (without the program's name) and runs the command they name. --help
  /// prints and gives 0. Errors of parsing are kInvalidArgument and end with a hint at --help. One
  /// call.
  Result<ExitCode> run(std::span<const char* const> arguments, Terminal& terminal);

  CommandInfo describe() const;

 private:
  std::unique_ptr<Command::Tree> tree_;
};

/// The candidate that `text` was probably meant to be (an edit distance of at most 2, and less than
/// half the length), or "".
std::string nearest(std::string_view text, std::span<const std::string> candidates);

}  // namespace hadal::cli
