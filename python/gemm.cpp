// hadal.gemm: FP8 products over numpy arrays, with DeepGEMM's names and shapes.
//
// numpy has neither e4m3 nor bf16: codes are uint8, bf16 is uint16. Inputs are taken as they are if
// they are contiguous, and copied otherwise. The interpreter's lock is released while the library
// computes. An Error becomes ValueError if the caller's argument is at fault, else RuntimeError.
#include "gemm/gemm.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "tensor/tensor.h"
#include "unwrap.h"

namespace py = pybind11;
using hadal::python::unwrap;

namespace hadal::gemm {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using Codes = py::array_t<uint8_t, py::array::c_style>;
using Scales = Array<float>;
using Pair = std::pair<Codes, Scales>;

/// All cores; made when the first product is computed.
const Context& context() {
  static const Context made = unwrap(Context::cpu());
  return made;
}

std::string shape_text(const py::array& x) {
  std::string out = "[";
  for (py::ssize_t i = 0; i < x.ndim(); ++i)
    out += (i > 0 ? ", " : "") + std::to_string(x.shape(i));
  return out + "]";
}

void check_shape(const py::array& x, const std::string& name, const std::vector<int64_t>& shape) {
  bool same = x.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string want = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    same = same && x.shape(static_cast<py::ssize_t>(i)) == shape[i];
    want += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  if (!same) {
    throw py::value_error(
        fmt::format("{} has the shape {}; it must be {}]", name, shape_text(x), want));
  }
}

/// What the shape of the scales says: the last two dimensions are rows and blocks of k.
BlockShape block_of(const Scales& scales, const std::string& name, int64_t rows, int64_t k) {
  const int64_t blocks = (k + 127) / 128, row_blocks = (rows + 127) / 128;
  const int64_t r = scales.ndim() >= 2 ? scales.shape(scales.ndim() - 2) : 1;
  const int64_t c = scales.ndim() >= 1 ? scales.shape(scales.ndim() - 1) : 1;
  if (r == rows && c == blocks) return kPer1x128;
  if (r == row_blocks && c == blocks) return kPer128x128;
  if (r == rows && c == 1) return kPerRow;
  if (r == 1 && c == 1) return kPerTensor;
  throw py::value_error(fmt::format(
      "{} has the shape {}; its last dimensions must be {} x {} (1x128), {} x {} (128x128), {} x 1 "
      "(per row) or 1 x 1",
      name, shape_text(scales), rows, blocks, row_blocks, blocks, rows));
}

DType type_of(const std::string& name) {
  if (name == "bf16") return DType::kBf16;
  if (name == "f16") return DType::kF16;
  if (name == "f32") return DType::kF32;
  throw py::value_error(fmt::format("out_dtype is {}; it must be bf16, f16 or f32", name));
}

/// A zeroed array: float32, or uint16 for the bits of bf16, or float16.
py::array zeros(DType type, const std::vector<int64_t>& shape) {
  const char* name = type == DType::kF32 ? "float32" : type == DType::kF16 ? "float16" : "uint16";
  return py::module_::import("numpy").attr("zeros")(shape, name).cast<py::array>();
}

/// C in the type of its array; the bits of bf16 come as uint16.
DType take_c(const py::array& c, GemmSpec& spec) {
  spec.d.accumulate = true;
  if (py::isinstance<py::array_t<float>>(c)) return DType::kF32;
  if (py::isinstance<py::array_t<uint16_t>>(c)) return DType::kBf16;
  throw py::value_error("c must be float32, or uint16 for the bits of bf16");
}

struct FreeBytes {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

/// Plans and runs; `d` is zeroed where nothing is written.
py::array run(GemmSpec spec, GemmArgs args, const std::vector<int64_t>& shape,
              const std::optional<py::array>& c) {
  py::array c_kept;
  if (c) {
    c_kept = py::array::ensure(*c, py::array::c_style);
    check_shape(c_kept, "c", shape);
    spec.d.c_type = take_c(c_kept, spec);
    args.c = c_kept.data();
  }
  py::array d = zeros(spec.d.type, shape);
  args.d = d.mutable_data();
  const Plan plan = unwrap(context().plan(spec));
  const size_t size = (plan.workspace_bytes() + 255) / 256 * 256 + 256;
  const std::unique_ptr<std::byte, FreeBytes> workspace(
      static_cast<std::byte*>(std::aligned_alloc(256, size)));
  if (workspace == nullptr) throw std::bad_alloc();
  args.workspace = {workspace.get(), size};
  Result<> done;
  {
    const py::gil_scoped_release release;
    done = plan.run(args);
  }
  unwrap(std::move(done));
  return d;
}

/// A spec for operands of these shapes; `matrices` > 0: a leading dimension of so many.
GemmSpec spec_of(const Pair& a, int64_t a_matrices, const Pair& b, int64_t b_matrices,
                 const std::string& out_dtype) {
  const auto dimensions = [](const Codes& x, int64_t matrices, const char* name) {
    const py::ssize_t rank = matrices > 0 ? 3 : 2;
    if (x.ndim() != rank) {
      throw py::value_error(fmt::format("{} has the shape {}; it must have {} dimensions", name,
                                        shape_text(x), rank));
    }
    return std::pair<int64_t, int64_t>(x.shape(rank - 2), x.shape(rank - 1));
  };
  const auto [m, k] = dimensions(a.first, a_matrices, "a");
  const auto [n, k_of_b] = dimensions(b.first, b_matrices, "b");
  if (k != k_of_b) {
    throw py::value_error(
        fmt::format("a has {} columns and b has {}; they must be the same", k, k_of_b));
  }
  GemmSpec spec{.m = m, .n = n, .k = k};
  spec.a.scale.block = block_of(a.second, "the scales of a", m, k);
  spec.b.scale.block = block_of(b.second, "the scales of b", n, k);
  spec.d.type = type_of(out_dtype);
  return spec;
}

/// Scales must have one matrix of scales per matrix of codes.
void check_matrices(const Pair& x, const char* name, int64_t matrices) {
  const py::ssize_t rank = x.second.ndim();
  if (x.first.shape(0) != matrices || rank != 3 || x.second.shape(0) != matrices) {
    throw py::value_error(
        fmt::format("{} has the shape {} and its scales {}; both must have {} matrices", name,
                    shape_text(x.first), shape_text(x.second), matrices));
  }
}

GemmArgs args_of(const Pair& a, const Pair& b) {
  return {.a = a.first.data(),
          .a_scale = a.second.data(),
          .b = b.first.data(),
          .b_scale = b.second.data()};
}

py::array fp8_gemm_nt(const Pair& a, const Pair& b, const std::string& out_dtype,
                      const std::optional<py::array>& c, bool int8) {
  GemmSpec spec = spec_of(a, 0, b, 0, out_dtype);
  spec.int8 = int8;
  return run(spec, args_of(a, b), {spec.m, spec.n}, c);
}

py::array m_grouped_contiguous(const Pair& a, const Pair& b, const Array<int32_t>& layout,
                               bool use_psum_layout, int alignment, const std::string& out_dtype,
                               bool int8) {
  GemmSpec spec = spec_of(a, 0, b, 1, out_dtype);
  spec.int8 = int8;
  spec.num_groups = static_cast<int>(b.first.shape(0));
  check_matrices(b, "b", spec.num_groups);
  spec.grouping = use_psum_layout ? Grouping::kRowEnds : Grouping::kRowGroups;
  if (use_psum_layout) spec.row_alignment = alignment;
  check_shape(layout, "grouped_layout", {use_psum_layout ? spec.num_groups : spec.m});
  GemmArgs args = args_of(a, b);
  args.groups = layout.data();
  return run(spec, args, {spec.m, spec.n}, std::nullopt);
}

py::array m_grouped_masked(const Pair& a, const Pair& b, const Array<int32_t>& masked_m,
                           int expected_m, const std::string& out_dtype, bool int8) {
  GemmSpec spec = spec_of(a, 1, b, 1, out_dtype);
  spec.int8 = int8;
  spec.num_groups = static_cast<int>(b.first.shape(0));
  check_matrices(a, "a", spec.num_groups);
  check_matrices(b, "b", spec.num_groups);
  spec.grouping = Grouping::kMasked;
  spec.expected_rows = static_cast<int64_t>(expected_m) * spec.num_groups;
  check_shape(masked_m, "masked_m", {spec.num_groups});
  GemmArgs args = args_of(a, b);
  args.groups = masked_m.data();
  return run(spec, args, {spec.num_groups, spec.m, spec.n}, std::nullopt);
}

py::array k_grouped(const Pair& a, const Pair& b, const std::vector<int32_t>& ks,
                    const std::optional<py::array>& c) {
  GemmSpec spec = spec_of(a, 0, b, 0, "f32");
  spec.grouping = Grouping::kK;
  spec.num_groups = static_cast<int>(ks.size());
  std::vector<int32_t> ends;
  int64_t end = 0;
  for (const int32_t k : ks) {
    end += k;
    if (k < 0 || end > spec.k) {
      throw py::value_error(
          fmt::format("ks adds up to {} or has negative numbers; a has {} columns", end, spec.k));
    }
    ends.push_back(static_cast<int32_t>(end));
  }
  GemmArgs args = args_of(a, b);
  args.groups = ends.data();
  return run(spec, args, {spec.num_groups, spec.m, spec.n}, c);
}

py::tuple cast_to_fp8(const Array<float>& x, BlockShape block, bool use_ue8m0) {
  if (x.ndim() != 2) {
    throw py::value_error(
        fmt::format("x has the shape {}; it must have 2 dimensions", shape_text(x)));
  }
  const Shape<2> shape = {x.shape(0), x.shape(1)};
  const Shape<2> scales_shape = scale_shape(shape, block);
  Codes codes({shape[0], shape[1]});
  Scales scales({scales_shape[0], scales_shape[1]});
  Result<> done;
  {
    const float* const in = x.data();
    auto* const out = reinterpret_cast<E4m3*>(codes.mutable_data());
    float* const scale = scales.mutable_data();
    const py::gil_scoped_release release;
    done = quantize_into(View<const float, 2>(in, shape), block, View<E4m3, 2>(out, shape),
                         View<float, 2>(scale, scales_shape), {.power_of_two = use_ue8m0});
  }
  unwrap(std::move(done));
  return py::make_tuple(codes, scales);
}

double diff(const Array<double>& x, const Array<double>& y) {
  if (x.size() != y.size()) {
    throw py::value_error(fmt::format("x has the shape {} and y {}; they must be the same",
                                      shape_text(x), shape_text(y)));
  }
  const Shape<1> shape = {x.size()};
  return calc_diff(View<const double, 1>(x.data(), shape), View<const double, 1>(y.data(), shape));
}

}  // namespace

void bind_gemm(py::module_ module);  // NOLINT(misc-use-internal-linkage): module.cpp calls it

void bind_gemm(py::module_ module) {  // NOLINT(misc-use-internal-linkage): module.cpp calls it
  module.doc() = "FP8 matrix products; codes are uint8, bf16 is uint16.";
  module.def("fp8_gemm_nt", &fp8_gemm_nt, py::arg("a"), py::arg("b"), py::arg("out_dtype") = "bf16",
             py::arg("c") = py::none(), py::arg("int8") = false,
             "a @ b.T + c for a = (codes [m][k], scales) and b = (codes [n][k], scales).\n\n"
             "int8: nearly twice as fast, about 0.9 % off; docs/gemm.md says how.\n"
             "The shape of the scales says what shares one: 1x128, 128x128, a row, everything.");
  module.def(
      "m_grouped_fp8_gemm_nt_contiguous", &m_grouped_contiguous, py::arg("a"), py::arg("b"),
      py::arg("grouped_layout"), py::arg("use_psum_layout") = false, py::arg("alignment") = 1,
      py::arg("out_dtype") = "bf16", py::arg("int8") = false,
      "Rows of a with the matrix of b [groups][n][k] that grouped_layout [m] names; -1: none,\n"
      "the row of the result is zero. With use_psum_layout: grouped_layout [groups] is where\n"
      "each group's rows end; they start at multiples of alignment.");
  module.def(
      "m_grouped_fp8_gemm_nt_masked", &m_grouped_masked, py::arg("a"), py::arg("b"),
      py::arg("masked_m"), py::arg("expected_m") = 0, py::arg("out_dtype") = "bf16",
      py::arg("int8") = false,
      "The first masked_m[g] rows of a [groups][m][k] with b [groups][n][k]; others are zero.");
  module.def("k_grouped_fp8_gemm_nt", &k_grouped, py::arg("a"), py::arg("b"), py::arg("ks"),
             py::arg("c") = py::none(),
             "For each group, a [m][k] and b [n][k] over its ks[g] columns (multiples of 128):\n"
             "float32 [groups][m][n], added to c.");
  module.def(
      "per_token_cast_to_fp8",
      [](const Array<float>& x, bool ue8m0) { return cast_to_fp8(x, kPer1x128, ue8m0); },
      py::arg("x"), py::arg("use_ue8m0") = false, "(codes, scales) with a scale per 1x128 values.");
  module.def(
      "per_block_cast_to_fp8",
      [](const Array<float>& x, bool ue8m0) { return cast_to_fp8(x, kPer128x128, ue8m0); },
      py::arg("x"), py::arg("use_ue8m0") = false,
      "(codes, scales) with a scale per 128x128 values.");
  module.def("calc_diff", &diff, py::arg("x"), py::arg("y"),
             "1 - 2 sum(x y) / sum(x^2 + y^2): DeepGEMM's measure of two results.");
}

}  // namespace hadal::gemm
