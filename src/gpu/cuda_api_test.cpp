#include "gpu/cuda_api.h"

#include <cstdlib>

#include <dlfcn.h>
#include <gtest/gtest.h>

#if __has_include(<cuda.h>) && __has_include(<nvrtc.h>)
#define HADAL_HAS_CUDA_HEADERS 1
#include <cuda.h>
#include <nvrtc.h>
#endif

namespace hadal::gpu::cuda {
namespace {

#ifdef HADAL_HAS_CUDA_HEADERS

TEST(CudaApi, ConstantsAreThoseOfCuda) {
  EXPECT_EQ(kSuccess, CUDA_SUCCESS);
  EXPECT_EQ(kInvalidValue, CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(kNotInitialized, CUDA_ERROR_NOT_INITIALIZED);
  EXPECT_EQ(kNoDevice, CUDA_ERROR_NO_DEVICE);
  EXPECT_EQ(kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(kNotFound, CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(kAttributeClockKhz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  EXPECT_EQ(kAttributeSms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  EXPECT_EQ(kAttributeMemoryClockKhz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
  EXPECT_EQ(kAttributeMemoryBusBits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
  EXPECT_EQ(kAttributeL2Bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  EXPECT_EQ(kAttributeMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  EXPECT_EQ(kAttributeMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  EXPECT_EQ(kAttributeSharedBytesOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  EXPECT_EQ(kFunctionDynamicSharedBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  EXPECT_EQ(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
  EXPECT_EQ(kEventDefault, CU_EVENT_DEFAULT);
  EXPECT_EQ(kTensorU8, CU_TENSOR_MAP_DATA_TYPE_UINT8);
  EXPECT_EQ(kTensorI32, CU_TENSOR_MAP_DATA_TYPE_INT32);
  EXPECT_EQ(kTensorF16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16);
  EXPECT_EQ(kTensorF32, CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
  EXPECT_EQ(kTensorBf16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
  EXPECT_EQ(kInterleaveNone, CU_TENSOR_MAP_INTERLEAVE_NONE);
  EXPECT_EQ(kSwizzleNone, CU_TENSOR_MAP_SWIZZLE_NONE);
  EXPECT_EQ(kSwizzle32, CU_TENSOR_MAP_SWIZZLE_32B);
  EXPECT_EQ(kSwizzle64, CU_TENSOR_MAP_SWIZZLE_64B);
  EXPECT_EQ(kSwizzle128, CU_TENSOR_MAP_SWIZZLE_128B);
  EXPECT_EQ(kPromotionL2256, CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
  EXPECT_EQ(kFillZero, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  EXPECT_EQ(kLaunchCluster, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
  EXPECT_EQ(kLaunchProgrammaticSerialization,
            CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
  EXPECT_EQ(kNvrtcSuccess, NVRTC_SUCCESS);
  EXPECT_EQ(kNvrtcErrorCompilation, NVRTC_ERROR_COMPILATION);
}

static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(alignof(LaunchAttribute) <= alignof(CUlaunchAttribute));
static_assert(offsetof(LaunchAttribute, bytes) == offsetof(CUlaunchAttribute, value));
static_assert(offsetof(LaunchAttribute, cluster) ==
              offsetof(CUlaunchAttribute, value) + offsetof(CUlaunchAttributeValue, clusterDim));
static_assert(offsetof(LaunchAttribute, allowed) ==
              offsetof(CUlaunchAttribute, value) +
                  offsetof(CUlaunchAttributeValue, programmaticStreamSerializationAllowed));
static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
static_assert(offsetof(LaunchConfig, grid) == offsetof(CUlaunchConfig, gridDimX));
static_assert(offsetof(LaunchConfig, block) == offsetof(CUlaunchConfig, blockDimX));
static_assert(offsetof(LaunchConfig, shared_bytes) == offsetof(CUlaunchConfig, sharedMemBytes));
static_assert(offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
static_assert(offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
static_assert(offsetof(LaunchConfig, num_attributes) == offsetof(CUlaunchConfig, numAttrs));
static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));
// CUDA 12 aligns it to 64, as the hardware needs, CUDA 13 to 128; encode() satisfies both.
static_assert(alignof(TensorMap) == 64 && alignof(CUtensorMap) <= 128);
static_assert(sizeof(Address) == sizeof(CUdeviceptr));
static_assert(sizeof(DeviceId) == sizeof(CUdevice));
static_assert(sizeof(DeviceInfo::uuid) == sizeof(CUuuid));
static_assert(sizeof(Status) == sizeof(CUresult) && sizeof(CUtensorMapDataType) == sizeof(int));

#else

TEST(CudaApi, ConstantsAreThoseOfCuda) {
  GTEST_SKIP() << "cuda.h and nvrtc.h are not installed";
}

#endif

/// The stub stands for a driver when programs are linked, so it has a driver's symbols. Opened
/// here and closed again, because its name is libcuda.so.1.
TEST(CudaApi, EverySymbolIsInTheToolkitsStub) {
  const char* home = std::getenv("CUDA_HOME");
  const std::string path =
      std::string(home == nullptr ? "/usr/local/cuda" : home) + "/lib64/stubs/libcuda.so";
  void* const stub = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (stub == nullptr) GTEST_SKIP() << "the CUDA toolkit's stub library is not installed";
  for (const std::string& symbol : driver_symbols()) {
    EXPECT_NE(::dlsym(stub, symbol.c_str()), nullptr) << symbol;
  }
  ::dlclose(stub);
}

TEST(CudaApi, AMissingLibraryIsNamedWithWhatWasTried) {
  const std::vector<std::string> candidates = {"libabsent_one.so.7", "/nowhere/libabsent_two.so"};
  const auto driver = open_driver(candidates);
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, Code::kUnavailable);
  EXPECT_EQ(driver.error().message,
            "no CUDA driver; tried libabsent_one.so.7, /nowhere/libabsent_two.so");
  const auto nvrtc = open_nvrtc(candidates);
  ASSERT_FALSE(nvrtc);
  EXPECT_EQ(nvrtc.error().message, "no NVRTC; tried libabsent_one.so.7, /nowhere/libabsent_two.so");
}

TEST(CudaApi, ALibraryThatIsNotTheDriverIsRefused) {
  const std::vector<std::string> libc = {"libc.so.6"};
  const auto driver = open_driver(libc);
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().message,
            "the CUDA driver libc.so.6 has no cuInit; hadal needs a driver for CUDA 12 or later");
  const auto nvrtc = open_nvrtc(libc);
  ASSERT_FALSE(nvrtc);
  EXPECT_EQ(nvrtc.error().message,
            "NVRTC libc.so.6 has no nvrtcVersion; hadal needs NVRTC 12 or later");
}

TEST(CudaApi, AFileThatIsNoLibraryIsSaidToBeOne) {
  const std::vector<std::string> candidates = {"libabsent_one.so.7", HADAL_SOURCE_DIR "/LICENSE"};
  const auto driver = open_driver(candidates);
  ASSERT_FALSE(driver);
  EXPECT_NE(driver.error().message.find("CUDA driver does not open: "), std::string::npos);
  EXPECT_NE(driver.error().message.find("/LICENSE"), std::string::npos);
}

TEST(CudaApi, NvrtcIsLookedForInThreePlaces) {
  const std::vector<std::string> candidates = nvrtc_candidates();
  EXPECT_EQ(candidates.front(), "libnvrtc.so.13");
  EXPECT_EQ(candidates.back(), "/usr/local/cuda/lib64/libnvrtc.so");
}

TEST(CudaApi, VersionsReadAsPeopleWriteThem) {
  EXPECT_EQ(version_text(13000), "13.0");
  EXPECT_EQ(version_text(12090), "12.9");
}

TEST(CudaApi, NvrtcOpensWhereItIsInstalled) {
  const auto nvrtc = open_nvrtc(nvrtc_candidates());
  if (!nvrtc) GTEST_SKIP() << nvrtc.error().message;
  EXPECT_GE((*nvrtc)->version, 12000);
}

}  // namespace
}  // namespace hadal::gpu::cuda
