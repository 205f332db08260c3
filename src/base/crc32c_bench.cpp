// CRC-32C against reading the same bytes without doing anything to them, and copy-with-CRC against
// memcpy. The sizes: a small message, a page, a chunk that stays in L2, and one from memory.
#include <cstring>
#include <vector>

#include "base/bench_limits.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/rng.h"

namespace hadal {
namespace {

std::vector<std::byte> random_bytes(size_t size) {
  std::vector<std::byte> data(size);
  Rng rng(size);
  for (std::byte& byte : data) byte = static_cast<std::byte>(rng.next());
  return data;
}

void extend(benchmark::State& state, uint32_t (*function)(uint32_t, Bytes)) {
  const auto data = random_bytes(static_cast<size_t>(state.range(0)));
  const double limit = read_limit(data);
  if (crc32c::extend_portable(0, data) != function(0, data)) state.SkipWithError("wrong CRC");
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(function(0, data));
  report_bytes(state, data.size(), limit);
}

void copy(benchmark::State& state) {
  const auto data = random_bytes(static_cast<size_t>(state.range(0)));
  std::vector<std::byte> to(data.size());
  const double limit = copy_limit(data);
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(crc32c::copy(0, to.data(), data));
    benchmark::ClobberMemory();
  }
  if (to != data || crc32c::copy(0, to.data(), data) != crc32c::extend_portable(0, data)) {
    state.SkipWithError("wrong copy or CRC");
  }
  report_bytes(state, data.size(), limit);
}

/// What copy() replaces.
void memcpy_then_extend(benchmark::State& state) {
  const auto data = random_bytes(static_cast<size_t>(state.range(0)));
  std::vector<std::byte> to(data.size());
  const double limit = copy_limit(data);
  for ([[maybe_unused]] auto _ : state) {
    std::memcpy(to.data(), data.data(), data.size());
    benchmark::DoNotOptimize(crc32c::extend(0, to));
  }
  if (to != data) state.SkipWithError("wrong copy");
  report_bytes(state, data.size(), limit);
}

void combine(benchmark::State& state) {
  const auto data = random_bytes(8192);
  const uint32_t a = crc32c::value(Bytes(data).first(4000));
  const uint32_t b = crc32c::value(Bytes(data).subspan(4000));
  if (crc32c::combine(a, b, 4192) != crc32c::value(data)) state.SkipWithError("wrong CRC");
  uint64_t bytes = 512 * 1024;
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(bytes);
    benchmark::DoNotOptimize(crc32c::combine(a, b, bytes));
  }
}

void sizes(benchmark::internal::Benchmark* bench) {
  for (const int64_t size : {64, 4096, 512 << 10, 256 << 20}) bench->Arg(size);
}

BENCHMARK_CAPTURE(extend, hardware, crc32c::extend_hardware)->Name("crc32c/hardware")->Apply(sizes);
BENCHMARK_CAPTURE(extend, portable, crc32c::extend_portable)->Name("crc32c/portable")->Apply(sizes);
BENCHMARK(copy)->Name("crc32c/copy")->Apply(sizes);
BENCHMARK(memcpy_then_extend)->Name("crc32c/memcpy_then_extend")->Apply(sizes);
BENCHMARK(combine)->Name("crc32c/combine");

}  // namespace
}  // namespace hadal
