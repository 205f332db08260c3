#include "trace/shape_dims.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr int64_t kDimensionMax = int64_t{1} << 40;

using Dims = std::vector<int64_t>;

/// One entry of `Input Dims`; empty where it is no list of sizes.
Dims dims_of(const nlohmann::json& entry) {
  Dims dims;
  if (!entry.is_array() || entry.size() > 16) return dims;
  for (const auto& size : entry) {
    if (!size.is_number_integer()) return {};
    if (size.is_number_unsigned() && size.get<uint64_t>() > uint64_t{kDimensionMax}) return {};
    const auto value = size.get<int64_t>();
    if (value < 0 || value > kDimensionMax) return {};
    dims.push_back(value);
  }
  return dims;
}

/// The product of all but the last two sizes (`from_end` 2) or all but the last one (1).
int64_t leading(const Dims& dims, size_t from_end) {
  __int128 product = 1;
  for (size_t i = 0; i + from_end < dims.size(); ++i) {
    product *= dims[i];
    if (product > kDimensionMax) return 0;
  }
  return static_cast<int64_t>(product);
}

/// Which inputs an operator multiplies, and how.
struct Operator {
  std::string_view name;
  size_t first;       // index of A; B follows
  bool b_transposed;  // linear: B is [N, K]
  bool batched;
};
constexpr std::array<Operator, 8> kOperators = {{{"aten::mm", 0, false, false},
                                                 {"aten::_scaled_mm", 0, false, false},
                                                 {"aten::addmm", 1, false, false},
                                                 {"aten::_addmm_activation", 1, false, false},
                                                 {"aten::bmm", 0, false, true},
                                                 {"aten::baddbmm", 1, false, true},
                                                 {"aten::linear", 0, true, false},
                                                 {"aten::matmul", 0, false, false}}};

DType type_of(std::string_view text) {
  if (text.find("Float8") != std::string_view::npos) return DType::kFp8;
  if (text == "c10::BFloat16" || text == "c10::Half") return DType::kBf16;
  // float stays unknown: TF32 or not is a setting that the trace does not show.
  if (text == "double") return DType::kFp64;
  return DType::kUnknown;
}

std::optional<GemmDims> multiply(const Operator& op, const Dims& a, const Dims& b) {
  if (a.size() < 2 || b.size() < 2) return std::nullopt;
  GemmDims g;
  const int64_t rows = a[a.size() - 2], inner = a.back();
  const int64_t b_rows = b[b.size() - 2], b_columns = b.back();
  g.k = inner;
  g.n = op.b_transposed ? b_rows : b_columns;
  if ((op.b_transposed ? b_columns : b_rows) != inner) return std::nullopt;
  if (op.batched || b.size() > 2) {
    g.batch = std::max(leading(a, 2), leading(b, 2));
    g.m = rows;
  } else {
    g.m = leading(a, 1);
  }
  if (g.batch == 0 || g.m == 0 || g.n == 0 || g.k == 0) return std::nullopt;
  return g;
}

}  // namespace

bool multiplies(std::string_view operator_name) {
  return std::ranges::find(kOperators, operator_name, &Operator::name) != kOperators.end();
}

std::optional<GemmDims> gemm_dims(std::string_view event) {
  const auto json = nlohmann::json::parse(event, nullptr, false);
  if (!json.is_object() || !json.contains("name") || !json["name"].is_string()) return std::nullopt;
  const auto& name = json["name"].get_ref<const std::string&>();
  const auto op = std::ranges::find(kOperators, std::string_view(name), &Operator::name);
  const auto args = json.find("args");
  if (op == kOperators.end() || args == json.end() || !args->is_object()) return std::nullopt;
  const auto dims = args->find("Input Dims");
  if (dims == args->end() || !dims->is_array() || dims->size() < op->first + 2) return std::nullopt;
  auto found = multiply(*op, dims_of((*dims)[op->first]), dims_of((*dims)[op->first + 1]));
  const auto types = args->find("Input type");
  if (found && types != args->end() && types->is_array() && types->size() > op->first &&
      (*types)[op->first].is_string()) {
    found->type = type_of((*types)[op->first].get_ref<const std::string&>());
  }
  return found;
}

std::vector<std::vector<uint32_t>> launching_operators(const GpuView& view,
                                                       const std::vector<uint32_t>& activities) {
  const Events& e = view.trace->events;
  std::vector<std::vector<uint32_t>> found(activities.size());
  std::vector<std::pair<uint32_t, size_t>> launches;  // launch row, index into `activities`
  for (size_t i = 0; i < activities.size(); ++i) {
    const uint32_t row = view.activities[activities[i]].launch_row;
    if (row != kNone) launches.emplace_back(row, i);
  }
  std::ranges::sort(launches);
  size_t next = 0;
  for (const Track& track : view.trace->tracks) {
    // Rows of a track are in the order of an outline, a parent before its children.
    std::vector<uint32_t> open;
    for (uint32_t row = track.begin; row < track.end && next < launches.size(); ++row) {
      while (!open.empty() && e.end_ns(open.back()) <= e.start_ns[row]) open.pop_back();
      if (e.category[row] == Category::kCpuOp) open.push_back(row);
      for (; next < launches.size() && launches[next].first == row; ++next) {
        for (auto op = open.rbegin(); op != open.rend(); ++op) {
          if (found[launches[next].second].size() == kOperatorsMax) break;
          found[launches[next].second].push_back(*op);
        }
      }
    }
  }
  return found;
}

}  // namespace hadal::trace
