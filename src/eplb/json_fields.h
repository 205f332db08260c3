// Reads the few named values that a tool wants out of a JSON document of any size.
//
// Load dumps reach hundreds of megabytes and are nearly all numbers, so the document is streamed
// (simdjson's on-demand interface, which stays inside json_fields.cpp) straight into flat arrays;
// nothing is built for what nobody asked for. Every error is one sentence that names the field and
// the index: "weight[3] has 255 values; it must have 256 like weight[0]".
//
// Invariant of a grid: values.size() is the product of shape, and every extent is at least 1.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::eplb {

/// What to look for under one key of the top-level object.
struct JsonField {
  enum class Kind {
    kGrid,     // arrays nested 1 to 4 deep, rectangular, of numbers
    kInteger,  // a whole number that fits in 64 bits
    kText,
    kFlag,  // true or false
  };

  std::string_view name;  // "" stands for the document itself, where that is an array
  Kind kind = Kind::kGrid;
  std::string_view rule =
      {};  // ends the sentence about a value that is no number: "loads must be ..."

  /// kGrid: the elements of the outermost array are objects, each replaced by the value of this key
  /// if there is one, and by the array of the values of these keys if there are several.
  std::span<const std::string_view> inner = {};
  /// kGrid: null is read as NaN instead of being an error.
  bool null_is_nan = false;
  /// The key is also looked for one level down, in objects under keys that nobody asked for.
  bool nested = false;
};

/// What was found. Which member is set follows JsonField::kind.
struct JsonValue {
  bool present = false;
  int64_t integer = 0;
  bool flag = false;
  std::string text;
  std::vector<int64_t> shape;  // kGrid
  std::vector<double> grid;    // kGrid, row-major
};

inline constexpr size_t kJsonGridDepthMax = 4;
inline constexpr size_t kJsonGridValuesMax = size_t{1} << 28;  // 2 GiB of doubles

/// The fields, in the order asked for; those that the document lacks have present == false. All
/// other keys are skipped. A key that is asked for and occurs twice is an error. `bytes` is UTF-8
/// with or without a byte order mark; it is taken by value because simdjson wants readable bytes
/// behind the end (a string that has 64 bytes of spare capacity is not copied).
Result<std::vector<JsonValue>> read_json_fields(std::string bytes,
                                                std::span<const JsonField> fields);

}  // namespace hadal::eplb
