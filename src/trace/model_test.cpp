#include "trace/model.h"

#include <gtest/gtest.h>

#include "trace/test_deepseek_v3.h"

namespace hadal::trace {
namespace {

TEST(Model, ReadsShapes) {
  const auto model = Model::parse(kDeepSeekV3, "m.toml");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->gemms.size(), 32U);
  EXPECT_EQ(model->gemms[0].region, "attn(F)");
  EXPECT_EQ(model->gemms[0].m.value, 4096);
  EXPECT_EQ(model->gemms[0].k.value, 7168);
  EXPECT_EQ(model->gemms[11].first, 1);
  EXPECT_EQ(model->gemms[11].last, 4);
  EXPECT_EQ(model->gemms[11].k.kind, Dimension::Kind::kRows);
}

TEST(Model, ErrorsSayWhere) {
  struct Case {
    std::string_view toml, part;
  };
  const Case cases[] = {
      {"gemms = [\"a | 0 | 1 | 2\"]", "4 fields"},
      {"gemms = [\"a | x | 1 | 2 | 3\"]", "ordinals are \"x\""},
      {"gemms = [\"a | 4-1 | 1 | 2 | 3\"]", "ordinals are \"4-1\""},
      {"gemms = [\"a | 0 | tokens | 2 | 3\"]", "dimension is \"tokens\""},
      {"gemms = [\"a | 0 | 0 | 2 | 3\"]", "dimension is \"0\""},
      {"gemms = [\"a | 0 | 1 | 2 | 3 | int8\"]", "type is \"int8\""},
      {"kernels = [\" | 1 | 2 | 3\"]", "line 1 of kernels"},
      {"token = 3", "tokens"},
  };
  for (const Case& c : cases) {
    const auto model = Model::parse(c.toml, "m.toml");
    ASSERT_FALSE(model) << c.toml;
    EXPECT_EQ(model.error().code, Code::kInvalidArgument);
    EXPECT_NE(model.error().message.find(c.part), std::string::npos) << model.error().message;
    EXPECT_TRUE(model.error().message.starts_with("m.toml")) << model.error().message;
  }
}

TEST(Peaks, ByTheDriversName) {
  struct Case {
    std::string_view name, device;
  };
  for (const auto& [name, device] :
       {Case{"NVIDIA H800", "H800 SXM"}, Case{"NVIDIA H100 80GB HBM3", "H100 SXM"},
        Case{"NVIDIA H100 PCIe", "H100 PCIe"}, Case{"NVIDIA H200", "H200 SXM"},
        Case{"NVIDIA H20", "H20"}, Case{"NVIDIA GH200 480GB", "GH200"}, Case{"NVIDIA B200", "B200"},
        Case{"NVIDIA GB200", "GB200"}, Case{"NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"},
        Case{"NVIDIA A100-SXM4-40GB", "A100 SXM 40GB"},
        Case{"NVIDIA A100-PCIE-40GB", "A100 PCIe 40GB"}, Case{"AMD Instinct MI300X", "MI300X"},
        Case{"Tesla V100-SXM2-16GB", "V100 SXM"}}) {
    const auto peaks = known_peaks(name);
    ASSERT_TRUE(peaks) << name;
    EXPECT_EQ(peaks->device, device);
    EXPECT_FALSE(peaks->source.empty());
    EXPECT_GT(peaks->hbm_tb_s, 0);
  }
  EXPECT_FALSE(known_peaks("Some other GPU"));
  EXPECT_EQ(known_peaks("NVIDIA H800")->tflops(DType::kFp8), 1979);
  EXPECT_EQ(known_peaks("NVIDIA A100")->tflops(DType::kFp8), 0);
}

TEST(Peaks, TheModelFileReplacesThem) {
  const auto model = Model::parse("fp8_tflops = 100\nhbm_tb_s = 0.5\n", "m.toml");
  ASSERT_TRUE(model);
  const auto known = model->peaks("NVIDIA H800");
  ASSERT_TRUE(known);
  EXPECT_EQ(known->fp8_tflops, 100);
  EXPECT_EQ(known->bf16_tflops, 989.5);
  EXPECT_NE(known->source.find("model file"), std::string::npos);
  const auto unknown = model->peaks("Some other GPU");
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->bf16_tflops, 0);
  EXPECT_FALSE(Model{}.peaks("Some other GPU"));
}

}  // namespace
}  // namespace hadal::trace
