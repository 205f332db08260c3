#include "kv/sim_target.h"

#include <string>

#include <gtest/gtest.h>

namespace hadal::kv {
namespace {

TEST(SimTarget, SeedsPass) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const sim::Outcome outcome = sim_target().run(sim_target().scenario(seed));
    ASSERT_EQ(outcome.failure, "") << "seed " << seed << "\n" << outcome.log;
  }
}

TEST(SimTarget, ASeedIsARun) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const sim::Outcome once = sim_target().run(sim_target().scenario(seed));
    const sim::Outcome again = sim_target().run(sim_target().scenario(seed));
    ASSERT_EQ(once.fingerprint, again.fingerprint) << "seed " << seed;
    ASSERT_EQ(once.events, again.events);
  }
}

TEST(SimTarget, PlantedMistakesAreFound) {
  for (const std::string_view broken : sim_target().broken) {
    uint64_t seed = 0;
    for (; seed < 1000; ++seed) {
      if (!sim_target().run(sim_target().scenario(seed, broken)).failure.empty()) break;
    }
    EXPECT_LT(seed, 1000U) << broken;
    RecordProperty(std::string(broken), static_cast<int>(seed));
  }
}

}  // namespace
}  // namespace hadal::kv
