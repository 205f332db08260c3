// Configuration: plain structs, filled from a TOML file and from --key=value options.
//
//   struct ServerConfig {
//     std::string listen = "127.0.0.1:9000";
//     int64_t cache_bytes = 1 << 30;
//     LogLevel log_level = LogLevel::kInfo;
//     DiskConfig disk;
//
//     void visit(auto& v) {
//       v("listen", listen, "address and port to serve on");
//       v("cache_bytes", cache_bytes, "memory for cached blocks", {.min = 1 << 20, .max = 1 <<
//       40}); v("log_level", log_level, kLogLevelNames, "how much to log"); v("disk", disk); // a
//       struct with a visit() of its own: [disk] in the file
//     }
//     Result<> validate() const;               // optional: rules that join several fields
//   };
//
//   ServerConfig config;                                       // the defaults
//   TRY(load_config(config, path, overrides));                 // file, then options such as
//   --disk.path=/d print(describe_config(config));                            // the effective
//   values, as TOML with help
//
// One visit() gives reading, overriding, range checks, help and printing; there is nothing to
// register. A field is a bool, an integer of any size, a double, a string, an enum with the names
// of its values, or a vector of int64_t, double or string. In an option text needs no quotes, a
// list is written a,b,c, and a dash in the key stands for an underscore. Text is UTF-8.
//
// Errors are kInvalidArgument and say where, what was seen and what is allowed:
//   server.toml:12: disk.queue_depth is 0; it must be 1 to 1024
//   server.toml:3: there is no key "lisen"; did you mean "listen"?
// An unknown key, a value of the wrong type or out of range, and a key given twice in a file are
// errors; of two options for one key the last counts. On an error the struct may have been filled
// in part.
//
// Functions are thread-safe as far as the structs given to them are.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

namespace hadal {

/// Inclusive bounds of a number, or of every element of a list of numbers.
struct ConfigRange {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

/// A field as its struct describes it. Integers and enums are reached through functions, because
/// there are many types of them.
struct ConfigField {
  struct Integer {
    void* target;
    int64_t min, max;  // of the type, narrowed by the range
    int64_t (*get)(const void*);
    void (*set)(void*, int64_t);
  };
  struct Choice {
    void* target;
    std::span<const std::string_view> names;  // the name of value i is names[i]
    size_t (*get)(const void*);
    void (*set)(void*, size_t);
  };
  using Target = std::variant<bool*, Integer, double*, std::string*, Choice, std::vector<int64_t>*,
                              std::vector<double>*, std::vector<std::string>*>;

  std::string key;  // with its sections: "disk.queue_depth"
  std::string help;
  ConfigRange range;
  Target target;
};

/// Collects the fields of a struct; the `v` of visit().
class ConfigVisitor {
 public:
  template <typename T>
    requires(!requires(T& t, ConfigVisitor& v) { t.visit(v); })
  void operator()(std::string_view key, T& value, std::string_view help, ConfigRange range = {}) {
    if constexpr (std::integral<T> && !std::same_as<T, bool>) {
      add(key, help, range, integer(value, range));
    } else {
      add(key, help, range, &value);
    }
  }

  /// An enum whose values are 0, 1, ... names.size() - 1. The names must outlive the visitor.
  template <typename T>
    requires std::is_enum_v<T>
  void operator()(std::string_view key, T& value, std::span<const std::string_view> names,
                  std::string_view help) {
    ConfigField::Choice choice{
        &value, names, [](const void* p) { return static_cast<size_t>(*static_cast<const T*>(p)); },
        [](void* p, size_t i) { *static_cast<T*>(p) = static_cast<T>(i); }};
    add(key, help, {}, choice);
  }

  /// A section.
  template <typename T>
    requires requires(T& t, ConfigVisitor& v) { t.visit(v); }
  void operator()(std::string_view key, T& section) {
    const size_t outer = prefix_.size();
    prefix_.append(key).append(".");
    section.visit(*this);
    prefix_.resize(outer);
  }

  std::vector<ConfigField> take() { return std::move(fields_); }

 private:
  template <typename T>
  static ConfigField::Integer integer(T& value, ConfigRange range) {
    using Limits = std::numeric_limits<T>;
    const int64_t type_max = std::in_range<int64_t>(Limits::max())
                                 ? static_cast<int64_t>(Limits::max())
                                 : std::numeric_limits<int64_t>::max();
    // NOLINTNEXTLINE(bugprone-signed-char-misuse): a number, not a character
    const auto type_min = static_cast<int64_t>(Limits::min());
    return {&value,
            range.min > static_cast<double>(type_min) ? static_cast<int64_t>(range.min) : type_min,
            range.max < static_cast<double>(type_max) ? static_cast<int64_t>(range.max) : type_max,
            [](const void* p) {
              const T value = *static_cast<const T*>(p);
              return std::in_range<int64_t>(value) ? static_cast<int64_t>(value)
                                                   : std::numeric_limits<int64_t>::max();
            },
            [](void* p, int64_t i) { *static_cast<T*>(p) = static_cast<T>(i); }};
  }

  void add(std::string_view key, std::string_view help, ConfigRange range,
           ConfigField::Target target) {
    fields_.push_back({prefix_ + std::string(key), std::string(help), range, target});
  }

  std::string prefix_;
  std::vector<ConfigField> fields_;
};

/// The fields of `config`, in the order of its visit(). Valid while `config` stays where it is.
template <typename T>
std::vector<ConfigField> config_fields(T& config) {
  ConfigVisitor visitor;
  config.visit(visitor);
  return visitor.take();
}

/// Sets fields from a TOML document; `name` is the file's, for messages.
Result<> apply_toml(std::span<const ConfigField> fields, std::string_view text,
                    std::string_view name);

/// Sets one field from "--key=value". "--key" alone sets a bool to true.
Result<> apply_option(std::span<const ConfigField> fields, std::string_view option);

/// Reads the file (bytes_max 1 MiB) and applies it; kNotFound and the like name it.
Result<> apply_file(std::span<const ConfigField> fields, const std::string& path);

/// The present values as a TOML document that apply_toml() accepts, each after a comment with its
/// help and what is allowed.
std::string describe(std::span<const ConfigField> fields);

/// The file at `path`, if that is not empty, then the options in order, then config.validate() if
/// there is one.
template <typename T>
Result<> load_config(T& config, const std::string& path,
                     std::span<const std::string> options = {}) {
  const std::vector<ConfigField> fields = config_fields(config);
  if (!path.empty()) TRY(apply_file(fields, path));
  for (const std::string& option : options) TRY(apply_option(fields, option));
  if constexpr (requires { config.validate(); }) TRY(config.validate());
  return {};
}

template <typename T>
std::string describe_config(T& config) {
  return describe(config_fields(config));
}

}  // namespace hadal
