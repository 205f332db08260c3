#include "gpu/test_kernel.h"

#include <string>

#include <fmt/core.h>

namespace hadal::gpu {
namespace {

constexpr std::string_view kText = R"(
using u32 = unsigned int;
using u64 = unsigned long long;
struct alignas(64) TensorMap { u64 words[16]; };
struct Parameters { TensorMap a, b; float* d; u32 blocks; };

__device__ inline u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

__device__ inline void load(u32 to, const TensorMap* map, u32 barrier, u32 k) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(k), "r"(0) : "memory");
}

__device__ inline u64 descriptor(u32 address) {  // 128-byte swizzle, 1024 bytes per eight rows
  return (u64)((address & 0x3ffff) >> 4) | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

__device__ inline void multiply(float (&d)[32], u64 a, u64 b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 "
               "{@ACCUMULATORS@}, %32, %33, 1, 1, 1;"
               : @OPERANDS@ : "l"(a), "l"(b));
}

extern "C" __global__ void __launch_bounds__(128) wgmma_64x64(
    const __grid_constant__ Parameters p) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const u32 a = shared_address(memory), b = a + 64 * 128, barrier = b + 64 * 128;
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(barrier));
    asm volatile("fence.mbarrier_init.release.cluster;");
  }
  __syncthreads();
  float d[32] = {};
  for (u32 block = 0; block < p.blocks; ++block) {
    if (threadIdx.x == 0) {
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 16384;"
                   :: "r"(barrier) : "memory");
      load(a, &p.a, barrier, block * 128);
      load(b, &p.b, barrier, block * 128);
    }
    asm volatile("{\n.reg .pred done;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" :: "r"(barrier), "r"(block & 1) : "memory");
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    #pragma unroll
    for (u32 k = 0; k < 128; k += 32) multiply(d, descriptor(a + k), descriptor(b + k));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned @GROUPS@;" ::: "memory");
    #pragma unroll
    for (u32 i = 0; i < 32; ++i) asm volatile("" : "+f"(d[i]) :: "memory");
    __syncthreads();
  }
  const u32 row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
  #pragma unroll
  for (u32 i = 0; i < 32; ++i) {
    p.d[(row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2] = d[i];
  }
}
)";

void replace(std::string& text, std::string_view mark, std::string_view value) {
  text.replace(text.find(mark), mark.size(), value);
}

}  // namespace

KernelSource wgmma_kernel(int groups) {
  std::string accumulators, operands;
  for (int i = 0; i < 32; ++i) {
    accumulators += fmt::format("{}%{}", i == 0 ? "" : ", ", i);
    operands += fmt::format("{}\"+f\"(d[{}])", i == 0 ? "" : ", ", i);
  }
  KernelSource source;
  source.name = "wgmma_64x64";
  source.text = kText;
  replace(source.text, "@ACCUMULATORS@", accumulators);
  replace(source.text, "@OPERANDS@", operands);
  replace(source.text, "@GROUPS@", fmt::format("{}", groups));
  source.parameter_bytes = 320;
  source.threads = 128;
  source.shared_bytes = size_t{2} * 64 * 128 + 64;
  return source;
}

}  // namespace hadal::gpu
