#include "eplb/load_file.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::eplb {
namespace {

using Shape = std::array<int, 3>;
using Values = std::vector<double>;

Shape shape(const LoadInput& input) {
  return {input.num_windows, input.num_layers, input.num_experts};
}

LoadInput parsed(const std::string& bytes) {
  Result<LoadInput> input = parse_loads(bytes);
  EXPECT_TRUE(input.has_value()) << bytes << "\n" << input.error().message;
  return input ? *std::move(input) : LoadInput{};
}

std::string error_of(const std::string& bytes) {
  const Result<LoadInput> input = parse_loads(bytes);
  if (input) return "no error";
  EXPECT_EQ(input.error().code, Code::kInvalidArgument);
  return input.error().message;
}

TEST(LoadJson, VectorForm) {
  const LoadInput input = parsed(R"({"name": "x", "policy": {"weight": [1]}, "num_gpus": 8,
      "weight": [[1, 2.5, 1e3], [0, 9007199254740993, 18446744073709551616]], "num_groups": 1,
      "num_nodes": 2, "other": null, "num_replicas": 16})");
  EXPECT_EQ(input.format, "vector");
  EXPECT_EQ(shape(input), (Shape{1, 2, 3}));
  EXPECT_EQ(input.load, (Values{1, 2.5, 1000, 0, 9007199254740992, 18446744073709551616.0}));
  EXPECT_EQ(input.num_replicas, 16);
  EXPECT_EQ(input.num_groups, 1);
  EXPECT_EQ(input.num_nodes, 2);
  EXPECT_EQ(input.num_gpus, 8);
}

TEST(LoadJson, ThreeDimensionsAreWindows) {
  const LoadInput input = parsed(R"({"weight": [[[1,2],[3,4],[5,6]], [[7,8],[9,10],[11,12]]]})");
  EXPECT_EQ(shape(input), (Shape{2, 3, 2}));
  EXPECT_EQ(input.load, (Values{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(input.num_gpus, std::nullopt);
}

TEST(LoadJson, LoadHistory) {
  const LoadInput input = parsed(R"({"load_history": [
      {"step": 0, "logical_expert_load": [[1, 2], [3, 4]], "x": {"logical_expert_load": 1}},
      {"logical_expert_load": [[5, 6], [7, 8]]}], "num_gpus": 2})");
  EXPECT_EQ(input.format, "load_history");
  EXPECT_EQ(shape(input), (Shape{2, 2, 2}));
  EXPECT_EQ(input.load, (Values{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(input.num_gpus, 2);
}

TEST(LoadJson, LogicalCount) {
  EXPECT_EQ(shape(parsed(R"({"rank": 0, "logical_count": [[1, 2], [3, 4], [5, 6]]})")),
            (Shape{1, 3, 2}));
  const LoadInput input =
      parsed(R"({"a": {"b": {"c": [1]}, "logical_count": [[[1, 2]], [[3, 4]], [[5, 6]]]}})");
  EXPECT_EQ(input.format, "logical_count");
  EXPECT_EQ(shape(input), (Shape{3, 1, 2}));
}

TEST(LoadJson, BareArray) {
  EXPECT_EQ(parsed(" \n[[1, 2], [3, 4]]\n").format, "array");
  EXPECT_EQ(shape(parsed("[[[1], [2]], [[3], [4]], [[5], [6]]]")), (Shape{3, 2, 1}));
  EXPECT_EQ(shape(parsed("\xef\xbb\xbf[[1]]")), (Shape{1, 1, 1}));
}

TEST(LoadJson, ErrorsNameFieldAndPosition) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"weight": [[1,2],[3,4],[5]]})", "weight[2] has 1 values; it must have 2 like weight[0]"},
      {R"([[1,2],[3]])", "[1] has 1 values; it must have 2 like [0]"},
      {R"([[[1],[2]],[[3]]])", "[1] has 1 rows; it must have 2 like [0]"},
      {R"({"weight": [[1,-2]]})", "weight[0][1] is -2; loads must be finite numbers >= 0"},
      {R"({"weight": [[[1,0]],[[2,-3]]]})",
       "weight[1][0][1] is -3; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,NaN]]})", "weight[0][1] is NaN; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,-Infinity]]})",
       "weight[0][1] is -Infinity; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,1e999]]})", "weight[0][1] is 1e999; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,"2"]]})",
       "weight[0][1] is the string \"2\"; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,null]]})", "weight[0][1] is null; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,{}]]})", "weight[0][1] is an object; loads must be finite numbers >= 0"},
      {R"({"weight": [[1,[2]]]})", "weight[0][1] is an array; loads must be finite numbers >= 0"},
      {R"({"weight": [[1],2]})", "weight[1] is a number; it must be an array like weight[0]"},
      {R"({"weight": []})", "weight is empty"},
      {R"({"weight": [[]]})", "weight[0] is empty"},
      {R"([])", "the array is empty"},
      {R"({"weight": 5})", "weight is 5; it must be an array"},
      {R"({"weight": [1,2]})",
       "weight is 1-dimensional; it must be 2-dimensional (layers, experts) or 3 (windows, layers, "
       "experts)"},
      {R"([[[[1]]]])",
       "the array is 4-dimensional; it must be 2-dimensional (layers, experts) or 3 (windows, "
       "layers, "
       "experts)"},
      {R"([[[[[1]]]]])", "[0][0][0][0] is an array; loads must be finite numbers >= 0"},
      {R"({"weight": [[1]], "weight": [[1]]})", "weight occurs twice"},
      {R"({"weight": [[1]], "num_gpus": 1, "num_gpus": 1})", "num_gpus occurs twice"},
      {R"({"weight": [[1]], "logical_count": [[1]]})",
       "the input has both weight and logical_count; it must have one of them"},
      {R"({"weight": [[1]], "num_gpus": 0})",
       "num_gpus is 0; it must be at least 1 and fit in 31 bits"},
      {R"({"weight": [[1]], "num_gpus": 4294967296})",
       "num_gpus is 4294967296; it must be at least 1 and fit in 31 bits"},
      {R"({"weight": [[1]], "num_gpus": 1.5})", "num_gpus is 1.5; it must be a whole number"},
      {R"({"weight": [[1]], "num_gpus": "8"})",
       "num_gpus is the string \"8\"; it must be a whole number"},
      {R"({"load_history": [{"logical_expert_load": [[1]]}, {"x": 1}]})",
       "load_history[1] has no logical_expert_load"},
      {R"({"load_history": [[[1]]]})",
       "load_history[0] is an array; it must be an object with logical_expert_load"},
      {R"({"load_history": [{"logical_expert_load": [[1, -1]]}]})",
       "load_history[0].logical_expert_load[0][1] is -1; loads must be finite numbers >= 0"},
      {R"({"load_history": [{"logical_expert_load": [[1]]}, {"logical_expert_load": [["a"]]}]})",
       "load_history[1].logical_expert_load[0][0] is the string \"a\"; loads must be finite "
       "numbers "
       ">= 0"},
      {R"({"load_history": [{"logical_expert_load": [1]}]})",
       "load_history[0].logical_expert_load is 1-dimensional; it must be 2-dimensional (layers, "
       "experts)"},
      {R"({"a": {"logical_count": [[1], [1, 2]]}})",
       "a.logical_count[1] has 2 values; it must have 1 like a.logical_count[0]"},
      {R"({"rank": 1})",
       "the input has no loads; a JSON object must have weight, load_history or logical_count"},
      {R"({"weight": [[1,2],[3)", "the input ends in the middle of the JSON document; truncated?"},
      {R"({"weight": [[1,2]], "n)",
       "the input ends in the middle of the JSON document; truncated?"},
      {R"({"weight": [[1]]} {})", "the input goes on after the end of the JSON document"},
      {R"([[1]] [5])", "the input goes on after the end of the JSON document"},
      {"", "the input is empty"},
      {" \r\n ", "the input is empty"},
      {"[[\"\xff\"]]", "the input is not UTF-8 text"},
      {R"({"weight" [[1]]})", "the input is not valid JSON at byte 10"},
  };
  for (const auto& [bytes, message] : cases) EXPECT_EQ(error_of(bytes), message) << bytes;
}

TEST(LoadJson, DeepNestingIsAnError) {
  EXPECT_NE(error_of(std::string(100'000, '[')), "no error");
  std::string deep = R"({"x": )" + std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_NE(error_of(deep + R"(, "weight": [[1]]})"), "");
}

TEST(LoadJson, EveryTruncationIsAnErrorOrTheWholeInput) {
  const std::string whole = R"({"num_gpus": 4, "weight": [[1, 2.5], [3, 4e1]], "x": "y"})";
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(error_of(whole.substr(0, size)), "no error") << whole.substr(0, size);
  }
}

TEST(LoadCsv, RowsWindowsCommentsAndHeader) {
  const LoadInput input = parsed(
      "# from a run\nexpert 0, e1 ,e2\r\n1, 2.5,+3\n4,5e2 ,0\n\n# next\n\n7,8,9\n 10 , 11,12 \n\n");
  EXPECT_EQ(input.format, "csv");
  EXPECT_EQ(shape(input), (Shape{2, 2, 3}));
  EXPECT_EQ(input.load, (Values{1, 2.5, 3, 4, 500, 0, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(shape(parsed("5")), (Shape{1, 1, 1}));
}

TEST(LoadCsv, ErrorsNameLineAndColumn) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"1,2\n3\n", "line 2 has 1 values; every row must have 2 like the first"},
      {"1,2\n3,x\n", "line 2, column 2 is 'x'; it must be a number"},
      {"a,1\n", "line 1, column 1 is 'a'; it must be a number"},
      {"1,2,\n", "line 1, column 3 is ''; it must be a number"},
      {"1,-2\n", "line 1, column 2 is -2; loads must be finite numbers >= 0"},
      {"1,nan\n", "line 1, column 2 is nan; loads must be finite numbers >= 0"},
      {"1,1e999\n", "line 1, column 2 is 1e999; loads must be finite numbers >= 0"},
      {"1\n2\n\n3\n\n4\n5\n",
       "the window that ends before line 5 has 1 rows; every window must have 2 like the first"},
      {"a,b\n", "the input has no rows of numbers"},
      {"a,b\nc,d\n", "line 2, column 1 is 'c'; it must be a number"},
      {"# only\n", "the input has no rows of numbers"},
      {"hello\xff\x01\n\x02\n", "line 2, column 1 is '?'; it must be a number"},
  };
  for (const auto& [bytes, message] : cases) EXPECT_EQ(error_of(bytes), message) << bytes;
}

std::string npy(const std::string& descr, const std::string& dims, const std::string& data,
                const std::string& order = "False", int version = 1) {
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': ({}), }}", descr, order, dims);
  const uint32_t size = static_cast<uint32_t>(header.size());
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  bytes.append(reinterpret_cast<const char*>(&size), version == 1 ? 2 : 4);
  return bytes + header + data;
}

template <typename T>
std::string raw(const std::vector<T>& values, bool big_endian = false) {
  std::string bytes;
  for (const T value : values) {
    char item[sizeof(T)];
    std::memcpy(item, &value, sizeof(T));
    if (big_endian) std::reverse(item, item + sizeof(T));
    bytes.append(item, sizeof(T));
  }
  return bytes;
}

TEST(LoadNpy, EveryDtype) {
  const Values expected = {0, 1, 2, 100};
  const auto check = [&](const std::string& descr, const std::string& data) {
    EXPECT_EQ(parsed(npy(descr, "2, 2", data)).load, expected) << descr;
  };
  check("|i1", raw<int8_t>({0, 1, 2, 100}));
  check("<i2", raw<int16_t>({0, 1, 2, 100}));
  check("<i4", raw<int32_t>({0, 1, 2, 100}));
  check("<i8", raw<int64_t>({0, 1, 2, 100}));
  check("|u1", raw<uint8_t>({0, 1, 2, 100}));
  check("<u2", raw<uint16_t>({0, 1, 2, 100}));
  check("<u4", raw<uint32_t>({0, 1, 2, 100}));
  check("<u8", raw<uint64_t>({0, 1, 2, 100}));
  check("<f2", raw<uint16_t>({0x0000, 0x3c00, 0x4000, 0x5640}));
  check("<f4", raw<float>({0, 1, 2, 100}));
  check("<f8", raw<double>({0, 1, 2, 100}));
  check(">i4", raw<int32_t>({0, 1, 2, 100}, true));
  check(">f8", raw<double>({0, 1, 2, 100}, true));
  EXPECT_EQ(parsed(npy("|b1", "1, 3", std::string("\0\1\2", 3))).load, (Values{0, 1, 1}));
  EXPECT_EQ(parsed(npy("<f2", "1, 3", raw<uint16_t>({0x0001, 0x7bff, 0x03ff}))).load,
            (Values{0x1p-24, 65504, 1023 * 0x1p-24}));
  EXPECT_EQ(parsed(npy("<u8", "1, 1", raw<uint64_t>({~uint64_t{0}}))).load, (Values{0x1p64}));
}

TEST(LoadNpy, ShapesOrdersAndVersions) {
  const std::string data = raw<int32_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  const LoadInput c = parsed(npy("<i4", "2, 3, 2", data));
  EXPECT_EQ(c.format, "npy");
  EXPECT_EQ(shape(c), (Shape{2, 3, 2}));
  EXPECT_EQ(c.load, (Values{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(parsed(npy("<i4", "3, 4", data, "True")).load,
            (Values{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}));
  EXPECT_EQ(parsed(npy("<i4", "2, 3, 2", data, "True")).load,
            (Values{0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}));
  EXPECT_EQ(shape(parsed(npy("<i4", "3, 4", data, "False", 2))), (Shape{1, 3, 4}));
  EXPECT_EQ(shape(parsed(npy("<i4", "3, 4", data, "False", 3))), (Shape{1, 3, 4}));
}

TEST(LoadNpy, Errors) {
  const std::string data = raw<double>({1, 2});
  const std::vector<std::pair<std::string, std::string>> cases = {
      {npy("<f8", "1, 3", data),
       "the npy file has 16 bytes of values; its shape needs 24; truncated?"},
      {npy("<f8", "1, 1", data), "the npy file has 16 bytes of values; its shape needs 8"},
      {npy("<f8", "4294967296, 4294967296", data),
       "the npy header has a shape of more than 268435456 values, the most allowed"},
      {npy("<f8", "99999999999999999999", data),
       "the npy header has a shape with something that is no whole number >= 0"},
      {npy("<f8", "-1, 2", data),
       "the npy header has a shape with something that is no whole number >= 0"},
      {npy("<f8", "2,", data),
       "the array is 1-dimensional; it must be 2-dimensional (layers, experts) or 3 (windows, "
       "layers, "
       "experts)"},
      {npy("<f8", "0, 2", ""),
       "the array has a dimension of 0; it must be at least 1 and fit in 31 bits"},
      {npy("<c8", "1, 2", data),
       "the npy header has dtype '<c8'; it must be bool, an integer or a float of up to 8 bytes"},
      {npy("|O", "1, 2", data),
       "the npy header has dtype '|O'; it must be bool, an integer or a float of up to 8 bytes"},
      {npy("<f8", "1, 2", raw<double>({1, -2})), "[0][1] is -2; loads must be finite numbers >= 0"},
      {npy("<f8", "1, 2", raw<double>({std::numeric_limits<double>::quiet_NaN(), 2})),
       "[0][0] is nan; loads must be finite numbers >= 0"},
      {npy("<f8", "1, 2", data, "Maybe"),
       "the npy header has a fortran_order that is neither True nor False"},
      {"\x93NUMPY\x04", "the npy header is truncated"},
      {std::string("\x93NUMPY\x04\x00\x00\x00", 10),
       "the npy header has version 4; it must be 1, 2 or 3"},
      {std::string("\x93NUMPY\x01\x00\xff\xff{", 11), "the npy header is truncated"},
  };
  for (const auto& [bytes, message] : cases) EXPECT_EQ(error_of(bytes), message);
  const std::string whole = npy("<f8", "1, 2", data);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(error_of(whole.substr(0, size)), "no error") << size;
  }
}

TEST(LoadFile, ReadErrorsNameTheFile) {
  EXPECT_EQ(read_loads("/nonexistent/a.json").error().message,
            "cannot read /nonexistent/a.json: No such file or directory");
  EXPECT_EQ(read_loads("/nonexistent/a.json").error().code, Code::kNotFound);
  EXPECT_EQ(read_loads("/").error().message, "cannot read /: it is a directory");
  EXPECT_EQ(read_loads("/dev/zero", 1000).error().message,
            "/dev/zero is larger than the 1000 bytes allowed here");
  EXPECT_EQ(read_loads("/dev/null").error().message, "/dev/null: the input is empty");
}

TEST(Windows, RangesLikePython) {
  const auto range = [](std::string_view text) {
    const Result<WindowRange> result = parse_window_range(text, 10);
    return result ? fmt::format("{}-{}", result->first, result->last) : result.error().message;
  };
  EXPECT_EQ(range(""), "0-10");
  EXPECT_EQ(range("2:5"), "2-5");
  EXPECT_EQ(range(":5"), "0-5");
  EXPECT_EQ(range("7:"), "7-10");
  EXPECT_EQ(range(":"), "0-10");
  EXPECT_EQ(range("3"), "3-4");
  EXPECT_EQ(range("-1"), "9-10");
  EXPECT_EQ(range("-3:-1"), "7-9");
  EXPECT_EQ(range("5:5"), "window range '5:5' does not lie within the 10 windows of the input");
  EXPECT_EQ(range("0:11"), "window range '0:11' does not lie within the 10 windows of the input");
  EXPECT_EQ(range("-11:"), "window range '-11:' does not lie within the 10 windows of the input");
  EXPECT_EQ(range("-2147483648"),
            "window range '-2147483648' does not lie within the 10 windows of the input");
  EXPECT_EQ(range("2147483647"),
            "window range '2147483647' does not lie within the 10 windows of the input");
  EXPECT_EQ(range("a:b"), "window range 'a:b' is not A:B with whole numbers");
  EXPECT_EQ(range("1:2:3"), "window range '1:2:3' is not A:B with whole numbers");
}

TEST(Windows, Sum) {
  const LoadInput input = parsed("[[[1, 2]], [[10, 20]], [[100, 200]]]");
  EXPECT_EQ(sum_windows(input, {0, 3}), (Values{111, 222}));
  EXPECT_EQ(sum_windows(input, {1, 2}), (Values{10, 20}));
  const LoadInput large = parsed("[[[1, 1e308]], [[1, 1e308]]]");
  EXPECT_EQ(sum_windows(large, {0, 2}).error().message,
            "the loads of layer 0, expert 1 add up to more than a double holds");
}

/// What is printed in any of the text formats reads back to the same doubles.
TEST(LoadFile, FormatsAgreeOnRandomLoads) {
  Rng rng(11);
  for (int round = 0; round < 100; ++round) {
    const Shape dims = {1 + static_cast<int>(rng.below(3)), 1 + static_cast<int>(rng.below(4)),
                        1 + static_cast<int>(rng.below(9))};
    Values values(static_cast<size_t>(dims[0]) * dims[1] * dims[2]);
    for (double& x : values) x = rng.chance(0.5) ? rng.uniform() * 1e6 : double(rng.next() >> 20);
    std::string json = "[", csv;
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t column = i % dims[2], row = i / dims[2] % dims[1];
      if (column == 0 && row == 0) json += i == 0 ? "[" : "],[", csv += "\n";
      if (column == 0) json += row == 0 ? "[" : ",[";
      json += fmt::format("{}{}", column == 0 ? "" : ",", values[i]);
      csv += fmt::format("{}{}", column == 0 ? "" : ",", values[i]);
      if (column + 1 == static_cast<size_t>(dims[2])) json += "]", csv += "\n";
    }
    json += "]]";
    const std::string binary =
        npy("<f8", fmt::format("{}, {}, {}", dims[0], dims[1], dims[2]), raw(values));
    for (const std::string& bytes : {json, csv, binary}) {
      const LoadInput input = parsed(bytes);
      ASSERT_EQ(shape(input), dims) << bytes;
      ASSERT_EQ(input.load, values) << bytes;
    }
  }
}

}  // namespace
}  // namespace hadal::eplb
