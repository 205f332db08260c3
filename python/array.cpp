#include "array.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>
#include <pybind11/stl.h>

#include "dlpack.h"

namespace py = pybind11;

namespace hadal::python {
namespace {

struct Named {
  const char* name;
  Element element;
  int64_t bytes;
};

// uint8 and uint16 stand for what some frameworks lack.
constexpr Named kElements[] = {
    {"float8_e4m3fn", Element::kE4m3, 1}, {"uint8", Element::kE4m3, 1},
    {"float8_e5m2", Element::kE5m2, 1},   {"float8_e8m0fnu", Element::kE8m0, 1},
    {"bfloat16", Element::kBf16, 2},      {"uint16", Element::kBf16, 2},
    {"float16", Element::kF16, 2},        {"float32", Element::kF32, 4},
    {"float64", Element::kF64, 8},        {"int32", Element::kI32, 4}};

void set_element(Array& x, std::string dtype) {
  for (const Named& n : kElements) {
    if (dtype != n.name) continue;
    x.element = n.element;
    x.element_bytes = n.bytes;
  }
  x.dtype = std::move(dtype);
}

std::string list_text(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i)
    out += fmt::format("{}{}", i > 0 ? ", " : "", values[i]);
  return out + "]";
}

std::vector<int64_t> row_major(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0; step *= shape[d]) strides[d] = step;
  return strides;
}

/// As dtype.name, which numpy composes in Python, slowly.
std::string numpy_name(const py::dtype& dtype) {
  constexpr int kBuiltIn = 24;  // the rest are registered, like those of ml_dtypes
  const py::ssize_t bits = 8 * dtype.itemsize();
  if (dtype.num() >= kBuiltIn) return py::str(dtype.attr("name"));
  switch (dtype.kind()) {
    case 'f': return fmt::format("float{}", bits);
    case 'u': return fmt::format("uint{}", bits);
    case 'i': return fmt::format("int{}", bits);
    default: return py::str(dtype.attr("name"));
  }
}

void take_numpy(Array& x, const py::array& array) {
  const py::dtype dtype = array.dtype();
  set_element(x, numpy_name(dtype));
  if (dtype.byteorder() == '>') x.element = Element::kOther;
  if (x.element == Element::kOther) x.element_bytes = array.itemsize();
  x.data = static_cast<std::byte*>(const_cast<void*>(array.data()));
  x.read_only = !array.writeable();
  const py::ssize_t item = std::max<py::ssize_t>(array.itemsize(), 1);  // there are empty types
  for (py::ssize_t d = 0; d < array.ndim(); ++d) {
    if (array.strides(d) % item != 0) {
      throw py::value_error(fmt::format("{} has a stride of {} bytes; its elements have {}", x.name,
                                        array.strides(d), array.itemsize()));
    }
    x.shape.push_back(array.shape(d));
    x.strides.push_back(array.strides(d) / item);
  }
  x.keeper = array;
}

void take_torch(Array& x, const py::object& tensor, const py::object& torch) {
  if (!tensor.attr("layout").is(torch.attr("strided")) || tensor.attr("is_neg")().cast<bool>()) {
    throw py::value_error(
        fmt::format("{} is a sparse or lazily negated tensor; it must be plain "
                    "memory",
                    x.name));
  }
  const std::string prefix = "torch.";
  set_element(x, py::str(tensor.attr("dtype")).cast<std::string>().substr(prefix.size()));
  const py::object device = tensor.attr("device");
  const auto type = device.attr("type").cast<std::string>();
  if (type != "cpu" && type != "cuda") {
    throw py::value_error(
        fmt::format("{} is on the device {}; it must be cpu or cuda", x.name, type));
  }
  x.on_gpu = type == "cuda";
  if (x.on_gpu) x.gpu = device.attr("index").cast<int>();
  x.data = reinterpret_cast<std::byte*>(tensor.attr("data_ptr")().cast<uintptr_t>());
  for (const py::handle extent : tensor.attr("shape")) x.shape.push_back(extent.cast<int64_t>());
  for (const py::handle step : tensor.attr("stride")()) x.strides.push_back(step.cast<int64_t>());
  if (x.element == Element::kOther) x.element_bytes = tensor.attr("element_size")().cast<int64_t>();
  x.is_torch = true;
  x.keeper = tensor;
}

std::string dtype_name(const DlType& type) {
  if (type.lanes != 1) return fmt::format("vectors of {}", type.lanes);
  switch (type.code) {
    case 0: return fmt::format("int{}", type.bits);
    case 1: return fmt::format("uint{}", type.bits);
    case 2: return fmt::format("float{}", type.bits);
    case 4: return fmt::format("bfloat{}", type.bits);
    case 10: return "float8_e4m3fn";
    case 12: return "float8_e5m2";
    case 14: return "float8_e8m0fnu";
    default: return fmt::format("DLPack code {}", type.code);
  }
}

/// Asks for version 1 of the protocol; producers before that do not know the keyword.
py::object capsule_of(const py::object& x, const py::dict& keywords) {
  py::dict newer(**keywords, py::arg("max_version") = py::make_tuple(1, 0));
  try {
    return x.attr("__dlpack__")(**newer);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return x.attr("__dlpack__")(**keywords);
}

// The capsule is looked at and kept, not consumed: its own destructor gives the memory back.
void take_dlpack(Array& x, const py::object& object, uint64_t stream) {
  const auto device = object.attr("__dlpack_device__")().cast<std::pair<int32_t, int32_t>>();
  x.on_gpu = device.first == kDlCuda || device.first == kDlCudaManaged;
  if (!x.on_gpu && device.first != kDlCpu && device.first != kDlCudaHost) {
    throw py::value_error(
        fmt::format("{} is on a device of DLPack's type {}; it must be the CPU (1) "
                    "or CUDA (2)",
                    x.name, device.first));
  }
  x.gpu = device.second;
  py::dict keywords;
  // The protocol has 1 for the default stream, and no 0.
  if (x.on_gpu) keywords["stream"] = stream == 0 ? 1 : stream;
  const py::object capsule = capsule_of(object, keywords);
  const DlTensor* tensor = nullptr;
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") != 0) {
    const auto* managed = static_cast<const DlManagedVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1) {
      throw py::value_error(fmt::format("{} comes as DLPack {}; hadal reads version 1", x.name,
                                        managed->version.major));
    }
    x.read_only = (managed->flags & kDlReadOnly) != 0;
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor") != 0) {
    tensor =
        &static_cast<const DlManaged*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"))->tensor;
  } else {
    throw py::type_error(fmt::format("{} has a __dlpack__ that returns no capsule", x.name));
  }
  set_element(x, dtype_name(tensor->type));
  if (x.element == Element::kOther) x.element_bytes = (tensor->type.bits + 7) / 8;
  x.data = static_cast<std::byte*>(tensor->data) + tensor->byte_offset;
  x.shape.assign(tensor->shape, tensor->shape + tensor->num_dims);
  if (tensor->strides == nullptr) {
    x.strides = row_major(x.shape);
  } else {
    x.strides.assign(tensor->strides, tensor->strides + tensor->num_dims);
  }
  x.keeper = capsule;
}

}  // namespace

int64_t Array::size() const {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

int64_t Array::extent_bytes() const {
  if (size() == 0) return 0;
  int64_t last = 0;
  for (size_t d = 0; d < shape.size(); ++d) last += (shape[d] - 1) * strides[d];
  return (last + 1) * element_bytes;
}

std::string Array::shape_text() const {
  return list_text(shape);
}

std::string Array::device_text() const {
  return on_gpu ? fmt::format("cuda:{}", gpu) : "the CPU";
}

py::object torch_of(const py::object& x) {
  auto torch = py::reinterpret_steal<py::object>(PyImport_GetModule(py::str("torch").ptr()));
  if (!torch || !py::hasattr(torch, "Tensor") || !py::isinstance(x, torch.attr("Tensor")))
    return {};
  return torch;
}

Array take(std::string name, const py::object& x, uint64_t stream) {
  Array out;
  out.name = std::move(name);
  out.object = x;
  if (py::isinstance<py::array>(x)) {
    take_numpy(out, py::reinterpret_borrow<py::array>(x));
  } else if (const py::object torch = torch_of(x)) {
    take_torch(out, x, torch);
  } else if (py::hasattr(x, "__dlpack__") && py::hasattr(x, "__dlpack_device__")) {
    take_dlpack(out, x, stream);
  } else {
    throw py::type_error(
        fmt::format("{} is {}; it must be a numpy array, a torch tensor, or have "
                    "__dlpack__",
                    out.name, py::str(py::type::of(x).attr("__name__")).cast<std::string>()));
  }
  out.element_bytes = std::max<int64_t>(out.element_bytes, 1);
  if (out.size() > 0 && reinterpret_cast<uintptr_t>(out.data) % out.element_bytes != 0) {
    throw py::value_error(fmt::format("{} is at {}; it must be aligned to its elements of {} bytes",
                                      out.name, static_cast<const void*>(out.data),
                                      out.element_bytes));
  }
  return out;
}

py::object dtype_of(Element element, const py::object& torch) {
  const char* name = nullptr;
  for (const Named& n : kElements) {
    if (n.element != element) continue;
    name = n.name;
    if (torch && py::hasattr(torch, name)) return torch.attr(name);
    // Of numpy; the second name of an element is one that it has.
    if (!torch && element != Element::kE4m3 && element != Element::kBf16) break;
  }
  if (torch) throw py::type_error(fmt::format("this torch has no {}", name));
  return py::str(name);
}

py::object make(Element element, const std::vector<int64_t>& shape, const Array& like, bool zero) {
  const py::object torch = like.is_torch ? torch_of(like.object) : py::object();
  const py::object dtype = dtype_of(element, torch);
  const py::object module = torch ? torch : py::module_::import("numpy");
  const py::object maker = module.attr(zero ? "zeros" : "empty");
  const py::tuple extents = py::cast(shape);
  if (torch) {
    return maker(extents, py::arg("dtype") = dtype, py::arg("device") = like.object.attr("device"));
  }
  return maker(extents, py::arg("dtype") = dtype);
}

py::array as_numpy(const Array& x) {
  const char* name = nullptr;
  for (const Named& n : kElements) {
    if (n.element == x.element) name = n.name;  // the last: one of numpy's own
  }
  if (x.on_gpu || name == nullptr) {
    throw py::type_error(fmt::format("{} has the dtype {} on {}; it must be a float on the CPU",
                                     x.name, x.dtype, x.device_text()));
  }
  std::vector<py::ssize_t> steps;
  for (const int64_t step : x.strides) steps.push_back(step * x.element_bytes);
  return {py::dtype(name), x.shape, steps, x.data, x.keeper};
}

void check_shape(const Array& x, const std::vector<int64_t>& shape) {
  if (x.shape == shape) return;
  throw py::value_error(
      fmt::format("{} has the shape {}; it must be {}", x.name, x.shape_text(), list_text(shape)));
}

void check_contiguous(const Array& x) {
  if (x.size() == 0 || x.shape.empty() || x.shape.back() == 1 || x.strides.back() == 1) return;
  throw py::value_error(
      fmt::format("{} has the strides {}; the last must be 1", x.name, list_text(x.strides)));
}

int64_t stride_of(const Array& x, int64_t dimension) {
  if (x.size() == 0 || x.shape[dimension] == 1) return 0;
  const int64_t stride = x.strides[dimension];
  if (stride > 0) return stride;
  throw py::value_error(
      fmt::format("{} has the strides {}; they must be positive", x.name, list_text(x.strides)));
}

}  // namespace hadal::python
