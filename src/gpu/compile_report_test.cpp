#include "gpu/compile_report.h"

#include <gtest/gtest.h>

namespace hadal::gpu {
namespace {

constexpr std::string_view kLog =
    "kernel.cu(22): warning #177-D: variable \"unused\" was declared but never referenced\n"
    "\n"
    "ptxas info    : (C7517) warpgroup.wait is injected in around line 1140 by compiler to allow "
    "use of registers defined by GMMA in function 'gemm'\n"
    "ptxas info    : (C7514) Potential Performance Loss: wgmma.mma_async instructions are "
    "serialized due to ... in the function 'gemm'\n"
    "ptxas info    : 20 bytes gmem\n"
    "ptxas info    : Compiling entry function 'gemm' for 'sm_90a'\n"
    "ptxas info    : Function properties for gemm\n"
    "ptxas         .     48 bytes stack frame, 380 bytes spill stores, 384 bytes spill loads\n"
    "ptxas info    : Used 168 registers, used 3 barriers, 48 bytes cumulative stack size, 1024 "
    "bytes smem, 592 bytes cmem[0], 8 bytes cmem[2]\n"
    "ptxas info    : Compile time = 147.694 ms\n"
    "ptxas info    : Compiling entry function 'copy' for 'sm_90a'\n"
    "ptxas info    : Function properties for copy\n"
    "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 10 registers, used 0 barriers\n"
    "ptxas info    : Function properties for helper\n"
    "ptxas         .     16 bytes stack frame, 12 bytes spill stores, 12 bytes spill loads\n";

TEST(CompileReport, ReadsWhatPtxasSays) {
  const CompileReport report = parse_compile_log(kLog);
  ASSERT_EQ(report.entries.size(), 2u);
  const EntryUsage& gemm = report.entries[0];
  EXPECT_EQ(gemm.name, "gemm");
  EXPECT_EQ(gemm.registers, 168);
  EXPECT_EQ(gemm.stack_bytes, 48);
  EXPECT_EQ(gemm.spill_store_bytes, 380);
  EXPECT_EQ(gemm.spill_load_bytes, 384);
  EXPECT_EQ(gemm.shared_bytes, 1024);
  EXPECT_EQ(gemm.constant_bytes, 600);
  EXPECT_EQ(gemm.barriers, 3);
  EXPECT_EQ(report.entries[1].name, "copy");
  EXPECT_EQ(report.entries[1].registers, 10);
  EXPECT_EQ(report.entries[1].spill_store_bytes, 0) << "helper is no entry";
  EXPECT_EQ(report.spill_bytes(), 764);
  EXPECT_EQ(report.log, kLog);
}

TEST(CompileReport, KeepsTheNotesThatMeanALossOfSpeed) {
  const CompileReport report = parse_compile_log(kLog);
  ASSERT_EQ(report.notes.size(), 2u);
  EXPECT_TRUE(report.notes[0].starts_with("(C7517) warpgroup.wait is injected"));
  EXPECT_TRUE(report.notes[1].starts_with("(C7514) Potential Performance Loss"));
  EXPECT_EQ(parse_compile_log("ptxas info : (C7508) setmaxnreg ignored").notes.size(), 1u);
  EXPECT_EQ(parse_compile_log("ptxas info : (C7519) x").notes.size(), 1u);
  EXPECT_EQ(parse_compile_log("ptxas info : (C7509) x\nptxas info : (C7520) x").notes.size(), 0u);
  EXPECT_EQ(parse_compile_log("ptxas info : (C75").notes.size(), 0u);
  EXPECT_EQ(parse_compile_log("my.cu(1): warning: (C7514) in a string").notes.size(), 0u);
}

TEST(CompileReport, OtherTextIsLeftOut) {
  EXPECT_TRUE(parse_compile_log("").entries.empty());
  EXPECT_TRUE(parse_compile_log("ptxas info : Used 12 registers\n").entries.empty());
  const CompileReport report = parse_compile_log(
      "ptxas info : Compiling entry function 'f\nptxas info : Used many registers\r\n"
      "ptxas info : Used 99999999999999999999 registers");
  ASSERT_EQ(report.entries.size(), 1u);
  EXPECT_EQ(report.entries[0].name, "");
  EXPECT_EQ(report.entries[0].registers, 0);
}

TEST(CompileReport, FindsTheFirstError) {
  EXPECT_EQ(first_error("\nk.cu(1): warning: w\nk.cu(2): error: identifier \"g\" is undefined\n"
                        "k.cu(3): error: more\n"),
            "k.cu(2): error: identifier \"g\" is undefined");
  EXPECT_EQ(first_error("something else\n"), "something else");
  EXPECT_EQ(first_error(""), "");
}

}  // namespace
}  // namespace hadal::gpu
