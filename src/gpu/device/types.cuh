// The types of the device vocabulary, and what makes one text compile for a GPU and for the
// emulator.
//
// NVRTC compiles kernels without a single header of CUDA's or of the C++ library (that is why it
// takes a fraction of a second), so this header defines the fixed-width integers there. g++
// compiles the same kernels for the emulator; every primitive then calls emulator/hooks.h.
//
// Two macros, because the language has no other way to say it:
//   HADAL_DEVICE   in front of a function that runs on the device; it is always inlined, so that
//                  accumulators passed by reference stay in registers
//   HADAL_UNROLL   in front of a loop that indexes registers
#pragma once

#if defined(__CUDACC__)

#define HADAL_DEVICE __device__ __forceinline__
#define HADAL_UNROLL _Pragma("unroll")

typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef decltype(sizeof(0)) size_t;

namespace hadal::gpu {

/// A tensor in global memory and a box of it (gpu.h); part of a kernel's parameters.
struct alignas(64) TensorMap {
  uint8_t bytes[128];
};

/// The permutation of 16-byte units within a tile in shared memory (gpu.h).
enum class Swizzle : uint8_t { kNone, k32, k64, k128 };

}  // namespace hadal::gpu

#else

#include <bit>
#include <cstddef>
#include <cstdint>

#include "gpu/emulator/hooks.h"
#include "gpu/gpu.h"

#define HADAL_DEVICE inline
#define HADAL_UNROLL

#endif

namespace hadal::gpu::device {

inline constexpr uint32_t kWarpSize = 32;
inline constexpr uint32_t kWarpgroupSize = 128;
inline constexpr uint32_t kAllLanes = 0xffffffff;

struct Index3 {
  uint32_t x, y, z;
};

/// 16 bytes that are loaded and stored at once.
struct alignas(16) Vector4 {
  uint32_t words[4];
};

/// Who has to see a fence or an atomic: the block's cluster, the GPU, or the host and other GPUs.
enum class Scope { kCluster, kGpu, kSystem };

template <typename T>
HADAL_DEVICE constexpr T minimum(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
HADAL_DEVICE constexpr T maximum(T a, T b) {
  return a < b ? b : a;
}

/// a / b, rounded up; both positive.
template <typename T>
HADAL_DEVICE constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

/// The smallest multiple of b that is at least a.
template <typename T>
HADAL_DEVICE constexpr T round_up(T a, T b) {
  return ceil_div(a, b) * b;
}

}  // namespace hadal::gpu::device
