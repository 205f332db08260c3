// The emulator's tensor maps, and the walk of a box between global and shared memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "gpu/gpu.h"

namespace hadal::gpu::emulator {

/// What the bytes of an emulated TensorMap say.
struct Map {
  uint64_t address = 0;
  std::array<uint64_t, 5> dims = {};
  std::array<uint64_t, 4> strides_bytes = {};
  std::array<uint16_t, 5> box = {};
  uint8_t rank = 0;
  Element element = Element::kU8;
  Swizzle swizzle = Swizzle::kNone;

  uint32_t element_bytes() const { return static_cast<uint32_t>(size_bytes(element)); }
  /// Of the whole box, which is what a load counts at its barrier.
  uint32_t box_bytes() const;
};

/// `spec` has been validated (gpu/tensor_map.h).
TensorMap encode_map(const TensorMapSpec& spec);
/// Nothing if the bytes are no map of the emulator's.
std::optional<Map> decode_map(const void* map);

/// A run of a box that is 16 bytes or less in shared memory and contiguous in both.
struct Unit {
  uint32_t shared;    // offset in shared memory, after the swizzle
  uint64_t global;    // address of its first element; valid where elements > 0
  uint32_t elements;  // of the unit's first ones, how many lie within the tensor ...
  uint32_t skipped;   // ... after this many that lie before it
};

/// Calls `visit` for each 16-byte unit of the box at `at`, which lies at `shared`. The swizzle
/// permutes by the absolute offset, as the hardware does: bits 4.. are XORed with bits 7...
void for_each_unit(const Map& map, uint32_t shared, const int32_t* at,
                   const std::function<void(const Unit&)>& visit);

/// The place of a byte of shared memory under a swizzle.
uint32_t swizzle_offset(uint32_t offset, Swizzle swizzle);

}  // namespace hadal::gpu::emulator
