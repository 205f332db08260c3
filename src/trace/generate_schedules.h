// The programs that synthetic traces show: one training or decode step of each schedule, in the
// vocabulary of the machine (generate_machine.h).
#pragma once

#include "trace/generate_machine.h"

namespace hadal::trace::gen {

/// Runs step `number` with the scenario's schedule and these sizes, which may be smaller than the
/// scenario's in the last step of a file of a given length.
void run_step(Machine& machine, Schedule schedule, int number, int layers, int micro_batches);

}  // namespace hadal::trace::gen
