// What this processor can do, and the kernels that use it.
//
// hadal is built for x86-64-v2 (or any other architecture) and chooses newer instructions at run
// time. Code that gains from them exists once per instruction set, in its own translation unit
// x_<isa>.cpp with its own compiler flags (cmake/hadal.cmake), and is reached through a table of
// function pointers like the one here. There is no hidden state: a caller asks for the best table,
// or for one by name, so that tests and benchmarks can run every one of them (`--isa=NAME`,
// cpu/isa_flag.h).
//
//   const cpu::Kernels& k = cpu::kernels();           // the best of this machine
//   k.f32_to_bf16(in, out, n);
//   const cpu::Kernels& old = *TRY(cpu::kernels(cpu::Isa::kAvx2));
//
// The instruction sets are ordered: each has everything of those before it. All functions are
// thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cpu/kernels.h"

namespace hadal::cpu {

enum class Isa {
  kScalar,      // portable C++
  kAvx2,        // x86-64-v3: AVX2, FMA, F16C, BMI (Haswell 2013, Zen 2017)
  kAvx512,      // x86-64-v4: AVX-512 F, BW, CD, DQ, VL (Skylake-X 2017, Zen 4)
  kAvx512Bf16,  // and BF16, VNNI, VBMI (Sapphire Rapids 2023, Zen 4 2022; Cooper Lake lacks VBMI)
};

inline constexpr std::array kAllIsas{Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

/// "scalar", "avx2", "avx512", "avx512bf16": stable.
std::string_view name(Isa isa);

/// The inverse of name(). kInvalidArgument for anything else.
Result<Isa> parse_isa(std::string_view text);

/// The best instruction set of this machine.
Isa detect();

/// Whether this machine, its operating system included, can run `isa`.
inline bool has(Isa isa) {
  return isa <= detect();
}

/// Nothing, or kUnsupported with a sentence that names `isa` and the best this machine has.
Result<> need(Isa isa);

/// The best table of this machine. It lives as long as the program.
const Kernels& kernels();

/// The table of one instruction set; never null. kUnsupported as need() says.
Result<const Kernels*> kernels(Isa isa);

/// For people: `hadal doctor`, benchmark headers, bug reports.
struct Machine {
  std::string brand;                  // "AMD EPYC 9654 96-Core Processor", or the architecture
  int threads = 1;                    // hardware threads that this process may use
  int64_t l1d_bytes = 0;              // per core; 0 where the system does not say
  int64_t l2_bytes = 0;               // per core
  int64_t l3_bytes = 0;               // per group of cores that shares one
  Isa isa = Isa::kScalar;             // detect()
  std::vector<std::string> features;  // of those hadal cares for: "avx2", "avx512bf16", ...
};
Machine describe_machine();

}  // namespace hadal::cpu
