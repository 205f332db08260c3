// `--isa=NAME` for test and benchmark programs.
//
// Every test and benchmark that exists per instruction set has its name as a component: a test
// parameterized over kAllIsas with IsaName ends in "/avx2", a benchmark "f32_to_bf16/avx2/..." has
// it inside. A test program of such a folder lists ../cpu/test_main.cpp among its files, which
// turns the flag into a test filter. A benchmark's main() calls take_isa_flag() and registers what
// it returns.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cpu/cpu.h"

namespace hadal::cpu {

/// Takes `--isa=NAME` (the last one wins) out of argv; nothing if it is not there. kInvalidArgument
/// for an unknown name. Does not ask whether this machine has it.
Result<std::optional<Isa>> take_isa_flag(int* argc, char** argv);

/// The instruction sets a benchmark shall run: the flag's, or all that this machine has.
/// kUnsupported if the flag names one that it lacks.
Result<std::vector<Isa>> isas_to_run(std::optional<Isa> flag);

/// Registers a benchmark program's benchmarks of one instruction set. The program defines it, and
/// lists ../cpu/bench_main.cpp among its files.
void add_benchmarks(Isa isa);

/// `filter`, in GoogleTest's syntax, without the tests that end in the name of another instruction
/// set.
std::string test_filter(const std::string& filter, Isa isa);

}  // namespace hadal::cpu
