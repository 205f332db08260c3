#include "trace/replay.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "trace/critical.h"
#include "trace/hand_trace.h"

namespace hadal::trace {
namespace {

constexpr int64_t kUs = 1000;

Scenario scenario(const std::string& text) {
  Result<Scenario> parsed = parse_scenario(text);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? *parsed : Scenario{};
}

int64_t span_of(const ReplayGraph& graph, const std::string& text) {
  return replay(graph, scenario(text)).span_ns;
}

/// The graph gives back what happened, and the path is as long as the span.
void expect_explained(const ReplayGraph& graph) {
  const Replay same = replay(graph);
  const std::vector<Activity>& all = graph.view->activities;
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(same.start_ns[i], all[i].start_ns) << i;
    ASSERT_EQ(same.end_ns[i], all[i].end_ns) << i;
  }
  for (size_t i = 0; i < graph.syncs.size(); ++i) {
    ASSERT_EQ(same.sync_end_ns[i], graph.syncs[i].end_ns) << i;
  }
  EXPECT_EQ(same.span_ns, graph.span_ns());
  const CriticalPath path = critical_path(graph);
  int64_t sum = 0, now = graph.start_ns;
  for (const PathStep& step : path.steps) {
    ASSERT_EQ(step.start_ns, now);
    ASSERT_GT(step.length(), 0);
    now = step.end_ns;
  }
  EXPECT_EQ(now, graph.end_ns);
  for (const int64_t ns : path.sum_ns) sum += ns;
  EXPECT_EQ(sum, graph.span_ns());
}

/// Two streams: a (0-100), then b of the other stream released by it (103-203), which releases c
/// (205-255) of the first one; d (300-310) is launched late.
HandTrace two_streams() {
  HandTrace t;
  t.launched(7, "a", 100 * kUs, 100 * kUs, 10 * kUs);
  t.launched(20, "ncclDevKernel_b", 203 * kUs, 100 * kUs, 12 * kUs);
  t.launched(7, "c", 305 * kUs, 50 * kUs, 14 * kUs);
  t.launched(7, "d", 400 * kUs, 10 * kUs, 394 * kUs);
  return t;
}

TEST(Replay, FindsTheCauses) {
  const Trace trace = two_streams().trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  expect_explained(graph);
  ASSERT_EQ(graph.nodes.size(), 4U);
  EXPECT_EQ(graph.nodes[0].cause, Cause::kBegin);
  EXPECT_EQ(graph.nodes[1].cause, Cause::kGate);
  EXPECT_EQ(graph.nodes[1].gate, 0U);
  EXPECT_EQ(graph.nodes[1].delay_ns, 3 * kUs);
  EXPECT_EQ(graph.nodes[2].cause, Cause::kGate);
  EXPECT_EQ(graph.nodes[2].gate, 1U);
  EXPECT_EQ(graph.nodes[3].cause, Cause::kLaunch);
  EXPECT_EQ(graph.nodes[3].delay_ns, 6 * kUs - 1);
}

TEST(Replay, WhatIfMovesWhatDepends) {
  const Trace trace = two_streams().trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  EXPECT_EQ(graph.span_ns(), 310 * kUs);
  // The launch of d holds the end where it is, until the host is fast as well.
  EXPECT_EQ(span_of(graph, "transfer=0"), 310 * kUs);
  EXPECT_EQ(span_of(graph, "host=0"), 265 * kUs);
  EXPECT_EQ(span_of(graph, "host=0, transfer=0"), 165 * kUs);
  EXPECT_EQ(span_of(graph, "host=0, transfer*0.5, gaps=0"), 210 * kUs);
  EXPECT_EQ(span_of(graph, "name~^d$=60us"), 360 * kUs);
  EXPECT_EQ(span_of(graph, "name~^d$*6"), 360 * kUs);
  EXPECT_EQ(span_of(graph, "transfer*2, host=0"), 365 * kUs);
  // The first change that speaks of an activity counts.
  EXPECT_EQ(span_of(graph, "name~^d$=60us, all*1"), 360 * kUs);
  const WhatIf result = what_if(graph, scenario("transfer=0"));
  EXPECT_EQ(result.affected, 1U);
  EXPECT_EQ(result.affected_ns, 100 * kUs);
  EXPECT_EQ(result.gain_ns(), 0);
}

TEST(Replay, PathRunsThroughTheHost) {
  const Trace trace = two_streams().trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  const CriticalPath path = critical_path(graph);
  // d was launched late by a host that never waited: all before it is the host's.
  EXPECT_EQ(path.sum_ns[static_cast<size_t>(PathClass::kHost)], 300 * kUs);
  EXPECT_EQ(path.sum_ns[static_cast<size_t>(PathClass::kCompute)], 10 * kUs);
}

/// a, a wait of the host for it, then the launch of b.
HandTrace with_sync(const std::string& call) {
  HandTrace t;
  t.launched(7, "a", 100 * kUs, 100 * kUs, 10 * kUs);
  t.add(Category::kRuntime, HandTrace::kThread, call, 20 * kUs, 185 * kUs);
  t.launched(7, "b", 220 * kUs, 10 * kUs, 215 * kUs);
  return t;
}

TEST(Replay, HostMovesWithWhatItWaitedFor) {
  for (const std::string call : {"cudaDeviceSynchronize", "cudaStreamSynchronize"}) {
    const Trace trace = with_sync(call).trace();
    const GpuView view = gpu_view(trace, Rules());
    const ReplayGraph graph = replay_graph(view);
    expect_explained(graph);
    ASSERT_EQ(graph.syncs.size(), 1U);
    EXPECT_EQ(graph.syncs[0].waited, 0U);
    EXPECT_EQ(graph.syncs[0].delay_ns, 5 * kUs);
    EXPECT_EQ(span_of(graph, "name~^a$*0.5"), 80 * kUs);
    EXPECT_EQ(span_of(graph, "name~^a$*2"), 230 * kUs);
    Scenario fixed = scenario("name~^a$*0.5");
    fixed.host_follows = false;
    EXPECT_EQ(replay(graph, fixed).span_ns, 130 * kUs);
    const CriticalPath path = critical_path(graph);
    EXPECT_EQ(path.sum_ns[static_cast<size_t>(PathClass::kCompute)], 110 * kUs);
    EXPECT_EQ(path.sum_ns[static_cast<size_t>(PathClass::kHost)], 20 * kUs);
  }
}

TEST(Replay, SilenceUntilABarrierEndsIsAWait) {
  HandTrace t;
  t.launched(7, "internode::notify_dispatch", 20 * kUs, 300 * kUs, 10 * kUs);
  t.launched(7, "internode::dispatch", 330 * kUs, 100 * kUs, 305 * kUs);
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  expect_explained(graph);
  ASSERT_EQ(graph.syncs.size(), 1U);
  EXPECT_EQ(graph.syncs[0].kind, HostSync::Kind::kPoll);
  EXPECT_EQ(graph.syncs[0].waited, 0U);
  EXPECT_EQ(graph.syncs[0].waited_part_ns, 285 * kUs);  // it went on before the end
  // Without the barrier the host goes on at once: launch at 20, and 10 us from end to start.
  EXPECT_EQ(span_of(graph, "barrier=0"), 110 * kUs + 1);
}

TEST(Replay, OverlapInAStreamIsKept) {
  HandTrace t;
  t.kernel(7, "a", 0, 100).kernel(7, "b", 97, 100).kernel(7, "c", 197, 0).kernel(7, "d", 197, 10);
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  expect_explained(graph);
  EXPECT_EQ(span_of(graph, "name~^a$*0.5"), 207 - 48);  // b starts after 97 % of 50
  EXPECT_EQ(span_of(graph, "all=0"), 0);
}

TEST(Replay, NothingAtAll) {
  const Trace trace = HandTrace().trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  expect_explained(graph);
  EXPECT_EQ(what_if(graph, scenario("all=0")).gain_ns(), 0);
  EXPECT_EQ(to_json(graph, critical_path(graph))["span_us"], 0);
}

TEST(Replay, RandomTracesAreExplained) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed);
    HandTrace t;
    const int64_t range = seed % 3 == 0 ? 40 : 100'000;  // many ties, or few
    const uint64_t count = rng.below(60);
    for (uint64_t i = 0; i < count; ++i) {
      const auto start = static_cast<int64_t>(rng.below(range));
      const auto duration = static_cast<int64_t>(rng.below(range / 4));
      const int stream = static_cast<int>(rng.below(3));
      switch (rng.below(4)) {
        case 0: t.kernel(stream, "lonely", start, duration); break;
        case 1:
          t.add(Category::kRuntime, -1 - stream,
                rng.below(2) == 0 ? "cudaDeviceSynchronize" : "cudaEventSynchronize", start,
                duration);
          break;
        default:
          // Some launches come after the start of their kernel.
          t.launched(stream, "ncclKernel", start, duration,
                     start + 5 - static_cast<int64_t>(rng.below(range / 4)), -1 - stream);
      }
    }
    const Trace trace = t.trace();
    const GpuView view = gpu_view(trace, Rules());
    const ReplayGraph graph = replay_graph(view);
    expect_explained(graph);
    // Less work never takes longer, and none of it takes less than nothing.
    const int64_t half = span_of(graph, "all*0.5, gaps*0.5");
    EXPECT_LE(half, graph.span_ns() + static_cast<int64_t>(count));  // roundings
    EXPECT_GE(half, 0);
    EXPECT_EQ(span_of(graph, "all=0, gaps=0, host=0") >= 0, true);
  }
}

TEST(Replay, AbsurdTimesDoNotOverflow) {
  HandTrace t;
  constexpr int64_t kLong = INT64_MAX / 4;
  t.kernel(7, "a", 0, kLong).kernel(7, "b", kLong, kLong).launched(8, "c", 2 * kLong, kLong, 5);
  t.add(Category::kRuntime, -1, "cudaDeviceSynchronize", 10, 3 * kLong);
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  expect_explained(graph);
  EXPECT_GT(span_of(graph, "all*1000, gaps*1000, host*1000"), graph.span_ns());
}

TEST(Scenario, ErrorsSayWhatIsWrong) {
  const auto error = [](std::string_view text) {
    const Result<Scenario> parsed = parse_scenario(text);
    return parsed ? std::string("parsed") : parsed.error().message;
  };
  EXPECT_NE(error("").find("has no * or ="), std::string::npos);
  EXPECT_NE(error("barrier").find("has no * or ="), std::string::npos);
  EXPECT_NE(error("barier=0").find("changes \"barier\""), std::string::npos);
  EXPECT_NE(error("name~=0").find("changes \"name~\""), std::string::npos);
  EXPECT_NE(error("barrier*-1").find("factor \"-1\""), std::string::npos);
  EXPECT_NE(error("barrier*nan").find("factor \"nan\""), std::string::npos);
  EXPECT_NE(error("barrier=3 parsecs").find("time \"3 parsecs\""), std::string::npos);
  EXPECT_NE(error("host=5us").find("0 for the host"), std::string::npos);
  EXPECT_NE(error("barrier=0,").find("has no * or ="), std::string::npos);
  EXPECT_EQ(error(" barrier = 0 , name~*a=b* * 0.5"), "parsed");
  EXPECT_EQ(scenario("name~*a=b**0.5").changes[0].pattern, "*a=b*");
}

TEST(Replay, TrainTraceIsExplained) {
  const std::string path = HADAL_SOURCE_DIR "/../shared/data/trace/train.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const Result<Trace> trace = load(path);
  ASSERT_TRUE(trace) << trace.error().message;
  const GpuView view = gpu_view(*trace, Rules());
  const ReplayGraph graph = replay_graph(view);
  ASSERT_EQ(graph.nodes.size(), 983U);
  EXPECT_EQ(graph.span_ns(), 129'012 * kUs);
  expect_explained(graph);
  // DeepEP's hosts poll for the counts of notify_dispatch, once per layer.
  int polls = 0;
  for (const HostSync& sync : graph.syncs) polls += sync.kind == HostSync::Kind::kPoll ? 1 : 0;
  EXPECT_EQ(polls, 4);
  // More than its exposed part no communication can hold up; its barriers are on the path.
  EXPECT_EQ(span_of(graph, "barrier=0"), 125'810 * kUs);
  EXPECT_EQ(span_of(graph, "communication=0"), 125'810 * kUs);
  EXPECT_EQ(span_of(graph, "transfer=0"), 126'208 * kUs);
  EXPECT_EQ(span_of(graph, "memory=0"), 128'997 * kUs);
  const CriticalPath path_back = critical_path(graph);
  EXPECT_EQ(path_back.sum_ns[static_cast<size_t>(PathClass::kCompute)], 93'937 * kUs);
  EXPECT_EQ(path_back.sum_ns[static_cast<size_t>(PathClass::kBarrier)], 10'851 * kUs);
}

}  // namespace
}  // namespace hadal::trace
