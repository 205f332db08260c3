// A Hopper GPU, or a CPU that pretends to be one, behind one small interface.
//
// Kernels are CUDA C++ text (x_sm90.cuh) over the vocabulary of src/gpu/device/. A kernel reaches a
// device in one of two forms: as text that NVRTC compiles to a cubin when the program runs
// (compiler.h), or as an ordinary function that g++ has compiled from the same text, which the
// emulator (emulator/emulator.h) runs with one fiber per CUDA thread. KernelSource holds both, so
// that what launches a kernel does not know which it is.
//
//   std::unique_ptr<Device> device = TRY(open_device(0));        // or emulate({.seed = 1})
//   Buffer x = TRY(device->allocate(bytes));
//   TRY(device->copy_in(x.address(), host_bytes, stream));
//   const Kernel* kernel = TRY(device->load(source));            // compiled, or from the cache
//   TRY(device->launch(*kernel, {.grid = {132}, .block = {384}, .shared_bytes = n}, parameters,
//   stream)); TRY(device->synchronize(stream));
//
// The driver (libcuda.so.1) and NVRTC are opened at run time; building and testing need neither.
//
// Threads: a Device may be used from any number of threads, also several devices in one process;
// each call makes the device current on its own. Objects made by a device must not outlive it.
// After fork() a child must open its own device; a call on the parent's returns kUnavailable.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace hadal {
class Log;
}

namespace hadal::gpu {

/// An address in a device's memory. Emulated memory is the process's own, so an address is a
/// pointer.
using Address = uint64_t;

/// A queue of work of one device: a CUstream, so that a caller's own (PyTorch's) works as well.
/// Null is the device's default stream. The emulator runs everything at once and takes null only.
using Stream = struct StreamHandle*;

struct DeviceInfo {
  std::string name;          // "NVIDIA H200", "emulated sm_90a"
  int ordinal = 0;           // of the driver; -1 where emulated
  int major = 0, minor = 0;  // compute capability; 9.0 is Hopper
  int num_sms = 0;
  int64_t memory_bytes = 0;
  int64_t l2_bytes = 0;
  int64_t shared_bytes_per_block = 0;  // opt-in maximum: 232448 on Hopper
  int clock_khz = 0;                   // of the SMs, at most
  int64_t memory_bytes_per_s = 0;  // peak, from bus width and clock; 0 if the driver does not say
  int driver_version = 0;          // 13000 is CUDA 13.0
  std::array<uint8_t, 16> uuid = {};
  bool emulated = false;
};

/// Elements of a tensor map. FP8 codes are kU8: the copy engine does not look at them.
enum class Element : uint8_t { kU8, kI32, kF32, kF16, kBf16 };
size_t size_bytes(Element element);

/// How the rows of a box are laid out in shared memory: 16-byte units are permuted within atoms of
/// eight rows, so that a column is read without bank conflicts. Row i of an atom holds unit u at
/// place u ^ (i mod (width / 16)) for width 128; for 64 and 32 the row index is i / 2 and i / 4.
enum class Swizzle : uint8_t { kNone, k32, k64, k128 };

/// A tensor in global memory and the box that one TMA instruction moves. Dimension 0 is contiguous.
/// Elements of a box outside the tensor read as zero and are not written. Rules of the hardware,
/// checked by encode(): the address is a multiple of 16, strides are multiples of 16 below 2^40,
/// dims are 1..2^32, box is 1..256 each, box[0] is a multiple of 16 bytes and at most the width of
/// the swizzle.
struct TensorMapSpec {
  Address address = 0;
  Element element = Element::kU8;
  int rank = 2;                                // 1..5
  std::array<uint64_t, 5> dims = {};           // elements
  std::array<uint64_t, 4> strides_bytes = {};  // of dimensions 1..rank-1
  std::array<uint32_t, 5> box = {};            // elements
  Swizzle swizzle = Swizzle::kNone;
};

/// A CUtensorMap, or the emulator's. Goes into a kernel's parameters by value.
struct alignas(64) TensorMap {
  std::array<std::byte, 128> bytes;
};

/// One kernel of the catalog. `parameters` is one struct, passed by value as the kernel's only
/// argument; its layout is the same for the host's compiler and for NVRTC (no bool before
/// alignment, fixed-width types).
struct KernelSource {
  std::string name;  // of the extern "C" entry; unique within the program
  std::string text;  // CUDA C++; its #includes name embedded headers ("gemm/x_sm90.cuh")
  size_t parameter_bytes = 0;
  int threads = 0;          // per block
  size_t shared_bytes = 0;  // dynamic shared memory that a launch asks for at most
  /// The same kernel for the emulator: runs one CUDA thread. Null where it is not built in.
  void (*emulated)(const void* parameters) = nullptr;
};

/// A kernel that is loaded on a device; lives as long as the device.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual const std::string& name() const = 0;
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct Launch {
  Dim3 grid;
  Dim3 block;
  Dim3 cluster;               // 1 x 1 x 1: no clusters
  uint32_t shared_bytes = 0;  // dynamic
  /// Programmatic dependent launch: the kernel may start before the one in front of it in the
  /// stream has ended, and waits for it where it calls wait_for_previous_kernel().
  bool overlap_previous = false;
};

class Device;

/// Memory of a device, freed with this object (after the work of every stream that was enqueued
/// before).
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, Address address, size_t size)
      : device_(device), address_(address), size_(size) {}
  Buffer(Buffer&& other) noexcept
      : device_(std::exchange(other.device_, nullptr)),
        address_(std::exchange(other.address_, 0)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer();

  Address address() const { return address_; }
  size_t size() const { return size_; }

 private:
  Device* device_ = nullptr;
  Address address_ = 0;  // 256-byte aligned
  size_t size_ = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  /// Uninitialized memory. kNoSpace with what was asked and what is free.
  virtual Result<Buffer> allocate(size_t bytes) = 0;

  /// Copies in the order of the stream. The host's memory may be reused when the call returns.
  virtual Result<> copy_in(Address to, std::span<const std::byte> from, Stream stream) = 0;
  /// The same; the bytes are there when the call returns.
  virtual Result<> copy_out(std::span<std::byte> to, Address from, Stream stream) = 0;
  virtual Result<> fill(Address to, uint8_t value, size_t bytes, Stream stream) = 0;

  /// Compiles (or finds) a kernel and loads it; the same pointer for the same text every time. Slow
  /// at first: call it while planning, never while serving.
  virtual Result<const Kernel*> load(const KernelSource& source) = 0;

  /// kInvalidArgument with the rule that is broken.
  virtual Result<TensorMap> encode(const TensorMapSpec& spec) = 0;

  /// Enqueues a kernel. Allocates nothing on the host. Errors that the kernel meets while it runs
  /// come out of a later call of synchronize().
  virtual Result<> launch(const Kernel& kernel, const Launch& launch,
                          std::span<const std::byte> parameters, Stream stream) = 0;

  virtual Result<Stream> make_stream() = 0;
  virtual void free_stream(Stream stream) = 0;
  /// Waits for the work of a stream. After a fault of a kernel (kInternal, with the driver's words,
  /// or what the emulator found) a real device answers every later call with it.
  virtual Result<> synchronize(Stream stream) = 0;

  /// Milliseconds of GPU time that `work`, which enqueues on `stream`, took, by two events.
  virtual Result<double> time_ms(Stream stream, void (*work)(void* context), void* context) = 0;

 private:
  friend class Buffer;
  virtual void free(Address address, size_t size) = 0;
};

inline Buffer::~Buffer() {
  if (device_ != nullptr) device_->free(address_, size_);
}

/// Where kernels come from when a device does not have them yet.
struct DeviceOptions {
  std::string cache_path = {};  // folder of compiled kernels; empty: $HADAL_GPU_CACHE, or
                                // $XDG_CACHE_HOME/hadal/gpu, or ~/.cache/hadal/gpu
  int64_t cache_bytes = int64_t{1} << 30;  // the oldest entries go first
  bool may_compile = true;                 // false: a kernel that is not in the cache is kNotFound
  const Log* log = nullptr;                // is told once of a cache that cannot be used
};

/// kUnavailable: no driver, or no GPU, and which of them. kInvalidArgument: no such ordinal.
Result<std::unique_ptr<Device>> open_device(int ordinal, const DeviceOptions& options = {});

/// How many GPUs the driver shows; 0 without a driver.
int num_devices();

}  // namespace hadal::gpu
