// The Hopper kernels of matrix products: a closed list. M, N and K are known when a kernel runs, so
// a new shape never compiles anything; `hadal gpu warm` compiles all of them once.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/gpu.h"
#include "tensor/types.h"

namespace hadal::gemm {

/// What the members of sm90::Config say (sm90/parameters.cuh), and the kernel.
struct GpuKernel {
  int rows = 0;     // of X, 64 per warpgroup and wave
  int columns = 0;  // rows of Y
  int warpgroups = 0;
  int cluster = 1;  // blocks that share Y or split k
  int split = 1;    // of which split k
  int stages = 0;
  bool swap = false;
  bool one_scale = false;
  bool fresh = false;
  DType a_type = DType::kE4m3, b_type = DType::kE4m3;
  gpu::KernelSource source = {};

  int share() const { return cluster / split; }
  int tile_m() const { return swap ? columns : rows; }
  int tile_n() const { return swap ? rows : columns; }
};

/// All of them, no two with the same name; made by the first call.
const std::vector<GpuKernel>& gpu_kernels();

}  // namespace hadal::gemm
