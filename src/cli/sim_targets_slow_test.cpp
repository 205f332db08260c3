// A hundred thousand seeds of every target, over all cores.
#include <gtest/gtest.h>

#include "base/threads.h"
#include "cli/sim_targets.h"
#include "sim/search.h"

namespace hadal::cli {
namespace {

TEST(SimTargetsSlow, HoldOnAHundredThousandSeeds) {
  for (const sim::Target& target : sim_targets()) {
    const auto found = sim::search(target, {.scenario = target.scenario(0),
                                            .first_seed = 0,
                                            .last_seed = 99'999,
                                            .processes = available_cores()});
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_FALSE(found->failed) << replay_command(target, found->first.scenario) << "\n"
                                << found->first.outcome.failure << "\n"
                                << found->first.outcome.log;
    EXPECT_EQ(found->runs, 100'000U) << target.name;
  }
}

}  // namespace
}  // namespace hadal::cli
