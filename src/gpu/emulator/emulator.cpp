#include "gpu/emulator/emulator.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include <fmt/core.h>

#include "base/check.h"
#include "gpu/emulator/machine.h"
#include "gpu/emulator/map.h"
#include "gpu/tensor_map.h"

namespace hadal::gpu {
namespace {

using emulator::GlobalMemory;
using emulator::LaunchRecord;
using emulator::Machine;

constexpr int64_t kSharedBytesMax = 232448;
constexpr uint32_t kThreadsMax = 1024;
constexpr uint32_t kClusterMax = 8;
constexpr size_t kParameterBytesMax = 4096;

class EmulatedKernel final : public Kernel {
 public:
  explicit EmulatedKernel(const KernelSource& source) : source_(source) {}
  const std::string& name() const override { return source_.name; }
  const KernelSource& source() const { return source_; }

 private:
  KernelSource source_;
};

DeviceInfo make_info(const EmulatorOptions& options) {
  DeviceInfo info;
  info.name = "emulated sm_90a";
  info.ordinal = -1;
  info.major = 9;
  info.num_sms = options.num_sms;
  info.memory_bytes = options.memory_bytes;
  info.shared_bytes_per_block = kSharedBytesMax;
  info.emulated = true;
  return info;
}

std::unexpected<Error> invalid(std::string what) {
  return fail(Code::kInvalidArgument, std::move(what));
}

uint64_t count(const Dim3& dim) {
  return uint64_t{dim.x} * dim.y * dim.z;
}

Result<> validate(const KernelSource& source, const Launch& launch, size_t parameter_bytes,
                  int num_sms) {
  const uint64_t threads = count(launch.block);
  const uint64_t cluster = count(launch.cluster);
  if (count(launch.grid) == 0)
    return invalid(fmt::format("{}: the grid has no block", source.name));
  if (threads == 0 || threads > kThreadsMax ||
      (source.threads != 0 && threads != static_cast<uint64_t>(source.threads))) {
    return invalid(fmt::format("{}: {} threads per block; it must be {}", source.name, threads,
                               source.threads != 0 ? source.threads : kThreadsMax));
  }
  if (cluster == 0 || cluster > kClusterMax || cluster > static_cast<uint64_t>(num_sms) ||
      launch.grid.x % launch.cluster.x != 0 || launch.grid.y % launch.cluster.y != 0 ||
      launch.grid.z % launch.cluster.z != 0) {
    return invalid(fmt::format("{}: clusters of {} blocks; it must be 1 to {} and divide the grid",
                               source.name, cluster,
                               std::min(kClusterMax, static_cast<uint32_t>(num_sms))));
  }
  if (launch.shared_bytes > kSharedBytesMax) {
    return invalid(fmt::format("{}: {} bytes of shared memory; it must be {} at most", source.name,
                               launch.shared_bytes, kSharedBytesMax));
  }
  if (parameter_bytes != source.parameter_bytes || parameter_bytes > kParameterBytesMax) {
    return invalid(fmt::format("{}: {} bytes of parameters; the kernel has {}", source.name,
                               parameter_bytes, source.parameter_bytes));
  }
  return {};
}

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(const EmulatorOptions& options)
      : options_(options), info_(make_info(options)), memory_(options.memory_bytes) {
    CHECK(options.num_sms >= 1, "an emulated device needs an SM");
  }

  const DeviceInfo& info() const override { return info_; }

  Result<Buffer> allocate(size_t bytes) override {
    const std::lock_guard lock(mutex_);
    const Address address = TRY(memory_.allocate(bytes));
    return Buffer(this, address, bytes);
  }

  Result<> copy_in(Address to, std::span<const std::byte> from, Stream stream) override {
    const std::lock_guard lock(mutex_);
    TRY(prepare(to, from.size(), stream, "copy_in"));
    if (!from.empty()) std::memcpy(reinterpret_cast<void*>(to), from.data(), from.size());
    return {};
  }

  Result<> copy_out(std::span<std::byte> to, Address from, Stream stream) override {
    const std::lock_guard lock(mutex_);
    TRY(prepare(from, to.size(), stream, "copy_out"));
    if (!to.empty()) std::memcpy(to.data(), reinterpret_cast<const void*>(from), to.size());
    return {};
  }

  Result<> fill(Address to, uint8_t value, size_t bytes, Stream stream) override {
    const std::lock_guard lock(mutex_);
    TRY(prepare(to, bytes, stream, "fill"));
    if (bytes != 0) std::memset(reinterpret_cast<void*>(to), value, bytes);
    return {};
  }

  Result<const Kernel*> load(const KernelSource& source) override {
    const std::lock_guard lock(mutex_);
    if (source.emulated == nullptr) {
      return fail(Code::kUnsupported,
                  fmt::format("kernel {} is not built for the emulator", source.name));
    }
    auto& kernel = kernels_[source.name];
    if (kernel == nullptr) kernel = std::make_unique<EmulatedKernel>(source);
    if (kernel->source().emulated != source.emulated) {
      return fail(Code::kAlreadyExists,
                  fmt::format("kernel {}: another one of this name is loaded", source.name));
    }
    return kernel.get();
  }

  Result<TensorMap> encode(const TensorMapSpec& spec) override {
    const std::lock_guard lock(mutex_);
    TRY(gpu::validate(spec));
    uint64_t last = (spec.dims[0]) * size_bytes(spec.element);
    for (int i = 1; i < spec.rank; ++i) last += (spec.dims[i] - 1) * spec.strides_bytes[i - 1];
    if (!memory_.contains(spec.address, last)) {
      return invalid("tensor map: " + memory_.describe(spec.address, last));
    }
    return emulator::encode_map(spec);
  }

  Result<> launch(const Kernel& kernel, const Launch& launch, std::span<const std::byte> parameters,
                  Stream stream) override {
    const std::lock_guard lock(mutex_);
    TRY(check_stream(stream));
    const KernelSource& source = static_cast<const EmulatedKernel&>(kernel).source();
    TRY(validate(source, launch, parameters.size(), options_.num_sms));
    queue_.push_back(
        {source.name, source.emulated, launch, {parameters.begin(), parameters.end()}});
    return {};
  }

  Result<Stream> make_stream() override { return Stream{}; }
  void free_stream(Stream /*stream*/) override {}

  Result<> synchronize(Stream stream) override {
    const std::lock_guard lock(mutex_);
    TRY(check_stream(stream));
    Result<> result = flush();
    fault_.reset();
    return result;
  }

  Result<double> time_ms(Stream stream, void (*work)(void* context), void* context) override {
    TRY(synchronize(stream));
    const auto start = std::chrono::steady_clock::now();
    work(context);
    TRY(synchronize(stream));
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
  }

 private:
  void free(Address address, size_t /*size*/) override {
    const std::lock_guard lock(mutex_);
    (void)flush();  // NOLINT(bugprone-unused-return-value): a fault stays, for synchronize()
    memory_.free(address);
  }

  static Result<> check_stream(Stream stream) {
    if (stream == nullptr) return {};
    return invalid("the emulated device has the default stream only");
  }

  Result<> prepare(Address address, size_t bytes, Stream stream, const char* what) {
    TRY(check_stream(stream));
    if (!memory_.contains(address, bytes)) {
      return invalid(fmt::format("{}: {}", what, memory_.describe(address, bytes)));
    }
    return flush();
  }

  /// Runs what is queued. A fault is returned by every call until synchronize() has.
  Result<> flush() {
    if (!queue_.empty() && !fault_) {
      const emulator::MachineOptions options = {options_.num_sms, options_.steps_max,
                                                options_.truncate_fp8_sums};
      Machine machine(options, memory_, Rng(options_.seed).fork(runs_++), fibers_);
      if (Result<> result = machine.run(queue_); !result) fault_ = std::move(result).error();
    }
    queue_.clear();
    if (fault_) return std::unexpected(*fault_);
    return {};
  }

  const EmulatorOptions options_;
  const DeviceInfo info_;
  std::mutex mutex_;
  GlobalMemory memory_;
  std::unordered_map<std::string, std::unique_ptr<EmulatedKernel>> kernels_;
  std::vector<LaunchRecord> queue_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::optional<Error> fault_;
  uint64_t runs_ = 0;
};

}  // namespace

std::unique_ptr<Device> emulate(const EmulatorOptions& options) {
  return std::make_unique<EmulatedDevice>(options);
}

}  // namespace hadal::gpu
