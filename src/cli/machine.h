// What this machine offers, found at run time: instruction sets, memory, devices, libraries,
// programs.
//
// Nothing here is needed to run; each probe says what was found, or what its absence costs. Probes
// load libraries with dlopen and start at most one short process (python3); none changes anything.
#pragma once

#include <string>
#include <vector>

namespace hadal::cli {

struct Probe {
  std::string name;  // stable key: "isa", "cpu", "memory", "compiler", "gpu", "nvrtc", ...
  bool ok = false;
  std::string found;  // "2 x NVIDIA H200, driver 12.8"; for a missing thing, why
  std::string costs;  // what a missing thing costs; empty if ok
};

/// All probes, in the order in which they are shown.
std::vector<Probe> probe_machine();

}  // namespace hadal::cli
