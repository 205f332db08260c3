// Which rank a trace is of.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <optional>

#include <fmt/core.h>

#include "trace/ranks.h"

namespace hadal::trace {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// The number at `at`, if there is one that fits.
std::optional<int> number_at(std::string_view text, size_t at) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
  const bool found = error == std::errc() && end != text.data() + at && is_digit(text[at]);
  return found ? std::optional(value) : std::nullopt;
}

std::string file_name(std::string_view path) {
  std::string name(path.substr(std::min(path.rfind('/') + 1, path.size())));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

/// The first number after "rank" (with a separator or not), else after "_r".
std::optional<int> marked_number(std::string_view name) {
  for (const std::string_view mark : {"rank", "_r"}) {
    for (size_t at = name.find(mark); at != name.npos; at = name.find(mark, at + 1)) {
      size_t digit = at + mark.size();
      if (mark == "rank" && digit < name.size() && std::string_view("_-=. [").contains(name[digit]))
        ++digit;
      if (digit >= name.size()) continue;
      if (const auto value = number_at(name, digit)) return value;
    }
  }
  return std::nullopt;
}

/// The text with every number as '#', and the numbers.
struct Pattern {
  std::string skeleton;
  std::vector<int> numbers;
};
std::optional<Pattern> pattern_of(std::string_view name) {
  Pattern pattern;
  for (size_t i = 0; i < name.size(); ++i) {
    if (!is_digit(name[i])) {
      pattern.skeleton += name[i];
      continue;
    }
    const auto value = number_at(name, i);
    if (!value) return std::nullopt;
    pattern.skeleton += '#';
    pattern.numbers.push_back(*value);
    while (i + 1 < name.size() && is_digit(name[i + 1])) ++i;
  }
  return pattern;
}

/// The numbers that alone tell the names apart; empty if there are none such.
std::vector<int> differing_numbers(const std::vector<std::string>& names) {
  std::vector<Pattern> patterns;
  for (const std::string& name : names) {
    auto pattern = pattern_of(name);
    if (!pattern || (!patterns.empty() && pattern->skeleton != patterns[0].skeleton)) return {};
    patterns.push_back(std::move(*pattern));
  }
  std::vector<int> found;
  for (size_t k = 0; !patterns.empty() && k < patterns[0].numbers.size(); ++k) {
    const auto same = [&](const Pattern& p) { return p.numbers[k] == patterns[0].numbers[k]; };
    if (std::ranges::all_of(patterns, same)) continue;
    if (!found.empty()) return {};  // two numbers differ
    for (const Pattern& p : patterns) found.push_back(p.numbers[k]);
  }
  return found;
}

/// What the file names say; empty if they do not say it of all of them.
std::vector<int> named_ranks(const std::vector<std::string>& names) {
  std::vector<int> ranks;
  for (const std::string& name : names) {
    const auto rank = marked_number(name);
    if (!rank) return differing_numbers(names);
    ranks.push_back(*rank);
  }
  return ranks;
}

}  // namespace

Result<std::vector<int>> assign_ranks(std::span<const RankSource> sources) {
  std::vector<int> ranks(sources.size(), -1);
  std::vector<std::string> names;
  std::vector<size_t> unknown;
  std::map<int, size_t> taken;
  for (size_t i = 0; i < sources.size(); ++i) {
    ranks[i] = sources[i].rank;
    if (ranks[i] >= 0) continue;
    unknown.push_back(i);
    names.push_back(file_name(sources[i].path));
  }
  const std::vector<int> named = named_ranks(names);
  for (size_t k = 0; k < named.size(); ++k) ranks[unknown[k]] = named[k];
  for (size_t i = 0; i < sources.size(); ++i) {
    if (ranks[i] < 0) continue;
    const auto [first, fresh] = taken.try_emplace(ranks[i], i);
    if (fresh) continue;
    return fail(Code::kInvalidArgument,
                fmt::format("{} and {} are both traces of rank {}; there must be one of each rank",
                            sources[first->second].path, sources[i].path, ranks[i]));
  }
  int next = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (ranks[i] >= 0) continue;
    while (taken.contains(next)) ++next;
    ranks[i] = next++;
  }
  return ranks;
}

}  // namespace hadal::trace
