// What the compiler said about a program: registers, spills, and whether wgmma stayed asynchronous.
//
// NVRTC, run with --ptxas-options=-v, puts ptxas' lines into its log. They are the only place where
// one learns that a kernel spills, or that ptxas gave up overlapping wgmma (the notes C7510 to
// C7519) or ignored setmaxnreg (C7508): such a kernel runs, correctly, at a fraction of its speed,
// so hadal treats any of these as an error of the kernel's.
//
// Parsing is total: a line of another shape is left out. Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::gpu {

/// One __global__ function.
struct EntryUsage {
  std::string name;
  int registers = 0;           // per thread, as compiled; setmaxnreg moves them at run time
  int stack_bytes = 0;         // per thread
  int spill_store_bytes = 0;   // per thread
  int spill_load_bytes = 0;    // per thread
  int64_t shared_bytes = 0;    // static, per block
  int64_t constant_bytes = 0;  // all banks
  int barriers = 0;            // named barriers
};

struct CompileReport {
  std::vector<EntryUsage> entries;  // in the order of the log
  /// ptxas' notes C7508 and C7510 to C7519, such as "(C7514) Potential Performance Loss: ...".
  std::vector<std::string> notes;
  std::string log;     // everything that was said
  double time_ms = 0;  // 0 if it came from the cache

  /// Bytes of spilled registers, stores and loads, over all entries.
  int64_t spill_bytes() const;
};

CompileReport parse_compile_log(std::string_view log);

/// The first "error:" of a log with its place, or the first line that is not empty.
std::string first_error(std::string_view log);

}  // namespace hadal::gpu
