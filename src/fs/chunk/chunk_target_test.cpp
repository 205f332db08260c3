#include "fs/chunk/chunk_target.h"

#include <string>

#include <gtest/gtest.h>

namespace hadal::fs {
namespace {

constexpr uint64_t kSeeds = 200;

TEST(ChunkTarget, HoldsOnEverySeed) {
  const sim::Target target = chunks_target();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const sim::Outcome outcome = target.run(target.scenario(seed));
    ASSERT_EQ(outcome.failure, "") << "seed " << seed << "\n" << outcome.log;
  }
}

TEST(ChunkTarget, RunsTheSameTwice) {
  const sim::Target target = chunks_target();
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const sim::Outcome once = target.run(target.scenario(seed));
    const sim::Outcome again = target.run(target.scenario(seed));
    EXPECT_EQ(once.fingerprint, again.fingerprint) << seed;
    EXPECT_EQ(once.events, again.events) << seed;
  }
}

class PlantedMistake : public testing::TestWithParam<std::string> {};

TEST_P(PlantedMistake, IsFound) {
  const sim::Target target = chunks_target();
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    if (!target.run(target.scenario(seed, GetParam())).failure.empty()) return;
  }
  FAIL() << "no seed finds it";
}

INSTANTIATE_TEST_SUITE_P(Chunks, PlantedMistake,
                         testing::Values("skipped-flush", "overwrite-in-place", "free-early",
                                         "forget-writers"));

}  // namespace
}  // namespace hadal::fs
