// What the emulator's tests share: a device, buffers that are filled from vectors, a launch.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gpu/device/entry.h"
#include "gpu/emulator/emulator.h"
#include "gpu/emulator/primitives_test.cuh"

namespace hadal::gpu {

using test::PrimitiveParameters;

/// A kernel with PrimitiveParameters for the emulator.
template <void (*kKernel)(const PrimitiveParameters&)>
KernelSource emulated(std::string name) {
  KernelSource source;
  source.name = std::move(name);
  source.parameter_bytes = sizeof(PrimitiveParameters);
  source.emulated = &run_thread<PrimitiveParameters, kKernel>;
  return source;
}

class Rig {
 public:
  explicit Rig(const EmulatorOptions& options = {}) : device_(emulate(options)) {}

  Device& device() { return *device_; }

  template <typename T>
  Address upload(const std::vector<T>& values) {
    buffers_.push_back(*device_->allocate(values.size() * sizeof(T)));
    const Address at = buffers_.back().address();
    EXPECT_TRUE(device_->copy_in(at, std::as_bytes(std::span(values)), nullptr));
    return at;
  }

  template <typename T>
  Address zeros(size_t count) {
    return upload(std::vector<T>(count));
  }

  template <typename T>
  std::vector<T> download(Address from, size_t count) {
    std::vector<T> values(count);
    EXPECT_TRUE(device_->copy_out(std::as_writable_bytes(std::span(values)), from, nullptr));
    return values;
  }

  TensorMap map(const TensorMapSpec& spec) {
    const Result<TensorMap> map = device_->encode(spec);
    EXPECT_TRUE(map) << map.error().message;
    return map.value_or(TensorMap{});
  }

  /// Enqueues; 8 KiB of shared memory unless said otherwise.
  Result<> launch(const KernelSource& source, const PrimitiveParameters& parameters,
                  const Launch& launch) {
    const Kernel* kernel = TRY(device_->load(source));
    return device_->launch(*kernel, launch, std::as_bytes(std::span(&parameters, 1)), nullptr);
  }

  Result<> run(const KernelSource& source, const PrimitiveParameters& parameters,
               const Launch& launch_as) {
    TRY(launch(source, parameters, launch_as));
    return device_->synchronize(nullptr);
  }

 private:
  std::unique_ptr<Device> device_;
  std::vector<Buffer> buffers_;  // freed first
};

inline Launch one_block(uint32_t threads, uint32_t shared_bytes = 8192) {
  return {.grid = {}, .block = {threads}, .cluster = {}, .shared_bytes = shared_bytes};
}

inline uint8_t* pointer(Address address) {
  return reinterpret_cast<uint8_t*>(address);
}

}  // namespace hadal::gpu
