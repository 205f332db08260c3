// The problem of the emulator's GEMM: what its test and its benchmark share.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "gpu/device/entry.h"
#include "gpu/emulator/gemm_test.cuh"
#include "gpu/gpu.h"
#include "tensor/dtype.h"

namespace hadal::gpu::test {

/// Small integers and powers of two, so that every order of summation gives the same bits.
struct GemmProblem {
  int m, n, k;
  std::vector<E4m3> a, b;          // [m, k], [n, k]
  std::vector<float> sa, sb;       // [k / 128, m], [ceil(n / 128), k / 128]
  std::vector<uint16_t> expected;  // bf16 [m, n]
};

/// bf16 [m, n] by plain loops.
inline std::vector<uint16_t> plain_gemm(const GemmProblem& p) {
  std::vector<uint16_t> d(static_cast<size_t>(p.m) * p.n);
  for (int i = 0; i < p.m; ++i) {
    for (int j = 0; j < p.n; ++j) {
      float sum = 0;
      for (int block = 0; block < p.k / 128; ++block) {
        float part = 0;
        for (int x = block * 128; x < block * 128 + 128; ++x) {
          part += to_float(p.a[i * p.k + x]) * to_float(p.b[j * p.k + x]);
        }
        sum += p.sa[block * p.m + i] * p.sb[j / 128 * (p.k / 128) + block] * part;
      }
      d[i * p.n + j] = to_bf16(sum).bits;
    }
  }
  return d;
}

inline GemmProblem make_problem(int m, int n, int k, uint64_t seed) {
  Rng rng(seed);
  GemmProblem p = {m, n, k, {}, {}, {}, {}, {}};
  const auto small = [&] {
    return to_e4m3(static_cast<float>(static_cast<int>(rng.below(9)) - 4));
  };
  const auto power = [&] { return std::ldexp(1.0f, static_cast<int>(rng.below(3)) - 1); };
  for (int i = 0; i < m * k; ++i) p.a.push_back(small());
  for (int i = 0; i < n * k; ++i) p.b.push_back(small());
  for (int i = 0; i < k / 128 * m; ++i) p.sa.push_back(power());
  for (int i = 0; i < (n + 127) / 128 * (k / 128); ++i) p.sb.push_back(power());
  p.expected = plain_gemm(p);
  return p;
}

template <Fault kFault>
KernelSource gemm_source() {
  using Config = GemmConfig<kFault>;
  return {.name = "gemm_fault_" + std::to_string(static_cast<int>(kFault)),
          .text = {},
          .parameter_bytes = sizeof(GemmParameters),
          .threads = Config::kThreads,
          .shared_bytes = Config::kSharedBytes,
          .emulated = &run_thread<GemmParameters, gemm<Config>>};
}

template <typename T>
Result<Buffer> upload(Device& device, const std::vector<T>& values) {
  Buffer buffer = TRY(device.allocate(values.size() * sizeof(T)));
  TRY(device.copy_in(buffer.address(), std::as_bytes(std::span(values)), nullptr));
  return buffer;
}

/// Runs the kernel in two blocks; an error if the device finds one or the result is wrong.
inline Result<> run_gemm(Device& device, const KernelSource& source, const GemmProblem& p) {
  const Buffer a = TRY(upload(device, p.a));
  const Buffer b = TRY(upload(device, p.b));
  const Buffer sa = TRY(upload(device, p.sa));
  const Buffer sb = TRY(upload(device, p.sb));
  const Buffer d = TRY(device.allocate(p.expected.size() * 2));
  const auto m = static_cast<uint64_t>(p.m), n = static_cast<uint64_t>(p.n);
  const auto k = static_cast<uint64_t>(p.k);
  GemmParameters parameters = {};
  parameters.map_a =
      TRY(device.encode({a.address(), Element::kU8, 2, {k, m}, {k}, {128, 128}, Swizzle::k128}));
  parameters.map_b =
      TRY(device.encode({b.address(), Element::kU8, 2, {k, n}, {k}, {128, 128}, Swizzle::k128}));
  parameters.map_s = TRY(device.encode(
      {sa.address(), Element::kF32, 2, {m, k / 128}, {m * 4}, {128, 1}, Swizzle::kNone}));
  parameters.map_d = TRY(
      device.encode({d.address(), Element::kBf16, 2, {n, m}, {n * 2}, {64, 64}, Swizzle::k128}));
  parameters.scales_b = reinterpret_cast<const float*>(sb.address());
  parameters.m = p.m;
  parameters.n = p.n;
  parameters.k = p.k;
  const Kernel* kernel = TRY(device.load(source));
  const Launch launch = {.grid = {2},
                         .block = {static_cast<uint32_t>(source.threads)},
                         .cluster = {},
                         .shared_bytes = static_cast<uint32_t>(source.shared_bytes)};
  TRY(device.launch(*kernel, launch, std::as_bytes(std::span(&parameters, 1)), nullptr));
  TRY(device.synchronize(nullptr));
  std::vector<uint16_t> result(p.expected.size());
  TRY(device.copy_out(std::as_writable_bytes(std::span(result)), d.address(), nullptr));
  for (size_t i = 0; i < result.size(); ++i) {
    if (result[i] == p.expected[i]) continue;
    return fail(Code::kCorrupt, "d[" + std::to_string(i / n) + ", " + std::to_string(i % n) +
                                    "] is " + std::to_string(to_float(Bf16{result[i]})) +
                                    "; expected " + std::to_string(to_float(Bf16{p.expected[i]})));
  }
  return {};
}

}  // namespace hadal::gpu::test
