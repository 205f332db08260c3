#include "trace/diff.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "trace/hand_trace.h"

namespace hadal::trace {
namespace {

const DiffRow* find(const std::vector<DiffRow>& rows, const std::string& name) {
  for (const DiffRow& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

/// Kernels, families and regions each add up to the difference of the spans.
void expect_exact(const TraceDiff& d) {
  EXPECT_EQ(d.span_delta_ns(), (d.b.compute_ns - d.a.compute_ns) +
                                   (d.b.exposed_communication_ns - d.a.exposed_communication_ns) +
                                   (d.b.exposed_memory_ns - d.a.exposed_memory_ns) +
                                   (d.b.idle_ns - d.a.idle_ns));
  for (const auto* rows : {&d.kernels, &d.families, &d.regions}) {
    int64_t owned = d.b.idle_ns - d.a.idle_ns;
    for (const DiffRow& row : *rows) {
      owned += row.owned_delta_ns();
      EXPECT_EQ(row.by_count_ns + row.by_duration_ns, row.b.sum_ns - row.a.sum_ns) << row.name;
    }
    EXPECT_EQ(owned, d.span_delta_ns());
  }
}

TEST(Diff, SharesTheSpanOut) {
  HandTrace t;
  t.kernel(7, "a", 0, 100).kernel(7, "b", 150, 50);
  t.kernel(8, "c", 90, 70);                              // owns 100-150; then b started first
  t.kernel(20, "ncclKernel", 50, 200);                   // owns 200-250
  t.add(Category::kMemcpy, 30, "Memcpy DtoD", 240, 30);  // owns 250-270
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  const std::vector<int64_t> owned = owned_time(view);
  ASSERT_EQ(view.name_of(view.activities[2]), "c");
  EXPECT_EQ(owned, (std::vector<int64_t>{100, 50, 60, 40, 20}));
}

TEST(Diff, SplitsByCountAndDuration) {
  HandTrace before, after;
  before.kernel(7, "x", 0, 100).kernel(7, "x", 100, 100).kernel(7, "gone", 200, 30);
  after.kernel(7, "x", 0, 160).kernel(7, "x", 160, 160).kernel(7, "x", 320, 160);
  after.kernel(7, "fresh", 500, 5);
  const Trace a = before.trace(), b = after.trace();
  const TraceDiff d = diff(gpu_view(a, Rules()), gpu_view(b, Rules()));
  expect_exact(d);
  ASSERT_EQ(d.kernels.size(), 3U);
  const DiffRow* x = find(d.kernels, "x");
  EXPECT_EQ(x->by_count_ns, 130);     // one more at (100 + 160) / 2
  EXPECT_EQ(x->by_duration_ns, 150);  // 2.5 of them 60 longer
  EXPECT_EQ(find(d.kernels, "gone")->by_count_ns, -30);
  EXPECT_EQ(find(d.kernels, "fresh")->by_count_ns, 5);
  EXPECT_EQ(d.kernels[0].name, "x");
  EXPECT_EQ(d.span_delta_ns(), 275);
  EXPECT_EQ(d.b.idle_ns, 20);
}

TEST(Diff, RandomTracesAddUpAndTurnAround) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed);
    HandTrace sides[2];
    for (HandTrace& t : sides) {
      t.add(Category::kUserAnnotation, -1, "attn", 0, 400);
      t.add(Category::kUserAnnotation, -1, "mlp", 400, 400);
      t.add(Category::kUserAnnotation, -1, "attn", 800, 100);
      const uint64_t count = rng.below(40);
      for (uint64_t i = 0; i < count; ++i) {
        const char* const names[] = {"gemm", "ncclKernel", "notify", "add_kernel"};
        const auto start = static_cast<int64_t>(rng.below(1000));
        const auto duration = static_cast<int64_t>(rng.below(90));
        const int stream = static_cast<int>(rng.below(4));
        if (rng.below(5) == 0) {
          t.add(Category::kMemset, stream, "Memset", start, duration);
        } else {
          t.launched(stream, names[rng.below(4)], start, duration, start);
        }
      }
    }
    const Trace a = sides[0].trace(), b = sides[1].trace();
    const GpuView view_a = gpu_view(a, Rules()), view_b = gpu_view(b, Rules());
    const TraceDiff there = diff(view_a, view_b), back = diff(view_b, view_a);
    expect_exact(there);
    for (const DiffRow& row : there.kernels) {
      const DiffRow* same = find(back.kernels, row.name);
      EXPECT_EQ(row.by_count_ns, -same->by_count_ns);
      EXPECT_EQ(row.by_duration_ns, -same->by_duration_ns);
    }
    const TraceDiff none = diff(view_a, view_a);
    for (const DiffRow& row : none.kernels) {
      EXPECT_EQ(row.owned_delta_ns(), 0);
      EXPECT_EQ(row.by_duration_ns, 0);
    }
    for (const MatchedRegion& region : none.matched) EXPECT_EQ(region.a, region.b);
    int64_t owned = 0;
    for (const int64_t ns : owned_time(view_a)) owned += ns;
    EXPECT_EQ(owned, there.a.busy_ns);
  }
}

TEST(Diff, MatchesRegionsByNameAndIndex) {
  HandTrace before, after;
  before.add(Category::kUserAnnotation, -1, "attn", 0, 10);
  before.launched(7, "k", 20, 100, 5);
  after.add(Category::kUserAnnotation, -1, "attn", 0, 10);
  after.add(Category::kUserAnnotation, -1, "attn", 20, 10);
  after.launched(7, "k", 20, 110, 5).launched(7, "k", 200, 1, 25);
  const Trace a = before.trace(), b = after.trace();
  const TraceDiff d = diff(gpu_view(a, Rules()), gpu_view(b, Rules()));
  ASSERT_EQ(d.matched.size(), 2U);
  EXPECT_EQ(d.matched[0].gpu_a_ns, 100);
  EXPECT_EQ(d.matched[0].gpu_b_ns, 110);
  EXPECT_EQ(d.matched[1].a, kNone);
  EXPECT_EQ(d.matched[1].owned_b_ns, 1);
  EXPECT_EQ(to_json(d)["matched_regions"][1]["in_a"], false);
}

TEST(Diff, NothingAtAll) {
  const Trace none = HandTrace().trace();
  const TraceDiff d = diff(gpu_view(none, Rules()), gpu_view(none, Rules()));
  expect_exact(d);
  EXPECT_EQ(to_json(d)["delta"]["span_us"], 0);
}

TEST(Diff, HalvesOfTheTrainTrace) {
  const std::string path = HADAL_SOURCE_DIR "/../shared/data/trace/train.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const Result<Trace> trace = load(path);
  ASSERT_TRUE(trace) << trace.error().message;
  const GpuView whole = gpu_view(*trace, Rules());
  const int64_t middle = whole.activities.front().start_ns + 64'506'000;
  const GpuView first = gpu_view(*trace, Rules(), {.end_ns = middle, .description = "first"});
  const GpuView second = gpu_view(*trace, Rules(), {.start_ns = middle, .description = "second"});
  expect_exact(diff(first, second));
  expect_exact(diff(whole, first));
}

}  // namespace
}  // namespace hadal::trace
