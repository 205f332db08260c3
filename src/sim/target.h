// What can be tested from seeds: a system with its workload, its faults and its checks.
//
// A target builds a World from the scenario's seed, runs `steps` steps of its workload in it while
// the faults that the scenario names happen, lets the world heal, and says what does not hold. The
// same scenario gives the same run, byte for byte.
//
//   const Target kTarget = {
//       .name = "kv",
//       .what = "transactions of many clients over crashes, checked for strict serializability",
//       .steps = 300,
//       .faults = {"crash", "disk-error"},
//       .broken = {"missing-conflict", "skipped-flush"},
//       .run = run};
//
// `broken` names mistakes that can be planted, to show that the checks find them: with one of them
// some seed must fail, without any every seed must pass.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::sim {

struct Scenario {
  uint64_t seed = 0;
  int64_t steps = 0;                     // of the workload, at least 1
  std::vector<std::string> faults = {};  // kinds that happen
  std::string broken = {};               // the planted mistake; empty: none

  bool has(std::string_view fault) const;
};

struct Outcome {
  std::string failure = {};  // what does not hold, in a sentence; empty: everything does
  uint64_t fingerprint = 0;  // of the world
  uint64_t events = 0;
  std::string log = {};  // the last lines; may be empty without a failure
};

struct Target {
  std::string_view name;
  std::string_view what;
  int64_t steps = 100;                        // where the user does not say
  std::vector<std::string_view> faults = {};  // all kinds it knows
  std::vector<std::string_view> broken = {};  // all mistakes that can be planted
  Outcome (*run)(const Scenario& scenario) = nullptr;

  /// With all faults, as `hadal sim run` does it.
  Scenario scenario(uint64_t seed, std::string_view broken_variant = {}) const;
};

}  // namespace hadal::sim
