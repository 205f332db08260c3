// A whole kernel in the emulator: exact results under many seeds, and every planted fault found.
#include <type_traits>

#include <gtest/gtest.h>

#include "gpu/emulator/emulator.h"
#include "gpu/emulator/gemm_testing.h"

namespace hadal::gpu {
namespace {

using test::Fault;
using test::GemmProblem;

TEST(EmulatedGemm, IsExactUnderManySeeds) {
  const GemmProblem p = test::make_problem(200, 256, 768, 1);
  for (uint64_t seed = 0; seed < 24; ++seed) {
    const Result<> result =
        run_gemm(*emulate({.seed = seed}), test::gemm_source<Fault::kNone>(), p);
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
  const GemmProblem p = test::make_problem(256, 256, 768, 2);
  for (uint64_t seed = 0; seed < kSeedsMax; ++seed) {
    const std::unique_ptr<Device> device = emulate({.seed = seed, .num_sms = 2});
    const Result<> result = run_gemm(*device, test::gemm_source<TypeParam::value>(), p);
    if (result) continue;
    this->RecordProperty("seed", static_cast<int>(seed));
    this->RecordProperty("found", result.error().message);
    return;
  }
  FAIL() << "not found in " << kSeedsMax << " seeds";
}

}  // namespace
}  // namespace hadal::gpu
