// cuBLASLt's FP8 product with block scales, the peer that `hadal gemm bench` measures against.
//
// The library is opened at run time, as the driver is (gpu/cuda_api.h); nothing but the benchmark
// uses it. Block scales need cuBLASLt 12.9 or later and a Hopper GPU.
//
// Its layouts are those of GemmSpec with A's scales kColMajor, stride m, and B's scales kRowMajor,
// stride ceil(k / 128) rounded up to 4 (a stride that the library does not check: NVIDIA's cuBLAS
// documentation, "1D and 2D block scaling for FP8"; PyTorch's pull request 166752 met it).
//
// Threads: a product is for one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "gpu/gpu.h"

namespace hadal::gemm {

/// libcublasLt.so.13, .12 and libcublasLt.so, in the folders where NVRTC is looked for.
std::vector<std::string> cublaslt_candidates();

class CublasltProduct {
 public:
  struct Operands {
    gpu::Address a = 0, a_scale = 0;  // e4m3 [m][k], float32
    gpu::Address b = 0, b_scale = 0;  // e4m3 [n][k], float32
    gpu::Address d = 0;               // bf16 [m][n]
  };

  /// D = A B^T with the first algorithm of the library's heuristic, given 32 MiB of workspace on
  /// `device`, which outlives the product. kUnavailable: no library; kUnsupported: it has no
  /// algorithm for this shape, or no block scales.
  static Result<CublasltProduct> make(gpu::Device& device, int64_t m, int64_t n, int64_t k,
                                      const Operands& operands,
                                      std::span<const std::string> candidates);
  CublasltProduct(CublasltProduct&&) noexcept;
  ~CublasltProduct();

  Result<> run(gpu::Stream stream);

 private:
  struct Impl;
  explicit CublasltProduct(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

namespace cublaslt {

// The part of cublasLt.h that is used; cublaslt_test.cpp holds it against the original.
inline constexpr int kSuccess = 0;
inline constexpr int kNotSupported = 15;
inline constexpr int kReal8E4m3 = 28, kReal16Bf = 14, kReal32 = 0;  // cudaDataType
inline constexpr int kCompute32 = 68;                               // cublasComputeType_t
inline constexpr int kTransposed = 1;                               // cublasOperation_t
// cublasLtMatmulDescAttributes_t
inline constexpr int kTransA = 3, kAScalePointer = 17, kBScalePointer = 18, kAScaleMode = 31,
                     kBScaleMode = 32;
// cublasLtMatmulMatrixScale_t
inline constexpr int kScalePer128 = 4, kScalePer128x128 = 5;
inline constexpr int kPreferenceWorkspaceBytes = 1;  // cublasLtMatmulPreferenceAttributes_t

struct Algorithm {  // cublasLtMatmulHeuristicResult_t
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

}  // namespace cublaslt
}  // namespace hadal::gemm
