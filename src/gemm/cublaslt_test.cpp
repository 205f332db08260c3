#include "gemm/cublaslt.h"

#include <array>

#include <gtest/gtest.h>

#include "gpu/emulator/emulator.h"

#if __has_include(<cublasLt.h>)
#define HADAL_HAS_CUBLASLT 1
#include <cublasLt.h>
#endif

namespace hadal::gemm {
namespace {

TEST(Cublaslt, NoLibraryIsUnavailable) {
  const std::unique_ptr<gpu::Device> device = gpu::emulate();
  const std::array<std::string, 1> nowhere = {"/nowhere/libcublasLt.so"};
  const Result<CublasltProduct> product = CublasltProduct::make(*device, 64, 64, 128, {}, nowhere);
  ASSERT_FALSE(product);
  EXPECT_EQ(product.error().code, Code::kUnavailable);
  EXPECT_EQ(product.error().message, "no cuBLASLt; tried /nowhere/libcublasLt.so");
}

#ifdef HADAL_HAS_CUBLASLT

TEST(Cublaslt, ConstantsAreThoseOfTheHeader) {
  EXPECT_EQ(cublaslt::kSuccess, CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublaslt::kNotSupported, CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(cublaslt::kReal8E4m3, CUDA_R_8F_E4M3);
  EXPECT_EQ(cublaslt::kReal16Bf, CUDA_R_16BF);
  EXPECT_EQ(cublaslt::kReal32, CUDA_R_32F);
  EXPECT_EQ(cublaslt::kCompute32, CUBLAS_COMPUTE_32F);
  EXPECT_EQ(cublaslt::kTransposed, CUBLAS_OP_T);
  EXPECT_EQ(cublaslt::kTransA, CUBLASLT_MATMUL_DESC_TRANSA);
  EXPECT_EQ(cublaslt::kAScalePointer, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
  EXPECT_EQ(cublaslt::kBScalePointer, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
  EXPECT_EQ(cublaslt::kAScaleMode, CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
  EXPECT_EQ(cublaslt::kBScaleMode, CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
  EXPECT_EQ(cublaslt::kScalePer128, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
  EXPECT_EQ(cublaslt::kScalePer128x128, CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F);
  EXPECT_EQ(cublaslt::kPreferenceWorkspaceBytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
}

static_assert(sizeof(cublaslt::Algorithm) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(cublaslt::Algorithm, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(cublaslt::Algorithm, state) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));

TEST(Cublaslt, WhereTheLibraryIsItHasEveryFunction) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "without a GPU the library leaks its handle";
#endif
  // Without a GPU the library opens, and then fails by its own words, which are not those above.
  const std::unique_ptr<gpu::Device> device = gpu::emulate();
  const Result<CublasltProduct> product =
      CublasltProduct::make(*device, 64, 64, 128, {}, cublaslt_candidates());
  if (product) GTEST_SKIP() << "there is a GPU, and hadal gemm bench uses it";
  if (product.error().message.starts_with("no cuBLASLt")) GTEST_SKIP() << "the library is missing";
  EXPECT_TRUE(product.error().message.starts_with("cuBLASLt: ")) << product.error().message;
}

#endif

}  // namespace
}  // namespace hadal::gemm
