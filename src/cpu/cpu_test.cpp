#include "cpu/cpu.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cpu/isa_flag.h"

namespace hadal::cpu {
namespace {

TEST(Isa, NamesParseBack) {
  for (const Isa isa : kAllIsas) EXPECT_EQ(parse_isa(name(isa)), isa);
}

TEST(Isa, ParseSaysWhatIsAllowed) {
  for (const char* text : {"", "AVX2", "avx", "avx512bf16 ", "neon"}) {
    const Result<Isa> isa = parse_isa(text);
    ASSERT_FALSE(isa.has_value()) << text;
    EXPECT_EQ(isa.error().code, Code::kInvalidArgument);
    EXPECT_EQ(isa.error().message, "instruction set is \"" + std::string(text) +
                                       "\"; it must be scalar, avx2, avx512 or avx512bf16");
  }
}

TEST(Isa, KernelsExistExactlyWhereTheMachineHasThem) {
  EXPECT_TRUE(has(Isa::kScalar));
  EXPECT_EQ(&kernels(), *kernels(detect()));
  for (const Isa isa : kAllIsas) {
    const Result<const Kernels*> table = kernels(isa);
    EXPECT_EQ(table.has_value(), isa <= detect());
    if (table.has_value()) continue;
    EXPECT_EQ(table.error().code, Code::kUnsupported);
    EXPECT_EQ(table.error().message, "this machine cannot run " + std::string(name(isa)) +
                                         " code; its best is " + std::string(name(detect())));
  }
}

TEST(Isa, MachineReport) {
  const Machine machine = describe_machine();
  EXPECT_FALSE(machine.brand.empty());
  EXPECT_GE(machine.threads, 1);
  EXPECT_EQ(machine.isa, detect());
  const auto has_feature = [&](const char* feature) {
    return std::find(machine.features.begin(), machine.features.end(), feature) !=
           machine.features.end();
  };
  EXPECT_TRUE(!has(Isa::kAvx2) || (has_feature("avx2") && has_feature("f16c")));
  EXPECT_EQ(has(Isa::kAvx512Bf16), has_feature("avx512bf16") && has_feature("avx512vbmi"));
  if (machine.l1d_bytes != 0) {
    EXPECT_GE(machine.l1d_bytes, 8 << 10);
    EXPECT_GT(machine.l2_bytes, machine.l1d_bytes);
  }
}

TEST(IsaFlag, IsTakenOutOfTheArguments) {
  std::vector<std::string> words{"program", "--isa=avx2", "--other", "--isa=scalar", "x"};
  std::vector<char*> argv(words.size() + 1);
  for (size_t i = 0; i < words.size(); ++i) argv[i] = words[i].data();
  int argc = 5;
  EXPECT_EQ(*take_isa_flag(&argc, argv.data()), Isa::kScalar);
  ASSERT_EQ(argc, 3);
  EXPECT_STREQ(argv[1], "--other");
  EXPECT_STREQ(argv[2], "x");
  EXPECT_EQ(argv[3], nullptr);
  EXPECT_EQ(*take_isa_flag(&argc, argv.data()), std::nullopt);
  EXPECT_EQ(argc, 3);
}

TEST(IsaFlag, UnknownNamesAreErrors) {
  std::string program = "program";
  std::string flag = "--isa=sse9";
  std::vector<char*> argv{program.data(), flag.data(), nullptr};
  int argc = 2;
  EXPECT_EQ(take_isa_flag(&argc, argv.data()).error().code, Code::kInvalidArgument);
}

TEST(IsaFlag, ChoosesWhatBenchmarksRun) {
  EXPECT_EQ(*isas_to_run(Isa::kScalar), std::vector{Isa::kScalar});
  const std::vector<Isa> all = *isas_to_run(std::nullopt);
  EXPECT_EQ(all.front(), Isa::kScalar);
  EXPECT_EQ(all.back(), detect());
  EXPECT_EQ(isas_to_run(Isa::kAvx512Bf16).has_value(), has(Isa::kAvx512Bf16));
}

TEST(IsaFlag, ExtendsATestFilter) {
  EXPECT_EQ(test_filter("*", Isa::kAvx2), "*-*/scalar:*/avx512:*/avx512bf16");
  EXPECT_EQ(test_filter("A.*:B.*-A.x", Isa::kScalar), "A.*:B.*-A.x:*/avx2:*/avx512:*/avx512bf16");
}

}  // namespace
}  // namespace hadal::cpu
