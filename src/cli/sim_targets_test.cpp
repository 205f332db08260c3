// Every target of the simulator: it holds on all seeds, a seed is one run, and each mistake that
// can be planted in it is found.
#include "cli/sim_targets.h"

#include <string>

#include <gtest/gtest.h>

namespace hadal::cli {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kSeeds = 40;
#else
constexpr uint64_t kSeeds = 200;
#endif
constexpr uint64_t kSeedsForMistake = 1000;

class SimTargets : public testing::TestWithParam<sim::Target> {};

TEST_P(SimTargets, HoldOnEverySeed) {
  const sim::Target& target = GetParam();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const sim::Outcome outcome = target.run(target.scenario(seed));
    ASSERT_EQ(outcome.failure, "") << "seed " << seed << "\n" << outcome.log;
  }
}

TEST_P(SimTargets, RunASeedTheSameTwice) {
  const sim::Target& target = GetParam();
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const sim::Outcome once = target.run(target.scenario(seed));
    const sim::Outcome again = target.run(target.scenario(seed));
    ASSERT_EQ(once.fingerprint, again.fingerprint) << "seed " << seed;
    ASSERT_EQ(once.events, again.events) << "seed " << seed;
  }
}

TEST_P(SimTargets, FindPlantedMistakes) {
  const sim::Target& target = GetParam();
  EXPECT_FALSE(target.broken.empty());
  for (const std::string_view broken : target.broken) {
    uint64_t seed = 0;
    while (seed < kSeedsForMistake && target.run(target.scenario(seed, broken)).failure.empty())
      ++seed;
    EXPECT_LT(seed, kSeedsForMistake) << broken;
    RecordProperty(std::string(broken), static_cast<int>(seed));
  }
}

INSTANTIATE_TEST_SUITE_P(All, SimTargets, testing::ValuesIn(sim_targets()),
                         [](const testing::TestParamInfo<sim::Target>& info) {
                           std::string name(info.param.name);
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace hadal::cli
