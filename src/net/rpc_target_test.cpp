#include "net/rpc_target.h"

#include <gtest/gtest.h>

namespace hadal::net {
namespace {

TEST(RpcTarget, HoldsForManySeeds) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const sim::Outcome outcome = kRpcTarget.run(kRpcTarget.scenario(seed));
    ASSERT_EQ(outcome.failure, "") << "seed " << seed << "\n" << outcome.log;
  }
}

TEST(RpcTarget, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const sim::Scenario scenario = kRpcTarget.scenario(seed);
    EXPECT_EQ(kRpcTarget.run(scenario).fingerprint, kRpcTarget.run(scenario).fingerprint);
  }
}

TEST(RpcTarget, PlantedMistakesAreFound) {
  for (const std::string_view broken : kRpcTarget.broken) {
    uint64_t seed = 1;
    while (seed <= 1000 && kRpcTarget.run(kRpcTarget.scenario(seed, broken)).failure.empty())
      ++seed;
    EXPECT_LE(seed, 1000U) << broken;
  }
}

}  // namespace
}  // namespace hadal::net
