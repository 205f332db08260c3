// The examples of docs/simulation.md, word for word (tests/docs_test.py compares).
#include <span>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "io/sim_disk.h"
#include "sim/search.h"
#include "sim/world.h"

namespace hadal {
namespace {

void two_lives() {
  sim::World world({.seed = 7});
  sim::Process& server = world.add_process("server", [](sim::Process& self) {
    while (true) {
      sleep_fiber(kSecond);
      self.log("tick");
    }
  });
  world.run_for(10 * kSecond);
  server.kill();   // as SIGKILL: destructors run, nothing else
  server.start();  // main() again, with nothing in memory
  world.run_for(10 * kSecond);
}

void crash_after_every_change(const io::SimDisk& disk, uint64_t seed) {
  for (size_t n = 0; n <= disk.recording().size(); ++n) {
    const io::SimDisk crashed = io::SimDisk::replay(disk.recording(), n, Rng(seed));
    // it must open; what was acknowledged before change n must be there
  }
}

sim::Outcome run_counter(const sim::Scenario& scenario) {
  sim::World world({.seed = scenario.seed});
  io::SimDisk disk({.sync_ns_max = 5 * kMillisecond}, world.rng().fork(1));
  int64_t acknowledged = 0;
  std::string failure;
  sim::Process& server = world.add_process("server", [&](sim::Process& self) {
    int64_t count = 0;
    const auto bytes = std::as_writable_bytes(std::span(&count, 1));
    const auto file = *disk.open("count", io::Open::kCreate);
    if (!file->read(0, bytes) || !disk.sync_folder("")) return;
    if (count < acknowledged) failure = fmt::format("{} is there of {}", count, acknowledged);
    while (true) {
      ++count;
      if (!file->write(0, bytes)) return;
      if (scenario.broken != "skipped-sync" && !file->sync()) return;
      acknowledged = count;
      self.log(fmt::format("counted to {}", count));
      sleep_fiber(kMillisecond);
    }
  });
  while (failure.empty() && acknowledged < scenario.steps) {
    world.run_for(static_cast<int64_t>(world.rng().below(kSecond)));
    if (!scenario.has("power")) continue;
    server.kill();
    disk.lose_power();
    server.start();
  }
  world.run_for(kSecond);
  return {.failure = failure,
          .fingerprint = world.fingerprint(),
          .events = world.events(),
          .log = world.log_text()};
}

const sim::Target kCounter = {.name = "counter",
                              .what = "what was counted is never counted again",
                              .steps = 300,
                              .faults = {"power"},
                              .broken = {"skipped-sync"},
                              .run = run_counter};

TEST(Counter, CountsOverLossesOfPower) {
  const sim::Scenario scenario = kCounter.scenario(0);
  const auto found = sim::search(kCounter, {.scenario = scenario, .last_seed = 99});
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->failed) << found->first.outcome.failure << found->first.outcome.log;
  EXPECT_EQ(run_counter(scenario).fingerprint, run_counter(scenario).fingerprint);
}

TEST(Counter, ChecksFindAPlantedMistake) {
  const sim::Scenario scenario = kCounter.scenario(0, "skipped-sync");
  const auto found = sim::search(kCounter, {.scenario = scenario, .last_seed = 999});
  EXPECT_TRUE(found && found->failed);
}

TEST(Examples, Run) {
  two_lives();
  io::SimDisk disk({.record = true}, Rng(1));
  EXPECT_TRUE(disk.make_folder("d"));
  crash_after_every_change(disk, 1);
}

}  // namespace
}  // namespace hadal
