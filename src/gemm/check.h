// Runs cases of the list on a backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "gemm/cases.h"
#include "gemm/gemm.h"

namespace hadal::gemm {

/// Host memory aligned as workspaces and packed weights must be; starts as garbage, not zeros.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size);
  std::span<std::byte> span() { return span_; }

 private:
  std::vector<std::byte> bytes_;
  std::span<std::byte> span_;
};

/// A case's arrays on a device.
class OnDevice {
 public:
  explicit OnDevice(gpu::Device& device) : device_(device) {}

  /// A copy there; null of nothing.
  template <typename T>
  Result<T*> in(const std::vector<T>& values) {
    if (values.empty()) return nullptr;
    gpu::Buffer buffer = TRY(device_.allocate(values.size() * sizeof(T)));
    TRY(device_.copy_in(buffer.address(), std::as_bytes(std::span(values)), nullptr));
    buffers_.push_back(std::move(buffer));
    return reinterpret_cast<T*>(buffers_.back().address());
  }
  Result<> out(std::vector<std::byte>& values, const void* from) {
    if (values.empty()) return {};
    return device_.copy_out(values, reinterpret_cast<gpu::Address>(from), nullptr);
  }

 private:
  gpu::Device& device_;
  std::vector<gpu::Buffer> buffers_;
};

/// Runs a case on a CPU context, on B as it is or (but for kKFlat) packed first. Its output is left
/// in `data`.
Result<> run_case(const Context& context, const Case& c, CaseData& data, bool packed = false);

/// Runs a case on a GPU or an emulated one, by the kernel of that name (gpu_catalog.h), or by the
/// one that the plan chooses.
Result<> run_case_on(gpu::Device& device, const Case& c, CaseData& data,
                     std::string_view kernel = {});

/// Whether GPUs can do the case: some have strides of odd bytes.
bool is_for_gpus(const CaseData& data);

}  // namespace hadal::gemm
