// Where a call of hadal.gemm computes: on the CPU, on the GPU that its tensors are on, or on the
// emulator of one, with copies there and back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>

#include "array.h"
#include "gemm/gemm.h"
#include "gpu/gpu.h"

namespace hadal::python {

/// One call's arrays, memory and stream. The first array decides where it computes; the others must
/// be there, too. Contexts and devices are opened once and kept for the life of the process.
class Call {
 public:
  /// `stream`: an integer, for tensors on a GPU that are not torch's (theirs is its current one).
  /// `device`: None or "emulator".
  Call(const pybind11::object& stream, const std::optional<std::string>& device);

  Array take(std::string name, const pybind11::object& x);
  /// An array of int32 that the call reads: on the CPU also a list, or integers of another width.
  Array take_ints(std::string name, const pybind11::object& x);
  /// D: as take(), and it may be written.
  Array take_output(const pybind11::object& x);

  /// What GemmArgs shall hold. Emulator: the address of a copy.
  void* address(const Array& x);
  /// Likewise of numbers in host memory, which outlive the call.
  const int32_t* address(std::span<const int32_t> numbers);

  /// Plans and runs; `d` has its numbers afterwards (on a GPU: in the order of the stream).
  void run(const gemm::GemmSpec& spec, gemm::GemmArgs args, const Array& d);

 private:
  void settle(const Array& first);
  /// Memory there, until the call has ended.
  std::byte* allocate(size_t bytes);

  pybind11::object stream_given_;
  bool emulated_ = false;
  std::optional<Array> first_;
  uint64_t stream_ = 0;
  const gemm::Context* context_ = nullptr;
  gpu::Device* device_ = nullptr;  // null: the CPU
  std::vector<gpu::Buffer> buffers_;
  std::vector<pybind11::object> kept_;
};

}  // namespace hadal::python
