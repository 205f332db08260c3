#include "trace/patterns.h"

#include <algorithm>
#include <set>
#include <tuple>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "trace/kernels.h"
#include "trace/repeats.h"
#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

/// (word, where it occurs) of all maximal repeats, by trying every substring.
std::set<std::vector<uint32_t>> maximal_repeats(const std::vector<uint32_t>& s, size_t least) {
  std::set<std::vector<uint32_t>> found;
  for (size_t i = 0; i < s.size(); ++i) {
    for (size_t length = least; i + length <= s.size(); ++length) {
      const std::vector<uint32_t> word(s.begin() + i, s.begin() + i + length);
      std::set<int64_t> before, after;
      int count = 0;
      for (size_t j = 0; j + length <= s.size(); ++j) {
        if (!std::equal(word.begin(), word.end(), s.begin() + j)) continue;
        ++count;
        before.insert(j == 0 ? -1 : int64_t{s[j - 1]});
        after.insert(j + length == s.size() ? -1 : int64_t{s[j + length]});
      }
      if (count >= 2 && before.size() >= 2 && after.size() >= 2) found.insert(word);
    }
  }
  return found;
}

TEST(Repeats, AreTheMaximalOnes) {
  Rng rng(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint32_t> s(rng.below(24));
    const uint64_t letters = 1 + rng.below(3);
    for (uint32_t& x : s) x = static_cast<uint32_t>(rng.below(letters)) * 1'000'000;
    const RepeatIndex index = find_repeats(s, 2);
    std::set<std::vector<uint32_t>> found;
    for (const Repeat& r : index.repeats) {
      const uint32_t at = index.suffixes[r.begin];
      EXPECT_TRUE(found.insert({s.begin() + at, s.begin() + at + r.length}).second);
      for (uint32_t i = r.begin; i < r.end; ++i) {
        EXPECT_TRUE(
            std::equal(s.begin() + at, s.begin() + at + r.length, s.begin() + index.suffixes[i]));
      }
    }
    EXPECT_EQ(found, maximal_repeats(s, 2));
  }
}

TEST(Repeats, OccurrencesDoNotOverlap) {
  const std::vector<uint32_t> s(9, 7);
  const RepeatIndex index = find_repeats(s, 2);
  const auto two = std::ranges::find(index.repeats, 2U, &Repeat::length);
  ASSERT_NE(two, index.repeats.end());
  EXPECT_EQ(occurrences(index, *two), (std::vector<uint32_t>{0, 2, 4, 6}));
}

TEST(Patterns, ALayerThatRepeats) {
  TestTrace t;
  for (int layer = 0; layer < 4; ++layer) {
    const int64_t at = layer * 1000;
    t.kernel("norm", 7, at, 50);
    t.kernel("cast", 7, at + 100, 20);
    t.kernel("gemm", 7, at + 200, 300);
    t.kernel("cast", 7, at + 600, 20);
    t.kernel("gemm", 7, at + 700, 100);
  }
  t.kernel("loss", 7, 5000, 10);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Patterns p = patterns(view, {});
  ASSERT_GE(p.sequences.size(), 2U);
  const Sequence& layer = p.sequences[0];
  EXPECT_EQ(layer.count, 4U);
  ASSERT_EQ(layer.names.size(), 5U);
  EXPECT_EQ(trace.names[layer.names[0]], "norm");
  EXPECT_EQ(layer.total_ns, 4 * 490'000);
  EXPECT_EQ(layer.first[1], 5U);
  // Twice in each layer.
  const Sequence& product = p.sequences[1];
  EXPECT_EQ(product.count, 8U);
  EXPECT_EQ(product.names.size(), 2U);
  EXPECT_EQ(product.total_ns, 4 * 440'000);
  EXPECT_EQ(p.sequences.size(), 2U);
  EXPECT_EQ(to_json(view, p)["sequences"][0]["length"], 5);
}

TEST(Patterns, Recompute) {
  TestTrace t;
  const auto forward = [&](int64_t at) {
    t.kernel("norm", 7, at, 10);
    t.kernel("gemm", 7, at + 20, 100);
    t.kernel("rope", 7, at + 130, 5);
  };
  t.region("attn(F)", 0, 1000);
  forward(10);
  t.kernel("attention", 7, 300, 100);
  t.region("attn(B)", 2000, 3000);
  forward(2010);
  t.kernel("attention_bwd", 7, 2300, 200);
  t.kernel("norm", 7, 2600, 10);  // alone: no run
  t.kernel("gemm", 7, 2700, 100);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Patterns p = patterns(view, {});
  ASSERT_EQ(p.recompute.size(), 1U);
  EXPECT_EQ(p.recompute[0].activities.size(), 3U);
  EXPECT_EQ(p.recompute[0].total_ns, 115'000);
  EXPECT_EQ(trace.names[p.recompute[0].forward_name], "attn(F)");
}

TEST(Patterns, ChainsOfShortKernels) {
  TestTrace t;
  t.region("mlp", 0, 100);
  t.region("attn", 100, 200);
  for (int i = 0; i < 3; ++i) t.kernel("add", 7, i * 10, 4 + i);
  t.kernel("gemm", 7, 40, 5);
  for (int i = 0; i < 2; ++i) t.kernel("mul", 7, 50 + i * 10, 4);  // too few
  t.kernel("long_add", 7, 75, 10);
  for (int i = 0; i < 2; ++i) t.kernel("mul", 7, 86 + i * 6, 4);  // and two of the next region
  for (int i = 0; i < 2; ++i) t.kernel("mul", 7, 100 + i * 10, 4);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Patterns p = patterns(view, {});
  ASSERT_EQ(p.chains.size(), 1U);
  EXPECT_EQ(p.chains[0].activities.size(), 3U);
  EXPECT_EQ(p.chains[0].kernels_ns, 15'000);
  EXPECT_EQ(p.chains[0].span_ns, 26'000);
  EXPECT_EQ(p.chains[0].ceiling_ns, 20'000);
  EXPECT_EQ(p.short_kernels, 10U);
}

TEST(Patterns, OneKernelAHundredThousandTimes) {
  TestTrace t;
  for (int i = 0; i < 100'000; ++i) t.kernel("same", 7, i * 2, 1);
  const Trace trace = t.build();
  const Patterns p = patterns(gpu_view(trace, Rules()), {});
  ASSERT_FALSE(p.sequences.empty());
  EXPECT_EQ(p.sequences[0].names.size(), 2U);
  EXPECT_EQ(p.chains.size(), 1U);
}

TEST(Patterns, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const GpuView& view = train.view();
  const Patterns p = patterns(view, infer_shapes(view));
  // MLA's recompute, once in each of the four layers: norms, q_b, kv_b, rotary.
  std::vector<int64_t> cost;
  for (const Recompute& r : p.recompute) {
    if (view.trace->names[r.backward_name] != "attn(B)") continue;
    cost.push_back(r.total_ns);
    std::set<uint32_t> shared;
    for (const uint32_t i : r.activities) {
      shared.insert(view.launch_of(view.activities[i])->shared_memory_bytes);
    }
    EXPECT_TRUE(shared.contains(217'604 + 1536 / 16));
    EXPECT_TRUE(shared.contains(217'604 + 512 / 16));
  }
  ASSERT_EQ(cost.size(), 4U);
  for (const int64_t ns : cost) EXPECT_NEAR(static_cast<double>(ns), 1.0e6, 0.1e6);
  // Rows of the grouped products.
  ASSERT_EQ(p.grouped_rows.size(), 2U);
  EXPECT_EQ(p.grouped_rows[0].rows, (std::vector<int64_t>{34688, 32512, 32896, 28416}));
  EXPECT_EQ(p.grouped_rows[1].rows, (std::vector<int64_t>{31104, 30976, 36864, 31104}));
  EXPECT_EQ(p.grouped_rows[1].most, 36864);
  // A layer is the pattern with the most time.
  ASSERT_FALSE(p.sequences.empty());
  EXPECT_GT(p.chains.size(), 0U);
}

}  // namespace
}  // namespace hadal::trace
