#include "sim/search.h"

#include <csignal>
#include <string>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/executor.h"
#include "sim/world.h"

namespace hadal::sim {
namespace {

/// Fails for seeds that end in 7, when messages are dropped and there are at least 13 steps.
Outcome run_picky(const Scenario& scenario) {
  World world({.seed = scenario.seed});
  int64_t steps = 0;
  world.add_process("worker", [&](Process& self) {
    for (; steps < scenario.steps; ++steps) {
      self.log("step " + std::to_string(steps));
      sleep_fiber(kSecond);
    }
  });
  world.run_for((scenario.steps + 1) * kSecond);
  Outcome outcome{.fingerprint = world.fingerprint(), .events = world.events()};
  if (scenario.broken == "crash") std::raise(SIGKILL);
  if (scenario.seed % 10 == 7 && scenario.has("drop") && steps >= 13) {
    outcome.failure = "step 13 was reached";
    outcome.log = world.log_text();
  }
  return outcome;
}

const Target kPicky = {.name = "picky",
                       .what = "fails where it is told to",
                       .steps = 100,
                       .faults = {"crash", "drop", "slow"},
                       .broken = {"crash"},
                       .run = run_picky};

TEST(Search, RunsEverySeedOnce) {
  int calls = 0;
  const auto found = search(kPicky, {.scenario = kPicky.scenario(0),
                                     .first_seed = 20,
                                     .last_seed = 26,
                                     .processes = 2,
                                     .progress = [&](uint64_t, uint64_t) { ++calls; }});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->runs, 7U);
  EXPECT_GT(found->events, 700U);
  EXPECT_FALSE(found->failed);
  EXPECT_GT(calls, 0);
}

TEST(Search, FindsTheLowestSeedAndTheShortestStory) {
  const auto found = search(
      kPicky, {.scenario = kPicky.scenario(0), .first_seed = 0, .last_seed = 99, .processes = 3});
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_TRUE(found->failed);
  EXPECT_EQ(found->first.scenario.seed, 7U);
  EXPECT_LT(found->runs, 99U);
  const auto shortest = minimize(kPicky, found->first);
  ASSERT_TRUE(shortest) << shortest.error().message;
  EXPECT_EQ(shortest->scenario.steps, 13);
  EXPECT_EQ(shortest->scenario.faults, std::vector<std::string>{"drop"});
  EXPECT_EQ(shortest->outcome.failure, "step 13 was reached");
  EXPECT_NE(shortest->outcome.log.find("step 12"), std::string::npos) << shortest->outcome.log;
  EXPECT_EQ(replay_command(kPicky, shortest->scenario),
            "hadal sim run picky --seeds 7 --steps 13 --faults drop");
}

TEST(Search, AProcessThatDiesIsAFailureOfItsSeed) {
  const auto found = search(
      kPicky,
      {.scenario = kPicky.scenario(0, "crash"), .first_seed = 3, .last_seed = 5, .processes = 2});
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_TRUE(found->failed);
  EXPECT_EQ(found->first.scenario.seed, 3U);
  EXPECT_NE(found->first.outcome.failure.find("killed by signal 9"), std::string::npos)
      << found->first.outcome.failure;
  EXPECT_EQ(replay_command(kPicky, found->first.scenario),
            "hadal sim run picky --seeds 3 --steps 100 --broken crash");
}

TEST(Search, TwoRunsOfAScenarioAreTheSame) {
  const auto once = run_apart(kPicky, kPicky.scenario(7));
  const auto again = run_apart(kPicky, kPicky.scenario(7));
  ASSERT_TRUE(once && again);
  EXPECT_EQ(once->fingerprint, again->fingerprint);
  EXPECT_EQ(once->log, again->log);
  EXPECT_EQ(once->failure, "step 13 was reached");
}

}  // namespace
}  // namespace hadal::sim
