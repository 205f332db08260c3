#include "trace/contention.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

Launch blocks(uint32_t n) {
  return {.grid = {n, 1, 1},
          .block = {128, 1, 1},
          .registers_per_thread = 32,
          .shared_memory_bytes = 0,
          .reported_occupancy = -1};
}

TEST(Contention, ClassesOfCompany) {
  EXPECT_EQ((Beside{.communication = 0.05, .compute = 0.05}.company()), Company::kAlone);
  EXPECT_EQ((Beside{.communication = 0.95, .compute = 1}.company()), Company::kCommunication);
  EXPECT_EQ((Beside{.communication = 0.5, .compute = 1}.company()), Company::kMixed);
  EXPECT_EQ((Beside{.communication = 0, .compute = 1}.company()), Company::kCompute);
  EXPECT_EQ((Beside{.communication = 0, .compute = 0.5}.company()), Company::kMixed);
}

TEST(Contention, SharesOfTime) {
  TestTrace t;
  t.kernel("norm", 7, 0, 100, blocks(4));
  t.kernel("norm", 7, 200, 100, blocks(4));
  t.kernel("nccl_all_reduce", 9, 250, 200);  // half of the second norm
  t.kernel("gemm", 8, 290, 100, blocks(2));  // a tenth of the second norm; all beside nccl
  t.kernel("empty", 8, 300, 0, blocks(1));
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const auto all = beside(view);
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0].communication, 0);
  EXPECT_EQ(all[0].compute, 0);
  EXPECT_DOUBLE_EQ(all[1].communication, 0.5);
  EXPECT_DOUBLE_EQ(all[1].compute, 0.1);
  EXPECT_DOUBLE_EQ(all[2].compute, 0.7);  // nccl: 250-390 of 250-450
  EXPECT_EQ(all[2].communication, 0);
  EXPECT_DOUBLE_EQ(all[3].communication, 1);
  EXPECT_EQ(all[4].compute, 0);  // zero length
}

TEST(Contention, SharesEqualThoseByDefinition) {
  Rng rng(7);
  TestTrace t;
  for (int i = 0; i < 300; ++i) {
    const bool comm = rng.chance(0.3);
    t.kernel(comm ? "nccl" : "gemm", static_cast<int>(rng.below(4)),
             static_cast<int64_t>(rng.below(2000)), static_cast<int64_t>(rng.below(40)));
  }
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const auto fast = beside(view);
  for (size_t i = 0; i < fast.size(); ++i) {
    const Activity& a = view.activities[i];
    for (const Class kind : {Class::kCommunication, Class::kCompute}) {
      std::vector<Interval> others;
      for (size_t j = 0; j < fast.size(); ++j) {
        const Activity& b = view.activities[j];
        if (i != j && b.kind == kind) others.push_back({b.start_ns, b.end_ns});
      }
      const auto set = clip(unite(others), a.start_ns, a.end_ns);
      const double share = a.duration_ns() == 0 ? 0
                                                : static_cast<double>(length(set)) /
                                                      static_cast<double>(a.duration_ns());
      EXPECT_DOUBLE_EQ(kind == Class::kCompute ? fast[i].compute : fast[i].communication, share);
    }
  }
}

TEST(Contention, ComparesAloneWithBesideCommunication) {
  TestTrace t;
  t.kernel("norm", 7, 0, 100, blocks(4));
  t.kernel("norm", 7, 1000, 150, blocks(4));
  t.kernel("norm", 7, 2000, 170, blocks(4));
  t.kernel("norm", 7, 3000, 500, blocks(5));  // another grid: another kernel
  t.kernel("nccl", 9, 900, 2000);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Contention c = contention(view);
  ASSERT_EQ(c.kernels.size(), 1U);  // neither nccl nor the other norm has two kinds of company
  const ContentionRow& row = c.kernels[0];
  EXPECT_EQ(row.in(Company::kAlone).median_ns, 100'000);
  EXPECT_EQ(row.in(Company::kCommunication).count, 2U);
  EXPECT_DOUBLE_EQ(row.slowdown(Company::kCommunication), 1.5);
  EXPECT_EQ(row.slowdown(Company::kCompute), 0);
  EXPECT_EQ(row.lost_ns(Company::kCommunication), 120'000);
  EXPECT_TRUE(c.slots.empty());
  EXPECT_DOUBLE_EQ(to_json(view, c)["kernels"][0]["communication"]["slowdown"].get<double>(), 1.5);
}

TEST(Contention, SlotsAreTheSamePlaceOfTheProgram) {
  TestTrace t;
  for (int layer = 0; layer < 2; ++layer) {
    const int64_t at = layer * 1000;
    t.region("attn", at, at + 900);
    t.kernel("norm", 7, at + 10, layer == 0 ? 50 : 90, blocks(4));
    t.kernel("norm", 7, at + 400, 100, blocks(4));  // alone in both layers
  }
  t.kernel("nccl", 9, 1000, 200);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Contention c = contention(view);
  ASSERT_EQ(c.slots.size(), 1U);
  EXPECT_EQ(c.slots[0].ordinal, 0);
  EXPECT_EQ(trace.names[c.slots[0].region_name], "attn");
  EXPECT_DOUBLE_EQ(c.slots[0].slowdown(Company::kCommunication), 1.8);
}

TEST(Contention, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const GpuView& view = train.view();
  const Contention c = contention(view);
  // LayerNorm forward in attn(B): 396 blocks, 64 bytes of shared memory.
  bool norm = false, norm_backward = false;
  for (const ContentionRow& row : c.slots) {
    const Launch& l = *launch_of(view, row.key);
    const std::string_view kernel = view.trace->names[row.key.name];
    if (kernel.find("ln_fwd") != kernel.npos && l.grid[0] == 396 && l.shared_memory_bytes == 64 &&
        view.trace->names[row.region_name] == "attn(B)") {
      norm = true;
      EXPECT_EQ(row.in(Company::kAlone).min_ns, 73'000);
      EXPECT_EQ(row.in(Company::kAlone).max_ns, 75'000);
      EXPECT_EQ(row.in(Company::kCommunication).min_ns, 123'000);
      EXPECT_EQ(row.in(Company::kCommunication).max_ns, 127'000);
      EXPECT_NEAR(row.slowdown(Company::kCommunication), 1.69, 0.01);
    }
  }
  for (const ContentionRow& row : c.kernels) {
    const std::string_view kernel = view.trace->names[row.key.name];
    if (kernel.find("ln_bwd_kernel") == kernel.npos || launch_of(view, row.key)->grid[0] != 132) {
      continue;
    }
    norm_backward = true;
    EXPECT_EQ(row.in(Company::kAlone).min_ns, 97'000);
    EXPECT_EQ(row.in(Company::kAlone).max_ns, 101'000);
    EXPECT_EQ(row.in(Company::kCommunication).min_ns, 179'000);
    EXPECT_EQ(row.in(Company::kCommunication).max_ns, 184'000);
    EXPECT_EQ(row.in(Company::kMixed).count, 1U);  // half of its time beside communication: 147
  }
  EXPECT_TRUE(norm);
  EXPECT_TRUE(norm_backward);
}

}  // namespace
}  // namespace hadal::trace
