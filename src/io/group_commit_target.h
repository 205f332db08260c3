// GroupCommit under crashes, losses of power and bad disks (sim/target.h).
#pragma once

#include "sim/target.h"

namespace hadal::io {

/// Clients write records and acknowledge them after commit(); what was acknowledged must be there
/// whenever the server starts, and in the order of the calls.
sim::Target group_commit_target();

}  // namespace hadal::io
