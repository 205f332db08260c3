// Exact scalar conversions between float and the narrow formats of tensor/types.h.
//
// These functions are the definition: bulk kernels (cpu/cpu.h) and GPU code are tested against them
// bit for bit. They use integer arithmetic only, so their results depend neither on the rounding
// mode nor on flush-to-zero, and they are constexpr. docs/formats/dtypes.md has the same rules in
// tables.
//
// Rules. From float: round to nearest, ties to the even code, subnormals included. Overflow of bf16
// and f16 gives an infinity; of e4m3 and e5m2 it gives what `Overflow` says. A NaN stays a NaN and
// keeps its sign: bf16 and f16 keep the top payload bits and set the quiet bit, as x86 and CUDA do;
// e4m3 and e5m2 have one NaN per sign on output, 0x7f and 0x7e. To float: always exact; an f16 or
// e5m2 NaN comes out quiet, a bf16 is moved bit by bit.
//
// Everything here is a pure function.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/types.h"

namespace hadal {

/// What becomes of a value beyond the largest finite one after rounding. kSaturate: the largest
/// finite value, for infinities as well (PTX "satfinite"). kIeee: infinity in e5m2, NaN in e4m3.
enum class Overflow { kSaturate, kIeee };

inline constexpr float kE4m3Max = 448.0f;
inline constexpr float kE5m2Max = 57344.0f;
inline constexpr float kF16Max = 65504.0f;

namespace dtype_detail {

inline constexpr uint32_t kFloatInfinity = 0x7f800000;
inline constexpr uint32_t kFloatQuietNan = 0x7fc00000;

/// The code, without sign, of the nearest value to a non-negative float, ties to even, in a format
/// with the exponent bias 2^(kExponentBits-1)-1. `magnitude` is the float's bits and not a NaN.
/// Codes beyond the format's range come out for values beyond it: codes are ordered as values are,
/// so the caller clips them.
template <int kExponentBits, int kMantissaBits>
constexpr uint32_t round_magnitude(uint32_t magnitude) {
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  constexpr int kDropped = 23 - kMantissaBits;
  int shift = kDropped;
  uint32_t value = magnitude;
  uint32_t rebias = static_cast<uint32_t>(127 - kBias) << kMantissaBits;
  if (magnitude < static_cast<uint32_t>(128 - kBias) << 23) {  // below 2^(1 - bias): subnormal
    // The float is significand * 2^(exponent - 150), and the code counts steps of
    // 2^(1 - bias - mantissa bits).
    const uint32_t exponent = magnitude >> 23 == 0 ? 1 : magnitude >> 23;
    value = (magnitude & 0x7fffff) | (magnitude >> 23 == 0 ? 0 : 0x800000);
    shift = 151 - kBias - kMantissaBits - static_cast<int>(exponent);
    rebias = 0;
    if (shift > 25) return 0;  // below half a step: value < 2^24
  }
  const uint32_t odd = (value >> shift) & 1;
  return ((value + (1u << (shift - 1)) - 1 + odd) >> shift) - rebias;
}

/// The bits of the float that a finite code without sign stands for.
template <int kExponentBits, int kMantissaBits>
constexpr uint32_t widen_magnitude(uint32_t code) {
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  if (code >> kMantissaBits != 0) {
    return (code << (23 - kMantissaBits)) + (static_cast<uint32_t>(127 - kBias) << 23);
  }
  if (code == 0) return 0;
  // code * 2^(1 - bias - mantissa bits): move the leading one to the implicit place.
  const int top = 31 - std::countl_zero(code);
  const uint32_t exponent = static_cast<uint32_t>(127 + 1 - kBias - kMantissaBits + top);
  return (exponent << 23) | ((code << (23 - top)) & 0x7fffff);
}

constexpr uint32_t min(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

}  // namespace dtype_detail

constexpr Bf16 to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffff) > dtype_detail::kFloatInfinity) {
    return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  }
  // Both formats have the same exponents, so that a carry out of the mantissa does the right thing
  // everywhere: subnormal to normal, and largest finite to infinity.
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

constexpr F16 to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t sign = (bits >> 16) & 0x8000;
  if (magnitude > dtype_detail::kFloatInfinity) {
    return {static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff))};
  }
  const uint32_t code = dtype_detail::round_magnitude<5, 10>(magnitude);
  return {static_cast<uint16_t>(sign | dtype_detail::min(code, 0x7c00))};
}

constexpr E4m3 to_e4m3(float x, Overflow overflow = Overflow::kSaturate) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t sign = (bits >> 24) & 0x80;
  if (magnitude > dtype_detail::kFloatInfinity) return {static_cast<uint8_t>(sign | 0x7f)};
  const uint32_t largest = overflow == Overflow::kSaturate ? 0x7e : 0x7f;
  const uint32_t code = dtype_detail::round_magnitude<4, 3>(magnitude);
  return {static_cast<uint8_t>(sign | dtype_detail::min(code, largest))};
}

constexpr E5m2 to_e5m2(float x, Overflow overflow = Overflow::kSaturate) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t sign = (bits >> 24) & 0x80;
  if (magnitude > dtype_detail::kFloatInfinity) return {static_cast<uint8_t>(sign | 0x7e)};
  const uint32_t largest = overflow == Overflow::kSaturate ? 0x7b : 0x7c;
  const uint32_t code = dtype_detail::round_magnitude<5, 2>(magnitude);
  return {static_cast<uint8_t>(sign | dtype_detail::min(code, largest))};
}

constexpr float to_float(float x) {
  return x;
}

constexpr float to_float(Bf16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
}

constexpr float to_float(F16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t code = x.bits & 0x7fffu;
  if (code >= 0x7c00) {
    const uint32_t quiet = code == 0x7c00 ? 0 : 0x400000;
    return std::bit_cast<float>(sign | dtype_detail::kFloatInfinity | quiet |
                                ((code & 0x3ff) << 13));
  }
  return std::bit_cast<float>(sign | dtype_detail::widen_magnitude<5, 10>(code));
}

constexpr float to_float(E4m3 x) {
  const uint32_t sign = (x.bits & 0x80u) << 24;
  const uint32_t code = x.bits & 0x7fu;
  if (code == 0x7f) return std::bit_cast<float>(sign | dtype_detail::kFloatQuietNan);
  return std::bit_cast<float>(sign | dtype_detail::widen_magnitude<4, 3>(code));
}

/// An e5m2 is the top byte of an f16.
constexpr float to_float(E5m2 x) {
  return to_float(F16{static_cast<uint16_t>(x.bits << 8)});
}

/// 2^(bits - 127), or NaN. Code 0 is 2^-127, a subnormal float.
constexpr float to_float(E8m0 x) {
  if (x.bits == 0xff) return std::bit_cast<float>(dtype_detail::kFloatQuietNan);
  return std::bit_cast<float>(x.bits == 0 ? 0x400000u : uint32_t{x.bits} << 23);
}

/// Every e4m3 value is a bf16 value. NaN becomes 0x7fc0 with the sign.
constexpr Bf16 to_bf16(E4m3 x) {
  return {static_cast<uint16_t>(std::bit_cast<uint32_t>(to_float(x)) >> 16)};
}

/// The smallest power of two >= x, as scales are rounded (a smaller one could overflow the values
/// it scales). 0 and everything up to 2^-127 give code 0; beyond 2^127, infinity included, the
/// largest code 254; NaN and negative numbers give NaN.
constexpr E8m0 to_e8m0_ceil(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (bits == 0x80000000) return {0};                               // -0
  if (bits > dtype_detail::kFloatInfinity) return {uint8_t{0xff}};  // NaN or a sign
  if (bits <= 0x400000) return {0};
  const uint32_t exponent = (bits >> 23) + ((bits & 0x7fffff) != 0 ? 1 : 0);
  return {static_cast<uint8_t>(dtype_detail::min(exponent, 254))};
}

/// The e8m0 code of a float that is exactly one of its powers of two; nothing for any other float.
constexpr std::optional<E8m0> exact_e8m0(float x) {
  const E8m0 code = to_e8m0_ceil(x);
  if (std::bit_cast<uint32_t>(to_float(code)) != std::bit_cast<uint32_t>(x)) return std::nullopt;
  return code.bits == 0xff ? std::nullopt : std::optional(code);
}

/// Bytes of one element.
constexpr size_t size_bytes(DType type) {
  switch (type) {
    case DType::kF32: return 4;
    case DType::kBf16:
    case DType::kF16: return 2;
    case DType::kE4m3:
    case DType::kE5m2:
    case DType::kE8m0: return 1;
  }
  return 0;
}

/// "f32", "bf16", "f16", "e4m3", "e5m2", "e8m0": stable, for messages and JSON.
constexpr std::string_view name(DType type) {
  switch (type) {
    case DType::kF32: return "f32";
    case DType::kBf16: return "bf16";
    case DType::kF16: return "f16";
    case DType::kE4m3: return "e4m3";
    case DType::kE5m2: return "e5m2";
    case DType::kE8m0: return "e8m0";
  }
  return "unknown";
}

}  // namespace hadal
