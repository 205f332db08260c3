#include "net/rpc_target.h"

#include <gtest/gtest.h>

namespace hadal::net {
namespace {

const sim::Target kTarget = rpc_target();

TEST(RpcTarget, HoldsForManySeeds) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const sim::Outcome outcome = kTarget.run(kTarget.scenario(seed));
    ASSERT_EQ(outcome.failure, "") << "seed " << seed << "\n" << outcome.log;
  }
}

TEST(RpcTarget, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const sim::Scenario scenario = kTarget.scenario(seed);
    EXPECT_EQ(kTarget.run(scenario).fingerprint, kTarget.run(scenario).fingerprint);
  }
}

TEST(RpcTarget, PlantedMistakesAreFound) {
  for (const std::string_view broken : kTarget.broken) {
    uint64_t seed = 1;
    while (seed <= 1000 && kTarget.run(kTarget.scenario(seed, broken)).failure.empty()) ++seed;
    EXPECT_LE(seed, 1000U) << broken;
  }
}

}  // namespace
}  // namespace hadal::net
