#include "trace/shape_names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "trace/kernels.h"

namespace hadal::trace {
namespace {

constexpr size_t kArgumentsMax = 16;
constexpr int64_t kDimensionMax = int64_t{1} << 40;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::optional<int64_t> integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < 0 || value > kDimensionMax) return std::nullopt;
  return value;
}

int64_t integer_at(const std::vector<std::string_view>& arguments, size_t i) {
  return i < arguments.size() ? integer(arguments[i]).value_or(0) : 0;
}

/// The integers of "cute::tuple<cute::C<64>, cute::C<128> >".
std::vector<int64_t> cute_tuple(std::string_view text) {
  std::vector<int64_t> values;
  for (const std::string_view c : template_arguments(text, "cute::tuple")) {
    values.push_back(integer_at(template_arguments(c, "cute::C"), 0));
  }
  return values;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

int64_t product(int64_t a, int64_t b) {
  const auto wide = static_cast<__int128>(a) * b;
  constexpr auto kMax = std::numeric_limits<int64_t>::max();
  return wide > kMax ? kMax : static_cast<int64_t>(wide);
}

Shape attention(const Launch& launch, int64_t tile, int64_t dim_qk, int64_t dim_v, bool causal,
                bool backward) {
  Shape s;
  s.work = Work::kAttention;
  s.type = DType::kBf16;
  s.sequence = product(tile, launch.grid[0]);
  s.heads = product(launch.grid[1], launch.grid[2]);
  s.dim_qk = dim_qk;
  s.dim_v = dim_v;
  s.causal = causal;
  s.backward = backward;
  s.m_from = s.n_from = s.k_from = ShapeSource::kTemplate;
  s.confidence = Confidence::kDerived;
  return s;
}

/// Size of a C++ type in a kernel's name; 0: not one of these.
int size_of(std::string_view type) {
  constexpr std::array<std::pair<std::string_view, int>, 12> kTypes = {{{"c10::BFloat16", 2},
                                                                        {"c10::Half", 2},
                                                                        {"__nv_bfloat16", 2},
                                                                        {"float", 4},
                                                                        {"double", 8},
                                                                        {"long", 8},
                                                                        {"int", 4},
                                                                        {"short", 2},
                                                                        {"signed char", 1},
                                                                        {"unsigned char", 1},
                                                                        {"char", 1},
                                                                        {"bool", 1}}};
  for (const auto& [name, size] : kTypes) {
    if (type == name) return size;
  }
  return 0;
}

/// The size of the operands of a functor such as "AUnaryFunctor<float, float, float, ...>"; 0 where
/// they differ or are not known.
int operand_size(std::string_view functor) {
  const size_t open = functor.find('<');
  if (open == std::string_view::npos) return 0;
  const size_t begin = functor.rfind(':', open) + 1;  // npos + 1 is 0
  int size = 0;
  for (const std::string_view argument :
       template_arguments(functor, functor.substr(begin, open - begin))) {
    const int one = size_of(argument);
    if (one == 0) continue;
    if (size != 0 && one != size) return 0;
    size = one;
  }
  return size;
}

}  // namespace

std::vector<std::string_view> template_arguments(std::string_view text, std::string_view name) {
  size_t at = text.find(name);
  while (at != std::string_view::npos &&
         (at + name.size() >= text.size() || text[at + name.size()] != '<')) {
    at = text.find(name, at + 1);
  }
  std::vector<std::string_view> arguments;
  if (at == std::string_view::npos) return arguments;
  size_t begin = at + name.size() + 1;
  int depth = 1;
  for (size_t i = begin; i < text.size() && arguments.size() < kArgumentsMax; ++i) {
    const char c = text[i];
    if (c == '<' || c == '(' || c == '{') ++depth;
    const bool closes = c == '>' || c == ')' || c == '}';
    if (closes) --depth;
    if ((c == ',' && depth == 1) || depth == 0) {
      arguments.push_back(trimmed(text.substr(begin, i - begin)));
      begin = i + 1;
    }
    if (depth == 0) break;
  }
  return arguments;
}

TileEvidence tile_evidence(std::string_view name) {
  using Kind = TileEvidence::Kind;
  const auto tile = [&](std::string_view function) {
    const int64_t size = integer_at(template_arguments(name, function), 1);
    return size > 0 && size <= 4096 ? size : 128;
  };
  if (contains(name, "per_channel_cast_and_transpose")) {
    return {Kind::kTileCast, tile("per_channel_cast_and_transpose")};
  }
  if (contains(name, "batched_transpose<")) return {Kind::kTranspose, tile("batched_transpose")};
  if (contains(name, "per_token_cast_to") || contains(name, "per_token_quant") ||
      contains(name, "per_token_group_quant")) {
    return {Kind::kTokenCast, 1};
  }
  return {};
}

std::optional<Shape> attention_shape(std::string_view name, const Launch& launch) {
  if (volume(launch.grid) == 0) return std::nullopt;
  // Flash_fwd_kernel_traits<head size, rows of a tile, columns, ...>; FlashAttention 3 adds the
  // head size of V as the last one where it differs. Causal is the first flag after the traits in
  // 3, and the second (after dropout) in 2.
  const auto forward = template_arguments(name, "Flash_fwd_kernel_traits");
  if (forward.size() >= 3) {
    const bool third = contains(name, "compute_attn");
    const auto flags = template_arguments(name, third ? "compute_attn_ws" : "flash_fwd_kernel");
    const size_t causal = third ? 1 : 2;
    const int64_t dim = integer_at(forward, 0);
    const int64_t dim_v = third && forward.size() >= 9 ? integer_at(forward, 8) : dim;
    return attention(launch, integer_at(forward, 1), dim, dim_v > 0 ? dim_v : dim,
                     causal < flags.size() && flags[causal] == "true", false);
  }
  // CollectiveMainloopBwd<stages, cluster, (rows, columns, head size), (.., .., head size of V),
  // type, accumulator, arch, causal, ...>: one block for each tile of columns.
  const auto backward = template_arguments(name, "CollectiveMainloopBwd");
  if (backward.size() >= 8) {
    const auto tile = cute_tuple(backward[2]), tile_v = cute_tuple(backward[3]);
    if (tile.size() != 3) return std::nullopt;
    const bool differs = tile_v.size() == 3;
    return attention(launch, tile[1], tile[2], differs ? tile_v[2] : tile[2],
                     backward[differs ? 7 : 6] == "true", true);
  }
  return std::nullopt;
}

std::optional<Shape> elementwise_shape(std::string_view name, const Launch& launch) {
  Shape s;
  s.work = Work::kElementwise;
  s.m_from = ShapeSource::kTemplate;
  s.confidence = Confidence::kDerived;
  if (contains(name, "batched_transpose<") && contains(name, "(unsigned char const*")) {
    const int64_t tile = tile_evidence(name).tile;
    s.elements = product(volume(launch.grid), tile * tile);
    s.arrays = 2;
    s.bytes = 2 * static_cast<double>(s.elements);
    return s;
  }
  const auto arguments = template_arguments(name, "vectorized_elementwise_kernel");
  if (arguments.size() < 3) return std::nullopt;
  const int64_t arrays = integer_at(template_arguments(arguments[2], "Array"), 1);
  const int size = operand_size(arguments[1]);
  if (arrays <= 0 || arrays > 64 || size == 0) return std::nullopt;
  // A thread takes four elements, or a whole vector where that is more.
  const int64_t per_thread = std::clamp<int64_t>(integer_at(arguments, 0), 4, 64);
  s.elements = product(product(volume(launch.grid), volume(launch.block)), per_thread);
  s.arrays = static_cast<int>(arrays);
  s.bytes = static_cast<double>(s.elements) * size * s.arrays;
  return s;
}

void fill_work(Shape& s) {
  const auto d = [](int64_t value) { return static_cast<double>(value); };
  if (s.work == Work::kGemm) {
    if (s.m == 0 || s.n == 0 || s.k == 0) return;
    const double m = d(s.m), n = d(s.n), k = d(s.k), share = d(s.batch) / s.parts;
    s.flop = 2 * m * n * k * share;
    const int in = bytes_of(s.type), out = std::max(in, 2);
    if (in > 0) s.bytes = ((m * k + k * n) * in + m * n * out) * share;
  } else if (s.work == Work::kAttention) {
    const double area = d(s.heads) * d(s.sequence) * d(s.sequence) * (s.causal ? 0.5 : 1);
    const double qk = d(s.dim_qk), v = d(s.dim_v);
    s.flop = 2 * area * (s.backward ? 3 * qk + 2 * v : qk + v);
    // Forward: Q, K, V, O. Backward: those and their gradients.
    s.bytes = d(s.heads) * d(s.sequence) * (qk + v) * 2 * 2 * (s.backward ? 2 : 1);
  }
}

}  // namespace hadal::trace
