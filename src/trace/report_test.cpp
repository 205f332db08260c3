#include "trace/report.h"

#include <map>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "trace/rules.h"
#include "trace/timeline_data.h"

namespace hadal::trace {
namespace {

std::string event(const char* category, const std::string& name, int tid, int start, int duration,
                  int correlation) {
  return fmt::format(R"({{"ph":"X","cat":"{}","name":"{}","pid":{},"tid":{},"ts":{},"dur":{},)"
                     R"("args":{{"correlation":{},"stream":{},"device":0,"grid":[4,1,1],)"
                     R"("block":[32,1,1],"registers per thread":8,"shared memory":0}}}})",
                     category, name, tid == 7 ? 0 : 1, tid, start, duration, correlation, tid);
}

Trace trace_of(const std::vector<std::string>& events) {
  std::string text =
      R"({"schemaVersion":1,"deviceProperties":[{"id":0,"numSms":132}],"traceEvents":[)";
  for (size_t i = 0; i < events.size(); ++i) text += (i ? ",\n" : "\n") + events[i];
  auto trace = parse(text + "]}", "t.json");
  EXPECT_TRUE(trace) << (trace ? "" : trace.error().message);
  return trace ? std::move(*trace) : Trace{};
}

/// `n` kernels with their calls, and a burst of short operators on the host.
Trace busy_trace(int n) {
  std::vector<std::string> events;
  for (int i = 0; i < n; ++i) {
    events.push_back(event("cuda_runtime", "cudaLaunchKernel", 1, 10 * i, 3, i + 1));
    events.push_back(event("cpu_op", fmt::format("op{}", i % 7), 1, 10 * i + 4, 2, 0));
    events.push_back(event("kernel", fmt::format("k{}", i % 5), 7, 10 * i + 5, 9, i + 1));
  }
  return trace_of(events);
}

/// Reads the payload as its header describes it, and keeps what the tests ask about.
struct Decoded {
  uint64_t strings = 0, bars = 0, events_in_bars = 0, launches = 0, merged = 0;
  std::vector<int64_t> gpu_starts;  // in units
  int64_t unit = 0;
};

int64_t unzigzag(uint64_t z) {
  return static_cast<int64_t>(z >> 1) ^ -static_cast<int64_t>(z & 1);
}

void skip(Reader& in, uint64_t n) {
  while (n-- > 0) in.varint();
}

void read_lane(Reader& in, Decoded& out) {
  const uint64_t flags = in.varint(), n = in.varint();
  std::vector<int64_t> start(n);
  for (int64_t& s : start) s = unzigzag(in.varint());
  int64_t previous = 0;
  for (int64_t& s : start) {
    s += previous;
    previous = s + static_cast<int64_t>(in.varint());
  }
  skip(in, 2 * n);
  if (flags & 1) {
    for (uint64_t i = 0; i < n; ++i) out.events_in_bars += in.varint();
    skip(in, n);
  } else if (!(flags & 4)) {
    out.events_in_bars += n;
  }
  if (flags & 2) {
    out.gpu_starts.insert(out.gpu_starts.end(), start.begin(), start.end());
    skip(in, 5 * n);
    int64_t launch = 0;
    for (uint64_t i = 0; i < n; ++i) {
      launch += unzigzag(in.varint());
      if (launch > 0) ++out.launches;
    }
  }
  if (flags & 4) skip(in, n);
  out.bars += n;
  for (uint64_t levels = in.varint(); levels > 0; --levels) {
    in.varint();
    skip(in, 3 * in.varint());
  }
}

Decoded decode(const std::vector<std::byte>& payload) {
  Reader in{Bytes(payload)};
  Decoded out;
  out.strings = in.varint();
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < out.strings; ++i) bytes += in.varint();
  in.bytes(bytes);
  const uint64_t shorts = in.varint();
  skip(in, shorts);
  for (uint64_t i = bytes = 0; i < shorts; ++i) bytes += in.varint();
  in.bytes(bytes);
  for (uint64_t ranks = in.varint(); ranks > 0; --ranks) {
    out.unit = static_cast<int64_t>(in.varint());
    skip(in, 2);
    skip(in, 8 * in.varint());
    skip(in, 2 * in.varint());
    skip(in, 4 * in.varint());
    for (int i = 0; i < 3; ++i) skip(in, 2 * in.varint());
    for (uint64_t tracks = in.varint(); tracks > 0; --tracks) {
      for (uint64_t lanes = in.varint(); lanes > 0; --lanes) read_lane(in, out);
    }
    for (int i = 0; i < 2; ++i) skip(in, 2 * in.varint());
    const uint64_t names = in.varint();
    skip(in, names);
    for (uint64_t i = 0; i < names; ++i) out.merged += in.varint();
  }
  const auto finished = in.finish("payload");
  EXPECT_TRUE(finished) << (finished ? "" : finished.error().message);
  return out;
}

TEST(Timeline, HoldsEveryEventOnce) {
  const Trace trace = busy_trace(3000);
  const GpuView view = gpu_view(trace, Rules());
  const Timeline timeline = encode_timeline({&view, 1}, {}, 1'000'000);
  const Decoded decoded = decode(timeline.payload);
  EXPECT_EQ(decoded.bars, trace.events.size());
  EXPECT_EQ(decoded.events_in_bars, trace.events.size());
  EXPECT_EQ(decoded.launches, 3000U);
  EXPECT_EQ(decoded.merged, 0U);
  EXPECT_EQ(decoded.strings, trace.names.size());
  ASSERT_EQ(decoded.gpu_starts.size(), view.activities.size());
  for (size_t i = 0; i < view.activities.size(); ++i) {
    EXPECT_EQ(decoded.gpu_starts[i] * decoded.unit, view.activities[i].start_ns);
  }
}

TEST(Timeline, MergesHostEventsToItsBudgetAndCountsThem) {
  const Trace trace = busy_trace(3000);
  const GpuView view = gpu_view(trace, Rules());
  const Timeline timeline = encode_timeline({&view, 1}, {}, 300);
  const Decoded decoded = decode(timeline.payload);
  EXPECT_LE(decoded.bars, 3000U + 300U);
  EXPECT_EQ(decoded.events_in_bars, trace.events.size());  // none is lost
  EXPECT_EQ(decoded.gpu_starts.size(), 3000U);             // nor merged on the GPU
  EXPECT_EQ(decoded.launches, 3000U);                      // arrows go to merged bars
  EXPECT_EQ(decoded.merged, timeline.ranks[0].merged_events);
  EXPECT_EQ(decoded.bars + decoded.merged, trace.events.size());
  EXPECT_GT(timeline.ranks[0].merge_below_ns, 0);
}

TEST(Timeline, SurvivesAbsurdTimes) {
  Trace trace = busy_trace(50);
  trace.events.start_ns.front() = INT64_MIN;
  trace.events.duration_ns.back() = INT64_MAX;
  trace.base_ns = INT64_MIN;
  Trace other = busy_trace(10);
  other.base_ns = INT64_MAX;
  const std::vector<GpuView> views = {gpu_view(trace, Rules()), gpu_view(other, Rules())};
  const Timeline timeline = encode_timeline(views, {}, 10);
  EXPECT_EQ(decode(timeline.payload).events_in_bars, trace.events.size() + other.events.size());
}

TEST(Timeline, EmptyTrace) {
  const Trace trace;
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_EQ(decode(encode_timeline({&view, 1}, {}, 10).payload).bars, 0U);
}

TEST(Report, NamesCannotLeaveTheirElement) {
  const Trace trace = trace_of({event("kernel", "</script><script>alert(1)</script>", 7, 0, 5, 1),
                                event("kernel", "<!--", 7, 10, 5, 2)});
  const GpuView view = gpu_view(trace, Rules());
  const Json analyses = {
      {"tabs", {{{"id", "</script>"}, {"title", "a\xE2\x80\xAE&<b>\xFF"}}}},
  };
  const auto page = render_report({.ranks = {&view, 1},
                                   .title = "</title></script><h1>",
                                   .analyses = &analyses,
                                   .clock_offsets_ns = {}});
  ASSERT_TRUE(page) << page.error().message;
  const size_t from = page->find("<script type=\"application/json\" id=\"meta\">");
  ASSERT_NE(from, std::string::npos);
  const size_t begin = page->find('>', from) + 1, end = page->find("</script>", begin);
  const std::string meta = page->substr(begin, end - begin);
  EXPECT_EQ(meta.find_first_of("<>&"), std::string::npos);
  const Json parsed = Json::parse(meta);
  EXPECT_EQ(parsed["title"], "</title></script><h1>");
  EXPECT_EQ(parsed["analyses"]["tabs"][0]["title"], "a\xE2\x80\xAE&<b>\xEF\xBF\xBD");
}

TEST(Report, SameInputSameBytes) {
  const Trace trace = busy_trace(100);
  const GpuView view = gpu_view(trace, Rules());
  const ReportInput input{.ranks = {&view, 1}, .title = "t", .clock_offsets_ns = {}};
  EXPECT_EQ(render_report(input).value(), render_report(input).value());
}

TEST(Report, NeedsATrace) {
  const auto page = render_report({.ranks = {}, .title = "", .clock_offsets_ns = {}});
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::trace
