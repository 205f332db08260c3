// A whole kernel in the emulator: exact results under many seeds, and every planted fault found.
#include "gpu/emulator/gemm_test.cuh"

#include <cmath>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "gpu/device/entry.h"
#include "gpu/emulator/emulator.h"
#include "tensor/dtype.h"

namespace hadal::gpu {
namespace {

using test::Fault;
using test::GemmConfig;
using test::GemmParameters;

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

/// Small integers and powers of two, so that every order of summation gives the same bits.
struct Problem {
  int m, n, k;
  std::vector<E4m3> a, b;          // [m, k], [n, k]
  std::vector<float> sa, sb;       // [k / 128, m], [ceil(n / 128), k / 128]
  std::vector<uint16_t> expected;  // bf16 [m, n]
};

Problem make_problem(int m, int n, int k, uint64_t seed) {
  Rng rng(seed);
  Problem p = {m, n, k, {}, {}, {}, {}, {}};
  const auto small = [&] {
    return to_e4m3(static_cast<float>(static_cast<int>(rng.below(9)) - 4));
  };
  const auto power = [&] { return std::ldexp(1.0f, static_cast<int>(rng.below(3)) - 1); };
  for (int i = 0; i < m * k; ++i) p.a.push_back(small());
  for (int i = 0; i < n * k; ++i) p.b.push_back(small());
  for (int i = 0; i < k / 128 * m; ++i) p.sa.push_back(power());
  for (int i = 0; i < (n + 127) / 128 * (k / 128); ++i) p.sb.push_back(power());
  p.expected.resize(static_cast<size_t>(m) * n);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int block = 0; block < k / 128; ++block) {
        float part = 0;
        for (int x = block * 128; x < block * 128 + 128; ++x) {
          part += to_float(p.a[i * k + x]) * to_float(p.b[j * k + x]);
        }
        sum += p.sa[block * m + i] * p.sb[j / 128 * (k / 128) + block] * part;
      }
      p.expected[i * n + j] = to_bf16(sum).bits;
    }
  }
  return p;
}

template <Fault kFault>
KernelSource source() {
  using Config = GemmConfig<kFault>;
  return {.name = fmt::format("gemm_fault_{}", static_cast<int>(kFault)),
          .text = {},
          .parameter_bytes = sizeof(GemmParameters),
          .threads = Config::kThreads,
          .shared_bytes = Config::kSharedBytes,
          .emulated = &run_thread<GemmParameters, test::gemm<Config>>};
}

/// Runs the kernel; an error if the emulator finds one or the result is wrong.
Result<> run(const KernelSource& source, const Problem& p, const EmulatorOptions& options) {
  const std::unique_ptr<Device> device = emulate(options);
  const Buffer a = TRY(device->allocate(p.a.size()));
  const Buffer b = TRY(device->allocate(p.b.size()));
  const Buffer sa = TRY(device->allocate(p.sa.size() * 4));
  const Buffer sb = TRY(device->allocate(p.sb.size() * 4));
  const Buffer d = TRY(device->allocate(p.expected.size() * 2));
  TRY(device->copy_in(a.address(), bytes_of(p.a), nullptr));
  TRY(device->copy_in(b.address(), bytes_of(p.b), nullptr));
  TRY(device->copy_in(sa.address(), bytes_of(p.sa), nullptr));
  TRY(device->copy_in(sb.address(), bytes_of(p.sb), nullptr));
  const auto m = static_cast<uint64_t>(p.m), n = static_cast<uint64_t>(p.n);
  const auto k = static_cast<uint64_t>(p.k);
  GemmParameters parameters = {};
  parameters.map_a =
      TRY(device->encode({a.address(), Element::kU8, 2, {k, m}, {k}, {128, 128}, Swizzle::k128}));
  parameters.map_b =
      TRY(device->encode({b.address(), Element::kU8, 2, {k, n}, {k}, {128, 128}, Swizzle::k128}));
  parameters.map_s = TRY(device->encode(
      {sa.address(), Element::kF32, 2, {m, k / 128}, {m * 4}, {128, 1}, Swizzle::kNone}));
  parameters.map_d = TRY(
      device->encode({d.address(), Element::kBf16, 2, {n, m}, {n * 2}, {64, 64}, Swizzle::k128}));
  parameters.scales_b = reinterpret_cast<const float*>(sb.address());
  parameters.m = p.m;
  parameters.n = p.n;
  parameters.k = p.k;
  const Kernel* kernel = TRY(device->load(source));
  const Launch launch = {.grid = {2},
                         .block = {static_cast<uint32_t>(source.threads)},
                         .cluster = {},
                         .shared_bytes = static_cast<uint32_t>(source.shared_bytes)};
  TRY(device->launch(*kernel, launch, std::as_bytes(std::span(&parameters, 1)), nullptr));
  TRY(device->synchronize(nullptr));
  std::vector<uint16_t> result(p.expected.size());
  TRY(device->copy_out(std::as_writable_bytes(std::span(result)), d.address(), nullptr));
  for (size_t i = 0; i < result.size(); ++i) {
    if (result[i] != p.expected[i]) {
      return fail(Code::kCorrupt, fmt::format("d[{}, {}] is {:#x}; expected {:#x}", i / n, i % n,
                                              result[i], p.expected[i]));
    }
  }
  return {};
}

TEST(EmulatedGemm, IsExactUnderManySeeds) {
  const Problem p = make_problem(200, 256, 768, 1);
  for (uint64_t seed = 0; seed < 24; ++seed) {
    const Result<> result = run(source<Fault::kNone>(), p, {.seed = seed});
    ASSERT_TRUE(result) << "seed " << seed << ": " << result.error().message;
  }
}

/// Within how many seeds each fault must be found.
constexpr uint64_t kSeedsMax = 16;

template <typename T>
class PlantedFault : public testing::Test {};

using Faults = testing::Types<std::integral_constant<Fault, Fault::kNoFullWait>,
                              std::integral_constant<Fault, Fault::kNoEmptyWait>,
                              std::integral_constant<Fault, Fault::kNoEmptyArrive>,
                              std::integral_constant<Fault, Fault::kEarlyRelease>,
                              std::integral_constant<Fault, Fault::kWrongParity>,
                              std::integral_constant<Fault, Fault::kShortExpect>,
                              std::integral_constant<Fault, Fault::kNoProxyFence>,
                              std::integral_constant<Fault, Fault::kNoStoreBarrier>,
                              std::integral_constant<Fault, Fault::kNoStoreWait>,
                              std::integral_constant<Fault, Fault::kWrongSwizzle>,
                              std::integral_constant<Fault, Fault::kWrongDescriptor>,
                              std::integral_constant<Fault, Fault::kNoMmaFence>,
                              std::integral_constant<Fault, Fault::kNoMmaWait>,
                              std::integral_constant<Fault, Fault::kNoInitFence>>;
TYPED_TEST_SUITE(PlantedFault, Faults);

TYPED_TEST(PlantedFault, IsFound) {
  const Problem p = make_problem(256, 256, 768, 2);
  for (uint64_t seed = 0; seed < kSeedsMax; ++seed) {
    const Result<> result = run(source<TypeParam::value>(), p, {.seed = seed, .num_sms = 2});
    if (result) continue;
    this->RecordProperty("seed", static_cast<int>(seed));
    fmt::print("fault {} found with seed {}: {}\n", static_cast<int>(TypeParam::value), seed,
               result.error().message);
    return;
  }
  FAIL() << "not found in " << kSeedsMax << " seeds";
}

}  // namespace
}  // namespace hadal::gpu
