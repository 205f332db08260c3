#include "kv/embedded.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "io/event_loop.h"
#include "io/sim_disk.h"
#include "sim/world.h"

namespace hadal::kv {
namespace {

struct Folder {
  std::string path = ::testing::TempDir() + "kv_XXXXXX";
  Folder() { EXPECT_NE(::mkdtemp(path.data()), nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
};

TEST(EmbeddedStore, KeepsWhatWasCommitted) {
  const Folder folder;
  io::EventLoop loop;
  for (int i = 0; i < 3; ++i) {
    loop.run([&] {
      auto store = EmbeddedStore::open(loop, {.path = folder.path});
      ASSERT_TRUE(store) << store.error().message;
      Transaction t = (*store)->begin();
      EXPECT_EQ(*t.get("a"), i == 0 ? std::nullopt : std::optional(std::to_string(i - 1)));
      t.set("a", std::to_string(i));
      const auto done = t.commit();
      ASSERT_TRUE(done) << done.error().message;
      EXPECT_EQ(t.committed_version(), i + 2U);
      const auto check = (*store)->check();
      ASSERT_TRUE(check) << check.error().message;
      EXPECT_EQ(check->rows, 1U);
      EXPECT_EQ(check->state.transactions, i + 1U);
      (*store)->close();
    });
  }
}

TEST(EmbeddedStore, RunsInTheSimulator) {
  sim::World world({.seed = 3});
  io::SimDisk disk({}, Rng(1));
  int acknowledged = -1;
  sim::Process& p = world.add_process("p", [&](sim::Process& self) {
    auto store = EmbeddedStore::open(self, {.path = "kv"}, {disk, self.rng().fork(1)});
    ASSERT_TRUE(store) << store.error().message;
    if (acknowledged >= 0) {
      EXPECT_GE(std::stoi((*store)->begin().get("a")->value_or("-1")), acknowledged);
    }
    for (int i = acknowledged + 1;; ++i) {
      Transaction t = (*store)->begin();
      t.set("a", std::to_string(i));
      const auto done = t.commit();
      ASSERT_TRUE(done) << done.error().message;
      acknowledged = i;
      if (i % 10 == 0) {
        ASSERT_TRUE((*store)->flush());
      }
    }
  });
  for (int i = 0; i < 10; ++i) {
    const int before = acknowledged;
    world.run_for(200 * kMillisecond);
    EXPECT_GT(acknowledged, before);
    p.kill();
    disk.lose_power();
    p.start();
  }
}

}  // namespace
}  // namespace hadal::kv
