// Numbers: conversions to and from the narrow types, and the few functions of arithmetic that the
// host and the device must compute alike (or that only the device has).
//
// Conversions round to nearest, ties to even; to e4m3 and e5m2 they saturate. tensor/dtype.h is
// their definition. A pair has its first element in the low bits, as memory has it first.
#pragma once

#include "gpu/device/types.cuh"

#if !defined(__CUDACC__)
#include <cmath>

#include "tensor/dtype.h"
#endif

namespace hadal::gpu::device {

HADAL_DEVICE uint32_t bits_of(float x) {
  return __builtin_bit_cast(uint32_t, x);
}

HADAL_DEVICE float float_of(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

HADAL_DEVICE uint32_t pack_bf16(float first, float second) {
#if defined(__CUDACC__)
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return to_bf16(first).bits | static_cast<uint32_t>(to_bf16(second).bits) << 16;
#endif
}

HADAL_DEVICE uint32_t pack_f16(float first, float second) {
#if defined(__CUDACC__)
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return to_f16(first).bits | static_cast<uint32_t>(to_f16(second).bits) << 16;
#endif
}

HADAL_DEVICE uint16_t pack_e4m3(float first, float second) {
#if defined(__CUDACC__)
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return static_cast<uint16_t>(to_e4m3(first).bits | to_e4m3(second).bits << 8);
#endif
}

HADAL_DEVICE uint16_t pack_e5m2(float first, float second) {
#if defined(__CUDACC__)
  uint16_t pair;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return static_cast<uint16_t>(to_e5m2(first).bits | to_e5m2(second).bits << 8);
#endif
}

/// The first and the second element of a bf16 pair.
HADAL_DEVICE float first_of_bf16(uint32_t pair) {
  return float_of(pair << 16);
}
HADAL_DEVICE float second_of_bf16(uint32_t pair) {
  return float_of(pair & 0xffff0000);
}

/// The first and the second element of an f16 pair.
HADAL_DEVICE float first_of_f16(uint32_t pair) {
#if defined(__CUDACC__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(pair)));
  return value;
#else
  return to_float(F16{static_cast<uint16_t>(pair)});
#endif
}
HADAL_DEVICE float second_of_f16(uint32_t pair) {
  return first_of_f16(pair >> 16);
}

/// a * b + c with one rounding.
HADAL_DEVICE float multiply_add(float a, float b, float c) {
#if defined(__CUDACC__)
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

/// max(x, 0); NaN stays NaN.
HADAL_DEVICE float positive(float x) {
#if defined(__CUDACC__)
  float y;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(y) : "f"(x));
  return y;
#else
  return x < 0 ? 0 : x;
#endif
}

/// 2^x and log2(x) within about two units in the last place; subnormals are zero. Not bit-equal
/// between the emulator and a GPU.
HADAL_DEVICE float exp2_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}
HADAL_DEVICE float log2_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::log2(x);
#endif
}

}  // namespace hadal::gpu::device
