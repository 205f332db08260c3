// hadal.trace: a trace's columns as numpy arrays, and the analyses as dicts.
//
// Arrays are views of the Trace, which they keep alive; they are read-only. The analyses are those
// of `hadal trace`, with the same keys (src/trace/json.h). The interpreter's lock is released while
// a file is read. Errors become FileNotFoundError, ValueError or RuntimeError.
#include "trace/trace.h"

#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace hadal::trace {
namespace {

template <typename T>
T unwrap(Result<T> result) {
  if (result) return *std::move(result);
  const Error& error = result.error();
  if (error.code == Code::kNotFound) {
    PyErr_SetString(PyExc_FileNotFoundError, error.message.c_str());
    throw py::error_already_set();
  }
  if (error.code == Code::kInvalidArgument || error.code == Code::kCorrupt) {
    throw py::value_error(error.message);
  }
  throw std::runtime_error(error.message);
}

py::object to_python(const std::string& json) {
  return py::module_::import("json").attr("loads")(json);
}

/// A read-only view of a column, which keeps its Trace alive.
template <typename T>
py::array column(const std::vector<T>& values, const py::object& owner) {
  using Element = std::conditional_t<std::is_enum_v<T>, uint8_t, T>;
  static_assert(sizeof(Element) == sizeof(T));
  py::array array(py::dtype::of<Element>(), {static_cast<py::ssize_t>(values.size())},
                  {static_cast<py::ssize_t>(sizeof(T))}, values.data(), owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

py::dict columns(const py::object& self) {
  const Events& e = self.cast<const Trace&>().events;
  py::dict out;
  out["start_ns"] = column(e.start_ns, self);
  out["duration_ns"] = column(e.duration_ns, self);
  out["name"] = column(e.name, self);
  out["track"] = column(e.track, self);
  out["category"] = column(e.category, self);
  out["phase"] = column(e.phase, self);
  out["correlation"] = column(e.correlation, self);
  out["detail"] = column(e.detail, self);
  out["offset"] = column(e.offset, self);
  return out;
}

/// Values as an array of its own; kNone becomes -1.
template <typename T>
py::array copy(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}
py::array rows(const std::vector<uint32_t>& values) {
  py::array_t<int64_t> out(static_cast<py::ssize_t>(values.size()));
  int64_t* to = out.mutable_data();
  for (const uint32_t row : values) *to++ = row == kNone ? -1 : int64_t{row};
  return out;
}

py::dict activity_columns(const Trace& trace, const std::string& window, int device,
                          const std::string& rules) {
  const ActivityColumns columns = unwrap(activities(trace, {window, device, rules}));
  py::dict out;
  out["start_ns"] = copy(columns.start_ns);
  out["end_ns"] = copy(columns.end_ns);
  out["row"] = rows(columns.row);
  out["launch_row"] = rows(columns.launch_row);
  out["region_row"] = rows(columns.region_row);
  out["class"] = copy(columns.kind);
  out["role"] = copy(columns.role);
  return out;
}

py::list tracks(const Trace& trace) {
  py::list out;
  for (const Track& t : trace.tracks) {
    py::dict track;
    track["gpu"] = t.kind == TrackKind::kGpu;
    track["device"] = t.device;
    track["stream"] = t.stream;
    track["process"] = t.process;
    track["thread"] = t.thread;
    track["process_name"] = t.process_name;
    track["thread_name"] = t.thread_name;
    track["begin"] = t.begin;
    track["end"] = t.end;
    out.append(track);
  }
  return out;
}

py::dict health(const Trace& trace) {
  const Health& h = trace.health;
  py::list losses;
  for (const Loss& loss : h.losses) losses.append(py::make_tuple(loss.offset, loss.reason));
  py::dict out;
  out["clean"] = h.clean();
  out["lost_events"] = h.lost_events;
  out["losses"] = losses;
  out["truncated_at"] = h.truncated ? py::object(py::int_(h.truncated_at)) : py::none();
  out["zero_timestamps"] = h.zero_timestamps;
  out["clipped_durations"] = h.clipped_durations;
  out["unmatched_begins"] = h.unmatched_begins;
  out["unmatched_ends"] = h.unmatched_ends;
  out["ignored_phases"] = h.ignored_phases;
  out["replaced_bytes"] = h.replaced_bytes;
  return out;
}

py::object event(const Trace& trace, uint32_t row) {
  if (row >= trace.events.size()) {
    throw py::index_error(
        fmt::format("row is {}; the trace has {} rows", row, trace.events.size()));
  }
  const std::vector<uint32_t> wanted = {row};
  return to_python(unwrap(read_events(trace, wanted))[0]);
}

using TraceClass = py::class_<Trace, std::shared_ptr<Trace>>;

/// A method for each analysis, which gives its JSON as Python objects.
void bind_analyses(TraceClass& type) {
  for (const std::string_view name : analysis_names()) {
    type.def(
        std::string(name).c_str(),
        [name](const Trace& trace, const std::string& window, int device,
               const std::string& rules) {
          return to_python(unwrap(analyse(trace, name, {window, device, rules})));
        },
        py::kw_only(), py::arg("window") = "", py::arg("device") = -1, py::arg("rules") = "",
        "The analysis of this name of `hadal trace`, in microseconds.");
  }
}

constexpr const char* kLoadDoc = R"(Reads a trace of the PyTorch profiler, plain, gzip or zstd.

python_functions  False leaves out python_function events, often most of a file
threads           0: all cores

Malformed events are skipped and counted in Trace.health. Raises FileNotFoundError,
and ValueError if the file is not a trace.)";

}  // namespace

// NOLINTNEXTLINE(misc-use-internal-linkage): module.cpp declares and calls it
void bind_trace(py::module_ module) {
  TraceClass type(module, "Trace", "Events as columns, and the analyses of them.");
  type.def_readonly("path", &Trace::path)
      .def_readonly("rank", &Trace::rank)
      .def_readonly("world_size", &Trace::world_size)
      .def_readonly("names", &Trace::names)
      .def_readonly("base_unix_ns", &Trace::base_ns)
      .def_readonly("resolution_ns", &Trace::resolution_ns)
      .def_readonly("end_ns", &Trace::end_ns)
      .def_property_readonly("generation",
                             [](const Trace& t) { return std::string(name(t.generation)); })
      .def_property_readonly("columns", &columns,
                             "One read-only array per field; times in ns since the first event.")
      .def_property_readonly("tracks", &tracks)
      .def_property_readonly("health", &health)
      .def("__len__", [](const Trace& t) { return t.events.size(); })
      .def("event", &event, py::arg("row"), "The event's JSON, read from the file.")
      .def("activities", &activity_columns, py::kw_only(), py::arg("window") = "",
           py::arg("device") = -1, py::arg("rules") = "",
           "Kernels, copies and memsets by start: arrays; -1 where there is no launch or region.");
  bind_analyses(type);
  module.def(
      "load",
      [](const std::string& path, bool python_functions, int threads) {
        const py::gil_scoped_release unlocked;
        auto result = load(path, {.threads = threads, .python_functions = python_functions});
        const py::gil_scoped_acquire locked;
        return std::make_shared<Trace>(unwrap(std::move(result)));
      },
      py::arg("path"), py::kw_only(), py::arg("python_functions") = true, py::arg("threads") = 0,
      kLoadDoc);
  py::list categories;
  for (int i = 0; i < kNumCategories; ++i) {
    categories.append(std::string(name(static_cast<Category>(i))));
  }
  module.attr("CATEGORIES") = py::tuple(categories);
  module.attr("CLASSES") = py::make_tuple("compute", "communication", "memory");
  module.attr("ROLES") = py::make_tuple("none", "transfer", "barrier", "layout");
}

}  // namespace hadal::trace
