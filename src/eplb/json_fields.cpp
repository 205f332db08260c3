#include "eplb/json_fields.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/core.h>
#include <simdjson.h>

namespace hadal::eplb {
namespace {

namespace ondemand = simdjson::ondemand;
using simdjson::error_code;

constexpr size_t kTokenShownMax = 24;

/// The text of a scalar for an error message: one line, printable, short.
std::string shown_token(std::string_view token) {
  std::string text;
  for (const char c : token) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') break;
    if (text.size() == kTokenShownMax) return text + "...";
    text += c >= ' ' && c <= '~' ? c : '?';
  }
  return text;
}

/// "an object", "a string" or the token itself, for "weight[3] is ...".
std::string shown_value(ondemand::value value) {
  ondemand::json_type type{};
  std::string token = shown_token(value.raw_json_token());
  if (value.type().get(type) != simdjson::SUCCESS) return token;
  switch (type) {
    case ondemand::json_type::array: return "an array";
    case ondemand::json_type::object: return "an object";
    case ondemand::json_type::string: return "the string " + token;
    default: return token;
  }
}

Error bad_value(const std::string& path, const std::string& seen, std::string_view rule) {
  return {Code::kInvalidArgument, fmt::format("{} is {}; {}", path, seen, rule)};
}

/// Turns simdjson's codes into sentences with a byte position.
class Document {
 public:
  explicit Document(std::string bytes) : bytes_(std::move(bytes)) {
    bytes_.reserve(bytes_.size() + simdjson::SIMDJSON_PADDING);
  }

  Result<> open() {
    std::string_view text = bytes_;
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    const size_t skipped = bytes_.size() - text.size();
    const simdjson::padded_string_view padded(text.data(), text.size(),
                                              bytes_.capacity() - skipped);
    TRY(check(parser_.iterate(padded).get(document_)));
    open_ = true;
    return {};
  }

  /// An error for anything but SUCCESS.
  Result<> check(error_code code) {
    switch (code) {
      case simdjson::SUCCESS: return {};
      case simdjson::EMPTY: return fail(Code::kInvalidArgument, "the input is empty");
      case simdjson::UTF8_ERROR: return fail(Code::kInvalidArgument, "the input is not UTF-8 text");
      case simdjson::MEMALLOC: return fail(Code::kNoSpace, "the input does not fit in memory");
      case simdjson::CAPACITY:
        return fail(Code::kInvalidArgument,
                    "the input is larger than 4 GiB, the most that JSON may have");
      case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
      case simdjson::UNCLOSED_STRING:
        return fail(Code::kInvalidArgument,
                    "the input ends in the middle of the JSON document; truncated?");
      default: {
        const char* place = nullptr;
        if (!open_ || document_.current_location().get(place) != simdjson::SUCCESS) {
          return fail(Code::kInvalidArgument, "the input is not valid JSON");
        }
        return fail(Code::kInvalidArgument,
                    fmt::format("the input is not valid JSON at byte {}", place - bytes_.data()));
      }
    }
  }

  ondemand::document& root() { return document_; }

 private:
  std::string bytes_;
  ondemand::parser parser_;
  ondemand::document document_;
  bool open_ = false;  // before that document_ must not be asked where it is
};

/// Reads one grid. The depth is not known before the first number, and then binding for the rest.
class GridReader {
 public:
  GridReader(Document& document, const JsonField& field, std::string_view prefix, JsonValue& out)
      : document_(document), field_(field), prefix_(prefix), out_(out) {}

  Result<> read(ondemand::array array) {
    TRY(read_array(array, 0));
    for (size_t depth = 0; depth < rank_; ++depth) out_.shape.push_back(extent_[depth]);
    return {};
  }

 private:
  Result<> read_array(ondemand::array array, size_t depth) {
    int64_t count = 0;
    for (auto element : array) {
      ondemand::value value;
      TRY(document_.check(std::move(element).get(value)));
      index_[depth] = count++;
      if (depth == 0 && !field_.inner.empty()) {
        TRY(read_inner(value));
      } else {
        TRY(read_element(value, depth + 1));
      }
    }
    return close(depth, count);
  }

  /// `depth` counts the arrays around the value.
  Result<> read_element(ondemand::value value, size_t depth) {
    double number = 0;
    if (value.get_double().get(number) == simdjson::SUCCESS) [[likely]] {
      return push(number, depth);
    }
    ondemand::array array;
    const error_code code = value.get_array().get(array);
    if (code == simdjson::SUCCESS) {
      if (depth == kJsonGridDepthMax || depth == rank_) {
        return std::unexpected(bad_value(path(depth), "an array", field_.rule));
      }
      return read_array(array, depth);
    }
    if (code != simdjson::INCORRECT_TYPE) return document_.check(code);
    bool is_null = false;
    if (field_.null_is_nan && value.is_null().get(is_null) == simdjson::SUCCESS && is_null) {
      return push(std::numeric_limits<double>::quiet_NaN(), depth);
    }
    return std::unexpected(bad_value(path(depth), shown_value(value), field_.rule));
  }

  Result<> push(double number, size_t depth) {
    if (rank_ == 0) rank_ = depth;
    if (depth != rank_) {
      return std::unexpected(bad_value(
          path(depth), "a number", fmt::format("it must be an array like {}", first_path(depth))));
    }
    if (out_.grid.size() == kJsonGridValuesMax) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("{} has more than {} values, the most allowed", path(0), kJsonGridValuesMax));
    }
    out_.grid.push_back(number);
    return {};
  }

  /// An array of `count` elements, `depth` arrays deep, has ended.
  Result<> close(size_t depth, int64_t count) {
    if (count == 0) {
      return fail(Code::kInvalidArgument, fmt::format("{} is empty", path(depth)));
    }
    if (extent_[depth] == 0) extent_[depth] = count;
    if (count != extent_[depth]) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("{} has {} {}; it must have {} like {}", path(depth), count,
                      depth + 1 == rank_ ? "values" : "rows", extent_[depth], first_path(depth)));
    }
    return {};
  }

  /// An object at depth 1, replaced by the values of field_.inner.
  Result<> read_inner(ondemand::value value) {
    ondemand::object object;
    const error_code opened = value.get_object().get(object);
    if (opened == simdjson::INCORRECT_TYPE) {
      return std::unexpected(
          bad_value(path(1), shown_value(value),
                    fmt::format("it must be an object with {}", field_.inner.front())));
    }
    TRY(document_.check(opened));
    const bool several = field_.inner.size() > 1;
    if (several) extent_[1] = static_cast<int64_t>(field_.inner.size());
    for (size_t i = 0; i < field_.inner.size(); ++i) {
      const std::string_view key = field_.inner[i];
      ondemand::value member;
      const error_code code = object.find_field_unordered(key).get(member);
      if (code == simdjson::NO_SUCH_FIELD) {
        return fail(Code::kInvalidArgument, fmt::format("{} has no {}", path(1), key));
      }
      TRY(document_.check(code));
      inner_ = key;
      if (several) index_[1] = static_cast<int64_t>(i);
      TRY(read_element(member, several ? 2 : 1));
      inner_ = {};
    }
    return {};
  }

  /// "weight[3][7]": the first `depth` indices.
  std::string path(size_t depth) const {
    std::string text(prefix_);
    text += field_.name;
    for (size_t i = 0; i < depth; ++i) {
      if (i == 1 && field_.inner.size() > 1) continue;
      text += fmt::format("[{}]", index_[i]);
      if (i == 0 && !inner_.empty()) text += fmt::format(".{}", inner_);
    }
    if (depth == 0 && text.empty()) text = "the array";
    return text;
  }

  std::string first_path(size_t depth) const {
    GridReader first = *this;
    first.index_ = {};
    return first.path(depth);
  }

  Document& document_;
  const JsonField& field_;
  std::string_view prefix_;
  JsonValue& out_;
  size_t rank_ = 0;  // 0: no number seen yet
  std::array<int64_t, kJsonGridDepthMax> extent_{};
  std::array<int64_t, kJsonGridDepthMax> index_{};
  std::string_view inner_;
};

class FieldReader {
 public:
  FieldReader(Document& document, std::span<const JsonField> fields)
      : document_(document), fields_(fields), values_(fields.size()) {}

  Result<std::vector<JsonValue>> read() {
    ondemand::document& root = document_.root();
    ondemand::json_type type{};
    TRY(document_.check(root.type().get(type)));
    if (type == ondemand::json_type::object) {
      ondemand::object object;
      TRY(document_.check(root.get_object().get(object)));
      TRY(read_object(object, ""));
    } else if (type == ondemand::json_type::array) {
      ondemand::array array;
      TRY(document_.check(root.get_array().get(array)));
      TRY(read_root_array(array));
    } else {
      return fail(Code::kInvalidArgument,
                  "the input holds a single value; it must be an object or an array");
    }
    if (root.current_location().error() == simdjson::SUCCESS) {
      return fail(Code::kInvalidArgument, "the input goes on after the end of the JSON document");
    }
    return std::move(values_);
  }

 private:
  Result<> read_root_array(ondemand::array array) {
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (!fields_[i].name.empty()) continue;
      values_[i].present = true;
      return GridReader(document_, fields_[i], "", values_[i]).read(array);
    }
    return fail(Code::kInvalidArgument, "the input is a JSON array; it must be an object");
  }

  Result<> read_object(ondemand::object object, std::string_view prefix) {
    for (auto result : object) {
      ondemand::field field;
      TRY(document_.check(std::move(result).get(field)));
      std::string_view key;
      TRY(document_.check(field.unescaped_key().get(key)));
      const size_t i = find(key, !prefix.empty());
      ondemand::value value = field.value();
      if (i < fields_.size()) {
        TRY(read_field(value, i, prefix));
        continue;
      }
      ondemand::object inside;
      if (prefix.empty() && any_nested() && value.get_object().get(inside) == simdjson::SUCCESS) {
        TRY(read_object(inside, std::string(key) + "."));
      }
    }
    return {};
  }

  bool any_nested() const {
    for (const JsonField& field : fields_) {
      if (field.nested) return true;
    }
    return false;
  }

  size_t find(std::string_view key, bool inside) const {
    for (size_t i = 0; i < fields_.size(); ++i) {
      const bool wanted = !inside || fields_[i].nested;
      if (wanted && !fields_[i].name.empty() && fields_[i].name == key) return i;
    }
    return fields_.size();
  }

  Result<> read_field(ondemand::value value, size_t i, std::string_view prefix) {
    const JsonField& field = fields_[i];
    JsonValue& out = values_[i];
    const std::string path = fmt::format("{}{}", prefix, field.name);
    if (out.present) return fail(Code::kInvalidArgument, fmt::format("{} occurs twice", path));
    out.present = true;
    std::string_view text;
    switch (field.kind) {
      case JsonField::Kind::kGrid: {
        ondemand::array array;
        const error_code code = value.get_array().get(array);
        if (code == simdjson::INCORRECT_TYPE) {
          return std::unexpected(bad_value(path, shown_value(value), "it must be an array"));
        }
        TRY(document_.check(code));
        return GridReader(document_, field, prefix, out).read(array);
      }
      case JsonField::Kind::kInteger:
        if (value.get_int64().get(out.integer) == simdjson::SUCCESS) return {};
        return std::unexpected(bad_value(path, shown_value(value), "it must be a whole number"));
      case JsonField::Kind::kFlag:
        if (value.get_bool().get(out.flag) == simdjson::SUCCESS) return {};
        return std::unexpected(bad_value(path, shown_value(value), "it must be true or false"));
      case JsonField::Kind::kText:
        if (value.get_string().get(text) != simdjson::SUCCESS) {
          return std::unexpected(bad_value(path, shown_value(value), "it must be a string"));
        }
        out.text = text;
        return {};
    }
    std::unreachable();
  }

  Document& document_;
  std::span<const JsonField> fields_;
  std::vector<JsonValue> values_;
};

}  // namespace

Result<std::vector<JsonValue>> read_json_fields(std::string bytes,
                                                std::span<const JsonField> fields) {
  Document document(std::move(bytes));
  TRY(document.open());
  return FieldReader(document, fields).read();
}

}  // namespace hadal::eplb
