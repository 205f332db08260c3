// The table of kernels that exist once per instruction set. The user's side is cpu/cpu.h.
//
// This header is included by the translation units compiled for newer instruction sets, and so
// holds declarations only and no C++ library header (tensor/types.h says why).
//
// All functions convert n elements; n may be 0 and pointers need no alignment beyond their type's.
// in and out must not overlap. Results are those of tensor/dtype.h bit for bit, in every
// instruction set and whatever the flush-to-zero flags; the rounding mode must be the default, to
// nearest. e4m3 and e5m2 saturate. Thread-safe.
#pragma once

#include <stddef.h>

#include "tensor/types.h"

namespace hadal::cpu {

struct Kernels {
  void (*f32_to_bf16)(const float* in, Bf16* out, size_t n);
  void (*f32_to_f16)(const float* in, F16* out, size_t n);
  void (*f32_to_e4m3)(const float* in, E4m3* out, size_t n);
  void (*f32_to_e5m2)(const float* in, E5m2* out, size_t n);
  void (*bf16_to_f32)(const Bf16* in, float* out, size_t n);
  void (*f16_to_f32)(const F16* in, float* out, size_t n);
  void (*e4m3_to_f32)(const E4m3* in, float* out, size_t n);
  void (*e5m2_to_f32)(const E5m2* in, float* out, size_t n);
  void (*e4m3_to_bf16)(const E4m3* in, Bf16* out, size_t n);
};

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;        // only on x86-64
extern const Kernels kAvx512Kernels;      // only on x86-64
extern const Kernels kAvx512Bf16Kernels;  // only on x86-64

}  // namespace hadal::cpu
