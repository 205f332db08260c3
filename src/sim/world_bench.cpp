// Events of the simulator per second: the limit of how many seeds a machine can try.
#include <benchmark/benchmark.h>

#include "sim/world.h"

namespace hadal::sim {
namespace {

/// Processes whose fibers hand a turn around and sleep. One event is one task or timer.
void events(benchmark::State& state) {
  const auto num_processes = static_cast<int>(state.range(0));
  uint64_t seed = 0, events = 0, steps = 0;
  for (auto _ : state) {
    World world({.seed = ++seed});
    for (int i = 0; i < num_processes; ++i) {
      world.add_process("p", [&](Process& self) {
        while (true) {
          ++steps;
          yield_fiber();
          sleep_fiber(static_cast<int64_t>(self.rng().below(100 * kMicrosecond)));
        }
      });
    }
    world.run_for(20 * kMillisecond);
    events += world.events();
  }
  if (steps == 0) state.SkipWithError("nothing ran");
  state.counters["events_per_s"] =
      benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
  state.counters["over_target_of_200k"] =
      benchmark::Counter(static_cast<double>(events) / 2e5, benchmark::Counter::kIsRate);
}
BENCHMARK(events)->Arg(3)->Arg(50)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::sim
