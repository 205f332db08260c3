#include "kv/conformance.h"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "io/event_loop.h"
#include "io/sim_disk.h"
#include "kv/embedded.h"
#include "kv/faults.h"
#include "kv/memory.h"
#include "sim/world.h"

namespace hadal::kv {
namespace {

void check_all(Store& store, bool simulated) {
  for (const Rule& rule : rules()) {
    if (rule.waits && !simulated) continue;
    const auto result = rule.check(store);
    EXPECT_TRUE(result) << rule.name << ": " << result.error().message;
  }
}

/// Runs in a process of the simulator.
void simulate(const std::function<void(sim::Process&)>& body) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    sim::World world({.seed = seed});
    bool done = false;
    world.add_process("p", [&](sim::Process& self) {
      body(self);
      done = true;
    });
    EXPECT_TRUE(world.run_until([&] { return done; }, 10'000 * kSecond));
  }
}

TEST(Conformance, Memory) {
  io::EventLoop loop;
  loop.run([&] {
    MemoryStore store(loop);
    check_all(store, false);
  });
  simulate([](sim::Process& self) {
    MemoryStore store(self);
    check_all(store, true);
  });
}

/// The names of the rules that a store breaks.
std::string broken_rules(const Faults& faults) {
  std::string names;
  io::EventLoop loop;
  loop.run([&] {
    MemoryStore store(loop);
    FaultyStore faulty(store, faults, Rng(1));
    for (const Rule& rule : rules()) {
      if (!rule.waits && !rule.check(faulty)) names += std::string(rule.name) + " ";
    }
  });
  return names;
}

TEST(Conformance, FindsWhatABadStoreBreaks) {
  EXPECT_EQ(broken_rules({}), "");
  EXPECT_NE(broken_rules({.missing_conflict_rate = 1}).find("conflicts_are_exact"),
            std::string::npos);
  EXPECT_NE(broken_rules({.missing_conflict_rate = 0.3}).find("histories_are_serializable"),
            std::string::npos);
  EXPECT_NE(broken_rules({.torn_rate = 0.3}).find("histories_are_serializable"), std::string::npos);
}

TEST(Conformance, EmbeddedOnFiles) {
  std::string path = ::testing::TempDir() + "kv_XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  io::EventLoop loop;
  loop.run([&] {
    for (int life = 0; life < 2; ++life) {
      auto store = EmbeddedStore::open(loop, {.path = path});
      ASSERT_TRUE(store) << store.error().message;
      check_all(**store, false);
      (*store)->close();
    }
  });
  std::filesystem::remove_all(path);
}

TEST(Conformance, EmbeddedInTheSimulator) {
  simulate([](sim::Process& self) {
    io::SimDisk disk({}, self.rng().fork(1));
    for (int life = 0; life < 2; ++life) {
      auto store = EmbeddedStore::open(self, {.path = "kv"}, {disk, self.rng().fork(2)});
      ASSERT_TRUE(store) << store.error().message;
      check_all(**store, true);
      (*store)->close();
    }
  });
}

}  // namespace
}  // namespace hadal::kv
