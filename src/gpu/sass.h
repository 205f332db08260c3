// Counting machine instructions of a cubin: did the compiler use the tensor cores and the copy
// engine?
//
// NVIDIA publishes no description of its machine code; nvdisasm and cuobjdump of the toolkit print
// it. One of them is looked for in PATH, in $CUDA_HOME/bin and in /usr/local/cuda/bin, and run on a
// temporary file. For tests and for the curious; nothing of hadal needs it at run time. Safe from
// any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

namespace hadal::gpu {

/// A program that prints a cubin's instructions. kUnsupported if there is none.
Result<std::string> find_disassembler();

/// What `program`, one that find_disassembler() knows, prints of a cubin.
Result<std::string> disassemble(Bytes cubin, const std::string& program);

/// How many instructions of a listing have this name, with any suffix: "QGMMA" counts
/// QGMMA.64x128x32.F32.E4M3.E4M3, "UTMALDG" counts UTMALDG.2D.
int64_t count_instructions(std::string_view listing, std::string_view name);

}  // namespace hadal::gpu
