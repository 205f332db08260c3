#include "trace/roofline.h"

#include <cstdio>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/comm_bandwidth.h"
#include "trace/test_deepseek_v3.h"
#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

Model model_of(std::string_view toml) {
  auto model = Model::parse(toml, "m.toml");
  EXPECT_TRUE(model) << model.error().message;
  return model ? *model : Model{};
}

Launch persistent(uint32_t blocks) {
  return {.grid = {blocks, 1, 1},
          .block = {384, 1, 1},
          .registers_per_thread = 168,
          .shared_memory_bytes = 200'000,
          .reported_occupancy = -1};
}

TEST(Roofline, ComputeAndMemoryBoundMatrixProducts) {
  TestTrace t;
  t.kernel("big_fp8_gemm", 7, 0, 1000, persistent(66));
  t.kernel("thin_fp8_gemm", 7, 2000, 100, persistent(132));
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Model model = model_of(
      "fp8_tflops = 1000\nhbm_tb_s = 2\n"
      "kernels = [\"big | 4096 | 4096 | 8192\", \"thin | 16 | 8192 | 8192\"]\n");
  const Shapes shapes = infer_shapes(view, model);
  const Roofline r = roofline(view, shapes, model);
  ASSERT_EQ(r.kernels.size(), 2U);
  const Roof& big = r.kernels[0];
  EXPECT_DOUBLE_EQ(big.sm_share, 0.5);
  EXPECT_DOUBLE_EQ(big.attainable_tflops, 500);  // half of the SMs
  EXPECT_NEAR(big.tflops, 2 * 4096.0 * 4096 * 8192 / 1e-3 * 1e-12, 1e-9);
  EXPECT_NEAR(big.percent, 100 * big.tflops / 500, 1e-9);
  EXPECT_FALSE(big.memory_bound);
  const Roof& thin = r.kernels[1];
  EXPECT_TRUE(thin.memory_bound);
  const double bytes = 16 * 8192 + 8192.0 * 8192 + 16 * 8192 * 2;
  EXPECT_NEAR(thin.tb_s, bytes / 1e-4 * 1e-12, 1e-9);
  EXPECT_NEAR(thin.percent, 100 * thin.tb_s / 2, 1e-6);
  ASSERT_TRUE(r.gemm);
  EXPECT_EQ(r.gemm->count, 2U);
  EXPECT_EQ(r.known_ns, 1'100'000);
  EXPECT_EQ(to_json(view, shapes, r)["gemm"]["count"], 2);
}

TEST(Roofline, OverOneHundredPercentIsSaid) {
  TestTrace t;
  const Launch launch{.grid = {57344, 1, 1},
                      .block = {128, 1, 1},
                      .registers_per_thread = 24,
                      .shared_memory_bytes = 0,
                      .reported_occupancy = -1};
  t.kernel("void vectorized_elementwise_kernel<4, CUDAFunctor_add<float>, Array<char*, 3> >(int)",
           7, 0, 50, launch);
  t.kernel("void vectorized_elementwise_kernel<4, CUDAFunctor_add<float>, Array<char*, 3> >(int)",
           7, 100, 200, launch);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const Shapes shapes = infer_shapes(view);
  const Roofline r = roofline(view, shapes);
  ASSERT_EQ(r.kernels.size(), 2U);
  EXPECT_TRUE(r.kernels[0].above_peak);
  EXPECT_NEAR(r.kernels[0].percent, 100 * (3 * 4 * 29'360'128 / 50e-6) / 3.35e12, 1e-6);
  EXPECT_FALSE(r.kernels[1].above_peak);
  ASSERT_EQ(r.notes.size(), 1U);
  EXPECT_NE(r.notes[0].find("above 100 %"), std::string::npos);
  ASSERT_EQ(r.rows.size(), 1U);
  EXPECT_TRUE(r.rows[0].above_peak);
}

TEST(Roofline, UnknownDevicesAndShapesAreSaid) {
  TestTrace t;
  t.kernel("fp8_gemm", 7, 0, 1000, persistent(112));
  t.kernel("deep_ep::internode::dispatch<2>", 9, 0, 100);
  const Trace trace = t.build({});
  const GpuView view = gpu_view(trace, Rules());
  const Roofline r = roofline(view, infer_shapes(view));
  EXPECT_FALSE(r.peaks);
  EXPECT_TRUE(r.rows.empty());
  EXPECT_FALSE(r.gemm);
  EXPECT_EQ(r.gemm_unknown_ns, 1'000'000);
  EXPECT_EQ(r.notes.size(), 2U);  // no peaks, no bytes of DeepEP
}

TEST(CommBandwidth, FactorsOfNcclTests) {
  EXPECT_DOUBLE_EQ(bus_factor("allreduce", 8), 2 * 7.0 / 8);
  EXPECT_DOUBLE_EQ(bus_factor("_allgather_base", 8), 7.0 / 8);
  EXPECT_DOUBLE_EQ(bus_factor("_reduce_scatter_base", 4), 3.0 / 4);
  EXPECT_DOUBLE_EQ(bus_factor("all_to_allv", 4), 3.0 / 4);
  EXPECT_DOUBLE_EQ(bus_factor("broadcast", 8), 1);
  EXPECT_DOUBLE_EQ(bus_factor("allreduce", 1), 1);
  EXPECT_EQ(dtype_bytes("BFloat16"), 2);
  EXPECT_EQ(dtype_bytes("Float"), 4);
  EXPECT_EQ(dtype_bytes("Float8_e4m3fn"), 1);
  EXPECT_EQ(dtype_bytes("?"), 0);
}

TEST(CommBandwidth, OfNcclKernels) {
  TestTrace t;
  t.kernel("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", 9, 0, 1000);
  Trace trace = t.build();
  trace.collective_infos.push_back({.collective = "allreduce",
                                    .dtype = "BFloat16",
                                    .group = "0",
                                    .group_description = "",
                                    .group_ranks = "",
                                    .in_elements = 50'000'000,
                                    .out_elements = 50'000'000,
                                    .group_size = 8});
  const GpuView view = gpu_view(trace, Rules());
  trace.collectives.push_back({.row = view.activities[0].row, .info = 0});
  std::vector<std::string> notes;
  const auto found = comm_bandwidth(view, {}, notes);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].operation, "allreduce");
  EXPECT_NEAR(found[0].gb_s(), 100, 1e-9);
  EXPECT_NEAR(found[0].bus_gb_s(), 175, 1e-9);
  EXPECT_TRUE(notes.empty());
}

TEST(Roofline, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const Model model = model_of(kDeepSeekV3);
  const Shapes shapes = infer_shapes(train.view(), model);
  const Roofline r = roofline(train.view(), shapes, model);
  ASSERT_TRUE(r.peaks);
  EXPECT_EQ(r.peaks->device, "H800 SXM");
  EXPECT_EQ(r.gemm_unknown_ns, 0);

  // Forward and input-gradient FP8 products, dense and grouped: 951 TFLOP/s, 56.6 % of 112 SMs.
  double flop = 0, peak = 0;
  int64_t ns = 0;
  uint64_t count = 0;
  for (const RoofTotal& total : r.totals) {
    if (total.name.find("fp8_ptp128c") == std::string::npos) continue;
    flop += total.flop;
    peak += total.peak_flop;
    ns += total.total_ns;
    count += total.count;
  }
  EXPECT_EQ(count, 80U);
  EXPECT_EQ(flop, 39'709'120'135'168);
  EXPECT_EQ(ns, 41'764'000);
  EXPECT_NEAR(flop / static_cast<double>(ns) * 1e-3, 950.8, 0.05);
  EXPECT_NEAR(100 * flop / peak, 56.62, 0.01);

  // Weight gradients run two at a time: 577 TFLOP/s by the sum of durations, 687 by the union.
  const auto at = std::ranges::find_if(r.totals, [](const RoofTotal& total) {
    return total.name.find("fp8_dptp128c_acc") != std::string::npos;
  });
  ASSERT_NE(at, r.totals.end());
  EXPECT_EQ(at->union_ns, 27'494'000);
  EXPECT_NEAR(at->tflops(), 576.8, 0.1);
  EXPECT_NEAR(at->tflops_union(), 687.2, 0.1);

  for (const Roof& roof : r.kernels) {
    const Shape& s = shapes.list[roof.shape];
    if (s.work != Work::kGemm) continue;
    if (s.type == DType::kFp8) {
      EXPECT_DOUBLE_EQ(roof.sm_share, 112.0 / 132);
    }
    const double of_peak = 100 * roof.tflops / roof.peak_tflops;
    if (s.k == 512) {  // kv_b: its BF16 result makes it bound by memory, if barely
      EXPECT_NEAR(of_peak, 33.5, 0.9);
      EXPECT_TRUE(roof.memory_bound);
      EXPECT_GT(roof.percent, of_peak);
    }
    if (s.k == 7168 && s.n == 576) {  // kv_a
      EXPECT_NEAR(of_peak, 37.8, 2.6);
    }
    if (s.k == 576) {
      EXPECT_NEAR(of_peak, 31.5, 1.6);
    }
  }
  for (const CommBandwidth& c : r.communication) {
    if (c.region == "dispatch(F)") {
      EXPECT_EQ(c.count, 4U);
      EXPECT_NEAR(c.gb_s(), 27.9, 0.1);
      EXPECT_EQ(c.bytes / 4, 121'110'528);
    }
    if (c.name == "combine") {
      EXPECT_NEAR(c.gb_s(), 38.0, 1.5);
    }
  }
  EXPECT_EQ(r.communication.size(), 4U);
}

}  // namespace
}  // namespace hadal::trace
