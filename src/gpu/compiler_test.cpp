#include "gpu/compiler.h"

#include <thread>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "gpu/device/entry.h"
#include "gpu/gpu_testing.h"
#include "gpu/test_kernel.h"

namespace hadal::gpu {
namespace {

// --- headers and names ----------------------------------------------------------------------

constexpr EmbeddedHeader kHeaders[] = {
    {"gpu/a.cuh", "#pragma once\n#include \"gpu/c.cuh\"\n"},
    {"gpu/b.cuh", "#pragma once\n"},
    {"gpu/c.cuh", "#include \"gpu/a.cuh\"\n #  include\t\"gpu/d.cuh\" // a circle is no harm\n"},
    {"gpu/d.cuh", "int d;"},
};

std::string names(std::string_view text) {
  std::string all;
  for (const EmbeddedHeader& header : headers_of(text, kHeaders)) {
    all += fmt::format("{} ", header.name);
  }
  return all;
}

TEST(Compiler, HeadersAreFoundThroughHeaders) {
  EXPECT_EQ(names("#include \"gpu/b.cuh\"\n"), "gpu/b.cuh ");
  EXPECT_EQ(names("#include \"gpu/c.cuh\"\n#include \"gpu/a.cuh\""),
            "gpu/a.cuh gpu/c.cuh gpu/d.cuh ");
  EXPECT_EQ(names("#include \"gpu/absent.cuh\"\n#include <gpu/b.cuh>\ninclude \"gpu/b.cuh\"\n"
                  "#include \"gpu/b.cuh\n#includ"),
            "");
  EXPECT_EQ(names(""), "");
}

TEST(Compiler, ANameCoversAllThatDecidesTheCode) {
  const KernelSource source = fake_kernel("f", "#include \"gpu/a.cuh\"\n");
  const auto hash = [](const KernelSource& kernel, std::span<const EmbeddedHeader> headers) {
    return content_hash(kernel, headers);
  };
  const Hash128 first = hash(source, kHeaders);
  EXPECT_EQ(hash(source, kHeaders), first);
  KernelSource other = source;
  other.name = "g";
  EXPECT_NE(hash(other, kHeaders), first);
  other = source;
  other.text += " ";
  EXPECT_NE(hash(other, kHeaders), first);
  std::vector<EmbeddedHeader> headers(std::begin(kHeaders), std::end(kHeaders));
  headers[3].text = "int e;";
  EXPECT_NE(hash(source, headers), first) << "a header of a header of a header";
  headers = {std::begin(kHeaders), std::end(kHeaders)};
  headers[1].text = "int e;";
  EXPECT_EQ(hash(source, headers), first) << "a header that it does not include";
  other = source;
  other.threads = 64;
  other.shared_bytes = 1;
  EXPECT_EQ(hash(other, kHeaders), first) << "what only launches look at";
}

// --- a compiler that is always there --------------------------------------------------------

class FakeCompiler : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake(); }
  Compiler compiler_ = *Compiler::open(fake_libraries().nvrtc);
};

TEST_F(FakeCompiler, CompilesAndReports) {
  EXPECT_EQ(compiler_.version(), 99010);
  std::string log;
  const Result<Compiled> compiled = compiler_.compile(fake_kernel("abc"), &log);
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_GT(compiled->cubin.size(), 64u);
  ASSERT_EQ(compiled->report.entries.size(), 1u);
  EXPECT_EQ(compiled->report.entries[0].name, "abc");
  EXPECT_EQ(compiled->report.entries[0].registers, 3);
  EXPECT_EQ(compiled->report.log, log);
  EXPECT_GT(compiled->report.time_ms, 0);
}

TEST_F(FakeCompiler, AnErrorOfTheTextIsTheTexts) {
  std::string log;
  const Result<Compiled> compiled = compiler_.compile(fake_kernel("f", "#error no"), &log);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, Code::kInvalidArgument);
  EXPECT_EQ(compiled.error().message, "kernel f does not compile: f.cu(1): error: #error no");
  EXPECT_NE(log.find("#error no"), std::string::npos);
}

TEST_F(FakeCompiler, AnErrorOfTheCompilerIsTheCompilers) {
  for (const char* function :
       {"nvrtcCreateProgram", "nvrtcCompileProgram", "nvrtcGetCUBINSize", "nvrtcGetCUBIN"}) {
    reset_fake().fail[function] = 7;
    const Result<Compiled> compiled = compiler_.compile(fake_kernel("f"));
    ASSERT_FALSE(compiled) << function;
    EXPECT_EQ(compiled.error().code, Code::kUnavailable);
    EXPECT_NE(compiled.error().message.find("fails on kernel f: NVRTC_ERROR_OTHER"),
              std::string::npos)
        << compiled.error().message;
    EXPECT_EQ(fake().calls["nvrtcDestroyProgram"],
              function == std::string("nvrtcCreateProgram") ? 0 : 1);
  }
}

// --- NVRTC itself, where it is installed ----------------------------------------------------

class Nvrtc : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!compiler_) GTEST_SKIP() << compiler_.error().message;
  }
  Result<Compiler> compiler_ = Compiler::open();
};

TEST_F(Nvrtc, AHopperKernelNeitherSpillsNorSerializes) {
  const Result<Compiled> compiled = compiler_->compile(wgmma_kernel());
  ASSERT_TRUE(compiled) << compiled.error().message;
  ASSERT_EQ(compiled->report.entries.size(), 1u);
  EXPECT_EQ(compiled->report.entries[0].name, "wgmma_64x64");
  EXPECT_GE(compiled->report.entries[0].registers, 40);
  EXPECT_EQ(compiled->report.spill_bytes(), 0);
  EXPECT_TRUE(compiled->report.notes.empty()) << compiled->report.log;
}

TEST_F(Nvrtc, CompilesEveryPrimitiveThatTheEmulatorTries) {
  constexpr const char* kOperands = "hadal::gpu::device::Operand::";
  constexpr const char* kMajors = "hadal::gpu::device::Major::";
  std::vector<std::string> kernels = {"load_box<1>",           "load_box<2>",
                                      "load_box<3>",           "store_box<false>",
                                      "store_box<true>",       "copy_bytes",
                                      "matrices<1, false>",    "matrices<2, true>",
                                      "matrices<4, false>",    "matrices<4, true>",
                                      "cluster_pair",          "named_barriers",
                                      "register_roles",        "warp_functions",
                                      "barrier_phases",        "token",
                                      "dependent<true, true>", "dependent<false, true>"};
  const auto product = [&](const char* type, const char* major, const char* swizzle, int n,
                           bool registers) {
    kernels.push_back(
        fmt::format("mma_product<hadal::gpu::test::MmaConfig<{0}{1}, {0}{1}, {2}{3}, {2}{3}, "
                    "hadal::gpu::Swizzle::{4}, {5}, 1, {6}>>",
                    kOperands, type, kMajors, major, swizzle, n, registers));
  };
  for (const char* type : {"kE4m3", "kE5m2", "kBf16", "kF16"}) {
    for (const bool registers : {false, true}) product(type, "kK", "k128", 64, registers);
  }
  for (const char* swizzle : {"k32", "k64"}) product("kE4m3", "kK", swizzle, 8, false);
  product("kBf16", "kMn", "k128", 64, false);
  for (const std::string& kernel : kernels) {
    KernelSource source;
    source.name = "primitive";
    source.text = entry_text({.name = source.name,
                              .header = "gpu/emulator/primitives_test.cuh",
                              .kernel = "hadal::gpu::test::" + kernel,
                              .parameters = "hadal::gpu::test::PrimitiveParameters",
                              .threads = 128});
    std::string log;
    const Result<Compiled> compiled = compiler_->compile(source, &log);
    EXPECT_TRUE(compiled) << kernel << ": " << log;
  }
}

TEST_F(Nvrtc, ALostOverlapIsNoted) {
  const Result<Compiled> compiled = compiler_->compile(wgmma_kernel(1));
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_FALSE(compiled->report.notes.empty()) << compiled->report.log;
}

TEST_F(Nvrtc, SpillsAreCounted) {
  KernelSource source;
  source.name = "spills";
  source.text = R"(
extern "C" __global__ void __launch_bounds__(1024) spills(float* p) {
  float x[128];
  #pragma unroll
  for (int i = 0; i < 128; ++i) x[i] = p[i * 1024 + threadIdx.x];
  __syncthreads();
  #pragma unroll
  for (int i = 0; i < 128; ++i) p[i * 1024 + threadIdx.x] = x[127 - i] * x[i];
})";
  const Result<Compiled> compiled = compiler_->compile(source);
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_GT(compiled->report.spill_bytes(), 0) << compiled->report.log;
}

TEST_F(Nvrtc, TheSameTextGivesTheSameBytesOnManyThreads) {
  std::vector<std::vector<std::byte>> cubins(4);
  std::vector<std::thread> threads;
  for (std::vector<std::byte>& cubin : cubins) {
    threads.emplace_back([&] {
      Result<Compiled> compiled = compiler_->compile(wgmma_kernel());
      if (compiled) cubin = std::move(compiled->cubin);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<std::byte>& cubin : cubins) {
    EXPECT_FALSE(cubin.empty());
    EXPECT_EQ(cubin, cubins[0]);
  }
}

TEST_F(Nvrtc, NamesTheLineOfAnError) {
  KernelSource source;
  source.name = "wrong";
  source.text = "extern \"C\" __global__ void wrong(float* p) {\n  *p = absent;\n}\n";
  const Result<Compiled> compiled = compiler_->compile(source);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(
      compiled.error().message,
      "kernel wrong does not compile: wrong.cu(2): error: identifier \"absent\" is undefined");
}

TEST_F(Nvrtc, EveryDeviceHeaderCompilesAlone) {
  for (const EmbeddedHeader& header : embedded_headers()) {
    KernelSource source;
    source.name = "alone";
    source.text =
        fmt::format("#include \"{}\"\nextern \"C\" __global__ void alone() {{}}\n", header.name);
    const Result<Compiled> compiled = compiler_->compile(source);
    EXPECT_TRUE(compiled) << header.name << ": " << compiled.error().message;
  }
}

}  // namespace
}  // namespace hadal::gpu
