#include "gpu/tensor_map.h"

#include <fmt/core.h>

namespace hadal::gpu {
namespace {

constexpr uint64_t kDimMax = uint64_t{1} << 32;
constexpr uint64_t kStrideEnd = uint64_t{1} << 40;
constexpr uint32_t kBoxMax = 256;
constexpr uint64_t kUnitBytes = 16;  // what the copy engine addresses

std::unexpected<Error> broken(std::string rule) {
  return fail(Code::kInvalidArgument, "tensor map: " + std::move(rule));
}

Result<> validate_tensor(const TensorMapSpec& spec) {
  if (spec.address == 0 || spec.address % kUnitBytes != 0) {
    return broken(
        fmt::format("address is {:#x}; it must be a multiple of 16 and not 0", spec.address));
  }
  for (int i = 0; i < spec.rank; ++i) {
    if (spec.dims[i] < 1 || spec.dims[i] > kDimMax) {
      return broken(fmt::format("dims[{}] is {}; it must be 1 to 2^32", i, spec.dims[i]));
    }
  }
  for (int i = 0; i + 1 < spec.rank; ++i) {
    const uint64_t stride = spec.strides_bytes[i];
    if (stride % kUnitBytes != 0 || stride >= kStrideEnd) {
      return broken(fmt::format("strides_bytes[{}] is {}; it must be a multiple of 16 below 2^40",
                                i, stride));
    }
  }
  return {};
}

Result<> validate_box(const TensorMapSpec& spec, size_t element_bytes) {
  for (int i = 0; i < spec.rank; ++i) {
    if (spec.box[i] < 1 || spec.box[i] > kBoxMax) {
      return broken(fmt::format("box[{}] is {}; it must be 1 to 256", i, spec.box[i]));
    }
  }
  const uint64_t row_bytes = spec.box[0] * element_bytes;
  if (row_bytes % kUnitBytes != 0) {
    return broken(
        fmt::format("box[0] is {} elements of {} bytes; it must be a multiple of 16 bytes",
                    spec.box[0], element_bytes));
  }
  const uint32_t width = width_bytes(spec.swizzle);
  if (width != 0 && row_bytes > width) {
    return broken(fmt::format(
        "box[0] is {} elements of {} bytes; with a swizzle of {} bytes it must be {} at most",
        spec.box[0], element_bytes, width, width / element_bytes));
  }
  return {};
}

}  // namespace

uint32_t width_bytes(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::kNone: return 0;
    case Swizzle::k32: return 32;
    case Swizzle::k64: return 64;
    case Swizzle::k128: return 128;
  }
  return 0;
}

Result<> validate(const TensorMapSpec& spec) {
  if (spec.rank < 1 || spec.rank > 5) {
    return broken(fmt::format("rank is {}; it must be 1 to 5", spec.rank));
  }
  const size_t element_bytes = size_bytes(spec.element);
  if (element_bytes == 0) {
    return broken(
        fmt::format("element is {}; it must be one of the enum's", static_cast<int>(spec.element)));
  }
  TRY(validate_tensor(spec));
  return validate_box(spec, element_bytes);
}

}  // namespace hadal::gpu
