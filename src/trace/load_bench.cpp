// Loading a generated trace, plain and compressed, against reading its bytes once, against bare
// inflate, and against simdjson taking the same eight fields out of the same text.
//
// HADAL_TRACE_BENCH_MB sets the size (default 256).
#include <cstdlib>
#include <string>
#include <vector>

#include <simdjson.h>
#include <sys/resource.h>
#include <zlib.h>

#include "base/bench_limits.h"
#include "trace/trace.h"
#include "trace/trace_generator.h"

namespace hadal::trace {
namespace {

const GeneratedTrace& generated() {
  static const GeneratedTrace trace = [] {
    const char* mb = std::getenv("HADAL_TRACE_BENCH_MB");
    const size_t bytes = (mb != nullptr ? std::strtoull(mb, nullptr, 10) : 256) << 20;
    return TraceGenerator(1).generate(std::max(bytes, size_t{1} << 20));
  }();
  return trace;
}

double limit() {
  static const double rate = read_limit(std::as_bytes(std::span(generated().text)));
  return rate;
}

void check(benchmark::State& state, const Result<Trace>& trace) {
  if (!trace || trace->events.size() != generated().rows ||
      trace->flows.size() != generated().flows || !trace->health.clean()) {
    state.SkipWithError("wrong trace");
  }
}

void parse_text(benchmark::State& state) {
  const double rate = limit();
  for ([[maybe_unused]] auto _ : state) {
    check(state, parse(generated().text, "bench", {.threads = static_cast<int>(state.range(0))}));
  }
  report_bytes(state, generated().text.size(), rate);
}

BENCHMARK(parse_text)
    ->Name("trace/parse/threads")
    ->Arg(1)
    ->Arg(0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::trace
