// Whole documents: the real trace, generated ones, compressed, cut at any byte, by any number of
// threads.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "base/rng.h"
#include "trace/output.h"
#include "trace/trace.h"
#include "trace/trace_equal.h"
#include "trace/trace_files.h"
#include "trace/trace_generator.h"

namespace hadal::trace {
namespace {

std::string temporary(const std::string& name) {
  return testing::TempDir() + "/hadal_trace_" + std::to_string(getpid()) + "_" + name;
}

Trace must_parse(const std::string& text, int threads = 1) {
  Result<Trace> trace = parse(text, "text", {.threads = threads});
  EXPECT_TRUE(trace) << trace.error().message;
  return trace ? *std::move(trace) : Trace();
}

TEST(TraceLoad, TheRealTrace) {
  const std::string path = train_json();
  if (path.empty()) GTEST_SKIP() << "train.json is not on this machine";
  const Result<Trace> loaded = load(path);
  ASSERT_TRUE(loaded) << loaded.error().message;
  const Trace& t = *loaded;
  EXPECT_EQ(t.events.size(), 4387 + 3853 + 963 + 42 + 40 + 12 + 8 + 2 + 1);
  EXPECT_EQ(t.flows.size(), 3836 + 1040 + 8 + 8);
  EXPECT_EQ(std::ranges::count(t.flows, true, &Flow::forward_backward), 16);
  EXPECT_TRUE(t.health.clean());
  EXPECT_EQ(t.generation, Generation::kG2);
  EXPECT_EQ(t.resolution_ns, 1000);
  EXPECT_EQ(t.base_ns, 1740461679470630000);
  ASSERT_EQ(t.devices.size(), 8);
  EXPECT_EQ(t.device(0)->num_sms, 132);
  EXPECT_EQ(t.device(0)->shared_memory_per_block_optin, 232448);
  EXPECT_EQ(t.device(99), nullptr);
  EXPECT_EQ(t.rank, 0);
  EXPECT_EQ(t.world_size, 64);
  ASSERT_EQ(t.tracks.size(), 8);
  EXPECT_EQ(t.tracks[2].kind, TrackKind::kGpu);
  EXPECT_EQ(t.tracks[2].stream, 7);
  EXPECT_EQ(t.tracks[2].thread_name, "stream 7");
  EXPECT_EQ(t.tracks[2].end - t.tracks[2].begin, 927);
  EXPECT_EQ(t.names.size(), 227);
  ASSERT_EQ(t.hints.size(), 4);
  EXPECT_EQ(t.hints[0].name, "ep");
  EXPECT_EQ(t.hints[0].value, 64);
  for (size_t row = 0; row < t.events.size(); ++row) {
    if (t.events.category[row] != Category::kMemcpy) continue;
    const Copy& copy = t.copies[t.events.detail[row]];
    EXPECT_LT(std::abs(copy.exact_ns() - static_cast<double>(t.events.duration_ns[row])), 1000);
  }
}

TEST(TraceLoad, ReadsTheTextOfEvents) {
  const std::string path = train_json();
  if (path.empty()) GTEST_SKIP() << "train.json is not on this machine";
  const Result<Trace> t = load(path);
  ASSERT_TRUE(t);
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < t->events.size(); row += 97) rows.push_back(row);
  std::ranges::reverse(rows);
  rows.push_back(rows[0]);
  const Result<std::vector<std::string>> texts = read_events(*t, rows);
  ASSERT_TRUE(texts) << texts.error().message;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto event = nlohmann::json::parse((*texts)[i]);
    EXPECT_EQ(event["name"], t->name_of(rows[i]));
    EXPECT_EQ(event["ts"].get<int64_t>() * 1000 - t->base_ns, t->events.start_ns[rows[i]]);
  }
}

TEST(TraceLoad, ReadEventsNoticesAChangedFile) {
  const std::string path = temporary("changed.json");
  const std::string text = R"({"traceEvents":[{"ph":"X","name":"a","ts":1,"dur":1}]})";
  ASSERT_TRUE(write_file_atomically(path, text));
  const Result<Trace> t = load(path);
  ASSERT_TRUE(t);
  const uint32_t row = 0;
  EXPECT_TRUE(read_events(*t, std::span(&row, 1)));
  ASSERT_TRUE(write_file_atomically(
      path, std::string_view(R"({"traceEvents":[{"ph":"X","name":"b","ts":1}]})")));
  EXPECT_EQ(read_events(*t, std::span(&row, 1)).error().code, Code::kCorrupt);
  ASSERT_TRUE(write_file_atomically(path, std::string_view("{}")));
  EXPECT_EQ(read_events(*t, std::span(&row, 1)).error().code, Code::kCorrupt);
  std::filesystem::remove(path);
  EXPECT_EQ(read_events(*t, std::span(&row, 1)).error().code, Code::kNotFound);
}

TEST(TraceLoad, AnyNumberOfThreadsGivesTheSame) {
  const GeneratedTrace g = TraceGenerator(5).generate(6 << 20);
  const Trace one = must_parse(g.text, 1);
  EXPECT_EQ(one.events.size(), g.rows);
  EXPECT_EQ(one.flows.size(), g.flows);
  EXPECT_TRUE(one.health.clean());
  EXPECT_EQ(one.rank, 3);
  for (const int threads : {2, 3, 8}) expect_identical(one, must_parse(g.text, threads));
}

std::string minified(const std::string& text) {
  return nlohmann::ordered_json::parse(text).dump();
}

TEST(TraceLoad, AMinifiedTraceIsTheSame) {
  const GeneratedTrace g = TraceGenerator(6).generate(5 << 20);
  const std::string small = minified(g.text);
  EXPECT_EQ(small.find('\n'), std::string::npos);
  const Trace one = must_parse(small, 1);
  expect_same(must_parse(g.text), one);
  expect_identical(one, must_parse(small, 4));
}

// What a wrong guess looks like: event borders inside of strings and of other events.
TEST(TraceLoad, MisleadingTextChangesNothing) {
  std::string text = R"({"traceEvents":[)";
  Rng rng(3);
  for (int i = 0; text.size() < (5 << 20); ++i) {
    text += i == 0 ? "" : ",";
    text += R"({"ph":"X","name":")";
    text += "n" + std::to_string(i % 50);
    text += R"(","ts":)" + std::to_string(rng.below(1000000)) +
            R"(,"dur":1,"pid":1,"tid":1,"args":{"x":[{"name":1)";
    for (uint64_t k = rng.below(4000); k > 0; --k) text += R"(},{"name":1)";
    text += R"(}]}})";
    if (rng.chance(0.05)) text += R"(,{"ph":"X","name":"bro"ken","ts":1})";
  }
  text += "]}";
  const Trace one = must_parse(text, 1);
  EXPECT_GT(one.health.lost_events, 0);
  EXPECT_GT(one.events.size(), 100);
  for (const int threads : {2, 5}) expect_identical(one, must_parse(text, threads));
}

TEST(TraceLoad, TheOrderOfEventsMakesNoDifference) {
  const GeneratedTrace g = TraceGenerator(7).generate(1 << 20);
  auto document = nlohmann::ordered_json::parse(g.text);
  const Trace one = must_parse(g.text);
  Rng rng(1);
  for (int round = 0; round < 3; ++round) {
    auto& events = document["traceEvents"].get_ref<nlohmann::ordered_json::array_t&>();
    shuffle(std::span(events), rng);
    expect_same(one, must_parse(document.dump(1), 1 + round));
  }
}

TEST(TraceLoad, RelativeNanosecondsGiveTheSameTimes) {
  const GeneratedTrace g = TraceGenerator(8).generate(1 << 20);
  auto document = nlohmann::ordered_json::parse(g.text);
  const int64_t base_us = 1'740'461'600'000'000;
  for (auto& event : document["traceEvents"]) {
    const int64_t us = event["ts"].get<int64_t>() - base_us;
    event["ts"] = static_cast<double>(us) + 0.25;  // exact in binary
  }
  document["baseTimeNanoseconds"] = base_us * 1000;
  const Trace a = must_parse(g.text);
  const Trace b = must_parse(document.dump(2));
  EXPECT_EQ(b.generation, Generation::kG3);
  EXPECT_EQ(b.base_ns, a.base_ns + 250);
  EXPECT_EQ(b.resolution_ns, 1000 / 1000);
  EXPECT_EQ(a.events.start_ns, b.events.start_ns);
  EXPECT_EQ(a.events.duration_ns, b.events.duration_ns);
}

std::string compressed(const std::string& text, const std::string& suffix) {
  const std::string path = temporary("packed" + suffix);
  auto output = Output::create(path);
  EXPECT_TRUE(output && (*output)->append(text) && (*output)->finish());
  std::string bytes = read_file(path).value_or("");
  std::filesystem::remove(path);
  return bytes;
}

TEST(TraceLoad, CompressedIsTheSame) {
  const GeneratedTrace g = TraceGenerator(9).generate(3 << 20);
  const Trace plain = must_parse(g.text);
  for (const std::string suffix : {".gz", ".zst"}) {
    // Two members or frames, cut in the middle of an event, and padding behind.
    const size_t half = g.text.size() / 2;
    const std::string packed = compressed(g.text.substr(0, half), suffix) +
                               compressed(g.text.substr(half), suffix) + std::string(512, '\0');
    const Trace trace = must_parse(packed, 2);
    EXPECT_EQ(trace.compression, suffix == ".gz" ? Compression::kGzip : Compression::kZstd);
    expect_identical(plain, trace);
    EXPECT_EQ(trace.file_bytes, packed.size());

    const std::string path = temporary("events" + suffix);
    ASSERT_TRUE(write_file_atomically(path, packed));
    const Result<Trace> file = load(path);
    ASSERT_TRUE(file);
    std::vector<uint32_t> rows{5, 3, static_cast<uint32_t>(file->events.size() - 1), 5};
    const auto texts = read_events(*file, rows);
    ASSERT_TRUE(texts) << texts.error().message;
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ((*texts)[i], g.text.substr(file->events.offset[rows[i]], (*texts)[i].size()));
    }
    std::filesystem::remove(path);
  }
}

TEST(TraceLoad, BrokenCompression) {
  const GeneratedTrace g = TraceGenerator(10).generate(3 << 20);
  for (const std::string suffix : {".gz", ".zst"}) {
    const std::string packed = compressed(g.text, suffix);
    const Trace cut = must_parse(packed.substr(0, packed.size() / 2));
    EXPECT_TRUE(cut.health.truncated);
    EXPECT_GT(cut.events.size(), g.rows / 5);
    EXPECT_LT(cut.events.size(), g.rows);
    std::string damaged = packed;
    for (size_t i = damaged.size() / 2; i < damaged.size() / 2 + 64; ++i) damaged[i] ^= '\x5a';
    EXPECT_FALSE(must_parse(damaged).health.clean());
    for (const size_t n : {4, 6, 8}) {
      const Result<Trace> none = parse(packed.substr(0, n), "x.json");
      ASSERT_FALSE(none);
      EXPECT_EQ(none.error().code, Code::kCorrupt);
    }
  }
}

TEST(TraceLoad, APipeIsReadToItsEnd) {
  const GeneratedTrace g = TraceGenerator(11).generate(2 << 20);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::jthread writer([&] {
    for (size_t at = 0; at < g.text.size();) {
      const ssize_t n = write(ends[1], g.text.data() + at, g.text.size() - at);
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
    close(ends[1]);
  });
  const Result<Trace> trace = load("/dev/fd/" + std::to_string(ends[0]));
  ASSERT_TRUE(trace) << trace.error().message;
  expect_identical(must_parse(g.text), *trace);
  close(ends[0]);
}

TEST(TraceLoad, EveryPrefixHasItsWholeEvents) {
  GeneratedTrace g = TraceGenerator(12).generate(6000);
  const std::string& text = g.text;
  const Trace all = must_parse(text);
  std::vector<uint64_t> ends;  // of rows
  for (size_t row = 0; row < all.events.size(); ++row) {
    const uint64_t offset = all.events.offset[row];
    ends.push_back(text.find("\n  }", offset) + 4);
  }
  std::ranges::sort(ends);
  for (size_t n = 0; n <= text.size(); ++n) {
    for (const int threads : {1, 2}) {
      const Result<Trace> t = parse(std::string_view(text).substr(0, n), "x", {.threads = threads});
      if (n < text.find("traceEvents") + 15 && !t) continue;
      ASSERT_TRUE(t) << n << t.error().message;
      const auto whole = std::ranges::upper_bound(ends, n) - ends.begin();
      ASSERT_EQ(t->events.size(), static_cast<size_t>(whole)) << "prefix of " << n;
      ASSERT_EQ(t->health.lost_events, 0) << n;
      ASSERT_EQ(t->health.truncated, n < text.rfind('}') + 1) << n;
    }
  }
}

TEST(TraceLoad, LeavesOutPythonFunctions) {
  const std::string text =
      R"([{"ph":"X","cat":"python_function","name":"f","ts":1,"dur":5,"pid":1,"tid":1},
          {"ph":"X","cat":"cpu_op","name":"g","ts":2,"dur":1,"pid":1,"tid":1}])";
  EXPECT_EQ(must_parse(text).events.size(), 2);
  const Result<Trace> without = parse(text, "x", {.python_functions = false});
  ASSERT_TRUE(without);
  ASSERT_EQ(without->events.size(), 1);
  EXPECT_EQ(without->names, std::vector<std::string>{"g"});
}

TEST(TraceLoad, WhatIsNoTrace) {
  for (const std::string text :
       {"", " \n", "hello", "{}", "[1, 2, 3]", R"({"a": 1})", "\0\0", R"([{"a": 1}, {"b": 2}])"}) {
    const Result<Trace> t = parse(text, "thing.json");
    ASSERT_FALSE(t) << text;
    EXPECT_EQ(t.error().code, Code::kCorrupt);
    EXPECT_NE(t.error().message.find("thing.json"), std::string::npos);
  }
  EXPECT_EQ(load("/nonexistent/x.json").error().code, Code::kNotFound);
  EXPECT_FALSE(load("/"));
  for (const std::string text : {"[]", R"({"traceEvents": []})", R"({"schemaVersion": 1})", "["}) {
    const Result<Trace> t = parse(text, "x");
    ASSERT_TRUE(t) << text;
    EXPECT_EQ(t->events.size(), 0);
  }
}

// "VmHWM" or "VmRSS" of this process in bytes.
size_t memory(const std::string& what) {
  const std::string status = read_file("/proc/self/status").value_or("");
  const size_t at = status.find(what + ":");
  return at == std::string::npos
             ? 0
             : std::strtoull(status.c_str() + at + what.size() + 1, nullptr, 10) << 10;
}

// In a child of its own, because a process's peak never falls.
TEST(TraceLoad, NeedsLessThanAQuarterOfThePlainFile) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's memory counts as the process's";
#endif
  const std::string path = temporary("large.json");
  size_t bytes = 0;
  {
    const GeneratedTrace g = TraceGenerator(13).generate(size_t{320} << 20);
    bytes = g.text.size();
    auto output = Output::create(path);
    ASSERT_TRUE(output && (*output)->append(g.text) && (*output)->finish());
  }
  const pid_t child = fork();
  if (child == 0) {
    const size_t before = memory("VmRSS");
    const Result<Trace> trace = load(path, {.threads = 2});
    const size_t used = memory("VmHWM") - before;
    _exit(!trace ? 100 : static_cast<int>(used * 100 / bytes));
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::filesystem::remove(path);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_LT(WEXITSTATUS(status), 25) << "percent of the file";
  EXPECT_GT(WEXITSTATUS(status), 10) << "less than the columns need: the measurement is wrong";
}

}  // namespace
}  // namespace hadal::trace
