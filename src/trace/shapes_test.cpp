#include "trace/shapes.h"

#include <map>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/shape_dims.h"
#include "trace/shape_fit.h"
#include "trace/shape_names.h"
#include "trace/test_deepseek_v3.h"
#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

TEST(ShapeNames, TemplateArguments) {
  const auto arguments = template_arguments("void f<int>(g<a<b, c>, 12, (d)1, x>::Params)", "g");
  ASSERT_EQ(arguments.size(), 4U);
  EXPECT_EQ(arguments[0], "a<b, c>");
  EXPECT_EQ(arguments[1], "12");
  EXPECT_EQ(arguments[2], "(d)1");
  EXPECT_TRUE(template_arguments("g", "g").empty());
  EXPECT_TRUE(template_arguments("h<1>", "g").empty());
  EXPECT_EQ(template_arguments("g<1, 2", "g").size(), 1U);  // cut off
  EXPECT_EQ(template_arguments("gg<1>", "g").size(), 1U);
}

TEST(ShapeNames, FlashAttention) {
  const Launch launch{.grid = {32, 128, 1}, .block = {384, 1, 1}};
  const auto forward = attention_shape(
      "void flash::compute_attn_ws<Flash_fwd_kernel_traits<192, 128, 128, 12, 2, false, 1, "
      "cutlass::bfloat16_t, 128>, true, flash::SingleTileScheduler>(...)",
      launch);
  ASSERT_TRUE(forward);
  EXPECT_EQ(forward->sequence, 4096);
  EXPECT_EQ(forward->heads, 128);
  EXPECT_EQ(forward->dim_qk, 192);
  EXPECT_EQ(forward->dim_v, 128);
  EXPECT_TRUE(forward->causal);
  Shape work = *forward;
  fill_work(work);
  EXPECT_DOUBLE_EQ(work.flop, 2.0 * 128 * 4096 * 4096 * (192 + 128) / 2);
  const auto second = attention_shape(
      "void flash_fwd_kernel<Flash_fwd_kernel_traits<128, 128, 64, 4, false, false>, false, true, "
      "false>(Flash_fwd_params)",
      {.grid = {16, 2, 8}, .block = {128, 1, 1}});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->sequence, 2048);
  EXPECT_EQ(second->heads, 16);
  EXPECT_EQ(second->dim_v, 128);
  EXPECT_TRUE(second->causal);
  EXPECT_FALSE(attention_shape("void flash::combine<128>()", launch));
  EXPECT_FALSE(attention_shape("Flash_fwd_kernel_traits<128, 128, 64>", {}));  // no grid
}

TEST(ShapeNames, Elementwise) {
  const Launch launch{.grid = {57344, 1, 1}, .block = {128, 1, 1}};
  const auto add = elementwise_shape(
      "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<"
      "c10::BFloat16>, at::detail::Array<char*, 3> >(int, ...)",
      launch);
  ASSERT_TRUE(add);
  EXPECT_EQ(add->elements, 4096 * 7168);
  EXPECT_EQ(add->bytes, 3 * 2 * 4096.0 * 7168);
  // Operands of two types: how many bytes which array has is not in the name.
  EXPECT_FALSE(elementwise_shape(
      "void vectorized_elementwise_kernel<4, at::AUnaryFunctor<long, long, bool, x<float> >, "
      "at::detail::Array<char*, 2> >(int)",
      launch));
  const auto huge = elementwise_shape(
      "vectorized_elementwise_kernel<4, F<float>, std::array<char*, 2>, Array<char*, 2> >",
      {.grid = {UINT32_MAX, UINT32_MAX, UINT32_MAX}, .block = {UINT32_MAX, 1, 1}});
  EXPECT_FALSE(huge && huge->bytes < 0);
}

TEST(ShapeFit, FindsTheLineThroughKnownWidths) {
  // smem = 1000 + K / 16
  const std::vector<int64_t> k = {512, 576, 1536, 7168, 16384};
  std::vector<int64_t> values;
  for (const int64_t value : k) values.push_back(1000 + value / 16);
  const auto fit = fit_shared_memory(values, {512, 640, 1536, 7168, 24576});
  ASSERT_TRUE(fit);
  EXPECT_EQ(fit->hits, 3);
  for (size_t i = 0; i < k.size(); ++i) EXPECT_EQ(fit->k(values[i]), k[i]);
  EXPECT_FALSE(fit->k(values[0] + 1));  // 528 is no multiple of 64
  EXPECT_FALSE(fit->k(0));
}

TEST(ShapeFit, NoneWithoutEvidence) {
  EXPECT_FALSE(fit_shared_memory({1, 2, 3}, {64, 128, 256, 512}));  // too few sizes
  EXPECT_FALSE(fit_shared_memory({1032, 1036, 1096, 1448}, {}));    // no widths
  EXPECT_FALSE(fit_shared_memory({10, 11, 13, 17, 900001}, {640, 960, 7168}));
  // A geometric progression fits itself at several scales.
  EXPECT_FALSE(
      fit_shared_memory({1000, 1004, 1008, 1012}, {64, 128, 192, 256, 320, 384, 448, 512}));
}

TEST(ShapeDims, OperatorsOfPyTorch) {
  const auto dims = [](std::string_view name, std::string_view list) {
    return gemm_dims("{\"name\":\"" + std::string(name) +
                     "\",\"args\":{\"Input Dims\":" + std::string(list) +
                     ",\"Input type\":[\"c10::BFloat16\",\"c10::BFloat16\",\"c10::BFloat16\"]}}");
  };
  const auto mm = dims("aten::mm", "[[8,16],[16,32]]");
  ASSERT_TRUE(mm);
  EXPECT_EQ(std::tuple(mm->batch, mm->m, mm->n, mm->k), std::tuple(1, 8, 32, 16));
  EXPECT_EQ(mm->type, DType::kBf16);
  const auto linear = dims("aten::linear", "[[2,4,16],[32,16],[]]");
  ASSERT_TRUE(linear);
  EXPECT_EQ(std::tuple(linear->m, linear->n, linear->k), std::tuple(8, 32, 16));
  const auto addmm = dims("aten::addmm", "[[32],[8,16],[16,32],[],[]]");
  ASSERT_TRUE(addmm);
  EXPECT_EQ(addmm->n, 32);
  const auto bmm = dims("aten::bmm", "[[5,8,16],[5,16,32]]");
  ASSERT_TRUE(bmm);
  EXPECT_EQ(bmm->batch, 5);
  EXPECT_FALSE(dims("aten::mm", "[[8,16],[17,32]]"));  // inner sizes differ
  EXPECT_FALSE(dims("aten::add", "[[8,16],[16,32]]"));
  EXPECT_FALSE(dims("aten::mm", "[[8,-1],[-1,32]]"));
  EXPECT_FALSE(dims("aten::mm", "[[99999999999999999999,2],[2,3]]"));
  EXPECT_FALSE(dims("aten::mm", "7"));
  EXPECT_FALSE(gemm_dims("{\"name\":"));
  EXPECT_FALSE(gemm_dims("[]"));
}

TEST(Shapes, AnOperatorsInputDims) {
  const std::string path = testing::TempDir() + "hadal_shapes_test.json";
  FILE* file = std::fopen(path.c_str(), "w");
  ASSERT_TRUE(file);
  std::fputs(R"({"deviceProperties": [], "traceEvents": [
{"ph": "X", "cat": "cpu_op", "name": "aten::linear", "pid": 1, "tid": 1, "ts": 100, "dur": 50,
 "args": {"Input Dims": [[64, 128], [256, 128], []]}},
{"ph": "X", "cat": "cpu_op", "name": "aten::addmm", "pid": 1, "tid": 1, "ts": 101, "dur": 40,
 "args": {"Input Dims": [[256], [64, 128], [128, 256], [], []], "Input type": ["c10::BFloat16",
 "c10::BFloat16", "c10::BFloat16", "", ""]}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": 110,
 "dur": 5, "args": {"correlation": 7}},
{"ph": "X", "cat": "kernel", "name": "ampere_bf16_s16816gemm", "pid": 0, "tid": 7, "ts": 200,
 "dur": 10, "args": {"correlation": 7, "device": 0, "stream": 7, "grid": [4, 1, 1],
 "block": [128, 1, 1], "registers per thread": 32, "shared memory": 0}}
]})",
             file);
  std::fclose(file);
  const auto trace = load(path);
  ASSERT_TRUE(trace) << trace.error().message;
  const GpuView view = gpu_view(*trace, Rules());
  const Shapes shapes = infer_shapes(view);
  ASSERT_EQ(shapes.list.size(), 1U);
  const Shape& s = shapes.list[0];
  EXPECT_EQ(s.m_from, ShapeSource::kInputDims);
  EXPECT_EQ(std::tuple(s.m, s.n, s.k), std::tuple(64, 256, 128));
  EXPECT_EQ(s.type, DType::kBf16);
  EXPECT_EQ(s.flop, 2.0 * 64 * 256 * 128);
  EXPECT_EQ(s.bytes, 2.0 * (64 * 128 + 128 * 256 + 64 * 256));
  EXPECT_EQ(s.confidence, Confidence::kDerived);
  EXPECT_EQ(to_json(view, shapes)["kernels"][0]["m"]["source"], "input_dims");
  std::remove(path.c_str());
}

TEST(Shapes, TheModelFileGoesFirst) {
  TestTrace t;
  const Launch launch{.grid = {112, 1, 1}, .block = {384, 1, 1}};
  t.region("mlp", 0, 1000);
  t.kernel("fp8_gemm", 7, 0, 10, launch);
  t.kernel("fp8_gemm", 7, 20, 10, launch);
  t.kernel("fp8_gemm", 7, 40, 10, launch);
  t.kernel("fp8_gemm", 7, 2000, 10, launch);  // outside
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const auto model = Model::parse(
      "gemms = [\"mlp | 1-2 | 8 | 16 | 32\"]\nkernels = [\"fp8 | 1 | 2 | 3 | bf16\"]\n", "m.toml");
  ASSERT_TRUE(model) << model.error().message;
  const Shapes shapes = infer_shapes(view, *model);
  ASSERT_EQ(shapes.list.size(), 4U);
  EXPECT_EQ(shapes.list[0].flop, 12);
  EXPECT_EQ(shapes.list[0].type, DType::kBf16);
  EXPECT_EQ(shapes.list[1].flop, 2 * 8 * 16 * 32 / 2);  // shared by two kernels
  EXPECT_EQ(shapes.list[1].type, DType::kFp8);
  EXPECT_EQ(shapes.list[2].flop, 2 * 8 * 16 * 32 / 2);
  EXPECT_EQ(shapes.list[3].flop, 12);
}

TEST(Shapes, KOfTheRealTraceFromSharedMemory) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const Shapes shapes = infer_shapes(train.view());
  ASSERT_EQ(shapes.fits.size(), 2U);
  std::set<int64_t> k;
  for (const SharedMemoryFit& fit : shapes.fits) {
    EXPECT_EQ(fit.base, 217'604) << fit.kernel;
    EXPECT_EQ(fit.bytes_per_k, 1.0 / 16) << fit.kernel;
    k.insert(fit.k.begin(), fit.k.end());
  }
  EXPECT_EQ(k, (std::set<int64_t>{512, 576, 1536, 2048, 4096, 7168, 16384, 24576, 32768}));

  // Against the truth: what is inferred must be what the model file says.
  const auto model = Model::parse(kDeepSeekV3, "deepseek-v3.toml");
  ASSERT_TRUE(model) << model.error().message;
  const Shapes truth = infer_shapes(train.view(), *model);
  ASSERT_EQ(truth.list.size(), shapes.list.size());
  int with_k = 0, with_m = 0, with_n = 0, dense = 0;
  for (size_t i = 0; i < truth.list.size(); ++i) {
    const Shape& s = shapes.list[i];
    const Shape& t = truth.list[i];
    if (s.work != Work::kGemm) continue;
    EXPECT_EQ(t.k_from, ShapeSource::kModel);
    dense += s.k > 0 && !s.grouped;
    EXPECT_TRUE(s.k == 0 || s.k == t.k) << i;
    EXPECT_TRUE(s.m == 0 || s.m == t.m) << i;
    EXPECT_TRUE(s.n == 0 || s.n == t.n) << i;
    with_k += s.k > 0;
    with_m += s.m > 0;
    with_n += s.n > 0;
  }
  EXPECT_EQ(dense, 64);
  EXPECT_EQ(with_k, 80);
  EXPECT_EQ(with_m, 80);
  EXPECT_EQ(with_n, 52);
}

}  // namespace
}  // namespace hadal::trace
