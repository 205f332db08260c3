// Durable transactions and reads of the embedded store as its rows grow, next to what the disk's
// flushes allow. HADAL_KV_ROWS_MAX=100000000 adds 1e8 rows (15 GB of disk, ten minutes).
#include <cstdlib>
#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "kv/measure.h"

namespace hadal::kv {
namespace {

/// In the working directory: /tmp may be no disk.
std::string store_folder() {
  return (std::filesystem::current_path() / "kv_bench.tmp").string();
}

void store(benchmark::State& state) {
  MeasureOptions options{.path = store_folder(), .rows = state.range(0)};
  std::filesystem::remove_all(options.path);
  for (auto _ : state) {
    const Result<Measured> measured = measure(options);
    if (!measured) {
      state.SkipWithError(measured.error().message.c_str());
      break;
    }
    const double limit = measured->transactions_per_s_limit(options.clients);
    state.counters["transactions_per_s"] = measured->transactions_per_s;
    state.counters["reads_per_s"] = measured->reads_per_s;
    state.counters["scanned_rows_per_s"] = measured->scanned_rows_per_s;
    state.counters["fill_rows_per_s"] = measured->fill_rows_per_s;
    state.counters["transactions_per_flush"] = measured->transactions_per_flush;
    state.counters["flush_us"] = measured->flush_s * 1e6;
    state.counters["limit_transactions_per_s"] = limit;
    state.counters["ratio_of_limit"] = measured->transactions_per_s / limit;
    state.counters["transactions_over_target_of_20k"] = measured->transactions_per_s / 2e4;
    state.counters["reads_over_target_of_200k"] = measured->reads_per_s / 2e5;
  }
  std::filesystem::remove_all(options.path);
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  const char* const most = std::getenv("HADAL_KV_ROWS_MAX");
  const int64_t rows_max = most == nullptr ? 10'000'000 : std::atoll(most);
  for (int64_t rows = 100'000; rows <= rows_max; rows *= 10) benchmark->Arg(rows);
}
BENCHMARK(store)->Apply(sizes)->Iterations(1)->Repetitions(1)->UseRealTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::kv
