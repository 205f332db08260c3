// The device vocabulary: what kernels are written with.
//
// One meaning, two implementations: PTX where NVRTC (or nvcc) compiles, calls into the emulator
// where g++ does. A kernel is a function template over its configuration, with one parameter:
//
//   template <typename Config>
//   HADAL_DEVICE void scale(const ScaleParameters& p) { using namespace gpu::device; ... }
//
// Kernels reach memory through these functions only, so that the emulator sees every access; local
// arrays are registers and are indexed by constants (HADAL_UNROLL). Accumulators and fragments stay
// in scope until their wait_mma(). kernel_text() and run_thread() of gpu/device/entry.h make a
// KernelSource of a kernel. docs/gpu-emulator.md shows a whole one and says what is checked.
#pragma once

#include "gpu/device/barrier.cuh"
#include "gpu/device/convert.cuh"
#include "gpu/device/copy.cuh"
#include "gpu/device/memory.cuh"
#include "gpu/device/mma.cuh"
#include "gpu/device/thread.cuh"
