// The rules of a tensor map, shared by the real device and the emulator.
//
// They are those that cuTensorMapEncodeTiled states for element strides of one and no interleave.
// The driver answers a map that breaks one with "invalid argument" and no more; here each rule has
// a sentence. Pure functions, safe from any thread.
#pragma once

#include <string_view>

#include "base/error.h"
#include "gpu/gpu.h"

namespace hadal::gpu {

/// Nothing, or kInvalidArgument with the field, its value and what is allowed.
Result<> validate(const TensorMapSpec& spec);

/// Bytes of an atom's row: 128, 64, 32, or 0 for kNone.
uint32_t width_bytes(Swizzle swizzle);

}  // namespace hadal::gpu
