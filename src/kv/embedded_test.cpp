#include "kv/embedded.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

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

/// Runs in a process of the simulator until it returns.
void simulate(const std::function<void(sim::Process&)>& body) {
  sim::World world({.seed = 1});
  bool done = false;
  world.add_process("p", [&](sim::Process& self) {
    body(self);
    done = true;
  });
  ASSERT_TRUE(world.run_until([&] { return done; }, 1000 * kSecond));
}

/// The power goes after every single change of the disk, those inside of RocksDB's calls included:
/// what was acknowledged before is there, and no transaction is there in part.
TEST(EmbeddedStore, SurvivesACrashAfterEveryChange) {
  io::SimDisk disk({.record = true}, Rng(1));
  std::vector<size_t> acknowledged;  // changes that there were
  simulate([&](sim::Process& self) {
    auto store = EmbeddedStore::open(self, {.path = "kv"}, {disk, Rng(2)});
    ASSERT_TRUE(store) << store.error().message;
    for (int i = 0; i < 40; ++i) {
      Transaction t = (*store)->begin();
      t.set("a", std::to_string(i));
      t.set("b", std::to_string(i) + std::string(700, '.'));  // over sectors
      if (i > 0) t.clear("c" + std::to_string(i - 1));
      t.set("c" + std::to_string(i), "");
      ASSERT_TRUE(t.commit());
      acknowledged.push_back(disk.recording().size());
      if (i % 6 == 5) {
        ASSERT_TRUE((*store)->flush());
      }
    }
  });
  int checked = 0;
  simulate([&](sim::Process& self) {
    for (size_t n = 0; n <= disk.recording().size(); ++n) {
      io::SimDisk crashed =
          io::SimDisk::replay(disk.recording(), n, Rng(n), {.ordered_appends = true});
      auto store = EmbeddedStore::open(self, {.path = "kv"}, {crashed, Rng(2)});
      ASSERT_TRUE(store) << "after " << n << " changes: " << store.error().message;
      const auto least = std::ranges::upper_bound(acknowledged, n) - acknowledged.begin() - 1;
      Transaction t = (*store)->begin();
      const int a = std::stoi(t.get("a")->value_or("-1"));
      ASSERT_GE(a, least) << "after " << n << " changes";
      ASSERT_EQ(std::stoi(t.get("b")->value_or("-1")), a) << "after " << n << " changes";
      const Rows rows = *t.get_range("c", "d");
      ASSERT_EQ(rows.rows.size(), a < 0 ? 0U : 1U);
      if (a >= 0) {
        ASSERT_EQ(rows.rows[0].key, "c" + std::to_string(a));
      }
      ASSERT_TRUE((*store)->check());
      ++checked;
    }
  });
  EXPECT_GT(checked, 200);
}

/// After an error nobody is told that something is durable, and everybody is told that it stopped.
TEST(EmbeddedStore, StopsAfterAnErrorOfTheDisk) {
  simulate([&](sim::Process& self) {
    io::SimDisk disk({}, Rng(1));
    auto store = EmbeddedStore::open(self, {.path = "kv"}, {disk, Rng(2)});
    ASSERT_TRUE(store);
    disk.options.write_error_rate = 1;
    const auto write = [](Transaction& t) -> Result<> {
      t.set("a", "1");
      return {};
    };
    const auto unknown = run(**store, Deadline::never(), write);
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, Code::kTimeout);
    disk.options.write_error_rate = 0;
    const auto stopped = run(**store, Deadline::never(), write);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, Code::kIo);
    EXPECT_NE(stopped.error().message.find("must be opened again"), std::string::npos);
    EXPECT_FALSE((*store)->begin().get("a"));
    (*store)->close();
    store->reset();
    store = EmbeddedStore::open(self, {.path = "kv"}, {disk, Rng(2)});
    ASSERT_TRUE(store);
    EXPECT_TRUE(run(**store, Deadline::never(), write));
    (*store)->close();
  });
}

TEST(EmbeddedStore, SaysWhatIsNotAStore) {
  simulate([&](sim::Process& self) {
    io::SimDisk disk({}, Rng(1));
    const auto none = EmbeddedStore::open(self, {.path = "kv", .create = false}, {disk, Rng(2)});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message, "kv: there is no store");
    {
      auto store = EmbeddedStore::open(self, {.path = "kv"}, {disk, Rng(2)});
      ASSERT_TRUE(store);
      ASSERT_TRUE((*store)->flush());
    }
    // A flipped bit is found by opening, or by check(), or it hit what nobody reads.
    int found = 0;
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(disk.rot());
      const auto store = EmbeddedStore::open(self, {.path = "kv"}, {disk, Rng(2)});
      found += store && (*store)->check() ? 0 : 1;
    }
    EXPECT_GT(found, 0);
  });
}

}  // namespace
}  // namespace hadal::kv
