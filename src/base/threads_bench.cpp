// What it costs to run a loop on all cores, next to the alternatives in the same run.
//
// The peers: a std::thread per share (what a pool replaces), and GNU OpenMP, whose entry point
// GOMP_parallel is called directly, so that nothing here needs a compiler flag. OpenMP is set to
// its own default waiting policy; without libgomp its rows are skipped. ratio_* > 1: the pool is
// faster.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include "base/check.h"
#include "base/threads.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

// The median of `rounds` timings of fn, each after `pause_us` of sleep.
template <typename Fn>
double median_ns(int rounds, int pause_us, const Fn& fn) {
  std::vector<double> times(static_cast<size_t>(rounds));
  for (double& time : times) {
    if (pause_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    const auto begin = Clock::now();
    fn();
    time = ns_since(begin);
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<size_t>(rounds / 2)];
}

// GNU OpenMP by its binary interface: runs fn(data) on `threads` threads.
using GompParallel = void (*)(void (*fn)(void*), void* data, unsigned threads, unsigned flags);
GompParallel load_gomp() {
  void* library = dlopen("libgomp.so.1", RTLD_NOW);
  return library == nullptr ? nullptr
                            : reinterpret_cast<GompParallel>(dlsym(library, "GOMP_parallel"));
}

struct alignas(64) Padded {
  int64_t value = 0;
};

// A share that keeps its core busy for about `ns`.
void busy(double ns) {
  if (ns <= 0) return;
  const auto begin = Clock::now();
  while (ns_since(begin) < ns) {
  }
}

// The same by OpenMP; 0 where it is not installed.
double openmp_ns(int threads, int rounds, int pause_us, double work_ns) {
  const GompParallel gomp = load_gomp();
  if (gomp == nullptr) return 0;
  struct Data {
    double work_ns;
    std::atomic<int64_t> calls{0};
  } data{work_ns};
  const double ns = median_ns(rounds, pause_us, [&] {
    gomp(
        [](void* raw) {
          busy(static_cast<Data*>(raw)->work_ns);
          static_cast<Data*>(raw)->calls.fetch_add(1, std::memory_order_relaxed);
        },
        &data, static_cast<unsigned>(threads), 0);
  });
  CHECK(data.calls == int64_t{rounds} * threads, "OpenMP did not run every share");
  return ns;
}

// Fork and join of one share per thread, each of `work_us`, after an idle time of `pause_us`: with
// 0 the workers still spin, with 200 they sleep in the kernel. The limit is work_us itself.
void fork_join(benchmark::State& state) {
  const double work_ns = 1e3 * static_cast<double>(state.range(0));
  const int pause_us = static_cast<int>(state.range(1));
  const int rounds = pause_us > 0 || work_ns > 0 ? 500 : 20'000;
  ThreadPool pool({.pin = state.range(2) != 0});
  const int threads = pool.size();
  std::vector<Padded> calls(static_cast<size_t>(threads));
  const auto share = [&](int worker) {
    busy(work_ns);
    ++calls[static_cast<size_t>(worker)].value;
  };
  // How many shares ran on their own workers; the others the caller took back.
  std::atomic<int64_t> by_workers{0};
  const auto caller = std::this_thread::get_id();
  const auto call_pool = [&] {
    pool.parallel_for(threads, [&](int64_t, int64_t, int worker) {
      if (worker != 0 && std::this_thread::get_id() != caller) {
        by_workers.fetch_add(1, std::memory_order_relaxed);
      }
      share(worker);
    });
  };
  const auto check = [&](int64_t want) {
    for (Padded& count : calls) CHECK(std::exchange(count.value, 0) == want, "a share did not run");
  };

  double pool_ns = 0;
  for (auto _ : state) {
    // A thread that has just been made may take milliseconds to run at all.
    for (int i = 0; i < 1000 && by_workers == 0; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      pool.parallel_for(threads, [&](int64_t, int64_t, int worker) {
        if (worker != 0 && std::this_thread::get_id() != caller) ++by_workers;
        busy(20e3);
      });
    }
    by_workers = 0;
    pool_ns = median_ns(rounds, pause_us, call_pool);
    check(rounds);
  }
  const int thread_rounds = std::min(rounds, 1000);
  const double thread_ns = median_ns(thread_rounds, pause_us, [&] {
    std::vector<std::thread> started;
    started.reserve(static_cast<size_t>(threads));
    for (int i = 1; i < threads; ++i) started.emplace_back(share, i);
    share(0);
    for (std::thread& thread : started) thread.join();
  });
  check(thread_rounds);
  state.counters["threads"] = threads;
  state.counters["pool_us"] = pool_ns / 1e3;
  state.counters["by_workers"] =
      static_cast<double>(by_workers) / std::max(1.0, static_cast<double>(threads - 1) * rounds);
  state.counters["limit_us"] = work_ns / 1e3;
  state.counters["std_thread_us"] = thread_ns / 1e3;
  state.counters["ratio_std_thread"] = thread_ns / pool_ns;

  if (const double ns = openmp_ns(threads, rounds, pause_us, work_ns); ns > 0) {
    state.counters["openmp_us"] = ns / 1e3;
    state.counters["ratio_openmp"] = ns / pool_ns;
  }
}
BENCHMARK(fork_join)
    ->ArgNames({"work_us", "pause_us", "pin"})
    ->ArgsProduct({{0, 1, 10, 100}, {0, 200}, {0, 1}})
    ->Iterations(1);

// More workers than cores: a call must cost a handful of context switches, not a time slice.
void oversubscribed(benchmark::State& state) {
  ThreadPool pool({.threads = available_cores() * static_cast<int>(state.range(0))});
  std::atomic<int64_t> calls{0};
  constexpr int kRounds = 2000;
  double ns = 0;
  for (auto _ : state) {
    calls = 0;
    ns = median_ns(kRounds, 0, [&] {
      pool.parallel_for(pool.size(), [&](int64_t, int64_t, int) { ++calls; });
    });
    CHECK(calls == int64_t{kRounds} * pool.size());
  }
  state.counters["threads"] = pool.size();
  state.counters["pool_us"] = ns / 1e3;
}
BENCHMARK(oversubscribed)->ArgName("threads_per_core")->Arg(2)->Arg(8)->Iterations(1);

// One worker: a loop through the pool against the loop itself.
void one_worker(benchmark::State& state) {
  ThreadPool pool({.threads = 1});
  int64_t sum = 0;
  int64_t calls = 0;
  for (auto _ : state) {
    pool.parallel_for(8, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    benchmark::DoNotOptimize(sum);
    ++calls;
  }
  CHECK(sum == 8 * calls);
}
BENCHMARK(one_worker);

// The price of a chunk in a dynamic loop, and the atomic increment that is its floor.
void dynamic_chunk(benchmark::State& state) {
  ThreadPool pool({.threads = 2});
  constexpr int64_t kChunks = 1 << 20;
  std::vector<Padded> done(static_cast<size_t>(pool.size()));
  double chunk_ns = 0;
  double increment_ns = 0;
  for (auto _ : state) {
    for (Padded& count : done) count.value = 0;
    chunk_ns = median_ns(9, 0, [&] {
      pool.parallel_for_dynamic(kChunks, 1, [&](int64_t begin, int64_t end, int worker) {
        done[static_cast<size_t>(worker)].value += end - begin;
      });
    });
    CHECK(done[0].value + done[1].value == 9 * kChunks, "a chunk is missing");
    std::atomic<int64_t> counter{0};
    increment_ns = median_ns(9, 0, [&] {
      for (int64_t i = 0; i < kChunks; ++i) counter.fetch_add(1, std::memory_order_relaxed);
    });
    CHECK(counter == 9 * kChunks);
  }
  state.counters["chunk_ns"] = chunk_ns / kChunks;
  state.counters["limit_ns"] = increment_ns / kChunks;
  state.counters["ratio"] = increment_ns / chunk_ns;
}
BENCHMARK(dynamic_chunk)->Iterations(1);

// A loop that is bound by memory: the speedup over one thread, pinned and not.
void sum_64_mib(benchmark::State& state) {
  constexpr int64_t kCount = int64_t{8} << 20;
  std::vector<int64_t> data(kCount);
  std::iota(data.begin(), data.end(), 0);
  ThreadPool pool({.pin = state.range(0) != 0});
  std::vector<Padded> part(static_cast<size_t>(pool.size()));
  const auto sum_range = [&](int64_t begin, int64_t end, int worker) {
    part[static_cast<size_t>(worker)].value =
        std::accumulate(data.begin() + begin, data.begin() + end, int64_t{0});
  };
  for (auto _ : state) {
    pool.parallel_for(kCount, sum_range);
    int64_t total = 0;
    for (const Padded& sum : part) total += sum.value;
    CHECK(total == kCount * (kCount - 1) / 2);
  }
  const double one_ns = median_ns(9, 0, [&] { sum_range(0, kCount, 0); });
  const double all_ns = median_ns(9, 0, [&] { pool.parallel_for(kCount, sum_range); });
  state.SetBytesProcessed(state.iterations() * kCount * 8);
  state.counters["threads"] = pool.size();
  state.counters["speedup"] = one_ns / all_ns;
}
BENCHMARK(sum_64_mib)->ArgName("pin")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace hadal
