#include "cpu/cpu.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>

#include <fmt/core.h>
#include <sys/utsname.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

namespace hadal::cpu {
namespace {

struct Feature {
  const char* name;
  bool present;
};

#ifdef __x86_64__

// __builtin_cpu_supports also asks whether the operating system saves the registers.
std::vector<Feature> probe_features() {
  return {
      {"sse4.2", __builtin_cpu_supports("sse4.2") != 0},
      {"avx", __builtin_cpu_supports("avx") != 0},
      {"avx2", __builtin_cpu_supports("avx2") != 0},
      {"fma", __builtin_cpu_supports("fma") != 0},
      {"f16c", __builtin_cpu_supports("f16c") != 0},
      {"bmi2", __builtin_cpu_supports("bmi2") != 0},
      {"avx512f", __builtin_cpu_supports("avx512f") != 0},
      {"avx512bw", __builtin_cpu_supports("avx512bw") != 0},
      {"avx512cd", __builtin_cpu_supports("avx512cd") != 0},
      {"avx512dq", __builtin_cpu_supports("avx512dq") != 0},
      {"avx512vl", __builtin_cpu_supports("avx512vl") != 0},
      {"avx512vnni", __builtin_cpu_supports("avx512vnni") != 0},
      {"avx512bf16", __builtin_cpu_supports("avx512bf16") != 0},
      {"avx512vbmi", __builtin_cpu_supports("avx512vbmi") != 0},
      {"avx512vbmi2", __builtin_cpu_supports("avx512vbmi2") != 0},
      {"gfni", __builtin_cpu_supports("gfni") != 0},
      {"vaes", __builtin_cpu_supports("vaes") != 0},
      {"vpclmulqdq", __builtin_cpu_supports("vpclmulqdq") != 0},
  };
}

Isa probe_isa() {
  if (!__builtin_cpu_supports("x86-64-v3")) return Isa::kScalar;
  if (!__builtin_cpu_supports("x86-64-v4")) return Isa::kAvx2;
  const bool bf16 = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") &&
                    __builtin_cpu_supports("avx512vbmi");
  return bf16 ? Isa::kAvx512Bf16 : Isa::kAvx512;
}

std::string probe_brand() {
  char text[49] = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned words[4] = {};
    if (!__get_cpuid(0x80000002 + leaf, &words[0], &words[1], &words[2], &words[3])) return {};
    std::memcpy(text + 16 * leaf, words, sizeof(words));
  }
  const std::string_view brand(text);
  const size_t begin = brand.find_first_not_of(' ');
  const size_t end = brand.find_last_not_of(' ');
  return begin == std::string_view::npos ? "" : std::string(brand.substr(begin, end - begin + 1));
}

const Kernels& table(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return kScalarKernels;
    case Isa::kAvx2: return kAvx2Kernels;
    case Isa::kAvx512: return kAvx512Kernels;
    case Isa::kAvx512Bf16: return kAvx512Bf16Kernels;
  }
  return kScalarKernels;
}

#else  // not x86-64

std::vector<Feature> probe_features() {
  return {};
}
Isa probe_isa() {
  return Isa::kScalar;
}
std::string probe_brand() {
  return {};
}
const Kernels& table(Isa /*isa*/) {
  return kScalarKernels;
}

#endif

/// Fills the cache sizes from sysfs. sysconf() is no source: on AMD it multiplies the L3 by the
/// number of threads of the socket.
void probe_caches(Machine& machine) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    int level = 0;
    std::string type;
    int64_t kibibytes = 0;  // the file says "32K"
    std::ifstream(folder + "level") >> level;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> kibibytes;
    if (level == 1 && type == "Data") machine.l1d_bytes = kibibytes * 1024;
    if (level == 2) machine.l2_bytes = kibibytes * 1024;
    if (level == 3) machine.l3_bytes = kibibytes * 1024;
  }
}

std::string architecture() {
  utsname names{};
  return uname(&names) == 0 ? names.machine : "unknown processor";
}

}  // namespace

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512bf16";
  }
  return "unknown";
}

Result<Isa> parse_isa(std::string_view text) {
  for (const Isa isa : kAllIsas) {
    if (text == name(isa)) return isa;
  }
  return fail(
      Code::kInvalidArgument,
      fmt::format("instruction set is \"{}\"; it must be scalar, avx2, avx512 or avx512bf16",
                  text));
}

Isa detect() {
  return probe_isa();
}

Result<> need(Isa isa) {
  if (has(isa)) return {};
  return fail(Code::kUnsupported, fmt::format("this machine cannot run {} code; its best is {}",
                                              name(isa), name(detect())));
}

const Kernels& kernels() {
  return table(detect());
}

Result<const Kernels*> kernels(Isa isa) {
  TRY(need(isa));
  return &table(isa);
}

Machine describe_machine() {
  Machine machine;
  machine.brand = probe_brand();
  if (machine.brand.empty()) machine.brand = architecture();
  machine.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  machine.isa = detect();
  for (const Feature& feature : probe_features()) {
    if (feature.present) machine.features.emplace_back(feature.name);
  }
  probe_caches(machine);
  return machine;
}

}  // namespace hadal::cpu
