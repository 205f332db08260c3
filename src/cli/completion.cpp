#include "cli/completion.h"

#include <algorithm>
#include <string_view>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace hadal::cli {
namespace {

/// The text inside single quotes of a shell.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

/// Help for one line of a menu: the first sentence, without what zsh reads as its own syntax.
std::string menu_text(std::string_view help) {
  std::string out;
  for (const char c : help.substr(0, help.find('\n'))) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') {
      out += '\\';
    }
    out += c;
  }
  return out;
}

std::vector<std::string> command_names(const CommandInfo& command) {
  std::vector<std::string> names;
  names.reserve(command.commands.size());
  for (const CommandInfo& child : command.commands) names.push_back(child.name);
  return names;
}

/// One branch of bash's case over the command path, for `command` and all below it.
void bash_branches(const CommandInfo& command, const std::string& path, std::string& out) {
  std::vector<std::string> options;
  std::string values;
  bool positional_files = false;
  std::vector<std::string> words = command_names(command);
  for (const OptionInfo& option : command.options) {
    if (option.names.empty()) {
      positional_files |= option.is_file;
      words.insert(words.end(), option.choices.begin(), option.choices.end());
      continue;
    }
    options.insert(options.end(), option.names.begin(), option.names.end());
    if (!option.takes_value) continue;
    const std::string action = !option.choices.empty()
                                   ? fmt::format("words=\"{}\"", fmt::join(option.choices, " "))
                               : option.is_file ? std::string("files=1")
                                                : std::string("return");
    values += fmt::format("        {}) {} ;;\n", fmt::join(option.names, "|"), action);
  }
  out += fmt::format("    {})\n", quoted(path));
  if (!values.empty()) out += fmt::format("      case \"$previous\" in\n{}", values);
  const std::string indent = values.empty() ? "      " : "          ";
  if (!values.empty()) out += "        *)\n";
  out += fmt::format("{0}if [[ $current == -* ]]; then words=\"{1}\"; else words=\"{2}\"{3}; fi\n",
                     indent, fmt::join(options, " "), fmt::join(words, " "),
                     positional_files ? "; files=1" : "");
  if (!values.empty()) out += "          ;;\n      esac\n";
  out += "      ;;\n";
  for (const CommandInfo& child : command.commands) {
    bash_branches(child, path + " " + child.name, out);
  }
}

/// Options with a value, by command path: their values are not commands.
void bash_value_options(const CommandInfo& command, const std::string& path, std::string& out) {
  std::vector<std::string> names;
  for (const OptionInfo& option : command.options) {
    if (option.takes_value) names.insert(names.end(), option.names.begin(), option.names.end());
  }
  for (std::string& name : names) name = quoted(fmt::format("{} {}", path, name));
  if (!names.empty()) out += fmt::format("        {}) skip=1 ;;\n", fmt::join(names, "|"));
  std::vector<std::string> children = command_names(command);
  for (std::string& name : children) name = quoted(fmt::format("{} {}", path, name));
  if (!children.empty())
    out += fmt::format("        {}) path+=\" $word\" ;;\n", fmt::join(children, "|"));
  for (const CommandInfo& child : command.commands) {
    bash_value_options(child, path + " " + child.name, out);
  }
}

std::string function_name(const std::string& path) {
  std::string name = "_" + path;
  std::replace_if(name.begin(), name.end(), [](char c) { return c == ' ' || c == '-'; }, '_');
  return name;
}

std::string zsh_option(const OptionInfo& option) {
  std::string action;
  if (option.takes_value) {
    action = !option.choices.empty() ? fmt::format(":value:({})", fmt::join(option.choices, " "))
             : option.is_file        ? ":file:_files"
                                     : ":value: ";
  }
  const std::string text = fmt::format("[{}]{}", menu_text(option.help), action);
  if (option.names.size() == 1) return quoted(option.names.front() + text);
  return fmt::format("'({})'{{{}}}{}", fmt::join(option.names, " "), fmt::join(option.names, ","),
                     quoted(text));
}

/// One function per command; those that hold others dispatch to them.
void zsh_functions(const CommandInfo& command, const std::string& path, std::string& out) {
  std::string arguments;
  for (const OptionInfo& option : command.options) {
    if (!option.names.empty()) {
      arguments += " \\\n    " + zsh_option(option);
    } else if (option.is_file) {
      arguments += " \\\n    ':file:_files'";
    } else if (!option.choices.empty()) {
      arguments += " \\\n    " + quoted(fmt::format(":value:({})", fmt::join(option.choices, " ")));
    }
  }
  out += fmt::format("{}() {{\n", function_name(path));
  if (command.commands.empty()) {
    out += fmt::format("  _arguments -s{}\n}}\n", arguments);
    return;
  }
  out += fmt::format(
      "  local line state\n  _arguments -C{} \\\n    '1: :->command' \\\n"
      "    '*:: :->rest'\n  case $state in\n    command)\n      local -a commands\n"
      "      commands=(\n",
      arguments);
  for (const CommandInfo& child : command.commands) {
    out += fmt::format("        {}\n", quoted(child.name + ":" + menu_text(child.help)));
  }
  out += "      )\n      _describe command commands\n      ;;\n    rest)\n      case $line[1] in\n";
  for (const CommandInfo& child : command.commands) {
    out += fmt::format("        {}) {} ;;\n", child.name, function_name(path + " " + child.name));
  }
  out += "      esac\n      ;;\n  esac\n}\n";
  for (const CommandInfo& child : command.commands) {
    zsh_functions(child, path + " " + child.name, out);
  }
}

}  // namespace

std::string bash_completion(const CommandInfo& root) {
  std::string steps, branches;
  bash_value_options(root, root.name, steps);
  bash_branches(root, root.name, branches);
  return fmt::format(
      R"(# bash completion for {0}: source <({0} completion bash)
_{0}_completion() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local path="{0}" words="" files="" skip="" word
  COMPREPLY=()
  # bash splits --option=value into three words.
  if [[ $current == "=" ]]; then
    current=""
  elif [[ $previous == "=" ]]; then
    previous="${{COMP_WORDS[COMP_CWORD-2]}}"
  fi
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ -n $skip && $word != "=" ]]; then
      skip=""
    else
      case "$path $word" in
{1}      esac
    fi
  done
  case "$path" in
{2}  esac
  [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  if [[ -n $files ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -F _{0}_completion {0}
)",
      root.name, steps, branches);
}

std::string zsh_completion(const CommandInfo& root) {
  std::string functions;
  zsh_functions(root, root.name, functions);
  return fmt::format(
      "#compdef {0}\n# zsh completion for {0}: source <({0} completion zsh), or a file _{0} in "
      "$fpath\n{1}if [ \"$funcstack[1]\" = _{0} ]; then\n  _{0} \"$@\"\nelse\n  compdef _{0} {0}\n"
      "fi\n",
      root.name, functions);
}

}  // namespace hadal::cli
