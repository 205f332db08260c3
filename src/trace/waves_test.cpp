#include "trace/waves.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

Launch launch(uint32_t blocks, uint32_t threads, uint32_t registers, uint32_t shared = 0) {
  return {.grid = {blocks, 1, 1},
          .block = {threads, 1, 1},
          .registers_per_thread = registers,
          .shared_memory_bytes = shared,
          .reported_occupancy = -1};
}
const Launch kGemm = launch(112, 384, 168, 200'000);  // one block on an SM
const Launch kCombine = launch(20, 800, 72, 1320);    // leaves no room for a norm
const Launch kNorm = launch(396, 128, 168);           // three on an SM

const WaveRow* find(const GpuView& view, const WaveReport& report, std::string_view kernel,
                    Company company) {
  const auto at = std::ranges::find_if(report.rows, [&](const WaveRow& row) {
    return view.trace->names[row.key.name] == kernel && row.company == company;
  });
  return at == report.rows.end() ? nullptr : &*at;
}

TEST(Waves, OneWaveAloneTwoBesideCommunication) {
  TestTrace t;
  t.kernel("ln_fwd", 7, 0, 70, kNorm);
  t.kernel("deep_ep::internode::combine<2>", 9, 100, 1000, kCombine);
  t.kernel("ln_fwd", 7, 200, 120, kNorm);
  t.kernel("fp8_gemm", 7, 400, 600, kGemm);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const WaveReport report = wave_report(view);
  const WaveRow* alone = find(view, report, "ln_fwd", Company::kAlone);
  const WaveRow* beside = find(view, report, "ln_fwd", Company::kCommunication);
  ASSERT_TRUE(alone && beside);
  EXPECT_EQ(alone->capacity, 396);
  EXPECT_EQ(alone->waves, 1);
  EXPECT_EQ(alone->efficiency, 1);
  EXPECT_FALSE(alone->flagged);
  EXPECT_EQ(beside->sms_held, 20);
  EXPECT_EQ(beside->capacity, 336);
  EXPECT_EQ(beside->waves, 2);
  EXPECT_NEAR(beside->efficiency, 0.589, 0.001);
  EXPECT_TRUE(beside->flagged);
  ASSERT_EQ(report.partitions.size(), 1U);
  const Partition& p = report.partitions[0];
  EXPECT_TRUE(p.detected);
  EXPECT_EQ(p.communication_sms, 20);
  EXPECT_EQ(p.compute_sms, 112);
  EXPECT_NEAR(p.sm_tax(), 20.0 / 132, 1e-12);
  // compute is busy for 790 us, transfer takes 1000, the span is 1100.
  EXPECT_NEAR(p.gain(), (790 * 112.0 / 132 + 1000) / 1100, 1e-5);
  EXPECT_EQ(to_json(view, report)["partitions"][0]["detected"], true);
}

TEST(Waves, BriefCompanyDoesNotCount) {
  TestTrace t;
  t.kernel("ln_fwd", 7, 0, 100, kNorm);
  t.kernel("deep_ep::internode::combine<2>", 9, 60, 1000, kCombine);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_FALSE(find(view, wave_report(view), "ln_fwd", Company::kCommunication));
}

TEST(Waves, KernelsThatCannotRunTogetherQueue) {
  TestTrace t;
  t.kernel("wgrad", 7, 0, 100, kGemm);
  t.kernel("wgrad", 23, 60, 100, kGemm);                        // 40 us of 224 blocks
  t.kernel("small", 8, 70, 20, launch(10, 384, 168, 200'000));  // inside of those 40
  t.kernel("wide", 8, 100, 20, launch(4096, 128, 32));          // many waves: does not count
  t.kernel("tiny", 8, 130, 5, launch(20, 384, 168, 200'000));   // 112 + 20 fit
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Queueing q = wave_report(view).queueing;
  EXPECT_EQ(q.total_ns, 40'000);
  EXPECT_EQ(q.kernels, 3U);
  EXPECT_EQ(q.sum_ns, 220'000);
  EXPECT_EQ(q.union_ns, 160'000);
}

TEST(Waves, ComputeThatBlocksTheCommunicationStream) {
  TestTrace t;
  for (int i = 0; i < 3; ++i) t.kernel("cast", 7, i * 1000, 40, kNorm);
  t.kernel("cast", 9, 5000, 120, kNorm);
  t.kernel("cast", 9, 6000, 119, kNorm);
  t.kernel("nccl_all_to_all", 9, 7000, 100, kCombine);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const WaveReport report = wave_report(view);
  ASSERT_EQ(report.head_of_line.size(), 1U);
  EXPECT_EQ(view.activities[report.head_of_line[0].activity].duration_ns(), 120'000);
  EXPECT_EQ(report.head_of_line[0].elsewhere_median_ns, 40'000);
  EXPECT_EQ(report.head_of_line[0].elsewhere_count, 3U);
}

TEST(Waves, HostileAndMissingLaunches) {
  TestTrace t;
  const uint32_t big = UINT32_MAX;
  t.kernel("nccl", 9, 0, 1000, {.grid = {big, big, big}, .block = {big, 1, 1}});
  t.kernel("huge", 7, 0, 500, {.grid = {big, big, big}, .block = {32, 1, 1}});
  t.kernel("none", 7, 500, 500);
  for (const auto& devices : {std::vector<Device>{h800()}, std::vector<Device>{}}) {
    const Trace trace = t.build(devices);
    const GpuView view = gpu_view(trace, Rules());
    const WaveReport report = wave_report(view);
    EXPECT_EQ(report.notes.size(), devices.empty() ? 1U : 0U);
    EXPECT_EQ(report.partitions.size(), devices.size());
    EXPECT_FALSE(to_json(view, report).empty());
  }
}

TEST(Waves, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const GpuView& view = train.view();
  const WaveReport report = wave_report(view);
  ASSERT_EQ(report.partitions.size(), 1U);
  const Partition& p = report.partitions[0];
  EXPECT_TRUE(p.detected);
  EXPECT_EQ(p.communication_sms, 20);
  EXPECT_EQ(p.compute_sms, 112);
  EXPECT_NEAR(p.gain(), 1.44, 0.005);
  EXPECT_NEAR(static_cast<double>(p.sequential_ns) / 1e6, 185.9, 0.1);
  EXPECT_EQ(p.span_ns, 129'012'000);
  EXPECT_NEAR(p.sm_tax(), 0.152, 0.0005);

  EXPECT_EQ(report.queueing.total_ns, 5'262'000);
  EXPECT_EQ(report.queueing.sum_ns - report.queueing.union_ns, 5'262'000);

  int norms = 0;
  for (const WaveRow& row : report.rows) {
    const std::string_view kernel = view.trace->names[row.key.name];
    const bool forward = kernel.find("ln_fwd") != kernel.npos && row.blocks == 396;
    const bool backward = kernel.find("ln_bwd_kernel") != kernel.npos && row.blocks == 132;
    if ((forward || backward) && row.capacity == row.blocks_per_sm * 112) {
      EXPECT_EQ(row.blocks_per_sm, forward ? 3 : 1);
      EXPECT_NEAR(row.efficiency, 0.589, 0.001);
      norms += row.flagged;
    }
    if (kernel.find("compute_attn_ws") != kernel.npos && row.sms_held == 20) {
      EXPECT_NEAR(row.efficiency, 0.988, 0.001);
    }
  }
  EXPECT_EQ(norms, 2);
  ASSERT_GE(report.head_of_line.size(), 3U);
  for (const HeadOfLine& h : report.head_of_line) {
    EXPECT_NE(view.name_of(view.activities[h.activity]).find("per_token_cast"),
              std::string_view::npos);
  }
}

}  // namespace
}  // namespace hadal::trace
