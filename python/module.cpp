// The native half of the Python package `hadal`: hadal.eplb over numpy arrays, and the module
// itself. hadal.gemm and hadal.trace have files of their own.
//
// Arguments are converted once, to float64 in C order, and not copied if they are that already.
// Results are views of memory that the returned object owns. The interpreter's lock is released
// while the library computes. An Error becomes ValueError if the caller's argument is at fault,
// else RuntimeError, with the library's sentence.
//
// The text of the docstrings is what help(hadal.eplb) shows; python/hadal/eplb.pyi has the types.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/error.h"
#include "eplb/eplb.h"
#include "unwrap.h"

namespace py = pybind11;
using hadal::python::unwrap;

namespace hadal::gemm {
void bind_gemm(py::module_ module);        // NOLINT(misc-use-internal-linkage): gemm.cpp
void bind_mqa_logits(py::module_ module);  // NOLINT(misc-use-internal-linkage): mqa_logits.cpp
}  // namespace hadal::gemm

namespace hadal::trace {
void bind_trace(py::module_ module);  // NOLINT(misc-use-internal-linkage): trace.cpp
}  // namespace hadal::trace

namespace hadal::eplb {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using Shape = std::vector<py::ssize_t>;

template <typename T>
std::span<const T> span_of(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

/// `values` as an array with `num_dims` dimensions. Takes anything that numpy takes, and
/// torch tensors of any device and dtype (bfloat16, too, which numpy does not know).
py::array to_numpy(const char* what, py::object values, int num_dims, const char* torch_dtype) {
  if (py::hasattr(values, "detach") && py::hasattr(values, "cpu")) {
    values = values.attr("detach")().attr("cpu")().attr(torch_dtype)();
  }
  py::array array(values);
  if (array.ndim() != num_dims) {
    throw py::value_error(
        fmt::format("{} has {} dimensions; it must have {}", what, array.ndim(), num_dims));
  }
  return array;
}

[[noreturn]] void wrong_dtype(const char* what, const py::array& array, const char* wanted) {
  throw py::type_error(fmt::format("{} has dtype {}; it must hold {}", what,
                                   py::str(array.dtype()).cast<std::string>(), wanted));
}

/// [n][m] real numbers, as T.
template <typename T>
Array<T> to_reals(const char* what, py::object values, int num_dims) {
  const py::array array =
      to_numpy(what, std::move(values), num_dims, std::is_same_v<T, float> ? "float" : "double");
  // Casts that numpy allows and nobody means: complex numbers, texts, times.
  if (std::string_view("cSUMm").find(array.dtype().kind()) != std::string_view::npos) {
    wrong_dtype(what, array, "real numbers");
  }
  return Array<T>(array);
}

/// Integers of any dtype. `shape` gets the dimensions, if it is asked for.
std::vector<int> to_ints(const char* what, py::object values, int num_dims,
                         Shape* shape = nullptr) {
  const py::array array = to_numpy(what, std::move(values), num_dims, "long");
  const bool is_empty_list = array.size() == 0;  // numpy makes float64 of []
  if (!is_empty_list && array.dtype().kind() != 'i' && array.dtype().kind() != 'u') {
    wrong_dtype(what, array, "integers");
  }
  const Array<int64_t> wide(array);
  std::vector<int> narrow;
  narrow.reserve(wide.size());
  for (const int64_t value : span_of(wide)) {
    if (value != static_cast<int>(value)) {
      throw py::value_error(fmt::format("{} has the value {}; it must fit 32 bits", what, value));
    }
    narrow.push_back(static_cast<int>(value));
  }
  if (shape != nullptr) shape->assign(array.shape(), array.shape() + array.ndim());
  return narrow;
}

int to_int(const char* what, py::ssize_t value) {
  constexpr py::ssize_t kMost = 1 << 30;
  if (value > kMost) {
    throw py::value_error(fmt::format("{} is {}; it must be at most {}", what, value, kMost));
  }
  return static_cast<int>(value);
}

/// The enumerator whose name() is `text`.
template <typename E>
E parse(const char* what, const std::string& text, std::initializer_list<E> all) {
  std::string allowed;
  for (const E value : all) {
    if (name(value) == text) return value;
    allowed += fmt::format("{}\"{}\"", allowed.empty() ? "" : ", ", name(value));
  }
  throw py::value_error(fmt::format("{} is \"{}\"; it must be one of {}", what, text, allowed));
}

Policy parse_policy(const std::string& text) {
  return parse("policy", text,
               {Policy::kAuto, Policy::kReference, Policy::kOptimal, Policy::kIncremental});
}

Scope parse_scope(const std::string& text) {
  return parse("scope", text, {Scope::kAuto, Scope::kHierarchical, Scope::kGlobal});
}

Ties parse_ties(const std::string& text) {
  return parse("ties", text, {Ties::kStable, Ties::kTorch});
}

Dispatch parse_dispatch(const std::string& text) {
  return parse("dispatch", text, {Dispatch::kEqual, Dispatch::kWeighted});
}

/// A read-only array over memory of `owner`, which it keeps alive.
template <typename T>
py::array view(const py::object& owner, const std::vector<T>& values, Shape shape) {
  py::array_t<T> array(std::move(shape), values.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

py::array_t<int64_t> widened(const std::vector<int32_t>& values, Shape shape) {
  py::array_t<int64_t> array(std::move(shape));
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

using PlanPointer = std::shared_ptr<Plan>;

PlanPointer run(const Problem& problem, const Options& options, const Plan* previous) {
  const py::gil_scoped_release unlocked;
  return std::make_shared<Plan>(unwrap(rebalance(problem, options, previous)));
}

Problem problem_of(const Array<double>& load, int num_replicas, int num_groups, int num_nodes,
                   int num_gpus) {
  Problem problem;
  problem.num_layers = to_int("num_layers", load.shape(0));
  problem.num_experts = to_int("num_experts", load.shape(1));
  problem.num_replicas = num_replicas;
  problem.num_groups = num_groups;
  problem.num_nodes = num_nodes;
  problem.num_gpus = num_gpus;
  problem.load = span_of(load);
  return problem;
}

py::tuple rebalance_experts(py::object weight, int num_replicas, int num_groups, int num_nodes,
                            int num_gpus, const std::string& policy, const std::string& ties,
                            int threads) {
  // To float32 as the reference does, whatever the dtype: a large int64 must not be rounded twice.
  const auto single = to_reals<float>("weight", std::move(weight), 2);
  const Array<double> load(single);
  Options options;
  options.policy = parse_policy(policy);
  options.ties = parse_ties(ties);
  options.threads = threads;
  const Problem problem = problem_of(load, num_replicas, num_groups, num_nodes, num_gpus);
  const PlanPointer plan = run(problem, options, nullptr);
  const py::ssize_t layers = plan->num_layers;
  const py::ssize_t experts = plan->num_experts;
  return py::make_tuple(widened(plan->phy2log, {layers, plan->num_slots}),
                        widened(plan->log2phy, {layers, experts, plan->max_count}),
                        widened(plan->logcnt, {layers, experts}));
}

std::vector<Pin> to_pins(const std::vector<std::tuple<int, int, int>>& triples) {
  std::vector<Pin> pins;
  pins.reserve(triples.size());
  for (const auto& [layer, expert, gpu] : triples) {
    pins.push_back({.layer = layer, .expert = expert, .gpu = gpu});
  }
  return pins;
}

PlanPointer plan(py::object load_values, int num_replicas, int num_gpus, int num_groups,
                 int num_nodes, const std::string& policy, const PlanPointer& previous,
                 const std::string& scope, const std::string& ties, const std::string& dispatch,
                 const py::object& gpu_capacity, const py::object& gpu_speed,
                 const py::object& failed_gpus, const std::vector<std::tuple<int, int, int>>& pins,
                 int min_nodes_per_expert, int max_replicas_per_expert, int64_t steps_max,
                 double budget_ms, uint64_t seed, std::optional<double> moves_max,
                 const std::optional<std::tuple<double, double, double>>& move_cost,
                 double tolerance, int threads) {
  const auto load = to_reals<double>("load", std::move(load_values), 2);
  const std::vector<int> capacity = to_ints("gpu_capacity", gpu_capacity, 1);
  const auto speed = to_reals<double>("gpu_speed", gpu_speed, 1);
  const std::vector<int> failed = to_ints("failed_gpus", failed_gpus, 1);
  const std::vector<Pin> pinned = to_pins(pins);
  Problem problem = problem_of(load, num_replicas, num_groups, num_nodes, num_gpus);
  problem.gpu_capacity = capacity;
  problem.gpu_speed = span_of(speed);
  problem.failed_gpus = failed;
  problem.pins = pinned;
  problem.min_nodes_per_expert = min_nodes_per_expert;
  problem.max_replicas_per_expert = max_replicas_per_expert;
  Options options;
  options.policy = parse_policy(policy);
  options.scope = parse_scope(scope);
  options.ties = parse_ties(ties);
  options.dispatch = parse_dispatch(dispatch);
  options.steps_max = steps_max;
  options.budget_ms = budget_ms;
  options.seed = seed;
  options.tolerance = tolerance;
  options.threads = threads;
  if (moves_max) options.moves_max = *moves_max;
  if (move_cost) {
    const auto [same_gpu, same_node, other_node] = *move_cost;
    options.move_cost = {same_gpu, same_node, other_node};
  }
  return run(problem, options, previous.get());
}

/// GPU boundaries of an equal split; the first num_slots % num_gpus GPUs have one slot more.
std::vector<int32_t> equal_split(int num_slots, int num_gpus) {
  if (num_gpus < 1 || num_gpus > num_slots) {
    throw py::value_error(
        fmt::format("num_gpus is {}; it must be 1 to num_slots {}", num_gpus, num_slots));
  }
  std::vector<int32_t> first{0};
  first.reserve(num_gpus + 1);
  for (int gpu = 0; gpu < num_gpus; ++gpu) {
    first.push_back(first.back() + num_slots / num_gpus + (gpu < num_slots % num_gpus ? 1 : 0));
  }
  return first;
}

PlanPointer from_phy2log(py::object phy2log, int num_experts, int num_gpus, int num_groups,
                         int num_nodes) {
  Shape shape;
  std::vector<int> experts = to_ints("phy2log", std::move(phy2log), 2, &shape);
  auto plan = std::make_shared<Plan>();
  plan->num_layers = to_int("num_layers", shape[0]);
  plan->num_experts = num_experts;
  plan->num_slots = to_int("num_slots", shape[1]);
  plan->num_groups = num_groups;
  plan->num_nodes = num_nodes;
  plan->num_gpus = num_gpus;
  plan->gpu_first_slot = equal_split(plan->num_slots, num_gpus);
  plan->phy2log = std::move(experts);
  plan->quality.resize(shape[0]);
  unwrap(index_plan(*plan));
  return plan;
}

Evaluation evaluate_plan(const PlanPointer& plan, py::object load_values,
                         const py::object& gpu_speed) {
  const auto load = to_reals<double>("load", std::move(load_values), 2);
  const auto speed = to_reals<double>("gpu_speed", gpu_speed, 1);
  if (load.shape(0) != plan->num_layers || load.shape(1) != plan->num_experts) {
    throw py::value_error(fmt::format("load has shape ({}, {}); the plan is for ({}, {})",
                                      load.shape(0), load.shape(1), plan->num_layers,
                                      plan->num_experts));
  }
  const py::gil_scoped_release unlocked;
  return unwrap(evaluate(*plan, span_of(load), span_of(speed)));
}

/// A read-only property that is a view of one of the object's vectors; `shape` is of the object.
template <typename Class, typename Owner, typename T>
void def_view(Class& type, const char* property, std::vector<T> Owner::* values,
              Shape (*shape)(const Owner&), const char* doc) {
  type.def_property_readonly(
      property,
      [=](const py::object& self) {
        const auto& owner = self.cast<const Owner&>();
        return view(self, owner.*values, shape(owner));
      },
      doc);
}

std::string describe(const Plan& plan) {
  return fmt::format("<hadal.eplb.Plan: {} layers, {} experts in {} slots on {} GPUs, {}, {}>",
                     plan.num_layers, plan.num_experts, plan.num_slots, plan.num_gpus,
                     name(plan.policy), name(plan.scope));
}

void bind_plan(py::module_& module) {
  PYBIND11_NUMPY_DTYPE(LayerQuality, max, mean, imbalance, lower_bound, gap, moves);
  py::class_<Plan, PlanPointer> type(module, "Plan", R"(Which expert every slot holds.

Arrays are read-only views of the plan's own memory.)");
  type.attr("__module__") = "hadal.eplb";
  type.def_readonly("num_layers", &Plan::num_layers)
      .def_readonly("num_experts", &Plan::num_experts)
      .def_readonly("num_slots", &Plan::num_slots)
      .def_readonly("num_groups", &Plan::num_groups)
      .def_readonly("num_nodes", &Plan::num_nodes)
      .def_readonly("num_gpus", &Plan::num_gpus)
      .def_readonly("cut_short", &Plan::cut_short, "whether a time budget ended the search")
      .def_property_readonly("policy", [](const Plan& p) { return name(p.policy); })
      .def_property_readonly("scope", [](const Plan& p) { return name(p.scope); })
      .def_property_readonly("dispatch", [](const Plan& p) { return name(p.dispatch); })
      .def("__repr__", &describe)
      .def_static("from_phy2log", &from_phy2log, py::arg("phy2log"), py::kw_only(),
                  py::arg("num_experts"), py::arg("num_gpus"), py::arg("num_groups") = 1,
                  py::arg("num_nodes") = 1,
                  R"(A plan made elsewhere, for evaluate() or as `previous` of plan().

phy2log: integers [num_layers, num_slots], the expert in each slot, -1 for none. Slots are divided
over the GPUs in order and equally, the first num_slots % num_gpus GPUs having one more. The fields
of `quality` have no meaning, as no load is known; evaluate() has them.)");
  def_view(
      type, "gpu_first_slot", &Plan::gpu_first_slot,
      +[](const Plan& p) { return Shape{p.num_gpus + 1}; },
      "int32 [num_gpus + 1]: GPU g owns the slots gpu_first_slot[g]:gpu_first_slot[g + 1]");
  def_view(
      type, "phy2log", &Plan::phy2log,
      +[](const Plan& p) { return Shape{p.num_layers, p.num_slots}; },
      "int32 [num_layers, num_slots]: the expert in each slot, -1 for none");
  def_view(
      type, "log2phy", &Plan::log2phy,
      +[](const Plan& p) { return Shape{p.num_layers, p.num_experts, p.max_count}; },
      "int32 [num_layers, num_experts, X]: the slots of each expert, padded with -1");
  def_view(
      type, "logcnt", &Plan::logcnt,
      +[](const Plan& p) { return Shape{p.num_layers, p.num_experts}; },
      "int32 [num_layers, num_experts]: the number of replicas of each expert");
  def_view(
      type, "dispatch_weight", &Plan::dispatch_weight,
      +[](const Plan& p) {
        return p.dispatch_weight.empty() ? Shape{0, p.num_slots} : Shape{p.num_layers, p.num_slots};
      },
      R"(float32 [num_layers, num_slots]: the share of its expert's tokens that each slot takes;
no rows unless dispatch is "weighted")");
  def_view(
      type, "quality", &Plan::quality,
      +[](const Plan& p) { return Shape{static_cast<py::ssize_t>(p.quality.size())}; },
      R"(Structured array [num_layers] with the fields
  max          largest GPU load
  mean         mean GPU load
  imbalance    max / mean
  lower_bound  no plan that keeps the constraints has a smaller max
  gap          max / lower_bound - 1; 0 is proven optimal
  moves        slots whose expert was not on that GPU in the previous plan)");
}

void bind_evaluation(py::module_& module) {
  py::class_<Evaluation> type(module, "Evaluation", "How a plan balances a load.");
  type.attr("__module__") = "hadal.eplb";
  py::class_<Evaluation::Level>(type, "Level", R"(Balance over all GPUs, nodes or slots.

max, mean and imbalance are averages over layers of the layer's value.)")
      .def_readonly("max", &Evaluation::Level::max)
      .def_readonly("mean", &Evaluation::Level::mean)
      .def_readonly("imbalance", &Evaluation::Level::imbalance, "max / mean")
      .def_readonly("worst_imbalance", &Evaluation::Level::worst_imbalance, "the worst layer's")
      .def_readonly("balancedness", &Evaluation::Level::balancedness,
                    "sum over layers of mean / sum over layers of max")
      .attr("__module__") = "hadal.eplb";
  type.def_readonly("gpu", &Evaluation::gpu)
      .def_readonly("node", &Evaluation::node)
      .def_readonly("slot", &Evaluation::slot)
      .def_readonly("duplicates", &Evaluation::duplicates,
                    "slots whose expert the same GPU already holds, over all layers");
  def_view(
      type, "imbalance", &Evaluation::imbalance,
      +[](const Evaluation& e) { return Shape{static_cast<py::ssize_t>(e.imbalance.size())}; },
      "float64 [num_layers]: max / mean of the GPU loads");
  def_view(
      type, "gpu_load", &Evaluation::gpu_load,
      +[](const Evaluation& e) {
        const auto layers = static_cast<py::ssize_t>(e.imbalance.size());
        const auto values = static_cast<py::ssize_t>(e.gpu_load.size());
        return Shape{layers, layers > 0 ? values / layers : 0};
      },
      "float64 [num_layers, num_gpus]: load / speed of each GPU");
}

constexpr const char* kRebalanceDoc =
    R"(DeepSeek's EPLB: phy2log, log2phy, logcnt = rebalance_experts(weight, ...).

The same call and the same result, bit for bit, as rebalance_experts of deepseek-ai/EPLB, with numpy
arrays instead of tensors.

weight        [num_layers, num_experts], >= 0 and finite, any real dtype; loads of the experts
num_replicas  slots in the cluster, a multiple of num_gpus
num_groups    groups of experts, divides num_experts
num_nodes     divides num_gpus; where it divides num_groups, groups stay on one node
num_gpus      a multiple of num_nodes

Returns int64 arrays, with X the largest number of replicas of an expert:
  phy2log  [num_layers, num_replicas]    the expert in each slot
  log2phy  [num_layers, num_experts, X]  the slots of each expert, padded with -1
  logcnt   [num_layers, num_experts]     the number of replicas of each expert

ties="torch" orders equal loads as torch.sort on a CPU does; "stable" puts the lower index first.
policy="optimal" keeps the form of the result and balances better. Raises ValueError.)";

constexpr const char* kPlanDoc = R"(Plans where to replicate the experts of every layer; a Plan.

load          [num_layers, num_experts], >= 0 and finite, any real dtype
num_replicas  slots in the cluster, >= num_experts
num_gpus, num_nodes, num_groups  the cluster, and the groups of experts that routing knows
policy        "optimal": search, with a lower bound; "incremental": from `previous`, few moves;
              "reference": DeepSeek's EPLB; "auto": incremental if there is a previous plan
previous      the Plan in use, of the same shape
scope         "hierarchical" keeps groups on one node; "global"; "auto": if num_nodes divides
              num_groups
ties          order of equal loads in "reference": "stable" or "torch"
dispatch      "equal" shares of an expert's tokens, or "weighted": the best unequal ones

gpu_capacity  integers [num_gpus] that sum to num_replicas: slots of each GPU
gpu_speed     [num_gpus] > 0, relative
failed_gpus   integers: GPUs whose slots stay empty
pins          (layer, expert, gpu) triples that must hold; layer -1 means every layer
min_nodes_per_expert, max_replicas_per_expert (0: no limit)

steps_max     search steps per layer; the same seed gives the same plan
budget_ms     > 0: at most this long, best plan so far
moves_max     "incremental": at most so much, by move_cost; None: no limit
move_cost     (same_gpu, same_node, other_node): the cost of loading an expert's weights
tolerance     "incremental": stops within this of a fresh plan's imbalance
threads       layers are planned in parallel

Raises ValueError, naming the argument, its value and what is allowed.)";

constexpr const char* kEvaluateDoc = R"(Scores a plan on a load that it need not be made from.

load       [num_layers, num_experts], any real dtype
gpu_speed  [num_gpus], default all 1

Returns an Evaluation.)";

PYBIND11_MODULE(_hadal, module) {
  const Options defaults;
  bind_plan(module);
  bind_evaluation(module);
  module.def("rebalance_experts", &rebalance_experts, py::arg("weight"), py::arg("num_replicas"),
             py::arg("num_groups"), py::arg("num_nodes"), py::arg("num_gpus"), py::kw_only(),
             py::arg("policy") = "reference", py::arg("ties") = "torch",
             py::arg("threads") = defaults.threads, kRebalanceDoc);
  module.def("plan", &plan, py::arg("load"), py::kw_only(), py::arg("num_replicas"),
             py::arg("num_gpus"), py::arg("num_groups") = 1, py::arg("num_nodes") = 1,
             py::arg("policy") = name(defaults.policy), py::arg("previous") = py::none(),
             py::arg("scope") = name(defaults.scope), py::arg("ties") = name(defaults.ties),
             py::arg("dispatch") = name(defaults.dispatch), py::arg("gpu_capacity") = py::tuple(),
             py::arg("gpu_speed") = py::tuple(), py::arg("failed_gpus") = py::tuple(),
             py::arg("pins") = py::tuple(), py::arg("min_nodes_per_expert") = 1,
             py::arg("max_replicas_per_expert") = 0, py::arg("steps_max") = defaults.steps_max,
             py::arg("budget_ms") = defaults.budget_ms, py::arg("seed") = defaults.seed,
             py::arg("moves_max") = py::none(), py::arg("move_cost") = py::none(),
             py::arg("tolerance") = defaults.tolerance, py::arg("threads") = defaults.threads,
             kPlanDoc);
  module.def("evaluate", &evaluate_plan, py::arg("plan"), py::arg("load"), py::kw_only(),
             py::arg("gpu_speed") = py::tuple(), kEvaluateDoc);
  py::module_ products = module.def_submodule("gemm");
  gemm::bind_gemm(products);
  gemm::bind_mqa_logits(products);
  trace::bind_trace(module.def_submodule("trace"));
}

}  // namespace
}  // namespace hadal::eplb
