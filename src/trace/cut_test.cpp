#include "trace/cut.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/files.h"
#include "trace/trace.h"
#include "trace/trace_equal.h"
#include "trace/trace_generator.h"

namespace hadal::trace {
namespace {

class CutTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/hadal_cut_" + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name) const { return folder_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    EXPECT_TRUE(write_file_atomically(file(name), text));
    return file(name);
  }
  static Trace must_load(const std::string& path) {
    Result<Trace> trace = load(path);
    EXPECT_TRUE(trace) << trace.error().message;
    return trace ? *std::move(trace) : Trace();
  }

  std::string folder_;
};

TEST_F(CutTest, KeepsWhatTouchesTheWindow) {
  const std::string in = write("in.json", TraceGenerator(3).generate(2 << 20).text);
  const Trace all = must_load(in);
  const int64_t start = all.end_ns / 3, end = all.end_ns / 2;
  for (const std::string suffix : {"", ".gz", ".zst"}) {
    const std::string out = file("out.json" + suffix);
    const Result<CutSummary> summary = cut(in, start, end, out);
    ASSERT_TRUE(summary) << summary.error().message;
    const Trace part = must_load(out);
    EXPECT_TRUE(part.health.clean());
    EXPECT_EQ(part.events.size(), summary->rows);
    EXPECT_EQ(part.rank, all.rank);
    EXPECT_EQ(part.devices.size(), all.devices.size());
    EXPECT_EQ(part.trace_name, all.trace_name);

    // Every row of the window is there, and every runtime call of a kernel that is.
    std::set<uint32_t> correlations;
    std::multiset<std::pair<int64_t, std::string_view>> want, got;
    for (size_t row = 0; row < all.events.size(); ++row) {
      const bool inside = all.events.start_ns[row] < end && all.events.end_ns(row) > start;
      if (inside) want.emplace(all.base_ns + all.events.start_ns[row], all.name_of(row));
      if (inside && is_gpu_activity(all.events.category[row]))
        correlations.insert(all.events.correlation[row]);
    }
    std::set<uint32_t> launched;
    for (size_t row = 0; row < part.events.size(); ++row) {
      got.emplace(part.base_ns + part.events.start_ns[row], part.name_of(row));
      if (is_runtime_call(part.events.category[row])) launched.insert(part.events.correlation[row]);
    }
    EXPECT_TRUE(std::ranges::includes(got, want));
    EXPECT_TRUE(std::ranges::includes(launched, correlations));
    EXPECT_FALSE(correlations.empty());
    EXPECT_LT(part.events.size(), all.events.size() / 2);
    EXPECT_GT(part.flows.size(), 0);
    EXPECT_LT(part.flows.size(), all.flows.size());
  }
}

TEST_F(CutTest, TheWholeWindowChangesNothing) {
  const std::string in = write("in.json", TraceGenerator(4).generate(1 << 20).text);
  const Trace all = must_load(in);
  ASSERT_TRUE(cut(in, INT64_MIN, INT64_MAX, in));  // onto itself
  expect_same(all, must_load(in));
}

TEST_F(CutTest, PairsStayPairs) {
  const std::string in = write("in.json", R"({"traceEvents": [
    {"ph":"B","name":"out","pid":"p","tid":1,"ts":1,"cat":"x"},{"ph":"B","name":"in",)"
                                          R"("pid":"p","tid":1,"ts":5},
    {"ph":"E","pid":"p","tid":1,"ts":8},{"ph":"E","pid":"p","tid":1,"ts":20},
    {"ph":"B","name":"late","pid":"p","tid":1,"ts":30},{"ph":"E","pid":"p","tid":1,)"
                                          R"("ts":31}], "traceName": "a"})");
  ASSERT_TRUE(cut(in, 3000, 6000, file("out.json")));
  const Trace part = must_load(file("out.json"));
  EXPECT_EQ(part.names, (std::vector<std::string>{"in", "out"}));
  EXPECT_EQ(part.events.duration_ns, (std::vector<int64_t>{19000, 3000}));
  EXPECT_TRUE(part.health.clean());
}

TEST_F(CutTest, ReportsWhatIsWrong) {
  EXPECT_EQ(cut(file("none.json"), 0, 1, file("out.json")).error().code, Code::kNotFound);
  const std::string in = write("in.json", "[]");
  EXPECT_EQ(cut(in, 5, 5, file("out.json")).error().code, Code::kInvalidArgument);
  EXPECT_FALSE(cut(in, 0, 5, file("no/folder/out.json")));
  EXPECT_TRUE(cut(in, 0, 5, file("out.json")));
  EXPECT_EQ(must_load(file("out.json")).events.size(), 0);
}

TEST_F(CutTest, MergesRanks) {
  std::vector<std::string> paths;
  for (int rank = 0; rank < 3; ++rank) {
    std::string text = TraceGenerator(20 + rank).generate(200 << 10).text;
    text.replace(text.find("\"rank\": 3"), 9, "\"rank\": " + std::to_string(4 + rank));
    paths.push_back(write("r" + std::to_string(rank) + ".json", text));
  }
  const std::vector<int64_t> offsets{0, -1'500'250, 2'000'000};
  const std::string out = file("all.json.gz");
  const Result<CutSummary> summary = merge(paths, offsets, out);
  ASSERT_TRUE(summary) << summary.error().message;
  const Trace all = must_load(out);
  EXPECT_TRUE(all.health.clean());
  size_t rows = 0, flows = 0, tracks = 0;
  std::set<uint32_t> correlations;
  size_t distinct = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    const Trace one = must_load(paths[i]);
    rows += one.events.size();
    flows += one.flows.size();
    tracks += one.tracks.size();
    const std::set<uint32_t> own(one.events.correlation.begin(), one.events.correlation.end());
    distinct += own.size() - own.count(0);
    EXPECT_EQ(all.device(0)->name, one.device(0)->name);
  }
  for (const uint32_t c : all.events.correlation) correlations.insert(c);
  EXPECT_EQ(all.events.size(), rows);
  EXPECT_EQ(summary->rows, rows);
  EXPECT_EQ(all.flows.size(), flows);
  EXPECT_EQ(all.tracks.size(), tracks);
  EXPECT_EQ(correlations.size() - correlations.count(0), distinct);
  EXPECT_EQ(all.rank, -1);
  EXPECT_EQ(all.world_size, 3);
  const auto named = std::ranges::find(all.tracks, "rank 5 python3", &Track::process_name);
  ASSERT_NE(named, all.tracks.end());
  EXPECT_EQ(named->process, "50001166");
  // One rank's rows, moved by its offset.
  const Trace one = must_load(paths[1]);
  const Track& from = one.tracks[0];
  const auto to = std::ranges::find_if(all.tracks, [&](const Track& t) {
    return t.process == "5000" + from.process && t.thread == from.thread;
  });
  ASSERT_NE(to, all.tracks.end());
  ASSERT_EQ(to->end - to->begin, from.end - from.begin);
  EXPECT_EQ(all.base_ns + all.events.start_ns[to->begin],
            one.base_ns + one.events.start_ns[from.begin] - 1'500'250);
}

TEST_F(CutTest, MergesGenerations) {
  // Relative and absolute times come to one epoch.
  const std::string a = write("a.json", R"({"baseTimeNanoseconds": 1740461600000000000,
    "traceEvents": [{"ph":"X","name":"a","pid":"Spans","tid":1,"ts":79470692.125,"dur":1}]})");
  const std::string b = write("b.json", R"([
    {"ph":"X","name":"b","pid":-1,"tid":1,"ts":1740461679470693,"dur":1}])");
  ASSERT_TRUE(merge(std::vector{a, b}, {}, file("all.json")));
  const Trace all = must_load(file("all.json"));
  ASSERT_EQ(all.events.size(), 2);
  EXPECT_EQ(all.base_ns, 1740461679470692125);
  EXPECT_EQ(all.end_ns, 1875);
  EXPECT_EQ(merge({}, {}, file("x")).error().code, Code::kInvalidArgument);
  EXPECT_EQ(merge(std::vector{a}, std::vector<int64_t>{1, 2}, file("x")).error().code,
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::trace
