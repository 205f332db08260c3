// The analyses of one trace on small hand-made traces, whose answers can be read off.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/comm.h"
#include "trace/findings.h"
#include "trace/gates.h"
#include "trace/hand_trace.h"
#include "trace/kernels.h"
#include "trace/launch.h"
#include "trace/regions.h"
#include "trace/streams.h"
#include "trace/summary.h"

namespace hadal::trace {
namespace {

constexpr int64_t kUs = 1000;
constexpr const char* kTransfer = "ncclDevKernel_AllGather";
constexpr const char* kBarrier = "deep_ep::internode::notify_dispatch";
constexpr int kOtherThread = -2;

// 0    10    20    30    40    50    60 us
// [gemm     ]      [gemm     ][copy]          stream 7
//       [transfer            ]      [barrier] stream 27
HandTrace overlapping() {
  HandTrace t;
  t.launched(7, "gemm", 0, 20 * kUs, 0);
  t.launched(7, "gemm", 30 * kUs, 20 * kUs, 2 * kUs);
  t.launched(27, kTransfer, 10 * kUs, 40 * kUs, 3 * kUs);
  t.add(Category::kMemcpy, 7, "Memcpy DtoD (Device -> Device)", 50 * kUs, 5 * kUs);
  t.launched(27, kBarrier, 60 * kUs, 20 * kUs, 4 * kUs);
  return t;
}

TEST(Summary, IsTheIdentity) {
  const Trace trace = overlapping().trace();
  const Summary s = summarize(gpu_view(trace, Rules()));
  EXPECT_EQ(s.span_ns, 80 * kUs);
  EXPECT_EQ(s.compute_ns, 40 * kUs);
  EXPECT_EQ(s.communication_ns, 60 * kUs);
  EXPECT_EQ(s.memory_ns, 5 * kUs);
  EXPECT_EQ(s.overlap_ns, 30 * kUs);
  EXPECT_EQ(s.exposed_communication_ns, 30 * kUs);
  EXPECT_EQ(s.exposed_memory_ns, 5 * kUs);
  EXPECT_EQ(s.idle_ns, 5 * kUs);
  EXPECT_EQ(s.compute_ns + s.exposed_communication_ns + s.exposed_memory_ns + s.idle_ns, s.span_ns);
  EXPECT_DOUBLE_EQ(s.overlap_percent(), 50);
  // [20, 30) is a hole of 10 us: not longer than a launch gap. [60, 80) is structural.
  EXPECT_EQ(s.structural_exposed, (IntervalSet{{60 * kUs, 80 * kUs}}));
  EXPECT_EQ(to_json(s)["overlap_us"], 30.0);
}

TEST(Summary, OfNothing) {
  const Trace trace;
  const Summary s = summarize(gpu_view(trace, Rules()));
  EXPECT_EQ(s.span_ns, 0);
  EXPECT_EQ(s.overlap_percent(), -1);
  EXPECT_TRUE(to_json(s)["overlap_percent"].is_null());
  EXPECT_EQ(to_json(s)["span_us"], 0.0);
}

TEST(Summary, AWindowClipsActivities) {
  const Trace trace = overlapping().trace();
  const auto window = parse_window(trace, "15:35us");
  ASSERT_TRUE(window) << window.error().message;
  const Summary s = summarize(gpu_view(trace, Rules(), *window));
  EXPECT_EQ(s.span_ns, 20 * kUs);
  EXPECT_EQ(s.compute_ns, 10 * kUs);
  EXPECT_EQ(s.communication_ns, 20 * kUs);
}

TEST(Window, SaysWhatIsWrong) {
  const Trace trace = overlapping().trace();
  for (const char* bad : {"", "5", "5:", ":5", "5:5", "9:3", "1parsec:2", "nan:5", "ann:nowhere"}) {
    EXPECT_FALSE(parse_window(trace, bad)) << bad;
  }
  EXPECT_EQ(parse_window(trace, "1ms:2s")->end_ns, 2'000'000'000);
}

TEST(Streams, GapsHaveTheirCause) {
  HandTrace t;
  t.launched(7, "a", 10 * kUs, 10 * kUs, 0);
  t.launched(7, "b", 25 * kUs, 10 * kUs, 1 * kUs);    // in time, 5 us: from kernel to kernel
  t.launched(7, "c", 80 * kUs, 10 * kUs, 2 * kUs);    // in time, 45 us: waited for something
  t.launched(7, "d", 100 * kUs, 10 * kUs, 95 * kUs);  // launched when the stream was free already
  const Trace trace = t.trace();
  const auto streams = stream_use(gpu_view(trace, Rules()));
  ASSERT_EQ(streams.size(), 1U);
  const StreamUse& s = streams[0];
  EXPECT_EQ(s.stream, 7);
  EXPECT_EQ(s.events, 4U);
  EXPECT_EQ(s.busy_ns, 40 * kUs);
  EXPECT_EQ(s.kernel_wait_ns, 5 * kUs);
  EXPECT_EQ(s.other_wait_ns, 45 * kUs);
  EXPECT_EQ(s.host_wait_ns, 10 * kUs);
  EXPECT_EQ(s.gaps.size(), 3U);
}

TEST(Streams, OverlapInAStreamIsNeitherLostNorCountedTwice) {
  HandTrace t;
  t.kernel(7, "a", 0, 10 * kUs).kernel(7, "b", 8 * kUs, 10 * kUs).kernel(7, "c", 9 * kUs, 2 * kUs);
  const Trace trace = t.trace();
  const auto streams = stream_use(gpu_view(trace, Rules()));
  EXPECT_EQ(streams[0].busy_ns, 18 * kUs);
  EXPECT_EQ(streams[0].sum_ns, 22 * kUs);
  EXPECT_TRUE(streams[0].gaps.empty());
}

TEST(Kernels, TableSumsAndTimeAlone) {
  const Trace trace = overlapping().trace();
  const GpuView view = gpu_view(trace, Rules());
  const KernelTable table = kernel_table(view);
  ASSERT_EQ(table.kernels.size(), 4U);
  const auto gemm = std::ranges::find(table.kernels, "gemm", &KernelRow::name);
  EXPECT_EQ(gemm->time.count, 2U);
  EXPECT_EQ(gemm->time.sum_ns, 40 * kUs);
  EXPECT_EQ(gemm->alone_ns, 10 * kUs);
  EXPECT_EQ(table.sum_ns, 105 * kUs);
  int64_t alone = 0;
  for (const int64_t ns : time_alone(view)) alone += ns;
  EXPECT_EQ(alone, 10 * kUs + 10 * kUs + 5 * kUs + 20 * kUs);
}

TEST(Kernels, StatsAreNearestRankAndSample) {
  const DurationStats s = duration_stats({40, 10, 30, 20});
  EXPECT_EQ(s.median_ns, 20);
  EXPECT_EQ(s.p95_ns, 40);
  EXPECT_NEAR(s.deviation_ns, 12.9099, 1e-3);
  EXPECT_EQ(duration_stats({}).count, 0U);
  EXPECT_EQ(duration_stats({7}).deviation_ns, 0);
}

TEST(KernelNames, ShortOnesTellKernelsApart) {
  EXPECT_EQ(
      short_name("void cutlass::device_kernel<dpsk::grouped_gemm::cuda::fp8_ptp128c::GemmKernel>("
                 "dpsk::grouped_gemm::cuda::fp8_ptp128c::GemmKernel::Params)"),
      "fp8_ptp128c::GemmKernel");
  EXPECT_EQ(
      short_name("void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl<"
                 "at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#2}"),
      "direct_copy_kernel_cuda");
  EXPECT_EQ(short_name("rotary_kernel"), "rotary_kernel");
  EXPECT_EQ(short_name("void (anonymous namespace)::softmax_warp_forward<float, 8>(float*)"),
            "softmax_warp_forward");
  EXPECT_EQ(short_name(""), "");
  EXPECT_LE(short_name(std::string(5000, 'x')).size(), 60U);
  for (const char* odd : {"<", ">", "<<<<", "a<b", "((((", "::", "void ", "operator()", "\xC3"}) {
    EXPECT_LE(short_name(odd).size(), 60U) << odd;
  }
}

TEST(Regions, KernelsBelongToTheLaunchNotToTheTime) {
  HandTrace t;
  t.add(Category::kUserAnnotation, HandTrace::kThread, "step", 0, 100 * kUs);
  t.add(Category::kUserAnnotation, HandTrace::kThread, "attn", 10 * kUs, 10 * kUs);
  t.add(Category::kUserAnnotation, HandTrace::kThread, "mlp", 20 * kUs, 10 * kUs);
  t.add(Category::kUserAnnotation, HandTrace::kThread, "attn", 30 * kUs, 10 * kUs);
  t.launched(7, "a", 50 * kUs, 10 * kUs, 12 * kUs);
  t.launched(7, "b", 60 * kUs, 10 * kUs, 21 * kUs);
  t.launched(7, "c", 70 * kUs, 10 * kUs, 31 * kUs, kOtherThread);  // as the autograd thread does
  t.launched(7, "d", 80 * kUs, 10 * kUs, 45 * kUs);                // in "step" only: no leaf
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  const auto uses = region_use(view);
  ASSERT_EQ(uses.size(), 3U);  // "step" contains others
  EXPECT_EQ(uses[0].name, "attn");
  EXPECT_EQ(uses[0].start_ns, 50 * kUs);
  EXPECT_EQ(uses[1].name, "mlp");
  EXPECT_EQ(uses[2].index, 1);
  EXPECT_EQ(uses[2].start_ns, 70 * kUs);
  EXPECT_EQ(view.outside_regions, 1U);
  const PhaseGrid grid = phase_grid(view, uses);
  EXPECT_EQ(grid.phases, (std::vector<std::string>{"attn", "mlp"}));
  EXPECT_EQ(grid.num_layers, 2);
  EXPECT_EQ(grid.cells, (std::vector<uint32_t>{0, 2, 1, kNone}));
}

TEST(Regions, TheEndOfAnAnnotationIsOutside) {
  HandTrace t;
  t.add(Category::kUserAnnotation, HandTrace::kThread, "a", 0, 10 * kUs);
  t.launched(7, "k", 50 * kUs, 10 * kUs, 10 * kUs);
  t.launched(7, "k", 70 * kUs, 10 * kUs, 0);
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_EQ(view.regions[0].activities.size(), 1U);
  EXPECT_EQ(view.outside_regions, 1U);
}

/// Two phases on two streams, the second of which waits for the first.
HandTrace handover() {
  HandTrace t;
  t.add(Category::kUserAnnotation, HandTrace::kThread, "dispatch", 0, 10 * kUs);
  t.add(Category::kUserAnnotation, HandTrace::kThread, "mlp", 10 * kUs, 10 * kUs);
  t.launched(7, "before", 20 * kUs, 10 * kUs, 1 * kUs);
  t.launched(27, kTransfer, 20 * kUs, 100 * kUs, 2 * kUs);
  t.launched(7, "gemm", 123 * kUs, 20 * kUs, 12 * kUs);
  return t;
}

TEST(Gates, BlameWhatEndedLast) {
  const Trace trace = handover().trace();
  const GpuView view = gpu_view(trace, Rules());
  const auto all = gates(view);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(region_label(view, all[0].region), "mlp#0");
  EXPECT_EQ(all[0].kind, GateKind::kOther);
  EXPECT_EQ(all[0].wait_ns(), 93 * kUs);
  EXPECT_EQ(all[0].stall_ns, 93 * kUs);
  EXPECT_EQ(view.name_of(view.activities[all[0].released_by]), kTransfer);
}

TEST(Overlap, MatrixIsSymmetricAndHiddenPlusExposedIsTheCommunication) {
  HandTrace t = handover();
  t.launched(9, "other_gemm", 30 * kUs, 50 * kUs, 13 * kUs);
  const Trace trace = t.trace();
  const OverlapMatrix m = overlap_matrix(gpu_view(trace, Rules()));
  ASSERT_EQ(m.phases.size(), 2U);
  EXPECT_EQ(m.overlap_ns[0 * 2 + 1], 50 * kUs);
  EXPECT_EQ(m.overlap_ns[0 * 2 + 1], m.overlap_ns[1 * 2 + 0]);
  EXPECT_EQ(m.hidden_ns[0], 60 * kUs);
  EXPECT_EQ(m.exposed_ns[0], 40 * kUs);
}

TEST(Comm, RolesAndGrowth) {
  HandTrace t;
  for (int i = 0; i < 4; ++i) {
    const int64_t host = i * 10 * kUs, gpu = (100 + i * 100) * kUs;
    t.add(Category::kUserAnnotation, HandTrace::kThread, "dispatch", host, 9 * kUs);
    t.launched(27, kBarrier, gpu, (10 + 5 * i) * kUs, host + 1 * kUs);
    t.launched(27, kTransfer, gpu + 40 * kUs, 20 * kUs, host + 2 * kUs);
  }
  t.launched(27, "mystery", 600 * kUs, 1 * kUs, 40 * kUs);
  const Trace trace = t.trace();
  const CommUse use = comm_use(gpu_view(trace, Rules()));
  EXPECT_EQ(use.roles[0].count, 4U);
  EXPECT_EQ(use.roles[0].sum_ns, 80 * kUs);
  EXPECT_EQ(use.roles[1].sum_ns, (10 + 15 + 20 + 25) * kUs);
  EXPECT_EQ(use.roles[1].exposed_ns, use.roles[1].sum_ns);
  const auto barrier = std::ranges::find(use.by_region, Role::kBarrier, &RoleInRegions::role);
  ASSERT_NE(barrier, use.by_region.end());
  EXPECT_DOUBLE_EQ(barrier->slope_ns, 5 * kUs);
  ASSERT_EQ(use.unclassified.size(), 1U);
  EXPECT_EQ(use.unclassified[0].name, "mystery");
  EXPECT_EQ(roles_json(use)["barrier"]["count"], 4);
}

TEST(Launch, DelaysQueueAndVerdict) {
  HandTrace t;
  t.launched(7, "a", 100 * kUs, 10 * kUs, 10 * kUs);
  t.launched(7, "b", 110 * kUs, 10 * kUs, 20 * kUs);
  t.launched(7, "c", 120 * kUs, 10 * kUs, 30 * kUs);
  t.launched(7, "d", 140 * kUs, 10 * kUs, 140 * kUs);  // starts before its call ends
  t.add(Category::kRuntime, HandTrace::kThread, "cudaDeviceSynchronize", 50 * kUs, 2000 * kUs);
  const Trace trace = t.trace();
  const GpuView view = gpu_view(trace, Rules());
  const LaunchUse use = launch_use(view, stream_use(view));
  ASSERT_EQ(use.streams.size(), 1U);
  EXPECT_EQ(use.streams[0].queue_max, 3);
  EXPECT_EQ(use.negative_delays, 1U);
  EXPECT_EQ(use.delay.min_ns, 0);
  EXPECT_EQ(use.delay.max_ns, 90 * kUs - 1);
  ASSERT_EQ(use.blocking.size(), 1U);
  EXPECT_EQ(use.blocking[0].gpu_idle_ns, 10 * kUs);  // [130, 140); not before or after the span
  EXPECT_EQ(use.api[0].name, "cudaDeviceSynchronize");
}

TEST(Findings, NameTheWaitAndDoNotCountTimeTwice) {
  const Trace trace = handover().trace();
  const Findings found = find(gpu_view(trace, Rules()));
  const auto exposed = std::ranges::find(found.list, "exposed:dispatch#0", &Finding::id);
  ASSERT_NE(exposed, found.list.end());
  EXPECT_EQ(exposed->ceiling_ns, 90 * kUs);
  EXPECT_NE(exposed->claim.find("mlp#0 waited 90 us for dispatch#0"), std::string::npos)
      << exposed->claim;
  int64_t additional = 0, largest = INT64_MAX;
  for (const Finding& f : found.list) {
    additional += f.additional_ns;
    EXPECT_LE(f.ceiling_ns, largest);
    largest = f.ceiling_ns;
  }
  EXPECT_EQ(additional, found.ceiling_ns);
  EXPECT_LE(found.ceiling_ns, found.span_ns);
  EXPECT_FALSE(found.cannot_tell.empty());
}

TEST(Findings, OfNothing) {
  const Trace trace;
  EXPECT_TRUE(find(gpu_view(trace, Rules())).list.empty());
}

}  // namespace
}  // namespace hadal::trace
