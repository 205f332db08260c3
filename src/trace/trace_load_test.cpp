#include <gtest/gtest.h>

#include "trace/trace.h"
#include "trace/trace_files.h"

namespace hadal::trace {
namespace {

TEST(TraceLoad, TheRealTrace) {
  const std::string path = train_json();
  if (path.empty()) GTEST_SKIP() << "train.json is not on this machine";
  const Result<Trace> loaded = load(path);
  ASSERT_TRUE(loaded) << loaded.error().message;
  const Trace& t = *loaded;
  EXPECT_EQ(t.events.size(), 4387 + 3853 + 963 + 42 + 40 + 12 + 8 + 2 + 1);
  EXPECT_EQ(t.flows.size(), 3836 + 1040 + 8 + 8);
  EXPECT_TRUE(t.health.clean());
  EXPECT_EQ(t.generation, Generation::kG2);
  EXPECT_EQ(t.resolution_ns, 1000);
  EXPECT_EQ(t.base_ns, 1740461679470630000);
  EXPECT_EQ(t.devices.size(), 8);
  EXPECT_EQ(t.device(0)->num_sms, 132);
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

  const uint32_t rows[] = {t.tracks[2].begin, 0, t.tracks[2].begin};
  const Result<std::vector<std::string>> texts = read_events(t, rows);
  ASSERT_TRUE(texts) << texts.error().message;
  EXPECT_EQ((*texts)[0], (*texts)[2]);
  EXPECT_NE((*texts)[0].find("\"stream\": 7"), std::string::npos) << (*texts)[0];
}

}  // namespace
}  // namespace hadal::trace
