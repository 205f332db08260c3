// How fast synthetic traces are made, per rank and without a disk, against copying as many bytes.
#include <string>
#include <vector>

#include "base/bench_limits.h"
#include "base/hash.h"
#include "trace/generate.h"

namespace hadal::trace::gen {
namespace {

constexpr int64_t kBytes = 64'000'000;

void generate(benchmark::State& state, Schedule schedule, Format format) {
  Scenario scenario;
  scenario.schedule = schedule;
  scenario.format = format;
  scenario.ranks = 1;
  scenario.bytes = kBytes;
  uint64_t hash = 0, first_hash = 0;
  int64_t bytes = 0;
  const std::vector<Sink> sinks = {[&](std::string_view piece) -> Result<> {
    hash = hash_combine(hash, hash_bytes(std::as_bytes(std::span(piece))));
    bytes += static_cast<int64_t>(piece.size());
    return {};
  }};
  const std::vector<std::byte> data(kBytes);
  const double limit = copy_limit(data);
  int64_t events = 0;
  for ([[maybe_unused]] auto _ : state) {
    hash = 0;
    bytes = 0;
    const Result<Answers> answers = gen::generate(scenario, sinks);
    if (!answers || answers->ranks[0].bytes != bytes) state.SkipWithError("bytes are miscounted");
    if (bytes < kBytes * 98 / 100 || bytes > kBytes * 102 / 100) state.SkipWithError("wrong size");
    if (first_hash == 0) first_hash = hash;
    if (hash != first_hash) state.SkipWithError("not deterministic");
    events += answers->ranks[0].events.kernel;
  }
  report_bytes(state, kBytes, limit);
  state.counters["kernels/s"] =
      benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(generate, dualpipe_g2, Schedule::kDualPipe, Format::kG2)
    ->Name("generate/dualpipe_G2");
BENCHMARK_CAPTURE(generate, dualpipe_g3, Schedule::kDualPipe, Format::kG3)
    ->Name("generate/dualpipe_G3");
BENCHMARK_CAPTURE(generate, inference_g4, Schedule::kInference, Format::kG4)
    ->Name("generate/inference_G4");

}  // namespace
}  // namespace hadal::trace::gen
