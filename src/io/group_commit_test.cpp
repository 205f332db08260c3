#include "io/group_commit.h"

#include <string>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "io/group_commit_target.h"
#include "sim/search.h"
#include "sim/world.h"

namespace hadal::io {
namespace {

/// Runs the function in a process of a world, to its end.
void in_world(const std::function<void(sim::Process&)>& body) {
  sim::World world({.seed = 1});
  bool done = false;
  world.add_process("p", [&](sim::Process& self) {
    body(self);
    done = true;
  });
  EXPECT_TRUE(world.run_until([&] { return done; }, 1000 * kSecond));
}

TEST(GroupCommit, WhoComesDuringAFlushWaitsForTheNext) {
  in_world([](sim::Process& self) {
    std::string story;
    GroupCommit commits([&]() -> Result<> {
      story += "(";
      sleep_fiber(kMillisecond);
      story += ")";
      return {};
    });
    for (const char name : {'a', 'b', 'c', 'd'}) {
      self.spawn("caller", [&, name] {
        EXPECT_TRUE(commits.commit());
        story += name;
      });
    }
    sleep_fiber(kMillisecond / 2);
    self.spawn("late", [&] {
      EXPECT_TRUE(commits.commit());
      story += 'e';
    });
    sleep_fiber(10 * kMillisecond);
    EXPECT_EQ(story, "()a()bcde");
    EXPECT_EQ(commits.flushes(), 2U);
    EXPECT_TRUE(commits.commit());
    EXPECT_EQ(commits.flushes(), 3U);
  });
}

TEST(GroupCommit, AFailureStaysUntilReset) {
  in_world([](sim::Process& self) {
    bool broken = true;
    int failed = 0;
    GroupCommit commits([&]() -> Result<> {
      sleep_fiber(kMillisecond);
      if (broken) return fail(Code::kIo, "the device fails");
      return {};
    });
    const auto caller = [&] {
      const Result<> result = commits.commit();
      failed += !result && result.error().message == "the device fails";
    };
    self.spawn("first", caller);
    sleep_fiber(kMillisecond / 2);
    self.spawn("waits", caller);
    self.spawn("waits", caller);
    sleep_fiber(kMillisecond);
    broken = false;
    caller();
    EXPECT_EQ(failed, 4);
    EXPECT_EQ(commits.flushes(), 1U);
    commits.reset();
    EXPECT_TRUE(commits.commit());
    EXPECT_EQ(commits.flushes(), 2U);
  });
}

/// Who waited when a flush failed fails, also where reset() is called before it runs again.
TEST(GroupCommit, ResetSavesNobodyWhoWaits) {
  in_world([](sim::Process& self) {
    std::string story;
    GroupCommit commits([&]() -> Result<> {
      sleep_fiber(kMillisecond);
      if (story.empty()) return fail(Code::kIo, "the device fails");
      return {};
    });
    const auto caller = [&](char name) {
      return [&, name] {
        if (commits.commit()) {
          story += name;
          return;
        }
        story += '!';
        commits.reset();
      };
    };
    self.spawn("a", caller('a'));
    sleep_fiber(kMillisecond / 2);
    self.spawn("b", caller('b'));
    self.spawn("c", caller('c'));
    sleep_fiber(10 * kMillisecond);
    self.spawn("d", caller('d'));
    sleep_fiber(10 * kMillisecond);
    EXPECT_EQ(story, "!!!d");
  });
}

TEST(GroupCommit, SurvivesWhateverTheSimulatorDoes) {
  const sim::Target target = group_commit_target();
  const auto found = sim::search(
      target, {.scenario = target.scenario(0), .first_seed = 0, .last_seed = 299, .processes = 2});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_FALSE(found->failed) << replay_command(target, found->first.scenario) << "\n"
                              << found->first.outcome.failure << "\n"
                              << found->first.outcome.log;
  EXPECT_EQ(found->runs, 300U);
  EXPECT_EQ(target.run(target.scenario(5)).fingerprint, target.run(target.scenario(5)).fingerprint);
}

TEST(GroupCommit, EveryPlantedMistakeIsFound) {
  const sim::Target target = group_commit_target();
  for (const std::string_view broken : target.broken) {
    const auto found = sim::search(target, {.scenario = target.scenario(0, broken),
                                            .first_seed = 0,
                                            .last_seed = 999,
                                            .processes = 2});
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(found->failed) << broken;
    fmt::print("{}: seed {}, {}\n", broken, found->first.scenario.seed,
               found->first.outcome.failure);
  }
}

}  // namespace
}  // namespace hadal::io
