#include "place.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include <fmt/core.h>

#include "gpu/emulator/emulator.h"
#include "unwrap.h"

namespace py = pybind11;

namespace hadal::python {
namespace {

constexpr int kEmulator = -1;
constexpr size_t kWorkspaceAlignment = 256;

struct Opened {
  std::unique_ptr<gpu::Device> device;
  gemm::Context context;
};

/// All cores; made when the first product is computed.
const gemm::Context& cpu_context() {
  static const gemm::Context made = unwrap(gemm::Context::cpu());
  return made;
}

/// The device with this ordinal, opened when it is first needed. Never closed: at the end of a
/// process CUDA may be gone before us. Without the interpreter's lock, which a thread that waits
/// here must not hold.
Result<const Opened*> open(int ordinal) {
  static std::mutex mutex;
  static auto& all = *new std::map<int, Opened>();
  const std::lock_guard guard(mutex);
  if (const auto found = all.find(ordinal); found != all.end()) return &found->second;
  std::unique_ptr<gpu::Device> device =
      ordinal == kEmulator ? gpu::emulate() : TRY(gpu::open_device(ordinal));
  gemm::Context context = gemm::Context::on(device.get());
  return &all.emplace(ordinal, Opened{std::move(device), std::move(context)}).first->second;
}

}  // namespace

Call::Call(const py::object& stream, const std::optional<std::string>& device)
    : stream_given_(stream), emulated_(device.has_value()) {
  if (device && *device != "emulator") {
    throw py::value_error(fmt::format(
        "device is {}; it must be None or emulator: arrays say where they are", *device));
  }
  if (!stream.is_none()) stream_ = stream.cast<uint64_t>();
}

Array Call::take(std::string name, const py::object& x) {
  Array out = python::take(std::move(name), x, stream_);
  if (!first_) {
    settle(out);
    first_ = out;
  }
  if (out.on_gpu != first_->on_gpu || (out.on_gpu && out.gpu != first_->gpu)) {
    throw py::value_error(fmt::format("{} is on {} and {} on {}; they must be on one device",
                                      first_->name, first_->device_text(), out.name,
                                      out.device_text()));
  }
  return out;
}

// Torch's tensors are used in the order of torch's current stream: its allocator gives memory back
// to that stream, so results and workspaces live as long as they must.
void Call::settle(const Array& first) {
  if (!stream_given_.is_none() && (!first.on_gpu || first.is_torch)) {
    throw py::value_error(
        first.on_gpu ? "stream is given; torch's tensors are used in torch's current stream"
                     : "stream is given; arrays on the CPU have none");
  }
  if (emulated_ && first.on_gpu) {
    throw py::value_error(fmt::format("device is emulator; {} is on {} and must be on the CPU",
                                      first.name, first.device_text()));
  }
  if (first.on_gpu && first.is_torch) {
    const py::object cuda = torch_of(first.object).attr("cuda");
    stream_ = cuda.attr("current_stream")(first.object.attr("device"))
                  .attr("cuda_stream")
                  .cast<uint64_t>();
  }
  if (!first.on_gpu && !emulated_) {
    context_ = &cpu_context();
    return;
  }
  Result<const Opened*> opened = nullptr;
  {
    const py::gil_scoped_release release;
    opened = open(emulated_ ? kEmulator : first.gpu);
  }
  const Opened* const found = unwrap(std::move(opened));
  context_ = &found->context;
  device_ = found->device.get();
}

Array Call::take_ints(std::string name, const py::object& x) {
  py::object values = x;
  if (!first_->on_gpu) {
    if (python::torch_of(x)) values = x.attr("numpy")();
    if (!py::hasattr(values, "__dlpack__")) values = py::array(x);
  }
  if (py::isinstance<py::array>(values)) {
    const auto array = py::reinterpret_borrow<py::array>(values);
    const char kind = array.dtype().kind();
    if (kind == 'i' || kind == 'u' || array.size() == 0) {  // numpy makes float64 of []
      const auto narrow = py::array_t < int32_t,
                 py::array::c_style | py::array::forcecast > (array);
      if (!py::module_::import("numpy").attr("array_equal")(narrow, array).cast<bool>()) {
        throw py::value_error(fmt::format("{} has a number that does not fit 32 bits", name));
      }
      values = narrow;
    }
  }
  Array out = take(std::move(name), values);
  if (out.element != Element::kI32) {
    throw py::type_error(fmt::format("{} has the dtype {}; it must be int32", out.name, out.dtype));
  }
  check_contiguous(out);
  return out;
}

Array Call::take_output(const py::object& x) {
  Array out = take("d", x);
  if (out.read_only) throw py::value_error("d is read-only; it must be writable");
  return out;
}

std::byte* Call::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  // Numbers in host memory, and torch's own, are as large as asked; both are aligned below.
  if (device_ == nullptr || first_->is_torch) {
    const py::object memory =
        make(Element::kF64, {static_cast<int64_t>(bytes / 8 + 33)}, *first_, false);
    kept_.push_back(memory);
    const auto at = reinterpret_cast<uintptr_t>(python::take("workspace", memory).data);
    return reinterpret_cast<std::byte*>((at + kWorkspaceAlignment - 1) / kWorkspaceAlignment *
                                        kWorkspaceAlignment);
  }
  buffers_.push_back(unwrap(device_->allocate(bytes)));
  return reinterpret_cast<std::byte*>(buffers_.back().address());
}

void* Call::address(const Array& x) {
  if (!emulated_ || x.size() == 0) return x.data;
  buffers_.push_back(unwrap(device_->allocate(x.extent_bytes())));
  const gpu::Address at = buffers_.back().address();
  unwrap(device_->copy_in(at, {x.data, static_cast<size_t>(x.extent_bytes())}, nullptr));
  return reinterpret_cast<void*>(at);
}

const int32_t* Call::address(std::span<const int32_t> numbers) {
  if (device_ == nullptr) return numbers.data();
  std::byte* const at = allocate(numbers.size_bytes());
  unwrap(device_->copy_in(reinterpret_cast<gpu::Address>(at), std::as_bytes(numbers),
                          reinterpret_cast<gpu::Stream>(stream_)));
  return reinterpret_cast<const int32_t*>(at);
}

void Call::run(const gemm::GemmSpec& spec, gemm::GemmArgs args, const Array& d) {
  Result<gemm::Plan> plan = fail(Code::kInternal, "not planned");
  {
    const py::gil_scoped_release release;  // a kernel may have to be compiled
    plan = context_->plan(spec);
  }
  const gemm::Plan made = unwrap(std::move(plan));
  args.workspace = {allocate(made.workspace_bytes()), made.workspace_bytes()};
  Result<> done;
  {
    const py::gil_scoped_release release;
    done = made.run(args, reinterpret_cast<gpu::Stream>(stream_));
    if (done && emulated_) done = device_->synchronize(nullptr);
    if (done && emulated_ && d.size() > 0) {
      done = device_->copy_out({d.data, static_cast<size_t>(d.extent_bytes())},
                               reinterpret_cast<gpu::Address>(args.d), nullptr);
    }
  }
  unwrap(std::move(done));
}

}  // namespace hadal::python
