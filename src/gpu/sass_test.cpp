#include "gpu/sass.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/files.h"
#include "gpu/compiler.h"
#include "gpu/gpu_testing.h"
#include "gpu/test_kernel.h"

namespace hadal::gpu {
namespace {

constexpr std::string_view kListing =
    "\t.section\t.text.QGMMA_like,\"ax\"\n"
    "        /*0a10*/                   UTMALDG.2D [UR8], [UR4], desc[UR10] ;\n"
    "        /*0a20*/              @!P0 UTMALDG.2D.MULTICAST [UR8], [UR4] ;\n"
    "        /*0b00*/                   QGMMA.64x64x32.F32.E4M3.E4M3 R24, gdesc[UR4], R24 ;\n"
    "        /*0b10*/                   QGMMA ;\n"
    "        /*0b20*/                   XQGMMA.1 ;\n";

TEST(Sass, CountsInstructionsByName) {
  EXPECT_EQ(count_instructions(kListing, "UTMALDG"), 2);
  EXPECT_EQ(count_instructions(kListing, "QGMMA"), 2);
  EXPECT_EQ(count_instructions(kListing, "HGMMA"), 0);
  EXPECT_EQ(count_instructions("", "HGMMA"), 0);
}

TEST(Sass, RunsTheProgramOnTheBytes) {
  const TemporaryFolder folder;
  const auto program = [&](const char* name, std::string_view text) {
    EXPECT_TRUE(write_file_atomically(folder / name, text));
    EXPECT_EQ(::chmod((folder / name).c_str(), 0755), 0);
    return folder / name;
  };
  const Bytes cubin = bytes_of("QGMMA.1 ;");
  EXPECT_EQ(*disassemble(cubin, program("nvdisasm", "#!/bin/sh\ncat \"$1\"\n")), "QGMMA.1 ;");
  EXPECT_EQ(*disassemble(cubin, program("cuobjdump", "#!/bin/sh\necho \"$1\"; cat \"$2\"\n")),
            "-sass\nQGMMA.1 ;");
  const auto failed = disassemble(cubin, program("bad", "#!/bin/sh\necho no such thing; exit 3\n"));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, (folder / "bad") + " ends with 3: no such thing");
}

TEST(Sass, AHopperKernelUsesTensorCoresAndTma) {
  const Result<std::string> program = find_disassembler();
  if (!program) GTEST_SKIP() << program.error().message;
  const Result<Compiler> compiler = Compiler::open();
  if (!compiler) GTEST_SKIP() << compiler.error().message;
  const Result<Compiled> compiled = compiler->compile(wgmma_kernel());
  ASSERT_TRUE(compiled) << compiled.error().message;
  const Result<std::string> listing = disassemble(compiled->cubin, *program);
  ASSERT_TRUE(listing) << listing.error().message;
  EXPECT_GE(count_instructions(*listing, "QGMMA"), 4);
  EXPECT_GE(count_instructions(*listing, "UTMALDG"), 2);
}

}  // namespace
}  // namespace hadal::gpu
