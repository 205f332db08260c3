#include "eplb/load_npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/core.h>

#include "eplb/json_fields.h"

namespace hadal::eplb {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kDimensionsMax = 32;  // numpy's own limit

struct Header {
  char kind = 0;  // b i u f
  size_t item_bytes = 0;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

std::unexpected<Error> bad_header(std::string_view what) {
  return fail(Code::kInvalidArgument, fmt::format("the npy header {}", what));
}

/// A cursor over the header's dict literal: just the Python that numpy writes.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  Result<Header> parse() {
    Header header;
    bool descr = false, order = false, shape = false;
    if (!take('{')) return bad_header("is not a Python dict");
    while (!take('}')) {
      const std::string_view key = TRY(string());
      if (!take(':')) return bad_header("is not a Python dict");
      if (key != "descr" && key != "fortran_order" && key != "shape") {
        return bad_header("has an unknown key");
      }
      bool& seen = key == "descr" ? descr : key == "fortran_order" ? order : shape;
      if (seen) return bad_header(fmt::format("has {} twice", key));
      seen = true;
      if (key == "descr") {
        TRY(read_descr(header));
      } else if (key == "fortran_order") {
        TRY(read_order(header));
      } else {
        TRY(read_shape(header));
      }
      if (!take(',') && peek() != '}') return bad_header("is not a Python dict");
    }
    if (!descr || !order || !shape) return bad_header("lacks descr, fortran_order or shape");
    return header;
  }

 private:
  char peek() {
    const size_t first = text_.find_first_not_of(" \t\r\n");
    text_.remove_prefix(std::min(first, text_.size()));
    return text_.empty() ? '\0' : text_.front();
  }

  bool take(char c) {
    if (peek() != c || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
  }

  Result<std::string_view> string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"')
      return bad_header("has something else where a string is due");
    const size_t end = text_.find(quote, 1);
    if (end == text_.npos) return bad_header("has a string without an end");
    const std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }

  Result<> read_descr(Header& header) {
    constexpr std::string_view kAllowed = "it must be bool, an integer or a float of up to 8 bytes";
    if (peek() == '[') return bad_header(fmt::format("describes a record type; {}", kAllowed));
    const std::string_view descr = TRY(string());
    if (descr.size() == 3 && std::string_view("<>|=").contains(descr[0])) {
      header.big_endian = descr[0] == '>';
      header.kind = descr[1];
      header.item_bytes = static_cast<size_t>(descr[2] - '0');
      const std::string_view sizes = header.kind == 'b'                         ? "1"
                                     : header.kind == 'i' || header.kind == 'u' ? "1248"
                                     : header.kind == 'f'                       ? "248"
                                                                                : "";
      if (sizes.contains(descr[2])) return {};
    }
    std::string shown;
    for (const char c : descr.substr(0, 16)) shown += c >= ' ' && c <= '~' ? c : '?';
    return bad_header(fmt::format("has dtype '{}'; {}", shown, kAllowed));
  }

  Result<> read_order(Header& header) {
    peek();
    header.fortran_order = text_.starts_with("True");
    if (!header.fortran_order && !text_.starts_with("False")) {
      return bad_header("has a fortran_order that is neither True nor False");
    }
    text_.remove_prefix(header.fortran_order ? 4 : 5);
    return {};
  }

  Result<> read_shape(Header& header) {
    if (!take('(')) return bad_header("has a shape that is no tuple");
    while (!take(')')) {
      peek();
      int64_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), extent);
      if (error != std::errc() || extent < 0) {
        return bad_header("has a shape with something that is no whole number >= 0");
      }
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      if (header.shape.size() == kDimensionsMax) return bad_header("has more than 32 dimensions");
      header.shape.push_back(extent);
      if (!take(',') && peek() != ')') return bad_header("has a shape that is no tuple");
    }
    return {};
  }

  std::string_view text_;
};

template <typename T>
T load_item(const char* item, bool big_endian) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, item, sizeof(T));
  if (big_endian) std::reverse(bytes, bytes + sizeof(T));
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 mantissa bits.
double half_to_double(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  double value = 0;
  if (exponent == 31) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else {
    value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
  }
  return half >> 15 ? -value : value;
}

template <typename T>
void convert(std::string_view data, bool big_endian, std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(load_item<T>(data.data() + i * sizeof(T), big_endian));
  }
}

void convert_all(const Header& header, std::string_view data, std::vector<double>& values) {
  const bool big = header.big_endian;
  const auto by_size = [&]<typename T1, typename T2, typename T4, typename T8>() {
    switch (header.item_bytes) {
      case 1: return convert<T1>(data, big, values);
      case 2: return convert<T2>(data, big, values);
      case 4: return convert<T4>(data, big, values);
      default: return convert<T8>(data, big, values);
    }
  };
  if (header.kind == 'f') {
    if (header.item_bytes == 4) return convert<float>(data, big, values);
    if (header.item_bytes == 8) return convert<double>(data, big, values);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = half_to_double(load_item<uint16_t>(data.data() + i * 2, big));
    }
  } else if (header.kind == 'i') {
    by_size.operator()<int8_t, int16_t, int32_t, int64_t>();
  } else {
    by_size.operator()<uint8_t, uint16_t, uint32_t, uint64_t>();
    if (header.kind == 'b') {
      for (double& value : values) value = value != 0;
    }
  }
}

/// Row-major from column-major: the odometer counts the first index fastest.
std::vector<double> to_row_major(const std::vector<double>& values,
                                 const std::vector<int64_t>& shape) {
  std::vector<size_t> stride(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) stride[d - 1] = stride[d] * static_cast<size_t>(shape[d]);
  std::vector<double> result(values.size());
  std::vector<int64_t> index(shape.size());
  size_t place = 0;
  for (const double value : values) {
    result[place] = value;
    for (size_t d = 0; d < shape.size(); ++d) {
      place += stride[d];
      if (++index[d] < shape[d]) break;
      place -= stride[d] * static_cast<size_t>(shape[d]);
      index[d] = 0;
    }
  }
  return result;
}

/// The header's text, taken off `bytes` so that the values remain.
Result<std::string_view> take_header(std::string_view& bytes) {
  constexpr size_t kVersionEnd = kMagic.size() + 2;
  if (bytes.size() < kVersionEnd) return bad_header("is truncated");
  const int version = static_cast<unsigned char>(bytes[kMagic.size()]);
  if (version < 1 || version > 3) {
    return bad_header(fmt::format("has version {}; it must be 1, 2 or 3", version));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (bytes.size() < kVersionEnd + length_bytes) return bad_header("is truncated");
  const char* place = bytes.data() + kVersionEnd;
  const size_t length =
      version == 1 ? load_item<uint16_t>(place, false) : load_item<uint32_t>(place, false);
  bytes.remove_prefix(kVersionEnd + length_bytes);
  if (bytes.size() < length) return bad_header("is truncated");
  const std::string_view header = bytes.substr(0, length);
  bytes.remove_prefix(length);
  return header;
}

/// How many values the shape has. An extent of 0 makes it 0 whatever the others are.
Result<size_t> count_values(const std::vector<int64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  size_t count = 1;
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(count, static_cast<size_t>(extent), &count) ||
        count > kJsonGridValuesMax) {
      return bad_header(
          fmt::format("has a shape of more than {} values, the most allowed", kJsonGridValuesMax));
    }
  }
  return count;
}

}  // namespace

bool is_npy(std::string_view bytes) {
  return bytes.starts_with(kMagic);
}

Result<NpyArray> read_npy(std::string_view bytes) {
  if (!is_npy(bytes)) return bad_header("does not begin with the npy magic");
  const std::string_view text = TRY(take_header(bytes));
  Header header = TRY(HeaderParser(text).parse());
  const size_t count = TRY(count_values(header.shape));
  if (bytes.size() != count * header.item_bytes) {
    return fail(Code::kInvalidArgument,
                fmt::format("the npy file has {} bytes of values; its shape needs {}{}",
                            bytes.size(), count * header.item_bytes,
                            bytes.size() < count * header.item_bytes ? "; truncated?" : ""));
  }
  NpyArray array;
  array.values.resize(count);
  convert_all(header, bytes, array.values);
  if (header.fortran_order && header.shape.size() > 1) {
    array.values = to_row_major(array.values, header.shape);
  }
  array.shape = std::move(header.shape);
  return array;
}

}  // namespace hadal::eplb
