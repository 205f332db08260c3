// Arrays of Python as pointers, shapes and strides: numpy arrays, torch tensors, and whatever has
// __dlpack__. Nothing is copied.
//
// Three ways to the same struct. numpy's arrays are read by its C interface, because they know
// whether they may be written. Torch's tensors are asked for data_ptr(), shape and stride(), which
// every version of torch answers for every dtype and device; its DLPack refuses float8, tensors
// that require a gradient and devices that are not current, each in some versions. torch is not
// imported here: where an object is a torch tensor, it is imported already. The rest hands out
// DLPack capsules.
//
// uint8 stands for e4m3 and uint16 for bf16 in frameworks that have neither.
//
// Exceptions: py::type_error for an object of the wrong kind or dtype, py::value_error for the
// rest, with a sentence that names the argument. Everything here needs the interpreter's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace hadal::python {

enum class Element : uint8_t { kE4m3, kE5m2, kE8m0, kBf16, kF16, kF32, kF64, kI32, kOther };

struct Array {
  std::string name;  // of the argument
  Element element = Element::kOther;
  std::string dtype;  // as the framework calls it
  int64_t element_bytes = 0;
  std::byte* data = nullptr;
  std::vector<int64_t> shape, strides;  // strides in elements
  bool on_gpu = false;
  int gpu = 0;  // its ordinal
  bool read_only = false;
  bool is_torch = false;
  pybind11::object object;  // as it was given
  pybind11::object keeper;  // keeps the memory

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t size() const;
  /// Bytes from the first element to the last, where no stride is negative.
  int64_t extent_bytes() const;
  std::string shape_text() const;
  /// "the CPU" or "cuda:1".
  std::string device_text() const;
};

/// `stream`: where a producer that is not torch shall make its memory ready, a CUstream as a
/// number.
Array take(std::string name, const pybind11::object& x, uint64_t stream = 0);

/// torch, if `x` is one of its tensors; else a null object.
pybind11::object torch_of(const pybind11::object& x);

/// The name of the torch or numpy dtype that holds `element`: that itself where the module has it,
/// else unsigned integers.
pybind11::object dtype_of(Element element, const pybind11::object& torch);

/// A new array: of torch on the device of `like` if that is its tensor, else of numpy.
pybind11::object make(Element element, const std::vector<int64_t>& shape, const Array& like,
                      bool zero);

/// A view of a tensor in host memory.
pybind11::array as_numpy(const Array& x);

/// Fails unless the shape is this; `shape` is written into the sentence.
void check_shape(const Array& x, const std::vector<int64_t>& shape);
/// Fails unless the last dimension is contiguous.
void check_contiguous(const Array& x);
/// The stride of a dimension; 0, which stands for the tight one, where it has no influence. Fails
/// if it is not positive.
int64_t stride_of(const Array& x, int64_t dimension);

}  // namespace hadal::python
