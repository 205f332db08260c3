#include "base/config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <optional>
#include <sstream>

#include <fmt/core.h>
#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#include <toml++/toml.h>

#include "base/check.h"
#include "base/files.h"

namespace hadal {
namespace {

constexpr int64_t kFileBytesMax = 1 << 20;
constexpr size_t kShownBytesMax = 80;  // of a value or key in a message

std::string shortened(std::string text) {
  if (text.size() > kShownBytesMax) text.replace(kShownBytesMax, std::string::npos, "...");
  return text;
}

std::string shown(const toml::node& node) {
  if (node.is_table()) return "a section";
  std::ostringstream out;
  node.visit([&](const auto& value) { out << value; });
  return shortened(std::move(out).str());
}

// ---- What a field may be set to.

std::string range_text(std::string_view one, double min, double max) {
  if (std::isinf(min) && std::isinf(max)) return std::string(one);
  if (std::isinf(max)) return fmt::format("{} of at least {}", one, min);
  if (std::isinf(min)) return fmt::format("{} of at most {}", one, max);
  return fmt::format("{} from {} to {}", one, min, max);
}

std::string integer_range_text(std::string_view one, const ConfigRange& range) {
  const auto whole = [](double bound) {
    return std::isinf(bound) ? std::string() : fmt::format("{:.0f}", bound);
  };
  if (std::isinf(range.min) && std::isinf(range.max)) return std::string(one);
  if (std::isinf(range.max)) return fmt::format("{} of at least {}", one, whole(range.min));
  if (std::isinf(range.min)) return fmt::format("{} of at most {}", one, whole(range.max));
  return fmt::format("{} from {} to {}", one, whole(range.min), whole(range.max));
}

struct AllowedText {
  const ConfigRange& range;

  std::string operator()(const bool*) const { return "true or false"; }
  std::string operator()(const ConfigField::Integer& integer) const {
    return fmt::format("an integer from {} to {}", integer.min, integer.max);
  }
  std::string operator()(const double*) const {
    return range_text("a number", range.min, range.max);
  }
  std::string operator()(const std::string*) const { return "text"; }
  std::string operator()(const ConfigField::Choice& choice) const {
    return fmt::format("one of {}", fmt::join(choice.names, ", "));
  }
  std::string operator()(const std::vector<int64_t>*) const {
    return "a list, each " + integer_range_text("an integer", range);
  }
  std::string operator()(const std::vector<double>*) const {
    return "a list, each " + range_text("a number", range.min, range.max);
  }
  std::string operator()(const std::vector<std::string>*) const { return "a list of texts"; }
};

std::string allowed(const ConfigField& field) {
  return std::visit(AllowedText{field.range}, field.target);
}

// ---- Values from TOML. Each returns false for a value that is not allowed.

bool in_range(double value, const ConfigRange& range) {
  return value >= range.min && value <= range.max;  // false for NaN
}

bool read_element(const toml::node& node, const ConfigRange& range, int64_t& value) {
  const auto* integer = node.as_integer();
  if (integer == nullptr || !in_range(static_cast<double>(integer->get()), range)) return false;
  value = integer->get();
  return true;
}

bool read_element(const toml::node& node, const ConfigRange& range, double& value) {
  const std::optional<double> number = node.is_number() ? node.value<double>() : std::nullopt;
  if (!number || !in_range(*number, range)) return false;
  value = *number;
  return true;
}

bool read_element(const toml::node& node, const ConfigRange&, std::string& value) {
  const auto* text = node.as_string();
  if (text == nullptr) return false;
  value = text->get();
  return true;
}

struct Assign {
  const toml::node& node;
  const ConfigRange& range;

  bool operator()(bool* target) const {
    const auto* value = node.as_boolean();
    if (value == nullptr) return false;
    *target = value->get();
    return true;
  }
  bool operator()(const ConfigField::Integer& integer) const {
    const auto* value = node.as_integer();
    if (value == nullptr || value->get() < integer.min || value->get() > integer.max) return false;
    integer.set(integer.target, value->get());
    return true;
  }
  bool operator()(const ConfigField::Choice& choice) const {
    const auto* text = node.as_string();
    if (text == nullptr) return false;
    const auto name = std::ranges::find(choice.names, std::string_view(text->get()));
    if (name == choice.names.end()) return false;
    choice.set(choice.target, static_cast<size_t>(name - choice.names.begin()));
    return true;
  }
  template <typename T>
  bool operator()(T* target) const {
    return read_element(node, range, *target);
  }
  template <typename T>
  bool operator()(std::vector<T>* target) const {
    const toml::array* list = node.as_array();
    if (list == nullptr) return false;
    std::vector<T> values(list->size());
    for (size_t i = 0; i < values.size(); ++i) {
      if (!read_element(*list->get(i), range, values[i])) return false;
    }
    *target = std::move(values);
    return true;
  }
};

Result<> assign(const ConfigField& field, const toml::node& node, std::string_view where) {
  if (std::visit(Assign{node, field.range}, field.target)) return {};
  return fail(Code::kInvalidArgument, fmt::format("{}: {} is {}; it must be {}", where, field.key,
                                                  shown(node), allowed(field)));
}

// ---- Keys.

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

const ConfigField* find(std::span<const ConfigField> fields, std::string_view key) {
  const auto field = std::ranges::find(fields, key, &ConfigField::key);
  return field == fields.end() ? nullptr : &*field;
}

Error unknown_key(std::span<const ConfigField> fields, const std::string& key,
                  std::string_view where) {
  std::string hint;
  size_t nearest = std::max<size_t>(2, key.size() / 3) + 1;
  for (const ConfigField& field : fields) {
    if (key.size() > kShownBytesMax) break;
    const size_t distance = edit_distance(key, field.key);
    if (distance >= nearest) continue;
    nearest = distance;
    hint = fmt::format("; did you mean \"{}\"?", field.key);
  }
  if (hint.empty()) {
    constexpr size_t kListed = 20;
    std::vector<std::string_view> keys;
    for (const ConfigField& field : fields) keys.push_back(field.key);
    if (keys.size() > kListed) keys.resize(kListed), keys.emplace_back("...");
    hint = fmt::format("; the keys are {}", fmt::join(keys, ", "));
  }
  return {Code::kInvalidArgument,
          fmt::format("{}: there is no key \"{}\"{}", where, shortened(key), hint)};
}

Result<> apply_table(std::span<const ConfigField> fields, const toml::table& table,
                     const std::string& prefix, std::string_view name) {
  for (const auto& [key, node] : table) {
    const std::string path = prefix + std::string(key.str());
    const std::string where = fmt::format("{}:{}", name, key.source().begin.line);
    const std::string section = path + ".";
    const bool is_section = std::ranges::any_of(
        fields, [&](const ConfigField& field) { return field.key.starts_with(section); });
    if (const ConfigField* field = find(fields, path)) {
      TRY(assign(*field, node, where));
    } else if (!is_section) {
      return std::unexpected(unknown_key(fields, path, where));
    } else if (const toml::table* inner = node.as_table()) {
      TRY(apply_table(fields, *inner, section, name));
    } else {
      return fail(Code::kInvalidArgument, fmt::format("{}: {} is {}; it must be a section [{}]",
                                                      where, path, shown(node), path));
    }
  }
  return {};
}

// ---- Values to TOML.

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      fmt::format_to(std::back_inserter(result), "\\u{:04x}", byte);
    } else {
      result += c;
    }
  }
  return result + '"';
}

struct ToToml {
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const ConfigField::Integer& integer) const {
    return fmt::format("{}", integer.get(integer.target));
  }
  std::string operator()(const double* value) const { return fmt::format("{}", *value); }
  std::string operator()(const std::string* value) const { return quoted(*value); }
  std::string operator()(const ConfigField::Choice& choice) const {
    const size_t index = choice.get(choice.target);
    CHECK(index < choice.names.size(), "an enum has a value without a name");
    return quoted(choice.names[index]);
  }
  template <typename T>
  std::string operator()(const std::vector<T>* values) const {
    std::string result;
    for (const T& value : *values) result += (result.empty() ? "" : ", ") + (*this)(&value);
    return "[" + result + "]";
  }
  std::string operator()(const int64_t* value) const { return fmt::format("{}", *value); }
};

/// The TOML for the value of an option, where text has no quotes and lists no brackets.
std::string option_to_toml(const ConfigField& field, std::string_view value) {
  const auto is = [&]<typename T>(T*) { return std::holds_alternative<T>(field.target); };
  if (is(static_cast<std::string**>(nullptr)) || is(static_cast<ConfigField::Choice*>(nullptr))) {
    return quoted(value);
  }
  const bool text_list = is(static_cast<std::vector<std::string>**>(nullptr));
  const bool list = text_list || is(static_cast<std::vector<int64_t>**>(nullptr)) ||
                    is(static_cast<std::vector<double>**>(nullptr));
  if (!list || value.starts_with('[')) return std::string(value);
  std::string result = "[";
  while (!value.empty()) {
    const size_t comma = std::min(value.find(','), value.size());
    const std::string_view element = value.substr(0, comma);
    result += (text_list ? quoted(element) : std::string(element)) + ",";
    value.remove_prefix(std::min(comma + 1, value.size()));
  }
  return result + "]";
}

}  // namespace

Result<> apply_toml(std::span<const ConfigField> fields, std::string_view text,
                    std::string_view name) {
  const toml::parse_result document = toml::parse(text);
  if (!document) {
    const toml::parse_error& error = document.error();
    return fail(Code::kInvalidArgument, fmt::format("{}:{}: {}", name, error.source().begin.line,
                                                    shortened(std::string(error.description()))));
  }
  return apply_table(fields, document.table(), "", name);
}

Result<> apply_option(std::span<const ConfigField> fields, std::string_view option) {
  const size_t equals = option.find('=');
  std::string key(option.substr(0, equals));
  if (!key.starts_with("--") || key.size() == 2) {
    return fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is not an option; it must be --key=value", shortened(key)));
  }
  const std::string where = shortened(key);
  key.erase(0, 2);
  std::ranges::replace(key, '-', '_');
  const ConfigField* field = find(fields, key);
  if (field == nullptr) return std::unexpected(unknown_key(fields, key, where));
  const bool is_bool = std::holds_alternative<bool*>(field->target);
  if (equals == std::string_view::npos && !is_bool) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} has no value; it must be {}", where, allowed(*field)));
  }
  const std::string_view value =
      equals == std::string_view::npos ? std::string_view("true") : option.substr(equals + 1);
  const toml::parse_result document = toml::parse("v = " + option_to_toml(*field, value));
  if (document && document.table().size() == 1 && document.table().contains("v")) {
    return assign(*field, *document.table().get("v"), where);
  }
  return fail(Code::kInvalidArgument,
              fmt::format("{}: {} is \"{}\"; it must be {}", where, field->key,
                          shortened(std::string(value)), allowed(*field)));
}

Result<> apply_file(std::span<const ConfigField> fields, const std::string& path) {
  const std::string text = TRY(read_file(path, kFileBytesMax));
  return apply_toml(fields, text, path);
}

std::string describe(std::span<const ConfigField> fields) {
  const auto section_of = [](const ConfigField& field) {
    const size_t dot = field.key.rfind('.');
    return dot == std::string::npos ? std::string() : field.key.substr(0, dot);
  };
  // TOML wants the keys without a section first, and each section once.
  std::vector<std::string> sections{""};
  for (const ConfigField& field : fields) {
    if (std::ranges::find(sections, section_of(field)) == sections.end()) {
      sections.push_back(section_of(field));
    }
  }
  std::string result;
  const auto out = std::back_inserter(result);
  for (const std::string& section : sections) {
    if (!section.empty()) fmt::format_to(out, "{}[{}]\n", result.empty() ? "" : "\n", section);
    for (const ConfigField& field : fields) {
      if (section_of(field) != section) continue;
      const std::string_view key =
          std::string_view(field.key).substr(section.empty() ? 0 : section.size() + 1);
      fmt::format_to(out, "# {}: {}\n{} = {}\n", field.help, allowed(field), key,
                     std::visit(ToToml{}, field.target));
    }
  }
  return result;
}

}  // namespace hadal
