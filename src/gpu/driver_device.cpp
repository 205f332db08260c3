#include "gpu/driver_device.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

#include <fmt/core.h>
#include <unistd.h>

#include "base/profiler.h"
#include "gpu/kernel_store.h"
#include "gpu/tensor_map.h"

namespace hadal::gpu {
namespace {

using cuda::Driver;
using cuda::Status;

Code code_of(Status status) {
  switch (status) {
    case cuda::kInvalidValue: return Code::kInvalidArgument;
    case cuda::kOutOfMemory: return Code::kNoSpace;
    case cuda::kNotInitialized:
    case cuda::kNoDevice: return Code::kUnavailable;
    default: return Code::kInternal;
  }
}

std::unexpected<Error> failed(const Driver& driver, Status status, std::string_view what) {
  return fail(code_of(status), fmt::format("{}: {}", what, cuda::describe(driver, status)));
}

Result<std::shared_ptr<const Driver>> start_driver(const DriverLibraries& libraries) {
  std::shared_ptr<const Driver> driver = TRY(cuda::open_driver(libraries.driver));
  const Status status = driver->init(0);
  if (status == cuda::kSuccess) return driver;
  Error error{Code::kUnavailable,
              fmt::format("the CUDA driver does not start: {}", cuda::describe(*driver, status))};
  if (status == cuda::kNotInitialized) {
    error.message += "; a process forked from one that has used the GPU cannot use it";
  }
  return std::unexpected(std::move(error));
}

DeviceInfo describe_device(const Driver& driver, cuda::DeviceId id, int ordinal) {
  const auto attribute = [&](int which) {
    int value = 0;
    driver.device_attribute(&value, which, id);
    return value;
  };
  DeviceInfo info;
  info.ordinal = ordinal;
  std::array<char, 256> name{};
  driver.device_name(name.data(), static_cast<int>(name.size()) - 1, id);
  info.name = name.data();
  info.major = attribute(cuda::kAttributeMajor);
  info.minor = attribute(cuda::kAttributeMinor);
  info.num_sms = attribute(cuda::kAttributeSms);
  size_t bytes = 0;
  driver.device_total_mem(&bytes, id);
  info.memory_bytes = static_cast<int64_t>(bytes);
  info.l2_bytes = attribute(cuda::kAttributeL2Bytes);
  info.shared_bytes_per_block = attribute(cuda::kAttributeSharedBytesOptin);
  info.clock_khz = attribute(cuda::kAttributeClockKhz);
  // Two transfers per clock, as of every memory that such GPUs have had.
  info.memory_bytes_per_s = int64_t{2} * 1000 * attribute(cuda::kAttributeMemoryClockKhz) *
                            (attribute(cuda::kAttributeMemoryBusBits) / 8);
  driver.driver_version(&info.driver_version);
  driver.device_uuid(info.uuid.data(), id);
  return info;
}

/// Makes a context current for a scope.
class Current {
 public:
  explicit Current(const Driver& driver) : driver_(&driver) {}
  Current(Current&& other) noexcept : driver_(std::exchange(other.driver_, nullptr)) {}
  Current& operator=(Current&&) = delete;
  ~Current() {
    cuda::Context context = nullptr;
    if (driver_ != nullptr) driver_->context_pop(&context);
  }

 private:
  const Driver* driver_;
};

class DriverDevice;

class DriverKernel final : public Kernel {
 public:
  DriverKernel(const DriverDevice& owner, const KernelSource& source, cuda::Library loaded,
               cuda::KernelHandle entry)
      : device(owner),
        library(loaded),
        handle(entry),
        parameter_bytes(source.parameter_bytes),
        threads(source.threads),
        shared_bytes(source.shared_bytes),
        name_(source.name) {}
  const std::string& name() const override { return name_; }

  const DriverDevice& device;
  const cuda::Library library;
  const cuda::KernelHandle handle;
  const size_t parameter_bytes;
  const int threads;
  const size_t shared_bytes;

 private:
  const std::string name_;
};

/// Nothing, or the rule that a launch breaks.
Result<> check_launch(const DriverKernel& kernel, const Launch& launch, size_t parameter_bytes) {
  const auto broken = [&](std::string rule) {
    return fail(Code::kInvalidArgument, fmt::format("kernel {}: {}", kernel.name(), rule));
  };
  const auto volume = [](const Dim3& d) { return uint64_t{d.x} * d.y * d.z; };
  const Dim3 &grid = launch.grid, &block = launch.block, &cluster = launch.cluster;
  if (parameter_bytes != kernel.parameter_bytes) {
    return broken(fmt::format("parameters have {} bytes; it takes {}", parameter_bytes,
                              kernel.parameter_bytes));
  }
  if (volume(block) != static_cast<uint64_t>(kernel.threads)) {
    return broken(fmt::format("block is {} x {} x {}; it takes {} threads", block.x, block.y,
                              block.z, kernel.threads));
  }
  if (launch.shared_bytes > kernel.shared_bytes) {
    return broken(fmt::format("shared_bytes is {}; it takes {} at most", launch.shared_bytes,
                              kernel.shared_bytes));
  }
  // Eight is what every device can place; sixteen would need an attribute of the kernel.
  if (volume(cluster) < 1 || volume(cluster) > 8) {
    return broken(fmt::format("cluster is {} x {} x {}; it must have 1 to 8 blocks", cluster.x,
                              cluster.y, cluster.z));
  }
  if (volume(grid) == 0 || grid.x % cluster.x != 0 || grid.y % cluster.y != 0 ||
      grid.z % cluster.z != 0) {
    return broken(fmt::format(
        "grid is {} x {} x {}; it must be a multiple, and not 0, of the cluster {} x {} x {}",
        grid.x, grid.y, grid.z, cluster.x, cluster.y, cluster.z));
  }
  return {};
}

int tensor_type(Element element) {
  switch (element) {
    case Element::kU8: return cuda::kTensorU8;
    case Element::kI32: return cuda::kTensorI32;
    case Element::kF32: return cuda::kTensorF32;
    case Element::kF16: return cuda::kTensorF16;
    case Element::kBf16: return cuda::kTensorBf16;
  }
  return -1;  // validate() has refused it
}

int tensor_swizzle(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::kNone: return cuda::kSwizzleNone;
    case Swizzle::k32: return cuda::kSwizzle32;
    case Swizzle::k64: return cuda::kSwizzle64;
    case Swizzle::k128: return cuda::kSwizzle128;
  }
  return cuda::kSwizzleNone;
}

class DriverDevice final : public Device {
 public:
  DriverDevice(std::shared_ptr<const Driver> driver, cuda::DeviceId id, cuda::Context context,
               DeviceInfo info, const DeviceOptions& options, const DriverLibraries& libraries)
      : driver_(std::move(driver)),
        id_(id),
        context_(context),
        info_(std::move(info)),
        store_(options, libraries.nvrtc) {}

  ~DriverDevice() override {
    if (::getpid() != pid_) return;
    if (const Result<Current> current = enter("close")) {
      for (const auto& [content, slot] : kernels_) {
        if (slot->kernel != nullptr) driver_->library_unload(slot->kernel->library);
      }
    }
    driver_->primary_context_release(id_);
  }

  const DeviceInfo& info() const override { return info_; }

  Result<Buffer> allocate(size_t bytes) override {
    const Current current = TRY(enter("allocate"));
    if (bytes == 0) return Buffer(nullptr, 0, 0);
    Address address = 0;
    const Status status = driver_->mem_alloc(&address, bytes);
    if (status == cuda::kSuccess) return Buffer(this, address, bytes);
    if (status != cuda::kOutOfMemory) return failed(status, "allocate");
    size_t free_bytes = 0, total_bytes = 0;
    driver_->mem_get_info(&free_bytes, &total_bytes);
    return fail(Code::kNoSpace, fmt::format("{}: {} bytes were asked for; {} of {} are free",
                                            where("allocate"), bytes, free_bytes, total_bytes));
  }

  Result<> copy_in(Address to, std::span<const std::byte> from, Stream stream) override {
    const Current current = TRY(enter("copy_in"));
    if (from.empty()) return {};
    TRY(check(driver_->memcpy_htod_async(to, from.data(), from.size(), stream), "copy_in"));
    return check(driver_->stream_synchronize(stream), "copy_in");
  }

  Result<> copy_out(std::span<std::byte> to, Address from, Stream stream) override {
    const Current current = TRY(enter("copy_out"));
    if (to.empty()) return {};
    TRY(check(driver_->memcpy_dtoh_async(to.data(), from, to.size(), stream), "copy_out"));
    return check(driver_->stream_synchronize(stream), "copy_out");
  }

  Result<> fill(Address to, uint8_t value, size_t bytes, Stream stream) override {
    const Current current = TRY(enter("fill"));
    if (bytes == 0) return {};
    return check(driver_->memset_d8_async(to, value, bytes, stream), "fill");
  }

  Result<const Kernel*> load(const KernelSource& source) override;
  Result<TensorMap> encode(const TensorMapSpec& spec) override;
  Result<> launch(const Kernel& kernel, const Launch& launch, std::span<const std::byte> parameters,
                  Stream stream) override;

  Result<Stream> make_stream() override {
    const Current current = TRY(enter("make_stream"));
    Stream stream = nullptr;
    TRY(check(driver_->stream_create(&stream, cuda::kStreamNonBlocking), "make_stream"));
    return stream;
  }

  void free_stream(Stream stream) override {
    if (stream == nullptr) return;
    if (const Result<Current> current = enter("free_stream")) driver_->stream_destroy(stream);
  }

  Result<> synchronize(Stream stream) override {
    const Current current = TRY(enter("synchronize"));
    return check(driver_->stream_synchronize(stream), "synchronize");
  }

  Result<double> time_ms(Stream stream, void (*work)(void* context), void* context) override;

 private:
  /// A kernel that is loaded, or about to be: threads that want the same one wait for its mutex.
  struct Slot {
    std::mutex mutex;
    std::unique_ptr<DriverKernel> kernel;
  };

  void free(Address address, size_t /*size*/) override {
    if (const Result<Current> current = enter("free")) driver_->mem_free(address);
  }

  std::string where(std::string_view what) const {
    return fmt::format("{} on device {} ({})", what, info_.ordinal, info_.name);
  }
  std::unexpected<Error> failed(Status status, std::string_view what) const {
    return gpu::failed(*driver_, status, where(what));
  }
  Result<> check(Status status, std::string_view what) const {
    if (status == cuda::kSuccess) [[likely]]
      return {};
    return failed(status, what);
  }

  /// Makes the context current, in the process that opened the device.
  Result<Current> enter(std::string_view what) const {
    if (::getpid() != pid_) [[unlikely]] {
      return fail(Code::kUnavailable,
                  fmt::format("{}: the device was opened by process {}, before a fork; process {} "
                              "must open its own",
                              where(what), pid_, ::getpid()));
    }
    if (const Status status = driver_->context_push(context_); status != cuda::kSuccess) {
      return failed(status, what);
    }
    return Current(*driver_);
  }

  Result<std::unique_ptr<DriverKernel>> load_cubin(const KernelSource& source,
                                                   std::span<const std::byte> cubin) const;

  const std::shared_ptr<const Driver> driver_;
  const cuda::DeviceId id_;
  const cuda::Context context_;
  const DeviceInfo info_;
  const pid_t pid_ = ::getpid();
  KernelStore store_;
  std::mutex mutex_;
  std::map<Hash128, std::unique_ptr<Slot>> kernels_;  // guarded by mutex_; slots stay for ever
};

Result<std::unique_ptr<DriverKernel>> DriverDevice::load_cubin(
    const KernelSource& source, std::span<const std::byte> cubin) const {
  const std::string what = fmt::format("load of kernel {}", source.name);
  const Current current = TRY(enter(what));
  cuda::Library library = nullptr;
  TRY(check(
      driver_->library_load_data(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
      what));
  cuda::KernelHandle handle = nullptr;
  Status status = driver_->library_get_kernel(&handle, library, source.name.c_str());
  if (status == cuda::kSuccess && source.shared_bytes > 0) {
    status = driver_->kernel_set_attribute(cuda::kFunctionDynamicSharedBytes,
                                           static_cast<int>(source.shared_bytes), handle, id_);
  }
  if (status != cuda::kSuccess) {
    driver_->library_unload(library);
    return failed(status, what);
  }
  return std::make_unique<DriverKernel>(*this, source, library, handle);
}

Result<const Kernel*> DriverDevice::load(const KernelSource& source) {
  const Profiler::Span span("gpu load");
  TRY(enter("load"));
  if (info_.major != 9 || info_.minor != 0) {
    return fail(Code::kUnsupported,
                fmt::format("{}: it has compute capability {}.{}; kernels are for {}, which is 9.0",
                            where("load"), info_.major, info_.minor, kArchitecture));
  }
  if (static_cast<int64_t>(source.shared_bytes) > info_.shared_bytes_per_block) {
    return fail(
        Code::kUnsupported,
        fmt::format("{}: kernel {} wants {} bytes of shared memory; a block has {} at most",
                    where("load"), source.name, source.shared_bytes, info_.shared_bytes_per_block));
  }
  Slot* slot = nullptr;
  {
    const std::lock_guard guard(mutex_);
    std::unique_ptr<Slot>& place = kernels_[content_hash(source)];
    if (place == nullptr) place = std::make_unique<Slot>();
    slot = place.get();
  }
  const std::lock_guard guard(slot->mutex);
  if (slot->kernel == nullptr) {
    const StoredKernel stored = TRY(store_.get(source));
    slot->kernel = TRY(load_cubin(source, stored.cubin));
  }
  return slot->kernel.get();
}

Result<TensorMap> DriverDevice::encode(const TensorMapSpec& spec) {
  TRY(validate(spec));
  const Current current = TRY(enter("encode"));
  struct alignas(128) {  // CUDA 13 aligns its own type so, and may store in units of it
    TensorMap map;
  } aligned;
  constexpr std::array<uint32_t, 5> kElementStrides = {1, 1, 1, 1, 1};
  TRY(check(driver_->tensor_map_encode_tiled(
                &aligned.map, tensor_type(spec.element), static_cast<uint32_t>(spec.rank),
                reinterpret_cast<void*>(spec.address), spec.dims.data(), spec.strides_bytes.data(),
                spec.box.data(), kElementStrides.data(), cuda::kInterleaveNone,
                tensor_swizzle(spec.swizzle), cuda::kPromotionL2256, cuda::kFillZero),
            "encode"));
  return aligned.map;
}

Result<> DriverDevice::launch(const Kernel& kernel, const Launch& launch,
                              std::span<const std::byte> parameters, Stream stream) {
  const auto* const ours = dynamic_cast<const DriverKernel*>(&kernel);
  if (ours == nullptr || &ours->device != this) {
    return fail(Code::kInvalidArgument, fmt::format("{}: kernel {} was loaded on another device",
                                                    where("launch"), kernel.name()));
  }
  TRY(check_launch(*ours, launch, parameters.size()));
  const Current current = TRY(enter("launch"));
  std::array<cuda::LaunchAttribute, 2> attributes = {};
  cuda::LaunchConfig config = {.grid = launch.grid,
                               .block = launch.block,
                               .shared_bytes = launch.shared_bytes,
                               .stream = stream,
                               .attributes = attributes.data(),
                               .num_attributes = 0};
  if (launch.cluster.x * launch.cluster.y * launch.cluster.z > 1) {
    cuda::LaunchAttribute& attribute = attributes[config.num_attributes++];
    attribute.id = cuda::kLaunchCluster;
    attribute.cluster = launch.cluster;
  }
  if (launch.overlap_previous) {
    cuda::LaunchAttribute& attribute = attributes[config.num_attributes++];
    attribute.id = cuda::kLaunchProgrammaticSerialization;
    attribute.allowed = 1;
  }
  // The driver copies as many bytes as the kernel's parameter has, before it returns.
  void* arguments[] = {const_cast<std::byte*>(parameters.data())};
  const Status status = driver_->launch_kernel_ex(&config, ours->handle, arguments, nullptr);
  if (status == cuda::kSuccess) [[likely]]
    return {};
  return failed(status, fmt::format("launch of kernel {}", kernel.name()));
}

Result<double> DriverDevice::time_ms(Stream stream, void (*work)(void* context), void* context) {
  const Current current = TRY(enter("time_ms"));
  struct Events {
    const Driver& driver;
    std::array<cuda::Event, 2> events = {};
    ~Events() {
      for (cuda::Event event : events) {
        if (event != nullptr) driver.event_destroy(event);
      }
    }
  } holder{*driver_};
  auto& [start, end] = holder.events;
  TRY(check(driver_->event_create(&start, cuda::kEventDefault), "time_ms"));
  TRY(check(driver_->event_create(&end, cuda::kEventDefault), "time_ms"));
  TRY(check(driver_->event_record(start, stream), "time_ms"));
  work(context);
  TRY(check(driver_->event_record(end, stream), "time_ms"));
  TRY(check(driver_->event_synchronize(end), "time_ms"));
  float ms = 0;
  TRY(check(driver_->event_elapsed_time(&ms, start, end), "time_ms"));
  return ms;
}

}  // namespace

Result<std::unique_ptr<Device>> open_driver_device(int ordinal, const DeviceOptions& options,
                                                   const DriverLibraries& libraries) {
  std::shared_ptr<const Driver> driver = TRY(start_driver(libraries));
  int count = 0;
  if (const Status status = driver->device_count(&count); status != cuda::kSuccess) {
    return failed(*driver, status, "cuDeviceGetCount");
  }
  if (count == 0) return fail(Code::kUnavailable, "the CUDA driver shows no GPU");
  if (ordinal < 0 || ordinal >= count) {
    return fail(Code::kInvalidArgument,
                fmt::format("device ordinal is {}; it must be 0 to {}", ordinal, count - 1));
  }
  cuda::DeviceId id = 0;
  cuda::Context context = nullptr;
  Status status = driver->device_get(&id, ordinal);
  if (status == cuda::kSuccess) status = driver->primary_context_retain(&context, id);
  if (status != cuda::kSuccess) {
    return failed(*driver, status, fmt::format("open device {}", ordinal));
  }
  DeviceInfo info = describe_device(*driver, id, ordinal);
  return std::make_unique<DriverDevice>(std::move(driver), id, context, std::move(info), options,
                                        libraries);
}

Result<DriverState> driver_state(const DriverLibraries& libraries) {
  const std::shared_ptr<const Driver> driver = TRY(start_driver(libraries));
  DriverState state;
  driver->driver_version(&state.version);
  int count = 0;
  if (const Status status = driver->device_count(&count); status != cuda::kSuccess) {
    return failed(*driver, status, "cuDeviceGetCount");
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cuda::DeviceId id = 0;
    if (const Status status = driver->device_get(&id, ordinal); status != cuda::kSuccess) {
      return failed(*driver, status, fmt::format("device {}", ordinal));
    }
    state.devices.push_back(describe_device(*driver, id, ordinal));
  }
  return state;
}

Result<std::unique_ptr<Device>> open_device(int ordinal, const DeviceOptions& options) {
  return open_driver_device(ordinal, options, {});
}

int num_devices() {
  const Result<DriverState> state = driver_state();
  return state ? static_cast<int>(state->devices.size()) : 0;
}

}  // namespace hadal::gpu
