// What a benchmark is held against: how fast this machine reads and copies memory, measured in the
// same run and with the same number of bytes, so in the same cache. For benchmarks only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

namespace hadal {

/// The CPU time of this thread, which is what Google Benchmark's rates are based on as well: on a
/// shared machine it is steadier than the wall clock.
inline double thread_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The fewest seconds per call of `work` over five rounds of at least 20 ms.
template <typename F>
double seconds_per_call(F work) {
  const auto seconds_of = [&](int64_t calls) {
    const double start = thread_seconds();
    for (int64_t i = 0; i < calls; ++i) work();
    return thread_seconds() - start;
  };
  int64_t calls = 1;
  while (seconds_of(calls) < 0.02) calls *= 2;
  double best = seconds_of(calls);
  for (int round = 1; round < 5; ++round) best = std::min(best, seconds_of(calls));
  return best / static_cast<double>(calls);
}

/// Bytes per second of one thread that only reads `bytes`.
inline double read_limit(std::span<const std::byte> bytes) {
  const double seconds = seconds_per_call([&] {
    uint64_t sums[8] = {};
    for (size_t i = 0; i + 64 <= bytes.size(); i += 64) {
      uint64_t words[8];
      std::memcpy(words, bytes.data() + i, 64);
      for (int k = 0; k < 8; ++k) sums[k] += words[k];
    }
    benchmark::DoNotOptimize(sums);
  });
  return static_cast<double>(bytes.size()) / seconds;
}

/// Bytes per second of one thread's memcpy of `bytes`.
inline double copy_limit(std::span<const std::byte> bytes) {
  std::vector<std::byte> to(bytes.size());
  const double seconds = seconds_per_call([&] {
    std::memcpy(to.data(), bytes.data(), bytes.size());
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  });
  return static_cast<double>(bytes.size()) / seconds;
}

/// Sets the counters GB/s, limit_GB/s and of_limit.
inline void report_bytes(benchmark::State& state, size_t bytes_each, double limit) {
  using benchmark::Counter;
  const double bytes = static_cast<double>(bytes_each) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = Counter(bytes / 1e9, Counter::kIsRate);
  state.counters["limit_GB/s"] = limit / 1e9;
  state.counters["of_limit"] = Counter(bytes / limit, Counter::kIsRate);
}

}  // namespace hadal
