// What real profilers and broken disks write; each has its small document.
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "trace/trace.h"
#include "trace/trace_equal.h"

namespace hadal::trace {
namespace {

// The trace of a document; by many threads it must be the same.
Trace of(const std::string& text) {
  Result<Trace> one = parse(text, "text.json", {.threads = 1});
  EXPECT_TRUE(one) << one.error().message;
  if (!one) return {};
  Result<Trace> more = parse(text, "text.json", {.threads = 3});
  EXPECT_TRUE(more);
  if (more) expect_identical(*one, *more);
  return *std::move(one);
}

// Events as the array of an object, one per line.
std::string document(const std::string& events) {
  return "{\"schemaVersion\": 1,\n\"traceEvents\": [\n" + events + "\n]}\n";
}

std::string event(const std::string& name, const std::string& ts, const std::string& dur,
                  const std::string& more = "") {
  return fmt::format(
      R"({{"ph": "X", "cat": "cpu_op", "name": "{}", "pid": 1, "tid": 1, "ts": {}, "dur": {}{}}})",
      name, ts, dur, more);
}

std::string kernel(const std::string& name, int64_t ts, int64_t dur, int correlation) {
  return fmt::format(
      R"({{"ph": "X", "cat": "kernel", "name": "{}", "pid": 0, "tid": 7, "ts": {}, "dur": {},
    "args": {{"device": 0, "stream": 7, "correlation": {}, "grid": [2, 3, 4], "block": [32, 1, 1],
    "registers per thread": 40, "shared memory": 1024, "est. achieved occupancy %": 12}}}})",
      name, ts, dur, correlation);
}

std::vector<std::string> names(const Trace& trace) {
  std::vector<std::string> all;
  for (size_t row = 0; row < trace.events.size(); ++row) all.emplace_back(trace.name_of(row));
  return all;
}
using Names = std::vector<std::string>;

TEST(TraceMalformed, UnescapedQuotesCostOneEvent) {
  for (const std::string bad :
       {R"(torch/"dynamo".py)", R"(a"b)", R"(")", R"(x","ph":"X)", R"(a", b)", R"({"a)"}) {
    const Trace t = of(document(event("a", "1", "1") + ",\n" + event(bad, "2", "1") + ",\n" +
                                event("b", "3", "1") + ",\n" + event("c", "4", "1")));
    EXPECT_GE(t.events.size(), 3) << bad;
    if (t.health.lost_events == 0) continue;  // x","ph":"X is a correct event of another name
    EXPECT_EQ(names(t), (Names{"a", "b", "c"})) << bad;
    EXPECT_EQ(t.health.lost_events, 1) << bad;
    ASSERT_EQ(t.health.losses.size(), 1);
    EXPECT_NE(t.health.losses[0].reason, "");
    EXPECT_FALSE(t.health.clean());
  }
}

TEST(TraceMalformed, AMissingQuoteCostsOneEvent) {
  const std::string bad = R"({"ph": "X", "name": "open, "pid": 1, "tid": 1, "ts": 2, "dur": 1})";
  const Trace t = of(document(event("a", "1", "1") + ",\n" + bad + ",\n" + event("b", "3", "1")));
  EXPECT_EQ(names(t), (Names{"a", "b"}));
  EXPECT_EQ(t.health.lost_events, 1);
}

TEST(TraceMalformed, RawControlCharactersAndInvalidUtf8) {
  const Trace t =
      of(document(event(std::string("a\nb\x01") + "\xff\xc3(" + "\xed\xa0\x80", "1", "1") +
                  std::string(",\0\x02\n", 4) + event(std::string("n\0l", 3), "2", "1")));
  EXPECT_EQ(names(t), (Names{"a b\ufffd\ufffd\ufffd(\ufffd\ufffd\ufffd", "n\ufffdl"}));
  EXPECT_EQ(t.health.replaced_bytes, 2 + 1 + 1 + 3 + 1);
  EXPECT_EQ(t.health.lost_events, 0);
}

TEST(TraceMalformed, Escapes) {
  const Trace t =
      of(document(event(R"(\u0041\/\"\\ \ud83d\ude00 \ud800 \ude00x \u12 C:\py\n\t)", "1", "1")));
  EXPECT_EQ(names(t)[0], "A/\"\\ \U0001f600 \ufffd \ufffdx \ufffd12 C:\\py  ");
  EXPECT_EQ(t.health.replaced_bytes, 4);  // two surrogates, \u12, \p
}

TEST(TraceMalformed, NamesWrittenDifferentlyAreOne) {
  const Trace t = of(document(event("A", "1", "1") + "," + event(R"(\u0041)", "2", "1")));
  EXPECT_EQ(t.names, Names{"A"});
  EXPECT_EQ(t.health.replaced_bytes, 0);
}

TEST(TraceMalformed, CommasTooMany) {
  const Trace t = of(document(",,\n" + event("a", "1", "1", R"(, "args": {"x": 1, })") + ",,\n,\n" +
                              event("b", "2", "1", R"(,, "args": {,})") + ","));
  EXPECT_EQ(names(t), (Names{"a", "b"}));
  EXPECT_TRUE(t.health.clean());
}

TEST(TraceMalformed, NumbersAsText) {
  const Trace t = of(R"([
    {"ph":"X","cat":"kernel","name":"a","pid":"0","tid":"stream 7",
     "ts":"1740461679470692.125","dur":"2.5",
     "args":{"correlation":"17","device":"0","grid":["8","2"],"block":[32.0,1,1]}}
  ])");
  ASSERT_EQ(t.events.size(), 1);
  EXPECT_EQ(t.base_ns, 1740461679470692125);
  EXPECT_EQ(t.events.duration_ns[0], 2500);
  EXPECT_EQ(t.events.correlation[0], 17);
  EXPECT_EQ(t.tracks[0].stream, 7);
  EXPECT_EQ(t.tracks[0].device, 0);
  EXPECT_EQ(t.launches[0].block[0], 32);
  EXPECT_EQ(t.launches[0].grid, (std::array<uint32_t, 3>{8, 2, 1}));
}

TEST(TraceMalformed, BareWords) {
  const Trace t = of(document(
      kernel("k", 1, 1, 1).insert(1, R"("x": inf, "y": nan, "z": -Infinity, "w": null, )") + "," +
      event("a", "nan", "1") + "," + event("b", "2", "inf") + "," + event("c", "3", "nan")));
  EXPECT_EQ(t.events.size(), 3);
  EXPECT_EQ(t.health.lost_events, 1);  // an event at no time is none
  EXPECT_EQ(t.health.clipped_durations, 2);
}

TEST(TraceMalformed, HugeNumbers) {
  const Trace t = of(
      document(kernel("k", 5, 1, 1).insert(1, R"("id": 184467440737095516159999, )") + "," +
               event("a", "99999999999999999999", "1") + "," + event("b", "1e300", "1") + "," +
               event("c", "-1e18", "1") + "," + event("d", "4", "9e17") + "," +
               event("e", "4000000000000000", "1") + "," +
               event("f", "-4000000000000000", "604800000000") + "," + event("g", "6", "-3") + "," +
               R"(
    {"ph":"X","cat":"kernel","name":"h","pid":99999999999999999999,"tid":-5,"ts":7,"dur":1,
     "args":{"stream":-1,"device":1e99,"correlation":18446744073709551615,
             "grid":[99999999999,-1,nan]}})"));
  EXPECT_EQ(t.health.lost_events, 3);
  EXPECT_EQ(t.health.clipped_durations, 2);
  EXPECT_EQ(t.events.size(), 6);
  EXPECT_EQ(t.end_ns, 8'000'000'000'000'001'000);
}

TEST(TraceMalformed, CorrelationsBeyond32BitsStayDistinct) {
  const Trace t = of(document(kernel("a", 1, 1, 1) + R"(,
    {"ph":"X","cat":"kernel","name":"b","pid":0,"tid":7,"ts":2,"dur":1,
     "args":{"correlation": 4294967298}})"));
  EXPECT_EQ(t.events.correlation[0], 1);
  EXPECT_EQ(t.events.correlation[1], 3);  // folded: the same number gives the same fold
}

TEST(TraceMalformed, FlowIdsOfAllKinds) {
  const Trace t = of(R"([
    {"ph":"s","cat":"ac2g","name":"x","pid":1,"tid":1,"ts":1,"id":"0x1f"},
    {"ph":"f","cat":"fwdbwd","name":"x","pid":1,"tid":1,"ts":2,"id":18446744073709551615},
    {"ph":"t","cat":"async","name":"x","pid":1,"tid":1,"ts":2,"id":"abc"}
  ])");
  ASSERT_EQ(t.flows.size(), 3);
  EXPECT_EQ(t.flows[0].id, 31);
  EXPECT_EQ(t.flows[2].id, UINT64_MAX);
  EXPECT_TRUE(t.flows[2].forward_backward);
  EXPECT_EQ(t.base_ns, 1000);
  EXPECT_EQ(t.events.size(), 0);
}

TEST(TraceMalformed, Truncated) {
  const std::string whole = document(event("a", "1", "1") + ",\n" + event("b", "2", "1"));
  const Trace t = of(whole.substr(0, whole.find("\"b\"")));
  EXPECT_EQ(names(t), Names{"a"});
  EXPECT_TRUE(t.health.truncated);
  EXPECT_EQ(t.health.truncated_at, whole.find("\"b\""));
  EXPECT_EQ(t.health.lost_events, 0);
  // Chrome's own format: the ']' of a bare array may be missing.
  EXPECT_FALSE(of("[" + event("a", "1", "1") + ",\n").health.truncated);
  EXPECT_TRUE(of("[" + event("a", "1", "1") + ",\n{").health.truncated);
}

TEST(TraceMalformed, ZeroTimestamps) {
  const Trace t = of(document(event("a", "0", "5") + "," + event("b", "1740461679470692", "1") +
                              "," + event("c", "1740461679470695", "1")));
  EXPECT_EQ(t.health.zero_timestamps, 1);
  EXPECT_EQ(t.base_ns, 1740461679470692000);
  EXPECT_EQ(t.end_ns, 4000);
  EXPECT_EQ(t.name_of(0), "a");
  EXPECT_LT(t.events.start_ns[0], 0);
  // Where times count from 0, 0 is one.
  const Trace u = of(document(event("a", "0", "5") + "," + event("b", "20", "1")));
  EXPECT_EQ(u.health.zero_timestamps, 0);
  EXPECT_EQ(u.events.start_ns, (std::vector<int64_t>{0, 20000}));
}

TEST(TraceMalformed, OverlapInAStream) {
  // Programmatic dependent launch: kept.
  Trace t = of(document(kernel("a", 0, 100, 1) + "," + kernel("b", 95, 100, 2) + "," +
                        kernel("c", 170, 5, 3)));
  EXPECT_EQ(t.events.duration_ns, (std::vector<int64_t>{100000, 100000, 5000}));
  EXPECT_EQ(t.health.overlapping_in_stream, 2);
  EXPECT_TRUE(t.health.clean());
  // Late completion stamps of HIP: ended where the next begins.
  const std::string call =
      R"(,{"ph":"X","cat":"cuda_runtime","name":"hipLaunchKernel","pid":1,"tid":1,"ts":0,"dur":1})";
  t = of(document(kernel("a", 0, 100, 1) + "," + kernel("b", 95, 100, 2) + "," +
                  kernel("c", 170, 5, 3) + call));
  const uint32_t first = t.tracks[1].begin;
  EXPECT_EQ(t.tracks[1].kind, TrackKind::kGpu);
  EXPECT_EQ(t.events.duration_ns[first], 100000);  // 5 us are within the tolerance
  EXPECT_EQ(t.events.duration_ns[first + 1], 75000);
  EXPECT_EQ(t.health.clipped_durations, 1);
  EXPECT_EQ(t.health.overlapping_in_stream, 1);
  EXPECT_EQ(t.end_ns, 175000);
}

TEST(TraceMalformed, BeginAndEnd) {
  const auto e = [](char ph, const std::string& name, int ts) {
    return fmt::format(R"({{"ph": "{}", {}"pid": 1, "tid": 1, "ts": {}}})", ph,
                       name.empty() ? "" : "\"name\": \"" + name + "\", ", ts);
  };
  const Trace t = of("[" + e('E', "", 1) + "," + e('B', "a", 2) + "," + e('B', "b", 3) + "," +
                     e('E', "", 5) + "," + e('B', "c", 6) + "," + e('B', "d", 7) + "," +
                     e('E', "c", 8) + "," + e('E', "zz", 8) + "," + e('E', "", 9) + "," +
                     e('B', "open", 10) + "," + e('E', "a", 12) + "]");
  EXPECT_EQ(names(t), (Names{"a", "b", "c", "d", "open"}));
  EXPECT_EQ(t.events.duration_ns, (std::vector<int64_t>{10000, 2000, 2000, 2000, 2000}));
  EXPECT_EQ(t.health.unmatched_ends, 2);
  EXPECT_EQ(t.health.unmatched_begins, 1);
  for (const Phase phase : t.events.phase) EXPECT_EQ(phase, Phase::kComplete);
}

TEST(TraceMalformed, OtherPhases) {
  const Trace t = of(R"([
    {"ph":"b","id":1,"ts":1},
    {"ph":"N","ts":1},
    {"ph":"i","name":"now","pid":"","tid":"","ts":5,"s":"g"},
    {"ph":"C","name":"memory","pid":"GPU 0 Counters","tid":0,"ts":6,"args":{"":17}},
    {"name":"x"},
    {"ph":"XX","ts":1},
    {"ph":7}
  ])");
  EXPECT_EQ(t.health.ignored_phases, 3);
  EXPECT_EQ(t.health.lost_events, 2);
  ASSERT_EQ(t.events.size(), 2);
  EXPECT_EQ(t.tracks[0].kind, TrackKind::kCounter);
  EXPECT_EQ(t.tracks[1].kind, TrackKind::kOther);
  EXPECT_EQ(t.events.phase[1], Phase::kInstant);
}

TEST(TraceMalformed, DuplicateCorrelationsAreAllKept) {
  const Trace t =
      of(document(kernel("a", 1, 1, 9) + "," + kernel("b", 3, 1, 9) + "," + kernel("c", 5, 1, 9)));
  EXPECT_EQ(t.events.correlation, (std::vector<uint32_t>{9, 9, 9}));
}

TEST(TraceMalformed, MetadataOnBothSides) {
  const Trace t =
      of(R"({"deviceProperties": [{"id": 2, "name": "X", "numSms": "4"}, 7], "traceEvents": [)" +
         event("a", "1", "1") +
         R"(], "baseTimeNanoseconds": 5000000,
      "distributedInfo": {"backend": "nccl", "rank": "3", "world_size": 16}, )"
         R"("traceName": "x/run_tp2_pp4.json"})");
  EXPECT_EQ(t.rank, 3);
  EXPECT_EQ(t.world_size, 16);
  EXPECT_EQ(t.backend, "nccl");
  EXPECT_EQ(t.base_ns, 5001000);
  ASSERT_EQ(t.devices.size(), 1);
  EXPECT_EQ(t.device(2)->num_sms, 4);
  ASSERT_EQ(t.hints.size(), 2);
  EXPECT_EQ(t.hints[1].name, "pp");
  EXPECT_EQ(t.generation, Generation::kG3);
}

TEST(TraceMalformed, TheRankMayBeInTheFilesName) {
  const std::string text = document(event("a", "1", "1"));
  EXPECT_EQ(parse(text, "/x/rank12.json")->rank, 12);
  EXPECT_EQ(parse(text, "rank9/trace_rank-3.json.gz")->rank, 3);
  EXPECT_EQ(parse(text, "rank9/trace.json")->rank, -1);
  EXPECT_EQ(parse(text, "rank99999999999.json")->rank, -1);
}

TEST(TraceMalformed, BrokenMetadataDoesNotCostTheEvents) {
  const Trace t = of(R"({"deviceProperties": [{"id": 0, "name": "a"b"}], "x" 5, "traceEvents": [)" +
                     event("a", "1", "1") + ",\n" + event("b", "2", "1") + "]}");
  EXPECT_GE(t.events.size(), 1);
  EXPECT_GE(t.health.lost_events, 1);
}

TEST(TraceMalformed, Generations) {
  const Trace old = of(R"([
    {"ph":"X","cat":"Kernel","name":"k","pid":0,"tid":"stream 7","ts":5,"dur":2,
     "args":{"device":0,"stream":7,"correlation":4,"external id":3,
             "grid":[1,1,1],"block":[32,1,1]}},
    {"ph":"X","cat":"Runtime","name":"cudaLaunchKernel","pid":1,"tid":"2","ts":1,"dur":2,
     "args":{"correlation":4}},
    {"ph":"X","cat":"Memcpy","name":"Memcpy HtoD","pid":0,"tid":"stream 7","ts":9,"dur":2,
     "args":{"bytes":10}},
    {"ph":"X","cat":"Operator","name":"aten::add","pid":1,"tid":"2","ts":0,"dur":9}
  ])");
  EXPECT_EQ(old.generation, Generation::kG1);
  EXPECT_EQ(old.tracks.back().stream, 7);
  EXPECT_EQ(old.tracks.back().end - old.tracks.back().begin, 2);
  const Trace newest = of(R"({"baseTimeNanoseconds": 1, "traceEvents": [
    {"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":5.125,"dur":2.5,
     "args":{"device":0,"stream":7,"occupancy":{"limitingFactors":"x"}}},
    {"ph":"X","cat":"cuda_sync","name":"Stream Sync","pid":0,"tid":1000007,"ts":5,"dur":1,
     "args":{"wait_on_cuda_event_record_corr_id":12}}
  ]})");
  EXPECT_EQ(newest.generation, Generation::kG4);
  EXPECT_EQ(newest.resolution_ns, 1);
  EXPECT_EQ(newest.tracks[1].kind, TrackKind::kGpuSync);
  EXPECT_EQ(newest.tracks[1].stream, 7);
  EXPECT_EQ(newest.events.detail[1], 12);
  EXPECT_EQ(of(R"([{"ph":"X","name":"z","ts":1,"dur":1,"pid":1,"tid":1}])").generation,
            Generation::kUnknown);
}

TEST(TraceMalformed, Collectives) {
  const Trace t = of(document(event("a", "1", "1") + R"(,
    {"ph":"X","cat":"kernel","name":"ncclDevKernel","pid":0,"tid":9,"ts":5,"dur":2,
     "args":{"Collective name":"allreduce","Seq":5,
             "In msg nelems":1024,"Out msg nelems":1024,"dtype":"BFloat16",
             "Process Group Name":"0","Process Group Description":"default_pg",
             "Process Group Ranks":"[0, 1, ..., 7]","Group size":8}})"));
  ASSERT_EQ(t.collectives.size(), 1);
  EXPECT_EQ(t.name_of(t.collectives[0].row), "ncclDevKernel");
  EXPECT_EQ(t.collectives[0].sequence, 5);
  EXPECT_EQ(t.collective_infos[0].group_ranks, "[0, 1, ..., 7]");
  EXPECT_EQ(t.collective_infos[0].group_size, 8);
}

TEST(TraceMalformed, DepthBombs) {
  const std::string deep = std::string(2'000'000, '[');
  Trace t = of(document(
      event("a", "1", "1", ", \"args\": {\"x\": " + deep + std::string(2'000'000, ']') + "}")));
  EXPECT_EQ(t.events.size(), 1);
  t = of(document(event("a", "1", "1") + "," + event("b", "1", "1", ", \"args\": " + deep)));
  EXPECT_EQ(t.events.size(), 1);
  EXPECT_TRUE(t.health.truncated);
  EXPECT_FALSE(parse("{\"deviceProperties\": " + deep, "x")->health.clean());
}

TEST(TraceMalformed, AMegabyteOfName) {
  const std::string name(1 << 20, 'n');
  const Trace t = of(document(event(name, "1", "1") + "," + event("b", "2", "1")));
  EXPECT_EQ(names(t), (Names{name, "b"}));
}

// Each start of an event reads to the end of the text before it fails. Must not be quadratic.
TEST(TraceMalformed, ManyUnfinishedEvents) {
  std::string text = "[";
  while (text.size() < (1 << 20)) text += R"({"name":{},{"name":[)";
  const Result<Trace> t = parse(text, "x", {.threads = 2});
  if (t) {
    EXPECT_FALSE(t->health.clean());
  }
}

TEST(TraceMalformed, TooManyTracks) {
  std::string text = "[";
  for (int i = 0; i < 66000; ++i) {
    text += fmt::format(R"({}{{"ph":"X","name":"a","ts":1,"dur":1,"pid":1,"tid":{}}})",
                        i == 0 ? "" : ",", i);
  }
  for (const int threads : {1, 2}) {
    const Result<Trace> t = parse(text + "]", "x", {.threads = threads});
    ASSERT_FALSE(t);
    EXPECT_EQ(t.error().code, Code::kUnsupported);
  }
}

TEST(TraceMalformed, ArrowsBelongToWhatExistsThere) {
  const Trace t = of(document(kernel("k", 5, 1, 3) + R"(,
    {"ph":"f","cat":"ac2g","name":"ac2g","pid":0,"tid":7,"ts":5,"id":3,"bp":"e"},
    {"ph":"s","cat":"ac2g","name":"ac2g","pid":44,"tid":4,"ts":1,"id":3})"));
  ASSERT_EQ(t.flows.size(), 2);
  EXPECT_EQ(t.tracks[t.flows[1].track].kind, TrackKind::kGpu);
  EXPECT_EQ(t.tracks[t.flows[0].track].process, "44");
}

TEST(TraceMalformed, ByteOrderMarkAndBlanks) {
  const Trace t = of("\xef\xbb\xbf \n" + document(event("a", "1", "1")));
  EXPECT_EQ(t.events.size(), 1);
  EXPECT_TRUE(t.health.clean());
}

// The end of an array inside of a broken event looks like the end of all events.
TEST(TraceMalformed, GoesOnAfterAFalseEnd) {
  const std::string bad =
      R"({"ph": "X", "name": "a"b", "args": {"list": [{"x": 1},{"name": 2}], "y": 3}, "ts": 1})";
  const Trace t = of(document(event("a", "1", "1") + ",\n" + bad + ",\n" + event("b", "3", "1") +
                              ",\n" + event("c", "4", "1")));
  EXPECT_EQ(names(t), (Names{"a", "b", "c"}));
  EXPECT_GE(t.health.lost_events, 1);
}

}  // namespace
}  // namespace hadal::trace
