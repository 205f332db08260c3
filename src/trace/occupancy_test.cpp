#include "trace/occupancy.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

Launch launch(uint32_t blocks, uint32_t threads, uint32_t registers, uint32_t shared,
              float reported = -1) {
  return {.grid = {blocks, 1, 1},
          .block = {threads, 1, 1},
          .registers_per_thread = registers,
          .shared_memory_bytes = shared,
          .reported_occupancy = reported};
}

TEST(Occupancy, EachResourceCanBeTheLimit) {
  const SmLimits sm = *sm_limits(h800());
  struct Case {
    Launch launch;
    int blocks_per_sm;
    double percent;
    Limiter limiter;
  };
  const Case cases[] = {
      // 168 registers: 5376 a warp, 3 warps a scheduler, 12 warps, 3 blocks of 4.
      {launch(1320, 128, 168, 64), 3, 18.75, Limiter::kRegisters},
      {launch(100'000, 512, 32, 0), 4, 100, Limiter::kWarps},
      {launch(100'000, 32, 16, 0), 32, 50, Limiter::kBlocks},
      {launch(100'000, 384, 168, 217'604), 1, 18.75, Limiter::kRegisters},
      {launch(100'000, 256, 32, 100'000), 2, 25, Limiter::kSharedMemory},
      {launch(66, 1024, 32, 0), 2, 25, Limiter::kGrid},
      {launch(132, 384, 168, 232'449), 0, 0, Limiter::kSharedMemory},  // more than a block may have
  };
  for (const Case& c : cases) {
    const auto o = occupancy(c.launch, sm);
    ASSERT_TRUE(o);
    EXPECT_EQ(o->blocks_per_sm, c.blocks_per_sm) << c.launch.shared_memory_bytes;
    EXPECT_DOUBLE_EQ(o->percent, c.percent) << c.launch.shared_memory_bytes;
    EXPECT_EQ(o->limiter, c.limiter) << name(o->limiter);
  }
}

TEST(Occupancy, LimitsOfEveryGeneration) {
  struct Case {
    int major, minor, warps, blocks;
    int64_t per_block;
  };
  // CUDA C++ Programming Guide, table of technical specifications.
  for (const auto& [major, minor, warps, blocks, per_block] :
       {Case{7, 0, 64, 32, 98'304}, Case{7, 5, 32, 16, 65'536}, Case{8, 0, 64, 32, 166'912},
        Case{8, 6, 48, 16, 101'376}, Case{8, 9, 48, 24, 101'376}, Case{9, 0, 64, 32, 232'448},
        Case{10, 0, 64, 32, 232'448}, Case{12, 0, 48, 24, 101'376}}) {
    const auto sm =
        sm_limits({.name = "", .compute_major = major, .compute_minor = minor, .num_sms = 100});
    ASSERT_TRUE(sm) << major << minor;
    EXPECT_EQ(sm->warps, warps);
    EXPECT_EQ(sm->blocks, blocks);
    EXPECT_EQ(sm->shared_memory_per_block, per_block);
    EXPECT_EQ(sm->registers, 65'536);
  }
}

TEST(Occupancy, UnknownDevicesGiveNoFigure) {
  EXPECT_FALSE(sm_limits(
      {.name = "AMD", .compute_major = 9, .compute_minor = 4, .num_sms = 304, .warp_size = 64}));
  EXPECT_FALSE(sm_limits({.name = "old", .compute_major = 3, .compute_minor = 5, .num_sms = 13}));
  EXPECT_FALSE(sm_limits({.name = "", .compute_major = 9, .compute_minor = 0, .num_sms = 0}));
  EXPECT_FALSE(occupancy({}, *sm_limits(h800())));
}

TEST(Occupancy, AbsurdLaunchesAreHarmless) {
  const SmLimits sm = *sm_limits(h800());
  const uint32_t big = UINT32_MAX;
  const Launch all{.grid = {big, big, big},
                   .block = {big, big, big},
                   .registers_per_thread = big,
                   .shared_memory_bytes = big};
  const auto o = occupancy(all, sm);
  ASSERT_TRUE(o);
  EXPECT_EQ(o->blocks_per_sm, 0);
  EXPECT_EQ(o->percent, 0);
  EXPECT_EQ(remaining(sm, all).warps, 0);
  EXPECT_EQ(remaining(sm, all).registers, 0);
}

TEST(Occupancy, WhatABlockLeavesForOthers) {
  const SmLimits sm = *sm_limits(h800());
  const Launch norm = launch(396, 128, 168, 64);
  // DeepEP's combine: 25 warps of 2304 registers leave 7936, too few for one block of 4 warps.
  EXPECT_EQ(occupancy(norm, remaining(sm, launch(20, 800, 72, 1320)))->blocks_per_sm, 0);
  // cached_notify: 10 warps of 1792.
  EXPECT_EQ(occupancy(norm, remaining(sm, launch(20, 320, 56, 0)))->blocks_per_sm, 2);
}

TEST(OccupancyReport, WeighsByDurationAndFindsWrongFigures) {
  TestTrace t;
  t.kernel("gemm", 7, 0, 300, launch(132, 384, 168, 217'604, 0));  // exact 18.75
  t.kernel("gemm", 7, 300, 300, launch(132, 384, 168, 217'604, 0));
  t.kernel("cast", 7, 600, 200, launch(4096, 128, 32, 0, 100));
  t.kernel("mystery", 7, 800, 100);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const OccupancyReport report = occupancy_report(view);
  ASSERT_EQ(report.kernels.size(), 3U);
  EXPECT_EQ(report.kernels[0].count, 2U);
  EXPECT_TRUE(report.kernels[0].reported_wrong);
  EXPECT_TRUE(report.kernels[0].explained);
  EXPECT_FALSE(report.kernels[1].reported_wrong);
  EXPECT_EQ(report.launches_wrong, 2U);
  EXPECT_EQ(report.wrong_ns, 600'000);
  EXPECT_EQ(report.launches_unknown, 1U);
  EXPECT_EQ(report.unknown_ns, 100'000);
  EXPECT_DOUBLE_EQ(report.reported_mean_percent, 25);
  EXPECT_DOUBLE_EQ(report.exact_mean_percent, (18.75 * 600 + 100 * 200) / 800);
  EXPECT_EQ(to_json(view, report)["kernels"][0]["limiter"], "grid");
}

TEST(OccupancyReport, SaysSoWhereTheDeviceIsNotDescribed) {
  TestTrace t;
  t.kernel("gemm", 7, 0, 300, launch(132, 384, 168, 217'604, 0));
  const Trace trace = t.build({});
  const GpuView view = gpu_view(trace, Rules());
  const OccupancyReport report = occupancy_report(view);
  EXPECT_EQ(report.launches_unknown, 1U);
  EXPECT_EQ(report.exact_mean_percent, -1);
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_NE(report.notes[0].find("GPU 0"), std::string::npos);
  EXPECT_TRUE(to_json(view, report)["mean_percent"].is_null());
}

TEST(OccupancyReport, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const OccupancyReport report = occupancy_report(train.view());
  EXPECT_EQ(report.launches, 963U);
  EXPECT_EQ(report.launches_explained, 963U);
  EXPECT_EQ(report.launches_wrong, 228U);
  EXPECT_EQ(report.wrong_ns, 96'498'000);
  EXPECT_EQ(report.kernel_ns, 244'041'000);
  EXPECT_NEAR(report.reported_mean_percent, 11.84306, 1e-5);
  EXPECT_NEAR(report.exact_mean_percent, 18.40127, 1e-5);
}

}  // namespace
}  // namespace hadal::trace
