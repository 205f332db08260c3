#include "eplb/load_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include <fmt/core.h>

#include "base/files.h"
#include "eplb/json_fields.h"
#include "eplb/load_npy.h"

namespace hadal::eplb {
namespace {

constexpr std::string_view kLoadRule = "loads must be finite numbers >= 0";
constexpr std::string_view kSpace = " \t\r\v\f";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// A load is finite and not negative. Found by a second pass, so that readers stay simple and the
/// sentence can give the index.
Result<> check_loads(const LoadInput& input, std::string_view field) {
  const auto bad = std::find_if(input.load.begin(), input.load.end(),
                                [](double load) { return !(load >= 0) || std::isinf(load); });
  if (bad == input.load.end()) return {};
  const int64_t flat = bad - input.load.begin();
  const int64_t expert = flat % input.num_experts;
  const int64_t layer = flat / input.num_experts % input.num_layers;
  const int64_t window = flat / input.num_experts / input.num_layers;
  const std::string in_window = fmt::format("[{}][{}]", layer, expert);
  std::string where(field);
  if (input.format == "load_history") {
    where += fmt::format("[{}].logical_expert_load", window);
  } else if (input.num_windows > 1) {
    where += fmt::format("[{}]", window);
  }
  return fail(Code::kInvalidArgument,
              fmt::format("{}{} is {}; {}", where, in_window, *bad, kLoadRule));
}

Result<> set_shape(LoadInput& input, std::span<const int64_t> shape, std::string_view field) {
  if (shape.size() != 2 && shape.size() != 3) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} is {}-dimensional; it must be 2-dimensional (layers, experts) or 3 "
                            "(windows, layers, experts)",
                            field, shape.size()));
  }
  for (const int64_t extent : shape) {
    if (extent < 1 || extent > std::numeric_limits<int>::max()) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{} has a dimension of {}; it must be at least 1 and fit in 31 bits",
                              field, extent));
    }
  }
  const size_t layers = shape.size() - 2;
  input.num_windows = layers == 0 ? 1 : static_cast<int>(shape[0]);
  input.num_layers = static_cast<int>(shape[layers]);
  input.num_experts = static_cast<int>(shape[layers + 1]);
  return {};
}

Result<> set_number(std::optional<int>& out, const JsonField& field, const JsonValue& value) {
  if (!value.present) return {};
  if (value.integer < 1 || value.integer > std::numeric_limits<int>::max()) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} is {}; it must be at least 1 and fit in 31 bits", field.name,
                            value.integer));
  }
  out = static_cast<int>(value.integer);
  return {};
}

Result<LoadInput> parse_json(std::string bytes) {
  using Kind = JsonField::Kind;
  static constexpr std::array<std::string_view, 1> kHistoryKeys = {"logical_expert_load"};
  static constexpr std::array<JsonField, 8> kFields = {{
      {.name = "weight", .rule = kLoadRule},
      {.name = "load_history", .rule = kLoadRule, .inner = kHistoryKeys},
      {.name = "logical_count", .rule = kLoadRule, .nested = true},
      {.name = "", .rule = kLoadRule},
      {.name = "num_replicas", .kind = Kind::kInteger},
      {.name = "num_groups", .kind = Kind::kInteger},
      {.name = "num_nodes", .kind = Kind::kInteger},
      {.name = "num_gpus", .kind = Kind::kInteger},
  }};
  static constexpr std::array<std::string_view, 4> kFormats = {"vector", "load_history",
                                                               "logical_count", "array"};
  std::vector<JsonValue> values = TRY(read_json_fields(std::move(bytes), kFields));

  size_t found = kFormats.size();
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (!values[i].present) continue;
    if (found < kFormats.size()) {
      return fail(Code::kInvalidArgument,
                  fmt::format("the input has both {} and {}; it must have one of them",
                              kFields[found].name, kFields[i].name));
    }
    found = i;
  }
  if (found == kFormats.size()) {
    return fail(
        Code::kInvalidArgument,
        "the input has no loads; a JSON object must have weight, load_history or logical_count");
  }
  const std::string_view name = kFields[found].name.empty() ? "the array" : kFields[found].name;
  LoadInput input;
  input.format = kFormats[found];
  input.load = std::move(values[found].grid);
  if (input.format == "load_history" && values[found].shape.size() != 3) {
    return fail(Code::kInvalidArgument,
                fmt::format("load_history[0].logical_expert_load is {}-dimensional; it must be "
                            "2-dimensional (layers, experts)",
                            values[found].shape.size() - 1));
  }
  TRY(set_shape(input, values[found].shape, name));
  TRY(set_number(input.num_replicas, kFields[4], values[4]));
  TRY(set_number(input.num_groups, kFields[5], values[5]));
  TRY(set_number(input.num_nodes, kFields[6], values[6]));
  TRY(set_number(input.num_gpus, kFields[7], values[7]));
  TRY(check_loads(input, kFields[found].name));
  return input;
}

Result<LoadInput> parse_npy(std::string_view bytes) {
  NpyArray array = TRY(read_npy(bytes));
  LoadInput input;
  input.format = "npy";
  TRY(set_shape(input, array.shape, "the array"));
  input.load = std::move(array.values);
  TRY(check_loads(input, ""));
  return input;
}

/// The number that `field` is, with the rest of the field empty; false if it is none.
bool parse_number(std::string_view field, double& number) {
  if (field.starts_with('+')) field.remove_prefix(1);
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), number);
  // A number too large for a double is a number: an infinite one.
  if (error == std::errc::result_out_of_range) number = std::numeric_limits<double>::infinity();
  return (error == std::errc() || error == std::errc::result_out_of_range) &&
         end == field.data() + field.size();
}

/// Takes the first field off `rest`; after the last one rest.data() is null.
std::string_view next_field(std::string_view& rest) {
  const size_t end = rest.find(',');
  const std::string_view field = trimmed(rest.substr(0, end));
  rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
  return field;
}

bool has_number(std::string_view line) {
  while (line.data() != nullptr) {
    double number = 0;
    if (parse_number(next_field(line), number)) return true;
  }
  return false;
}

class CsvReader {
 public:
  Result<LoadInput> read(std::string_view text) {
    for (line_ = 1; !text.empty(); ++line_) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = trimmed(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.starts_with('#')) continue;
      if (line.empty()) {
        TRY(end_window());
      } else {
        TRY(read_line(line));
      }
    }
    TRY(end_window());
    if (input_.num_windows == 0)
      return fail(Code::kInvalidArgument, "the input has no rows of numbers");
    input_.format = "csv";
    return std::move(input_);
  }

 private:
  Result<> read_line(std::string_view line) {
    if (std::exchange(may_be_header_, false) && !has_number(line)) return {};
    int column = 0;
    while (line.data() != nullptr) {
      const std::string_view field = next_field(line);
      ++column;
      double load = 0;
      if (!parse_number(field, load)) return not_a_number(column, field);
      TRY(add(load, column, field));
    }
    if (input_.num_experts == 0) input_.num_experts = column;
    if (column != input_.num_experts) {
      return fail(Code::kInvalidArgument,
                  fmt::format("line {} has {} values; every row must have {} like the first", line_,
                              column, input_.num_experts));
    }
    ++rows_;
    return {};
  }

  Result<> add(double load, int column, std::string_view field) {
    if (!(load >= 0) || std::isinf(load)) {
      return fail(Code::kInvalidArgument, fmt::format("line {}, column {} is {}; {}", line_, column,
                                                      field.substr(0, 24), kLoadRule));
    }
    if (input_.load.size() == kJsonGridValuesMax) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("the input has more than {} values, the most allowed", kJsonGridValuesMax));
    }
    input_.load.push_back(load);
    return {};
  }

  Result<> not_a_number(int column, std::string_view field) const {
    std::string shown;
    for (const char c : field.substr(0, 24)) shown += c >= ' ' && c <= '~' ? c : '?';
    return fail(
        Code::kInvalidArgument,
        fmt::format("line {}, column {} is '{}'; it must be a number", line_, column, shown));
  }

  Result<> end_window() {
    if (rows_ == 0) return {};
    if (input_.num_layers == 0) input_.num_layers = rows_;
    if (rows_ != input_.num_layers) {
      return fail(Code::kInvalidArgument,
                  fmt::format("the window that ends before line {} has {} rows; every window must "
                              "have {} like the first",
                              line_, rows_, input_.num_layers));
    }
    ++input_.num_windows;
    rows_ = 0;
    return {};
  }

  LoadInput input_;
  int line_ = 0;
  int rows_ = 0;  // of the window being read
  bool may_be_header_ = true;
};

}  // namespace

Result<LoadInput> parse_loads(std::string bytes) {
  if (is_npy(bytes)) return parse_npy(bytes);
  std::string_view text = bytes;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) return fail(Code::kInvalidArgument, "the input is empty");
  if (text[first] == '{' || text[first] == '[') return parse_json(std::move(bytes));
  return CsvReader().read(text);
}

Result<LoadInput> read_loads(const std::string& path, size_t bytes_max) {
  std::string bytes = TRY(read_input(path, static_cast<int64_t>(bytes_max)));
  Result<LoadInput> parsed = parse_loads(std::move(bytes));
  if (!parsed) return std::unexpected(std::move(parsed).error().in(shown_path(path)));
  return parsed;
}

namespace {

/// A window number, negative ones from the end; `fallback` for no text.
Result<int> parse_window(std::string_view text, int fallback, int num_windows,
                         std::string_view range) {
  if (text.empty()) return fallback;
  int window = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), window);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(Code::kInvalidArgument,
                fmt::format("window range '{}' is not A:B with whole numbers", range));
  }
  return window < 0 ? window + num_windows : window;
}

}  // namespace

Result<WindowRange> parse_window_range(std::string_view text, int num_windows) {
  WindowRange range{0, num_windows};
  const size_t colon = text.find(':');
  if (text.empty()) return range;
  range.first = TRY(parse_window(text.substr(0, colon), 0, num_windows, text));
  range.last = colon == text.npos
                   ? std::min(range.first, num_windows) + 1
                   : TRY(parse_window(text.substr(colon + 1), num_windows, num_windows, text));
  if (range.first < 0 || range.first >= range.last || range.last > num_windows) {
    return fail(Code::kInvalidArgument,
                fmt::format("window range '{}' does not lie within the {} window{} of the input",
                            text, num_windows, num_windows == 1 ? "" : "s"));
  }
  return range;
}

Result<std::vector<double>> sum_windows(const LoadInput& input, WindowRange range) {
  const size_t size = static_cast<size_t>(input.num_layers) * input.num_experts;
  std::vector<double> sum(size);
  for (int window = range.first; window < range.last; ++window) {
    const double* load = input.load.data() + window * size;
    for (size_t i = 0; i < size; ++i) sum[i] += load[i];
  }
  const auto bad = std::find_if(sum.begin(), sum.end(), [](double x) { return std::isinf(x); });
  if (bad != sum.end()) {
    const int64_t flat = bad - sum.begin();
    return fail(Code::kInvalidArgument,
                fmt::format("the loads of layer {}, expert {} add up to more than a double holds",
                            flat / input.num_experts, flat % input.num_experts));
  }
  return sum;
}

}  // namespace hadal::eplb
