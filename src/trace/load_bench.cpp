// Loading a generated trace, as text and compressed, against reading its bytes once, and against
// simdjson taking the same eight fields out of the same text and zlib only inflating it; and the
// summary of the same trace, from text to figures.
//
// HADAL_TRACE_BENCH_MB sets the size (default 1024).
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <libdeflate.h>
#include <simdjson.h>
#include <zlib.h>

#include "base/bench_limits.h"
#include "base/check.h"
#include "trace/generate.h"
#include "trace/trace.h"

namespace hadal::trace {
namespace {

struct Document {
  std::string text;
  uint64_t rows = 0, flows = 0;
};

const Document& document() {
  static const Document made = [] {
    const char* mb = std::getenv("HADAL_TRACE_BENCH_MB");
    gen::Scenario scenario;
    scenario.ranks = 1;
    scenario.bytes = static_cast<int64_t>(mb != nullptr ? std::strtoull(mb, nullptr, 10) : 1024)
                     << 20;
    Document out;
    const std::vector<gen::Sink> sinks = {[&out](std::string_view piece) -> Result<> {
      out.text += piece;
      return {};
    }};
    const Result<gen::Answers> answers = gen::generate(scenario, sinks);
    CHECK(answers.has_value(), "the benchmark's trace could not be generated");
    const gen::EventCounts& e = answers->ranks[0].events;
    out.flows = e.flow_start + e.flow_finish;
    out.rows = e.cpu_op + e.user_annotation + e.gpu_user_annotation + e.python_function +
               e.memory_instant + e.runtime + e.driver + e.kernel + e.memcpy + e.memset + e.other;
    out.text.reserve(out.text.size() + simdjson::SIMDJSON_PADDING);
    return out;
  }();
  return made;
}

const std::string& gzipped() {
  static const std::string made = [] {
    const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
        libdeflate_alloc_compressor(6), &libdeflate_free_compressor);
    const std::string& text = document().text;
    std::string out(libdeflate_gzip_compress_bound(compressor.get(), text.size()), '\0');
    out.resize(libdeflate_gzip_compress(compressor.get(), text.data(), text.size(), out.data(),
                                        out.size()));
    return out;
  }();
  return made;
}

double limit() {
  static const double rate = read_limit(std::as_bytes(std::span(document().text)));
  return rate;
}

bool is_whole(const Result<Trace>& trace) {
  return trace && trace->events.size() == document().rows &&
         trace->flows.size() == document().flows && trace->health.clean();
}

LoadOptions options_of(const benchmark::State& state) {
  return {.threads = static_cast<int>(state.range(0))};
}

void load_columns(benchmark::State& state) {
  const double rate = limit();
  for ([[maybe_unused]] auto _ : state) {
    if (!is_whole(parse(document().text, "bench", options_of(state)))) {
      state.SkipWithError("wrong trace");
    }
  }
  report_bytes(state, document().text.size(), rate);
}

void summary(benchmark::State& state) {
  const double rate = limit();
  for ([[maybe_unused]] auto _ : state) {
    const auto trace = parse(document().text, "bench", options_of(state));
    if (!is_whole(trace)) return state.SkipWithError("wrong trace");
    const auto answer = analyse(*trace, "summary");
    if (!answer || !answer->contains("exposed_communication_us")) {
      state.SkipWithError("no summary");
    }
  }
  report_bytes(state, document().text.size(), rate);
}

// Rates of the text, not of the compressed bytes.
void load_gzip(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    if (!is_whole(parse(gzipped(), "bench", options_of(state)))) state.SkipWithError("wrong trace");
  }
  report_bytes(state, document().text.size(), limit());
}

void zlib_inflate(benchmark::State& state) {
  std::vector<Bytef> piece(size_t{1} << 20);
  for ([[maybe_unused]] auto _ : state) {
    z_stream stream = {};
    CHECK(inflateInit2(&stream, 15 + 16) == Z_OK, "zlib: no memory");
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gzipped().data()));
    stream.avail_in = static_cast<uInt>(gzipped().size());
    int status = Z_OK;
    while (status == Z_OK) {
      stream.next_out = piece.data();
      stream.avail_out = static_cast<uInt>(piece.size());
      status = inflate(&stream, Z_NO_FLUSH);
    }
    if (status != Z_STREAM_END || stream.total_out != document().text.size()) {
      state.SkipWithError("wrong text");
    }
    inflateEnd(&stream);
  }
  report_bytes(state, document().text.size(), limit());
}

// What the peers extract of each event: name, cat, ph, ts, dur, pid, tid, correlation.
struct Extracted {
  uint64_t events = 0, sum = 0;
};

template <typename Value>
uint64_t number(Value value) {
  double d = 0;
  return value.get_double().get(d) == simdjson::SUCCESS ? static_cast<uint64_t>(d) : 0;
}

void simdjson_ondemand(benchmark::State& state) {
  const double rate = limit();
  simdjson::ondemand::parser parser;
  const simdjson::padded_string_view text(document().text.data(), document().text.size(),
                                          document().text.capacity());
  for ([[maybe_unused]] auto _ : state) {
    Extracted out;
    simdjson::ondemand::document doc;
    simdjson::ondemand::array events;
    if (parser.iterate(text).get(doc) != simdjson::SUCCESS ||
        doc["traceEvents"].get_array().get(events) != simdjson::SUCCESS) {
      return state.SkipWithError("not read");
    }
    for (auto event : events) {
      simdjson::ondemand::object fields;
      if (event.get_object().get(fields) != simdjson::SUCCESS) break;
      ++out.events;
      for (auto field : fields) {
        std::string_view key, value;
        if (field.unescaped_key().get(key) != simdjson::SUCCESS) break;
        if (key == "name" || key == "cat" || key == "ph") {
          if (field.value().get_string().get(value) == simdjson::SUCCESS) out.sum += value.size();
        } else if (key == "ts" || key == "dur" || key == "pid" || key == "tid") {
          out.sum += number(field.value());
        } else if (key == "args") {
          out.sum += number(field.value()["correlation"]);
        }
      }
    }
    if (out.events < document().rows + document().flows) state.SkipWithError("events are missing");
    benchmark::DoNotOptimize(out);
  }
  report_bytes(state, document().text.size(), rate);
}

void simdjson_dom(benchmark::State& state) {
  const double rate = limit();
  simdjson::dom::parser parser;
  for ([[maybe_unused]] auto _ : state) {
    Extracted out;
    simdjson::dom::array events;
    if (parser.parse(document().text.data(), document().text.size(), false)["traceEvents"]
            .get_array()
            .get(events) != simdjson::SUCCESS) {
      return state.SkipWithError("not read");
    }
    for (const simdjson::dom::element event : events) {
      ++out.events;
      for (const char* key : {"name", "cat", "ph"}) {
        std::string_view value;
        if (event[key].get_string().get(value) == simdjson::SUCCESS) out.sum += value.size();
      }
      for (const char* key : {"ts", "dur", "pid", "tid"}) out.sum += number(event[key]);
      out.sum += number(event["args"]["correlation"]);
    }
    if (out.events < document().rows + document().flows) state.SkipWithError("events are missing");
    benchmark::DoNotOptimize(out);
  }
  report_bytes(state, document().text.size(), rate);
}

BENCHMARK(load_columns)
    ->Name("trace/load/threads")
    ->Arg(1)
    ->Arg(0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(summary)
    ->Name("trace/summary/threads")
    ->Arg(1)
    ->Arg(0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(load_gzip)
    ->Name("trace/load_gzip/threads")
    ->Arg(1)
    ->Arg(0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(zlib_inflate)
    ->Name("trace/peer/zlib_inflate")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(simdjson_ondemand)
    ->Name("trace/peer/simdjson_ondemand")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(simdjson_dom)
    ->Name("trace/peer/simdjson_dom")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::trace
