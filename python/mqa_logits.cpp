// hadal.gemm: the scores of the lightning indexer over numpy arrays, with DeepGEMM's names.

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "gemm/gemm.h"
#include "unwrap.h"

namespace py = pybind11;
using hadal::python::unwrap;

namespace hadal::gemm {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using Codes = py::array_t<uint8_t, py::array::c_style>;

/// All cores; made when the first scores are computed.
const Context& context() {
  static const Context made = unwrap(Context::cpu());
  return made;
}

/// `shape` with -1 for what may be anything.
void check_shape(const py::array& x, const std::string& name, const std::vector<int64_t>& shape) {
  bool same = x.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string want, have;
  for (size_t i = 0; i < shape.size(); ++i) {
    same = same && (shape[i] < 0 || x.shape(static_cast<py::ssize_t>(i)) == shape[i]);
    want += (i > 0 ? ", " : "") + (shape[i] < 0 ? std::string("any") : std::to_string(shape[i]));
  }
  for (py::ssize_t i = 0; i < x.ndim(); ++i)
    have += (i > 0 ? ", " : "") + std::to_string(x.shape(i));
  if (same) return;
  throw py::value_error(fmt::format("{} has the shape [{}]; it must be [{}]", name, have, want));
}

DType type_of(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "bf16") return DType::kBf16;
  throw py::value_error(fmt::format("logits_dtype is {}; it must be f32 or bf16", name));
}

struct FreeBytes {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

/// Plans and runs; logits that are not cleaned are zero outside of the ranges.
py::array run(const MqaSpec& spec, MqaArgs args) {
  const MqaPlan plan = unwrap(plan_mqa_logits(context(), spec));
  const char* name = spec.type == DType::kF32 ? "float32" : "uint16";
  const std::vector<int64_t> shape = {spec.queries, plan.spec().columns};
  py::array logits = py::module_::import("numpy").attr("zeros")(shape, name).cast<py::array>();
  const size_t size = (plan.workspace_bytes() + 255) / 256 * 256 + 256;
  const std::unique_ptr<std::byte, FreeBytes> workspace(
      static_cast<std::byte*>(std::aligned_alloc(256, size)));
  if (workspace == nullptr) throw std::bad_alloc();
  args.logits = logits.mutable_data();
  args.workspace = {workspace.get(), size};
  Result<> done;
  {
    const py::gil_scoped_release release;
    done = plan.run(args);
  }
  unwrap(std::move(done));
  return logits;
}

py::array fp8_mqa_logits(const Codes& q, const std::pair<Codes, Array<float>>& kv,
                         const Array<float>& weights, const Array<int32_t>& ks,
                         const Array<int32_t>& ke, bool clean_logits, int64_t max_seqlen_k,
                         const std::string& logits_dtype) {
  check_shape(q, "q", {-1, -1, -1});
  const int64_t queries = q.shape(0), heads = q.shape(1), head_dim = q.shape(2);
  check_shape(kv.first, "kv", {-1, head_dim});
  const int64_t keys = kv.first.shape(0);
  check_shape(kv.second, "the scales of kv", {keys});
  check_shape(weights, "weights", {queries, heads});
  check_shape(ks, "ks", {queries});
  check_shape(ke, "ke", {queries});
  return run({.queries = queries,
              .heads = static_cast<int>(heads),
              .head_dim = static_cast<int>(head_dim),
              .keys = keys,
              .type = type_of(logits_dtype),
              .compressed = max_seqlen_k > 0,
              .columns = max_seqlen_k,
              .clean = clean_logits},
             {.q = q.data(),
              .kv = kv.first.data(),
              .kv_scale = kv.second.data(),
              .weights = weights.data(),
              .ks = ks.data(),
              .ke = ke.data()});
}

py::array fp8_paged_mqa_logits(const Codes& q, const Codes& kv_cache, const Array<float>& weights,
                               const Array<int32_t>& context_lens,
                               const Array<int32_t>& block_table, int64_t max_context_len,
                               bool clean_logits, const std::string& logits_dtype) {
  check_shape(q, "q", {-1, -1, -1, -1});
  const int64_t requests = q.shape(0), next_n = q.shape(1);
  const int64_t heads = q.shape(2), head_dim = q.shape(3);
  check_shape(kv_cache, "kv_cache", {-1, -1, 1, head_dim + 4});
  check_shape(weights, "weights", {requests * next_n, heads});
  check_shape(block_table, "block_table", {requests, -1});
  const bool per_query = context_lens.ndim() == 2;
  if (per_query) {
    check_shape(context_lens, "context_lens", {requests, next_n});
  } else {
    check_shape(context_lens, "context_lens", {requests});
  }
  return run({.queries = requests * next_n,
              .heads = static_cast<int>(heads),
              .head_dim = static_cast<int>(head_dim),
              .keys = max_context_len,
              .type = type_of(logits_dtype),
              .clean = clean_logits,
              .paged = true,
              .next_n = static_cast<int>(next_n),
              .block_size = static_cast<int>(kv_cache.shape(1)),
              .num_blocks = kv_cache.shape(0),
              .max_blocks = block_table.shape(1),
              .length_per_query = per_query},
             {.q = q.data(),
              .kv = kv_cache.data(),
              .weights = weights.data(),
              .context_lens = context_lens.data(),
              .block_table = block_table.data()});
}

}  // namespace

void bind_mqa_logits(py::module_ module);  // NOLINT(misc-use-internal-linkage): module.cpp calls it

void bind_mqa_logits(py::module_ module) {  // NOLINT(misc-use-internal-linkage): module.cpp calls
  module.def(
      "fp8_mqa_logits", &fp8_mqa_logits, py::arg("q"), py::arg("kv"), py::arg("weights"),
      py::arg("ks"), py::arg("ke"), py::arg("clean_logits") = true, py::arg("max_seqlen_k") = 0,
      py::arg("logits_dtype") = "f32",
      "logits[i, j] = scales[j] * sum_h max(0, q[i, h] . k[j]) * weights[i, h] for ks[i] <=\n"
      "j < ke[i] and -inf elsewhere; q is codes [queries][heads][depth], kv is (codes\n"
      "[keys][depth], scales [keys]). With max_seqlen_k key j stands in column j - ks[i] of\n"
      "so many. Without clean_logits the rest is zero.");
  module.def("fp8_paged_mqa_logits", &fp8_paged_mqa_logits, py::arg("q"), py::arg("kv_cache"),
             py::arg("weights"), py::arg("context_lens"), py::arg("block_table"),
             py::arg("max_context_len"), py::arg("clean_logits") = true,
             py::arg("logits_dtype") = "f32",
             "The same for q [requests][next_n][heads][depth] and the keys of a cache\n"
             "[blocks][block_size][1][depth + 4] (uint8: codes of all keys of a block, then their\n"
             "float32 scales): [requests * next_n][max_context_len]. Query n has the first\n"
             "context_lens[b] - next_n + n + 1 keys, or context_lens[b][n].");
}

}  // namespace hadal::gemm
