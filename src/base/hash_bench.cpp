// XXH3 against reading the same bytes, and the integer mixers per call.
#include <vector>

#include "base/bench_limits.h"
#include "base/hash.h"
#include "base/rng.h"

namespace hadal {
namespace {

void bytes(benchmark::State& state) {
  std::vector<std::byte> data(static_cast<size_t>(state.range(0)));
  Rng rng(1);
  for (std::byte& byte : data) byte = static_cast<std::byte>(rng.next());
  const double limit = read_limit(data);
  const uint64_t want = hash_bytes(data);
  for ([[maybe_unused]] auto _ : state) {
    if (hash_bytes(data) != want) state.SkipWithError("the hash changed");
  }
  report_bytes(state, data.size(), limit);
}

void mix(benchmark::State& state) {
  if (hash_u64(0) != 0xe220a8397b1dcdaf) state.SkipWithError("wrong hash");
  uint64_t x = 1;
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(x = hash_u64(x));
}

void combine(benchmark::State& state) {
  if (hash_combine(1, 2) != 0xbcd9dbb49673066b) state.SkipWithError("wrong hash");
  uint64_t x = 1;
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(x = hash_combine(x, 7));
}

BENCHMARK(bytes)
    ->Name("hash/bytes")
    ->Arg(8)
    ->Arg(24)
    ->Arg(64)
    ->Arg(4096)
    ->Arg(512 << 10)
    ->Arg(256 << 20);
BENCHMARK(mix)->Name("hash/u64_chained");
BENCHMARK(combine)->Name("hash/combine_chained");

}  // namespace
}  // namespace hadal
