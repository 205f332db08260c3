// What synthetic traces are made of: the kernels, with the shapes and typical durations that they
// have in DeepSeek-V3's published trace and in common PyTorch jobs, and the calls of the CUDA API.
// Constant tables; of no use outside of the generator.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "trace/generate.h"

namespace hadal::trace::gen {

enum class Api : uint8_t {
  kLaunchKernel,
  kLaunchKernelExC,
  kCuLaunchKernel,
  kGraphLaunch,
  kMemcpyAsync,
  kMemsetAsync,
  kStreamWaitEvent,
  kEventQuery,
  kFuncSetAttribute,
  kDeviceSynchronize,
  kStreamSynchronize,
  kMalloc,
  kFree,
};
inline constexpr int kNumApis = 13;

struct ApiSpec {
  std::string_view name;
  int cbid;     // CUPTI's number of the call
  bool driver;  // of the driver API
};
const ApiSpec& spec(Api api);

enum class Kernel : uint8_t {
  kLayerNorm,
  kLayerNormBackward,
  kCastFp8,
  kTranspose,
  kCastTranspose,
  kGemm,         // FP8, a projection
  kGemmSmall,    // FP8, a low-rank projection
  kGemmGrouped,  // FP8, the experts
  kGemmWeight,   // FP8, weight gradient
  kGemmBf16,     // the gate; dense layers of other models
  kRotary,
  kCopyTensor,
  kFlashForward,
  kFlashBackward,
  kSwiglu,
  kSwigluBackward,
  kExpand,
  kReduceFused,
  kTopk,
  kSigmoid,
  kReduce,
  kAdd,
  kSoftmax,
  kEmbedding,
  kAdam,
  kDecodeAttention,
  kDecodeGemm,
  kRmsNorm,
  kLowOccupancyGemm,
  kWaveQuantisedGemm,
  // Communication.
  kDispatchLayout,  // DeepEP's, but local: computes
  kNotifyDispatch,
  kCachedNotify,
  kDispatchForward,
  kDispatchBackward,
  kCombine,
  kNcclAllReduce,
  kNcclAllGather,
  kNcclReduceScatter,
  kCustomAllReduce,
  // Memory.
  kMemcpyDtoD,
  kMemcpyHtoD,
  kMemcpyDtoH,
  kMemcpyPageable,
  kMemset,
};
inline constexpr int kNumKernels = 45;

struct KernelSpec {
  std::string_view name;
  Work work;
  Api api;
  std::string_view op;  // the operator that launches it
  int children;         // small operators inside of that one, before the launch
  int64_t duration_ns;
  std::array<int, 3> grid, block;
  int registers;
  int shared_memory;            // bytes per block
  int64_t bytes;                // memory: moved; NCCL: elements of the larger side
  std::string_view collective;  // NCCL's "Collective name"
};
const KernelSpec& spec(Kernel kernel);

/// The GPU of all synthetic traces, an H800.
inline constexpr int kNumSms = 132;

enum class Stream : uint8_t { kCompute, kWeight, kCommunication };
inline constexpr int kNumStreams = 3;
inline constexpr std::array<int, kNumStreams> kStreamIds = {7, 23, 27};

}  // namespace hadal::trace::gen
