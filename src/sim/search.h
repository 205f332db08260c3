// The search for a seed that fails, over processes, and the shortest story of it.
//
// Every run happens in a child process, so that a failed CHECK, a crash or a sanitizer's report is
// a failure with its seed like any other. Children share nothing but a counter of seeds.
//
// Threads: one, and no other thread of the program may run (the children are forks of it).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"
#include "sim/target.h"

namespace hadal::sim {

inline constexpr int kMinimizeRunsMax = 300;

struct Failure {
  Scenario scenario;
  Outcome outcome;
};

struct Search {
  Scenario scenario = {};  // its seed is not used
  uint64_t first_seed = 0, last_seed = 0;
  int processes = 1;
  /// Called some times a second; may be empty.
  std::function<void(uint64_t runs, uint64_t events)> progress = {};
};

struct Found {
  uint64_t runs = 0, events = 0;
  bool failed = false;
  Failure first = {};  // if so: of the lowest seed that fails
};

/// Runs the seeds from first to last, both included; ends early where one fails. kInternal where
/// the system gives no more processes.
Result<Found> search(const Target& target, const Search& wanted);

/// Runs one scenario in a child. A child that dies is a failure that says how.
Result<Outcome> run_apart(const Target& target, const Scenario& scenario);

/// Leaves out kinds of faults and steps while the failure stays, whatever it says then. At most
/// kMinimizeRunsMax runs.
Result<Failure> minimize(const Target& target, const Failure& failure);

/// The command that runs this scenario again.
std::string replay_command(const Target& target, const Scenario& scenario);

}  // namespace hadal::sim
