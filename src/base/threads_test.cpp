#include "base/threads.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include "base/rng.h"

namespace hadal {
namespace {

using Range = ThreadPool::Range;

// Each index of [0, n) is visited once, in ranges that are not empty, by workers that exist.
template <typename Loop>
void expect_covered(const ThreadPool& pool, int64_t n, const Loop& loop) {
  std::vector<int> visits(static_cast<size_t>(n), 0);
  std::atomic<int> bad{0};
  loop([&](int64_t begin, int64_t end, int worker) {
    if (begin < 0 || begin >= end || end > n || worker < 0 || worker >= pool.size()) {
      ++bad;
      return;
    }
    for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
  });
  EXPECT_EQ(bad, 0);
  for (int64_t i = 0; i < n; ++i) ASSERT_EQ(visits[static_cast<size_t>(i)], 1) << i << " of " << n;
}

// Runs fn(worker) on every worker's own thread: share 0 keeps the caller from taking shares back
// until the others have begun. For tests only, and only for n <= size(): see "Rules for fn".
template <typename Fn>
bool on_every_worker(ThreadPool& pool, const Fn& fn) {
  std::atomic<int> begun{0};
  bool all = false;
  pool.parallel_for(pool.size(), [&](int64_t, int64_t, int worker) {
    fn(worker);
    if (worker != 0) {
      ++begun;
      return;
    }
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (begun < pool.size() - 1 && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
    }
    all = begun == pool.size() - 1;
  });
  return all;
}

TEST(Split, CoversInOrderAndEvenly) {
  for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
    for (const int64_t parts : {1, 2, 3, 7, 64}) {
      int64_t next = 0;
      for (int64_t i = 0; i < parts; ++i) {
        const Range range = ThreadPool::split(n, parts, i);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.end - range.begin, n / parts);
        EXPECT_LE(range.end - range.begin, n / parts + 1);
        next = range.end;
      }
      EXPECT_EQ(next, n);
    }
  }
  EXPECT_EQ(ThreadPool::split(INT64_MAX, 3, 2).end, INT64_MAX);
}

TEST(ThreadPool, VisitsEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool({.threads = threads});
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t n : {0, 1, 2, 3, 7, 8, 9, 1000}) {
      expect_covered(pool, n, [&](const auto& fn) { pool.parallel_for(n, fn); });
      for (const int64_t grain : {1, 2, 5, 1000, 5000}) {
        expect_covered(pool, n, [&](const auto& fn) { pool.parallel_for_dynamic(n, grain, fn); });
      }
    }
  }
}

TEST(ThreadPool, NegativeSizesAreEmptyLoops) {
  ThreadPool pool({.threads = 2});
  pool.parallel_for(-5, [](int64_t, int64_t, int) { FAIL(); });
  pool.parallel_for_dynamic(-5, 1, [](int64_t, int64_t, int) { FAIL(); });
}

TEST(ThreadPool, StaticRangesBelongToTheirWorker) {
  ThreadPool pool({.threads = 4});
  for (const int64_t n : {2, 3, 4, 5, 101}) {
    const int64_t parts = std::min<int64_t>(n, 4);
    for (int round = 0; round < 50; ++round) {
      std::vector<Range> seen(4, {-1, -1});
      pool.parallel_for(n, [&](int64_t begin, int64_t end, int worker) {
        seen[static_cast<size_t>(worker)] = {begin, end};
      });
      for (int64_t w = 0; w < parts; ++w) {
        const Range want = ThreadPool::split(n, parts, w);
        EXPECT_EQ(seen[static_cast<size_t>(w)].begin, want.begin);
        EXPECT_EQ(seen[static_cast<size_t>(w)].end, want.end);
      }
    }
  }
}

TEST(ThreadPool, DynamicChunksHaveTheGrain) {
  ThreadPool pool({.threads = 3});
  std::vector<int64_t> length(11, 0);
  pool.parallel_for_dynamic(104, 10, [&](int64_t begin, int64_t end, int) {
    EXPECT_EQ(begin % 10, 0);
    length[static_cast<size_t>(begin / 10)] = end - begin;
  });
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(length[i], 10);
  EXPECT_EQ(length[10], 4);
}

TEST(ThreadPool, DynamicSurvivesTheLargestRange) {
  ThreadPool pool({.threads = 2});
  std::atomic<int64_t> total{0};
  constexpr int64_t kGrain = INT64_MAX / 3;
  pool.parallel_for_dynamic(INT64_MAX, kGrain,
                            [&](int64_t begin, int64_t end, int) { total += end - begin; });
  EXPECT_EQ(total, INT64_MAX);
}

TEST(ThreadPool, OneInvocationAtATimePerWorkerIndex) {
  ThreadPool pool({.threads = 4});
  std::vector<int64_t> scratch(4, 0);  // unguarded on purpose: TSan and the sum would tell
  for (int round = 0; round < 200; ++round) {
    pool.parallel_for_dynamic(
        64, 1, [&](int64_t, int64_t, int worker) { ++scratch[static_cast<size_t>(worker)]; });
  }
  EXPECT_EQ(std::accumulate(scratch.begin(), scratch.end(), int64_t{0}), 200 * 64);
}

TEST(ThreadPool, OneWorkerRunsOnTheCaller) {
  ThreadPool pool({.threads = 1});
  int calls = 0;
  pool.parallel_for_dynamic(1000, 1, [&](int64_t begin, int64_t end, int worker) {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 1000);
    EXPECT_EQ(worker, 0);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, WorkersAreThreadsOfTheirOwn) {
  ThreadPool pool({.threads = 3, .name = "crew"});
  std::vector<std::thread::id> ids(3);
  std::vector<std::string> names(3);
  ASSERT_TRUE(on_every_worker(pool, [&](int worker) {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof(name));
    ids[static_cast<size_t>(worker)] = std::this_thread::get_id();
    names[static_cast<size_t>(worker)] = name;
  }));
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), 3u);
  EXPECT_EQ(names[1], "crew-1");
  EXPECT_EQ(names[2], "crew-2");
}

TEST(ThreadPool, ACallInsideACallRunsInline) {
  ThreadPool pool({.threads = 4});
  std::atomic<int> inner_calls{0};
  pool.parallel_for(4, [&](int64_t, int64_t, int outer) {
    const auto thread = std::this_thread::get_id();
    pool.parallel_for(100, [&](int64_t begin, int64_t end, int inner) {
      EXPECT_EQ(begin, 0);
      EXPECT_EQ(end, 100);
      EXPECT_EQ(inner, outer);
      EXPECT_EQ(std::this_thread::get_id(), thread);
      ++inner_calls;
    });
    pool.parallel_for_dynamic(100, 1, [&](int64_t begin, int64_t end, int inner) {
      EXPECT_EQ(end - begin, 100);
      EXPECT_EQ(inner, outer);
      ++inner_calls;
    });
  });
  EXPECT_EQ(inner_calls, 8);
  // The mark is gone: the caller forks again.
  std::atomic<int> calls{0};
  pool.parallel_for(4, [&](int64_t, int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 4);
}

TEST(ThreadPool, TwoPoolsThatCallEachOtherDoNotDeadlock) {
  ThreadPool a({.threads = 2});
  ThreadPool b({.threads = 2});
  std::atomic<int64_t> total{0};
  const auto loop = [&](ThreadPool& outer, ThreadPool& inner) {
    for (int round = 0; round < 200; ++round) {
      outer.parallel_for(2, [&](int64_t, int64_t, int) {
        inner.parallel_for(10, [&](int64_t begin, int64_t end, int worker) {
          EXPECT_EQ(worker, 0);
          total += end - begin;
        });
      });
    }
  };
  std::thread other([&] { loop(b, a); });
  loop(a, b);
  other.join();
  EXPECT_EQ(total, 2 * 200 * 2 * 10);
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool({.threads = 3});
  // Unguarded, and every caller is worker 0 of its own calls: calls that overlapped would lose
  // counts.
  std::vector<int64_t> count(3, 0);
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        pool.parallel_for(30, [&](int64_t begin, int64_t end, int worker) {
          for (int64_t i = begin; i < end; ++i) {
            volatile int64_t& slot = count[static_cast<size_t>(worker)];
            slot = slot + 1;
          }
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(std::accumulate(count.begin(), count.end(), int64_t{0}), 4 * 500 * 30);
}

TEST(ThreadPool, WritesAreVisibleToTheNextCall) {
  ThreadPool pool({.threads = 4});
  std::vector<int64_t> a(997);
  std::vector<int64_t> b(997);
  std::iota(a.begin(), a.end(), 0);
  for (int round = 0; round < 300; ++round) {  // each call reads what other workers wrote before
    pool.parallel_for(997, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        b[static_cast<size_t>(i)] = a[static_cast<size_t>((i + 1) % 997)];
      }
    });
    a.swap(b);
  }
  for (int64_t i = 0; i < 997; ++i) ASSERT_EQ(a[static_cast<size_t>(i)], (i + 300) % 997);
}

// Pauses of every length around the spin time, so that calls meet workers that spin, that go to
// sleep and that sleep; shares of every length, so that callers meet them likewise.
TEST(ThreadPool, NoWakeUpIsLost) {
  for (const int threads : {2, 3, 16}) {  // 16: more than most test machines' cores, no spinning
    ThreadPool pool({.threads = threads});
    Rng rng(static_cast<uint64_t>(threads));
    std::atomic<int64_t> total{0};
    int64_t want = 0;
    for (int round = 0; round < 400; ++round) {
      const int64_t n = 1 + static_cast<int64_t>(rng.below(40));
      const auto work = std::chrono::microseconds(rng.chance(0.1) ? rng.below(120) : 0);
      const auto fn = [&](int64_t begin, int64_t end, int worker) {
        if (worker % 2 == 1 && work.count() > 0) std::this_thread::sleep_for(work);
        total += end - begin;
      };
      if (rng.chance(0.5)) {
        pool.parallel_for(n, fn);
      } else {
        pool.parallel_for_dynamic(n, 3, fn);
      }
      want += n;
      ASSERT_EQ(total, want);
      if (rng.chance(0.3)) std::this_thread::sleep_for(std::chrono::microseconds(rng.below(150)));
    }
  }
}

TEST(ThreadPool, StartsAndStopsAtOnce) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool({.threads = 1 + round % 5});
    if (round % 2 == 0) continue;
    std::atomic<int> calls{0};
    pool.parallel_for(pool.size(), [&](int64_t, int64_t, int) { ++calls; });
    EXPECT_EQ(calls, pool.size());
  }
}

TEST(ThreadPool, PinnedWorkersHaveOneCpuEachAndTheCallerKeepsItsOwn) {
  const std::vector<int> before = allowed_cpus();
  ThreadPool pool({.pin = true});
  if (pool.size() == 1 || before.size() != static_cast<size_t>(pool.size())) {
    GTEST_SKIP() << "one core, or a quota: nothing is pinned";
  }
  std::vector<std::vector<int>> cpus(static_cast<size_t>(pool.size()));
  ASSERT_TRUE(on_every_worker(
      pool, [&](int worker) { cpus[static_cast<size_t>(worker)] = allowed_cpus(); }));
  EXPECT_EQ(cpus[0], before);
  for (size_t i = 1; i < cpus.size(); ++i) EXPECT_EQ(cpus[i], std::vector<int>{before[i]});
}

TEST(ThreadPoolDeathTest, AnExceptionEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ThreadPool pool({.threads = 2});
        pool.parallel_for(2, [](int64_t begin, int64_t, int) {
          if (begin == 1) throw std::runtime_error("lost");
        });
      },
      "lost");
}

TEST(ThreadPoolDeathTest, GrainZeroIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ThreadPool pool({.threads = 1});
  EXPECT_DEATH(pool.parallel_for_dynamic(5, 0, [](int64_t, int64_t, int) {}), "grain");
}

TEST(Cores, AtLeastOneAndWithinTheMask) {
  EXPECT_GE(available_cores(), 1);
  EXPECT_LE(available_cores(), static_cast<int>(allowed_cpus().size()));
  EXPECT_EQ(ThreadPool().size(), std::min(available_cores(), ThreadPool::kThreadsMax));
}

class Cgroup : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "cgroup.XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void put(const std::string& file, const std::string& text) {
    const std::filesystem::path path = root_ + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  int cores() { return cgroup_cores(root_ + "/self", root_ + "/fs"); }
  std::string root_;
};

TEST_F(Cgroup, TheTightestQuotaOnTheWayUpRoundedUp) {
  put("/self", "1:cpu:/other\n0::/a/b\n");
  EXPECT_EQ(cores(), 0);
  put("/fs/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(cores(), 0);
  put("/fs/a/b/cpu.max", "400000 100000\n");
  EXPECT_EQ(cores(), 4);
  put("/fs/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(cores(), 2);
  put("/fs/a/cpu.max", "800000 100000\n");
  EXPECT_EQ(cores(), 4);
  put("/fs/cpu.max", "10000 100000\n");
  EXPECT_EQ(cores(), 1);
}

TEST_F(Cgroup, TheRootOfANamespace) {
  put("/self", "0::/\n");
  put("/fs/cpu.max", "300000 100000\n");
  EXPECT_EQ(cores(), 3);
}

TEST_F(Cgroup, NonsenseIsNoQuota) {
  EXPECT_EQ(cores(), 0);
  put("/self", "0::/a\n");
  for (const char* text : {"", "\n", "5", "0 100000", "-1 100000", "100000 0", "100000 x", "x"}) {
    put("/fs/a/cpu.max", text);
    EXPECT_EQ(cores(), 0) << text;
  }
  put("/fs/a/cpu.max", "9223372036854775807 1");
  EXPECT_EQ(cores(), ThreadPool::kThreadsMax);
}

}  // namespace
}  // namespace hadal
