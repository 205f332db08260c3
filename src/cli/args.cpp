#include "cli/args.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "cli/terminal.h"

namespace hadal::cli {

namespace {

/// What completion asks of an option and CLI11 does not keep.
struct Extra {
  bool is_file = false;
  std::vector<std::string> choices;
};
using Extras = std::map<const CLI::Option*, Extra>;

}  // namespace

struct Command::Tree {
  CLI::App app;
  std::map<const CLI::App*, std::function<Result<ExitCode>(Terminal&)>> bodies;
  Extras extras;
};

namespace {

constexpr size_t kShownValueMax = 40;

/// A value as a message shows it: short and printable.
std::string shown(std::string_view value) {
  std::string text;
  for (const char c : value.substr(0, kShownValueMax)) {
    text += static_cast<unsigned char>(c) < ' ' || c == 127 ? '?' : c;
  }
  return value.size() > kShownValueMax ? text + "..." : text;
}

template <typename T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// "" if `text` is a whole number within the bounds, which is stored; else the rule.
template <typename T>
std::string store_integer(std::string_view text, T& value, T least, T most) {
  T parsed{};
  if (parse_whole(text, parsed) && parsed >= least && parsed <= most) {
    value = parsed;
    return "";
  }
  if (most == std::numeric_limits<T>::max()) {
    return fmt::format("it must be a whole number of at least {}", least);
  }
  return fmt::format("it must be a whole number from {} to {}", least, most);
}

std::string store_number(std::string_view text, double& value, double least) {
  double parsed = 0;
  if (parse_whole(text, parsed) && std::isfinite(parsed) && parsed >= least) {
    value = parsed;
    return "";
  }
  return fmt::format("it must be a number of at least {}", least);
}

/// Calls `store` for every element of a comma-separated list.
template <typename T, typename Store>
std::string store_list(std::string_view text, std::vector<T>& values, Store store) {
  values.clear();
  while (true) {
    const size_t end = text.find(',');
    T value{};
    const std::string rule = store(text.substr(0, end), value);
    if (!rule.empty()) return fmt::format("in each place of the list, {}", rule);
    values.push_back(value);
    if (end == text.npos) return "";
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string> option_names(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back(fmt::format("--{}", name));
  for (const std::string& name : option.get_snames()) names.push_back(fmt::format("-{}", name));
  return names;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option*) { return true; });
}

/// The command that the arguments reached, and its name as one types it.
std::pair<const CLI::App*, std::string> reached(const CLI::App& root) {
  const CLI::App* app = &root;
  std::string path = root.get_name();
  while (true) {
    const std::vector<CLI::App*> parsed = app->get_subcommands();
    if (parsed.empty()) return {app, path};
    app = parsed.front();
    path += " " + app->get_name();
  }
}

/// The sentence for an argument that `app` has no use for.
std::string unexpected_argument(const CLI::App& app, const std::string& argument) {
  const bool is_option = argument.starts_with('-') && argument != "-";
  std::vector<std::string> candidates;
  if (is_option) {
    for (const CLI::Option* option : options_of(app)) {
      for (std::string& name : option_names(*option)) candidates.push_back(std::move(name));
    }
  } else {
    for (const CLI::App* command : commands_of(app)) candidates.push_back(command->get_name());
    if (candidates.empty()) return fmt::format("unexpected argument '{}'", shown(argument));
  }
  const std::string name = argument.substr(0, argument.find('='));
  const std::string meant = nearest(name, candidates);
  return fmt::format("unknown {} '{}'{}", is_option ? "option" : "command", shown(name),
                     meant.empty() ? "" : fmt::format(", did you mean {}?", meant));
}

/// CLI11's help of the command reached, under its full name and without runs of blank lines.
std::string help_text(const CLI::App& root) {
  const auto [app, path] = reached(root);
  const size_t last = path.rfind(' ');
  const std::string text = app->help(last == path.npos ? "" : path.substr(0, last));
  std::string out;
  for (const char c : text) {
    if (c != '\n' || !out.ends_with("\n\n")) out += c;
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

std::string missing_command(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands_of(app)) names.push_back(command->get_name());
  return fmt::format("a command is missing, one of {}", fmt::join(names, ", "));
}

}  // namespace

Command Command::add(const std::string& name, const std::string& help) {
  CLI::App* child = app_->add_subcommand(name, help);  // inherits the formatter
  child->group("Commands");
  child->set_help_flag("--help,-h", "Print this text");
  child->require_subcommand(0, 1);
  return {*tree_, *child};
}

Command& Command::group(const std::string& heading) {
  heading_ = heading;
  return *this;
}

Command& Command::required() {
  last_->required();
  return *this;
}

Command& Command::remember(CLI::Option* option) {
  last_ = option->group(heading_);
  return *this;
}

Command& Command::checked(const std::string& names, const std::string& shown_type,
                          const std::string& help,
                          std::function<std::string(const std::string&)> store) {
  CLI::Option* option = nullptr;
  const auto callback = [this_names = names, store = std::move(store)](const CLI::results_t& seen) {
    const std::string name = this_names.substr(0, this_names.find(','));
    if (seen.size() != 1) throw CLI::ValidationError(fmt::format("{} is given twice", name));
    const std::string rule = store(seen.front());
    if (rule.empty()) return true;
    throw CLI::ValidationError(fmt::format("{} is '{}'; {}", name, shown(seen.front()), rule));
  };
  option = app_->add_option(names, callback, help);
  option->type_name(shown_type)->type_size(1)->expected(1);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return remember(option);
}

Command& Command::flag(const std::string& names, bool& value, const std::string& help) {
  return remember(app_->add_flag(names, value, help));
}

Command& Command::text(const std::string& names, std::string& value, const std::string& help,
                       const std::string& shown_type) {
  return checked(names, shown_type, help, [&value](const std::string& text) {
    value = text;
    return text.empty() ? std::string("it must not be empty") : std::string();
  });
}

Command& Command::file(const std::string& names, std::string& value, const std::string& help) {
  text(names, value, help, "FILE");
  tree_->extras[last_].is_file = true;
  return *this;
}

Command& Command::integer(const std::string& names, int& value, const std::string& help, int least,
                          int most) {
  return checked(names, "N", help, [&value, least, most](const std::string& text) {
    return store_integer(text, value, least, most);
  });
}

Command& Command::integer(const std::string& names, std::optional<int>& value,
                          const std::string& help, int least, int most) {
  return checked(names, "N", help, [&value, least, most](const std::string& text) {
    return store_integer(text, value.emplace(), least, most);
  });
}

Command& Command::integer64(const std::string& names, int64_t& value, const std::string& help,
                            int64_t least) {
  return checked(names, "N", help, [&value, least](const std::string& text) {
    return store_integer(text, value, least, std::numeric_limits<int64_t>::max());
  });
}

Command& Command::number(const std::string& names, double& value, const std::string& help,
                         double least) {
  return checked(names, "X", help, [&value, least](const std::string& text) {
    return store_number(text, value, least);
  });
}

Command& Command::integers(const std::string& names, std::vector<int>& value,
                           const std::string& help, int least) {
  return checked(names, "N,N,...", help, [&value, least](const std::string& text) {
    return store_list(text, value, [least](std::string_view item, int& out) {
      return store_integer(item, out, least, std::numeric_limits<int>::max());
    });
  });
}

Command& Command::numbers(const std::string& names, std::vector<double>& value,
                          const std::string& help, double least) {
  return checked(names, "X,X,...", help, [&value, least](const std::string& text) {
    return store_list(text, value, [least](std::string_view item, double& out) {
      return store_number(item, out, least);
    });
  });
}

Command& Command::texts(const std::string& names, std::vector<std::string>& value,
                        const std::string& help, const std::string& shown_type) {
  CLI::Option* option = app_->add_option(names, value, help);
  option->type_name(shown_type)->type_size(1)->expected(1)->allow_extra_args(false);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return remember(option);
}

Command& Command::files(const std::string& name, std::vector<std::string>& value,
                        const std::string& help) {
  CLI::Option* option = app_->add_option(name, value, help);
  option->type_name("FILE")->type_size(1)->expected(1, -1);
  remember(option);
  tree_->extras[last_].is_file = true;
  return *this;
}

Command& Command::choice(const std::string& names, size_t& value,
                         std::span<const std::string_view> choices, const std::string& help) {
  const std::vector<std::string> allowed(choices.begin(), choices.end());
  checked(names, fmt::format("{}", fmt::join(allowed, "|")), help,
          [&value, allowed](const std::string& text) {
            const auto found = std::find(allowed.begin(), allowed.end(), text);
            if (found == allowed.end()) {
              return fmt::format("it must be one of {}", fmt::join(allowed, ", "));
            }
            value = static_cast<size_t>(found - allowed.begin());
            return std::string();
          });
  tree_->extras[last_].choices = allowed;
  return *this;
}

Command& Command::run(std::function<Result<ExitCode>(Terminal&)> body) {
  tree_->bodies[app_] = std::move(body);
  return *this;
}

CommandTree::CommandTree(const std::string& program, const std::string& help)
    : tree_(std::make_unique<Command::Tree>()) {
  CLI::App& app = tree_->app;
  app.name(program);
  app.description(help);
  app.get_formatter()->column_width(34);
  app.get_formatter()->label("REQUIRED", "(required)");
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.set_help_flag("--help,-h", "Print this text");
  app.require_subcommand(0, 1);
}

CommandTree::~CommandTree() = default;

Command CommandTree::root() {
  return {*tree_, tree_->app};
}

Result<ExitCode> CommandTree::run(std::span<const char* const> arguments, Terminal& terminal) {
  std::vector<std::string> words(arguments.rbegin(),
                                 arguments.rend());  // CLI11 wants them reversed
  std::string message;
  try {
    tree_->app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    terminal.print(help_text(tree_->app));
    return 0;
  } catch (const CLI::ExtrasError&) {
    const CLI::App* app = reached(tree_->app).first;
    message =
        unexpected_argument(*app, app->remaining(true).empty() ? tree_->app.remaining(true).front()
                                                               : app->remaining(true).front());
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();
    message = fmt::format("{} needs a value", text.substr(0, text.find(':')));
  } catch (const CLI::Error& error) {
    message = error.what();
  }
  const auto [app, path] = reached(tree_->app);
  if (message.empty()) {
    const auto body = tree_->bodies.find(app);
    if (body != tree_->bodies.end()) return body->second(terminal);
    message = missing_command(*app);
  }
  return fail(Code::kInvalidArgument, fmt::format("{}; see `{} --help`", message, path));
}

namespace {

CommandInfo describe_app(const CLI::App& app, const Extras& extras) {
  CommandInfo info{.name = app.get_name(), .help = app.get_description()};
  for (const CLI::Option* option : options_of(app)) {
    OptionInfo out{.names = option_names(*option),
                   .help = option->get_description(),
                   .takes_value = option->get_items_expected_max() > 0};
    if (const auto extra = extras.find(option); extra != extras.end()) {
      out.is_file = extra->second.is_file;
      out.choices = extra->second.choices;
    }
    info.options.push_back(std::move(out));
  }
  for (const CLI::App* command : commands_of(app)) {
    info.commands.push_back(describe_app(*command, extras));
  }
  return info;
}

}  // namespace

CommandInfo CommandTree::describe() const {
  return describe_app(tree_->app, tree_->extras);
}

std::string nearest(std::string_view text, std::span<const std::string> candidates) {
  constexpr size_t kDistanceMax = 2;
  std::string best;
  size_t best_distance = std::min(kDistanceMax, text.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    // Levenshtein distance, one row of the table at a time.
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (size_t i = 0; i < text.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i + 1);
      for (size_t j = 0; j < candidate.size(); ++j) {
        const size_t change = diagonal + (text[i] == candidate[j] ? 0 : 1);
        diagonal = std::exchange(row[j + 1], std::min({change, row[j] + 1, row[j + 1] + 1}));
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace hadal::cli
