// hadal.gemm: FP8 products over numpy arrays, torch tensors and DLPack, with DeepGEMM's names,
// shapes and order of arguments.
//
// uint8 stands for e4m3 and uint16 for bf16, where a framework has neither. Arrays are used where
// they are, with their strides (array.h); place.h says where the product is computed. The
// interpreter's lock is released while the library computes. An Error becomes ValueError if the
// caller's argument is at fault, else RuntimeError; a wrong dtype is a TypeError.
#include "gemm/gemm.h"

#include <bit>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "array.h"
#include "place.h"
#include "tensor/tensor.h"
#include "unwrap.h"

namespace py = pybind11;
using hadal::python::Array;
using hadal::python::Call;
using hadal::python::check_contiguous;
using hadal::python::check_shape;
using hadal::python::Element;
using hadal::python::stride_of;
using hadal::python::unwrap;

namespace hadal::gemm {
namespace {

using Text = std::optional<std::string>;

[[noreturn]] void wrong_dtype(const Array& x, const char* wanted) {
  throw py::type_error(fmt::format("{} has the dtype {}; it must be {}", x.name, x.dtype, wanted));
}

/// Codes and their scales.
struct Pair {
  Array codes, scales;
};

Pair take_pair(Call& call, const std::string& name, const py::object& x) {
  if (!py::isinstance<py::sequence>(x) || py::len(x) != 2) {
    throw py::type_error(fmt::format("{} must be a pair: codes and scales", name));
  }
  const auto pair = py::reinterpret_borrow<py::sequence>(x);
  Pair out{.codes = call.take(name, pair[0]),
           .scales = call.take("the scales of " + name, pair[1])};
  if (out.codes.element != Element::kE4m3 && out.codes.element != Element::kE5m2) {
    wrong_dtype(out.codes, "float8_e4m3fn, float8_e5m2, or uint8 for e4m3");
  }
  return out;
}

/// What the shape of the scales says: the last two dimensions are rows and blocks of k.
BlockShape block_of(const Array& scales, int64_t rows, int64_t k, int64_t per_element) {
  const int64_t blocks = ((k + 127) / 128 + per_element - 1) / per_element;
  const int64_t row_blocks = (rows + 127) / 128;
  const int64_t r = scales.rank() >= 2 ? scales.shape[scales.rank() - 2] : 1;
  const int64_t c = scales.rank() >= 1 ? scales.shape[scales.rank() - 1] : 1;
  if (r == rows && c == blocks) return kPer1x128;
  if (r == row_blocks && c == blocks) return kPer128x128;
  if (r == rows && c == 1) return kPerRow;
  if (r == 1 && c == 1) return kPerTensor;
  throw py::value_error(fmt::format(
      "{} has the shape {}; its last dimensions must be {} x {} (1x128), {} x {} (128x128), {} x 1 "
      "(per row) or 1 x 1",
      scales.name, scales.shape_text(), rows, blocks, row_blocks, blocks, rows));
}

/// Scales by row or by column, float32 or e8m0, or e8m0 in the words of pack_ue8m0_to_int.
ScaleSpec scale_spec(const Array& scales, int64_t rows, int64_t k) {
  ScaleSpec out;
  const bool packed = scales.element == Element::kI32;
  if (packed || scales.element == Element::kE8m0) {
    out.type = DType::kE8m0;
  } else if (scales.element != Element::kF32) {
    wrong_dtype(scales, "float32, float8_e8m0fnu, or int32 for four packed e8m0");
  }
  out.block = block_of(scales, rows, k, packed ? 4 : 1);
  if (scales.rank() < 2) return out;
  const int64_t row = scales.rank() - 2, column = scales.rank() - 1;
  if (scales.rank() == 3) out.group_stride = stride_of(scales, 0);
  const int64_t row_stride = stride_of(scales, row), column_stride = stride_of(scales, column);
  if (!packed && column_stride <= 1) {
    out.stride = row_stride;
    return out;
  }
  if (row_stride > 1) {
    throw py::value_error(fmt::format("{} has strides {} and {}; {}", scales.name, row_stride,
                                      column_stride,
                                      packed ? "the first must be 1" : "one of them must be 1"));
  }
  out.layout = packed ? ScaleLayout::kPacked4 : ScaleLayout::kColMajor;
  out.stride = column_stride;
  return out;
}

OperandSpec operand_spec(const Pair& x, int64_t rows, int64_t k) {
  OperandSpec out{.type = x.codes.element == Element::kE5m2 ? DType::kE5m2 : DType::kE4m3};
  out.scale = scale_spec(x.scales, rows, k);
  check_contiguous(x.codes);
  const int64_t rank = x.codes.rank();
  if (rank >= 2) out.stride = stride_of(x.codes, rank - 2);
  if (rank == 3) out.group_stride = stride_of(x.codes, 0);
  return out;
}

void check_rank(const Array& x, int64_t rank) {
  if (x.rank() == rank) return;
  throw py::value_error(
      fmt::format("{} has the shape {}; it must have {} dimensions", x.name, x.shape_text(), rank));
}

/// A spec for operands of these shapes; with a leading dimension where there are matrices.
GemmSpec spec_of(const Pair& a, bool a_matrices, const Pair& b, bool b_matrices) {
  check_rank(a.codes, a_matrices ? 3 : 2);
  check_rank(b.codes, b_matrices ? 3 : 2);
  const auto* a_shape = &a.codes.shape[a_matrices ? 1 : 0];
  const auto* b_shape = &b.codes.shape[b_matrices ? 1 : 0];
  if (a_shape[1] != b_shape[1]) {
    throw py::value_error(fmt::format("a has {} columns and b has {}; they must be the same",
                                      a_shape[1], b_shape[1]));
  }
  GemmSpec spec{.m = a_shape[0], .n = b_shape[0], .k = a_shape[1]};
  spec.a = operand_spec(a, spec.m, spec.k);
  spec.b = operand_spec(b, spec.n, spec.k);
  return spec;
}

/// Scales must have one matrix of scales per matrix of codes.
void check_matrices(const Pair& x, int64_t matrices) {
  if (x.codes.shape[0] != matrices || x.scales.rank() != 3 || x.scales.shape[0] != matrices) {
    throw py::value_error(
        fmt::format("{} has the shape {} and its scales {}; both must have {} matrices",
                    x.codes.name, x.codes.shape_text(), x.scales.shape_text(), matrices));
  }
}

// ---------------------------------------------------------------- D and C

std::optional<DType> type_of(const Text& name) {
  if (!name) return std::nullopt;
  if (*name == "bf16") return DType::kBf16;
  if (*name == "f16") return DType::kF16;
  if (*name == "f32") return DType::kF32;
  throw py::value_error(fmt::format("out_dtype is {}; it must be bf16, f16 or f32", *name));
}

DType type_of(const Array& x) {
  switch (x.element) {
    case Element::kBf16: return DType::kBf16;
    case Element::kF16: return DType::kF16;
    case Element::kF32: return DType::kF32;
    default: wrong_dtype(x, "float32, float16, bfloat16, or uint16 for bf16");
  }
}

Element element_of(DType type) {
  if (type == DType::kF32) return Element::kF32;
  return type == DType::kF16 ? Element::kF16 : Element::kBf16;
}

/// What a function was given for its result.
struct Output {
  py::object d, c;  // or None
  std::optional<DType> type;
};

/// Fills in C and D, runs, and returns D. A D of our own is zero where nothing is written.
py::object run(Call& call, GemmSpec spec, GemmArgs args, const Output& out,
               const std::vector<int64_t>& shape, const Array& like) {
  const int64_t rank = std::ssize(shape);
  py::object d_object = out.d;
  if (d_object.is_none()) {
    if (like.on_gpu && !like.is_torch) {
      throw py::value_error(
          fmt::format("d is None and {} is not torch's; on a GPU d must be given", like.name));
    }
    const bool whole = spec.grouping == Grouping::kNone || spec.grouping == Grouping::kK ||
                       spec.grouping == Grouping::kKFlat;
    d_object = python::make(element_of(out.type.value_or(DType::kBf16)), shape, like, !whole);
  }
  const Array d = call.take_output(d_object);
  spec.d.type = type_of(d);
  if (out.type && *out.type != spec.d.type) {
    throw py::value_error(fmt::format("d has the dtype {}; out_dtype says otherwise", d.dtype));
  }
  check_shape(d, shape);
  check_contiguous(d);
  spec.d.stride = stride_of(d, rank - 2);
  if (rank == 3) spec.d.group_stride = stride_of(d, 0);
  args.d = call.address(d);
  std::optional<Array> c;
  if (!out.c.is_none()) {
    c = call.take("c", out.c);
    spec.d.accumulate = true;
    spec.d.c_type = type_of(*c);
    check_shape(*c, shape);
    check_contiguous(*c);
    spec.d.c_stride = stride_of(*c, rank - 2);
    if (rank == 3) spec.d.c_group_stride = stride_of(*c, 0);
    args.c = c->data == d.data ? args.d : call.address(*c);
  }
  call.run(spec, args, d);
  return d_object;
}

GemmArgs args_of(Call& call, const Pair& a, const Pair& b) {
  return {.a = call.address(a.codes),
          .a_scale = call.address(a.scales),
          .b = call.address(b.codes),
          .b_scale = call.address(b.scales)};
}

// ---------------------------------------------------------------- the functions

py::object fp8_gemm_nt(const py::object& a, const py::object& b, const py::object& d,
                       const py::object& c, const Text& out_dtype, bool int8,
                       const py::object& stream, const Text& device) {
  Call call(stream, device);
  const Pair pa = take_pair(call, "a", a), pb = take_pair(call, "b", b);
  GemmSpec spec = spec_of(pa, false, pb, false);
  spec.int8 = int8;
  return run(call, spec, args_of(call, pa, pb), {d, c, type_of(out_dtype)}, {spec.m, spec.n},
             pa.codes);
}

py::object m_grouped_contiguous(const py::object& a, const py::object& b, const py::object& d,
                                const py::object& layout, bool use_psum_layout, int alignment,
                                const Text& out_dtype, bool int8, const py::object& stream,
                                const Text& device) {
  Call call(stream, device);
  const Pair pa = take_pair(call, "a", a), pb = take_pair(call, "b", b);
  GemmSpec spec = spec_of(pa, false, pb, true);
  spec.int8 = int8;
  spec.num_groups = static_cast<int>(pb.codes.shape[0]);
  check_matrices(pb, spec.num_groups);
  spec.grouping = use_psum_layout ? Grouping::kRowEnds : Grouping::kRowGroups;
  if (use_psum_layout) spec.row_alignment = alignment;
  const Array groups = call.take_ints("grouped_layout", layout);
  check_shape(groups, {use_psum_layout ? spec.num_groups : spec.m});
  GemmArgs args = args_of(call, pa, pb);
  args.groups = static_cast<const int32_t*>(call.address(groups));
  return run(call, spec, args, {d, py::none(), type_of(out_dtype)}, {spec.m, spec.n}, pa.codes);
}

py::object m_grouped_masked(const py::object& a, const py::object& b, const py::object& d,
                            const py::object& masked_m, int expected_m, const Text& out_dtype,
                            bool int8, const py::object& stream, const Text& device) {
  Call call(stream, device);
  const Pair pa = take_pair(call, "a", a), pb = take_pair(call, "b", b);
  GemmSpec spec = spec_of(pa, true, pb, true);
  spec.int8 = int8;
  spec.num_groups = static_cast<int>(pb.codes.shape[0]);
  check_matrices(pa, spec.num_groups);
  check_matrices(pb, spec.num_groups);
  spec.grouping = Grouping::kMasked;
  spec.expected_rows = static_cast<int64_t>(expected_m) * spec.num_groups;
  const Array counts = call.take_ints("masked_m", masked_m);
  check_shape(counts, {spec.num_groups});
  GemmArgs args = args_of(call, pa, pb);
  args.groups = static_cast<const int32_t*>(call.address(counts));
  return run(call, spec, args, {d, py::none(), type_of(out_dtype)},
             {spec.num_groups, spec.m, spec.n}, pa.codes);
}

/// Where each group's columns end.
std::vector<int32_t> ends_of(const std::vector<int64_t>& ks, int64_t k) {
  std::vector<int32_t> ends;
  int64_t end = 0;
  for (const int64_t own : ks) {
    if (own < 0 || own > k - end) {
      throw py::value_error(
          fmt::format("ks has {} after {}; a has {} columns in all", own, end, k));
    }
    end += own;
    ends.push_back(static_cast<int32_t>(end));
  }
  return ends;
}

/// Groups along k of two flat arrays: the scales say how many rows there are.
GemmSpec flat_spec(const Pair& a, const Pair& b, const std::vector<int64_t>& ks) {
  GemmSpec spec{.grouping = Grouping::kKFlat};
  for (const int64_t k : ks) spec.k += k;
  for (const Pair* x : {&a, &b}) {
    check_rank(x->codes, 1);
    check_rank(x->scales, 2);
    const int64_t rows = x->scales.shape[0];
    if (x->codes.size() != rows * spec.k) {
      throw py::value_error(fmt::format("{} has {} codes; {} rows of scales and ks want {} x {}",
                                        x->codes.name, x->codes.size(), rows, rows, spec.k));
    }
    (x == &a ? spec.m : spec.n) = rows;
    (x == &a ? spec.a : spec.b) = operand_spec(*x, rows, spec.k);
  }
  return spec;
}

py::object k_grouped(const py::object& a, const py::object& b, const py::object& d,
                     const std::vector<int64_t>& ks, const py::object& /*grouped_layout*/,
                     const py::object& c, const py::object& stream, const Text& device) {
  Call call(stream, device);
  const Pair pa = take_pair(call, "a", a), pb = take_pair(call, "b", b);
  GemmSpec spec;
  if (pa.codes.rank() == 1) {
    spec = flat_spec(pa, pb, ks);
  } else {
    spec = spec_of(pa, false, pb, false);
    spec.grouping = Grouping::kK;
  }
  spec.num_groups = static_cast<int>(ks.size());
  const std::vector<int32_t> ends = ends_of(ks, spec.k);
  GemmArgs args = args_of(call, pa, pb);
  args.groups = call.address(ends);
  return run(call, spec, args, {d, c, d.is_none() ? std::optional(DType::kF32) : std::nullopt},
             {spec.num_groups, spec.m, spec.n}, pa.codes);
}

// ---------------------------------------------------------------- casts and calc_diff

/// `x` in host memory; torch's tensors as `torch_cast` makes them.
Array on_host(const char* name, const py::object& x, const char* torch_cast) {
  if (python::torch_of(x)) {
    py::object host = x.attr("detach")().attr("cpu")();
    const bool bf16 = python::take(name, host).element == Element::kBf16;
    return python::take(name, bf16 ? host : host.attr(torch_cast)());
  }
  if (py::hasattr(x, "__dlpack__")) return python::take(name, x);
  return python::take(name, py::array(x));
}

/// As T: uint16 are the bits of bf16, everything else are numbers.
template <typename T>
py::array_t<T> numbers(const Array& x) {
  const py::array array = python::as_numpy(x);
  if (x.element != Element::kBf16) return py::array_t<T, py::array::forcecast>(array);
  const py::array_t<uint32_t, py::array::forcecast> bits(array);
  const py::object shifted = bits.attr("__lshift__")(16).attr("astype")("uint32");
  return py::array_t<T, py::array::forcecast>(shifted.attr("view")("float32"));
}

py::tuple cast_to_fp8(const py::object& given, BlockShape block, bool use_ue8m0) {
  const Array x = on_host("x", given, "float");
  check_rank(x, 2);
  const py::array_t<float> values = numbers<float>(x);
  const Shape<2> shape = {x.shape[0], x.shape[1]};
  const Shape<2> strides = {values.strides(0) / 4, values.strides(1) / 4};
  const Shape<2> scales_shape = scale_shape(shape, block);
  Array like;
  like.is_torch = static_cast<bool>(python::torch_of(given));
  like.object = like.is_torch ? given.attr("detach")().attr("cpu")() : given;
  const py::object codes = python::make(Element::kE4m3, {shape[0], shape[1]}, like, false);
  const py::object scales =
      python::make(Element::kF32, {scales_shape[0], scales_shape[1]}, like, false);
  const Array codes_out = python::take("codes", codes), scales_out = python::take("scales", scales);
  Result<> done;
  {
    const float* const in = values.data();
    const py::gil_scoped_release release;
    done = quantize_into(View<const float, 2>(in, shape, strides), block,
                         View<E4m3, 2>(reinterpret_cast<E4m3*>(codes_out.data), shape),
                         View<float, 2>(reinterpret_cast<float*>(scales_out.data), scales_shape),
                         {.power_of_two = use_ue8m0});
  }
  unwrap(std::move(done));
  if (!like.is_torch) return py::make_tuple(codes, scales);
  const py::object device = given.attr("device");
  return py::make_tuple(codes.attr("to")(device), scales.attr("to")(device));
}

double diff(const py::object& x, const py::object& y) {
  using Contiguous = py::array_t<double, py::array::c_style | py::array::forcecast>;
  const Array tx = on_host("x", x, "double"), ty = on_host("y", y, "double");
  check_shape(tx, ty.shape);
  const Contiguous vx(numbers<double>(tx)), vy(numbers<double>(ty));
  const Shape<1> shape = {vx.size()};
  return calc_diff(View<const double, 1>(vx.data(), shape),
                   View<const double, 1>(vy.data(), shape));
}

}  // namespace

void bind_gemm(py::module_ module);  // NOLINT(misc-use-internal-linkage): module.cpp calls it

void bind_gemm(py::module_ module) {  // NOLINT(misc-use-internal-linkage): module.cpp calls it
  module.doc() = "FP8 matrix products; uint8 stands for e4m3 and uint16 for bf16.";
  const auto none = py::none();
  module.def(
      "fp8_gemm_nt", &fp8_gemm_nt, py::arg("a"), py::arg("b"), py::arg("d") = none,
      py::arg("c") = none, py::kw_only(), py::arg("out_dtype") = none, py::arg("int8") = false,
      py::arg("stream") = none, py::arg("device") = none,
      "a @ b.T + c for a = (codes [m][k], scales) and b = (codes [n][k], scales), into d.\n\n"
      "Without d: a new array of a's kind on a's device, of out_dtype: bf16 (the default), f16,\n"
      "f32. The shape of the scales says what shares one: 1x128, 128x128, a row, everything.\n\n"
      "int8: on the CPU nearly twice as fast, about 0.9 % off; docs/gemm.md says how.\n\n"
      "stream: of tensors on a GPU that are not torch's, as an integer; torch's current stream is\n"
      "used for its own. device=\"emulator\": arrays on the CPU, computed by the emulated GPU.");
  module.def(
      "m_grouped_fp8_gemm_nt_contiguous", &m_grouped_contiguous, py::arg("a"), py::arg("b"),
      py::arg("d"), py::arg("grouped_layout"), py::kw_only(), py::arg("use_psum_layout") = false,
      py::arg("alignment") = 1, py::arg("out_dtype") = none, py::arg("int8") = false,
      py::arg("stream") = none, py::arg("device") = none,
      "Rows of a with the matrix of b [groups][n][k] that grouped_layout [m] names; -1: none,\n"
      "the row of d is left as it is. With use_psum_layout: grouped_layout [groups] is where each\n"
      "group's rows end; they start at multiples of alignment. d may be None: a new array, with\n"
      "zeros in rows of no group.");
  module.def("m_grouped_fp8_gemm_nt_masked", &m_grouped_masked, py::arg("a"), py::arg("b"),
             py::arg("d"), py::arg("masked_m"), py::arg("expected_m") = 0, py::kw_only(),
             py::arg("out_dtype") = none, py::arg("int8") = false, py::arg("stream") = none,
             py::arg("device") = none,
             "The first masked_m[g] rows of a [groups][m][k] with b [groups][n][k], into d\n"
             "[groups][m][n], whose other rows are left. d may be None: a new array, zero there.");
  module.def(
      "k_grouped_fp8_gemm_nt", &k_grouped, py::arg("a"), py::arg("b"), py::arg("d"), py::arg("ks"),
      py::arg("grouped_layout") = none, py::arg("c") = none, py::kw_only(),
      py::arg("stream") = none, py::arg("device") = none,
      "For each group, a and b over its ks[g] columns (multiples of 128), plus c, into d\n"
      "[groups][m][n]; None: new, float32. Codes are [m][k] and [n][k], or, as DeepGEMM has them,\n"
      "flat: the groups' own [m][ks[g]], one behind the other. Scales are\n"
      "[m][k / 128] and [n][k / 128]. grouped_layout, DeepGEMM's copy of ks, is not read.");
  module.def(
      "per_token_cast_to_fp8",
      [](const py::object& x, bool ue8m0) { return cast_to_fp8(x, kPer1x128, ue8m0); },
      py::arg("x"), py::arg("use_ue8m0") = false,
      "(codes, scales) with a scale per 1x128 values. Computed on the CPU, wherever x is.");
  module.def(
      "per_block_cast_to_fp8",
      [](const py::object& x, bool ue8m0) { return cast_to_fp8(x, kPer128x128, ue8m0); },
      py::arg("x"), py::arg("use_ue8m0") = false,
      "(codes, scales) with a scale per 128x128 values. Computed on the CPU, wherever x is.");
  module.def("calc_diff", &diff, py::arg("x"), py::arg("y"),
             "1 - 2 sum(x y) / sum(x^2 + y^2): DeepGEMM's measure of two results.");
}

}  // namespace hadal::gemm
