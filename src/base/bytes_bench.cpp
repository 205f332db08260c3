// Decoding and encoding records of u64, u32, varint and a text of 8 bytes, against memcpy of the
// same bytes.
#include <cstdint>
#include <vector>

#include "base/bench_limits.h"
#include "base/bytes.h"

namespace hadal {
namespace {

constexpr int kRecords = 1000;

void encode(std::vector<std::byte>& out) {
  Writer w(out);
  for (int i = 0; i < kRecords; ++i) {
    w.u64(static_cast<uint64_t>(i));
    w.u32(7);
    w.varint(static_cast<uint64_t>(i));
    w.text("abcdefgh");
  }
}

void read(benchmark::State& state) {
  std::vector<std::byte> data;
  encode(data);
  const double limit = copy_limit(data);
  for ([[maybe_unused]] auto _ : state) {
    Reader in(data);
    uint64_t sum = 0;
    for (int i = 0; i < kRecords; ++i) sum += in.u64() + in.u32() + in.varint() + in.text().size();
    if (!in.finish("records") || sum != 2 * 499'500 + kRecords * 15) {
      state.SkipWithError("wrong records");
    }
  }
  report_bytes(state, data.size(), limit);
}

void write(benchmark::State& state) {
  std::vector<std::byte> data;
  encode(data);
  const std::vector<std::byte> want = data;
  const double limit = copy_limit(data);
  for ([[maybe_unused]] auto _ : state) {
    data.clear();
    encode(data);
    benchmark::DoNotOptimize(data.data());
    benchmark::ClobberMemory();
  }
  if (data != want) state.SkipWithError("wrong records");
  report_bytes(state, data.size(), limit);
}

BENCHMARK(read)->Name("bytes/read_1000_records");
BENCHMARK(write)->Name("bytes/write_1000_records");

}  // namespace
}  // namespace hadal
