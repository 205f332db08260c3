// The embedded store in the simulator: many clients, random transactions, crashes, power cuts in
// the middle of RocksDB's calls, disks that fail; in the end the history of everything that any
// client saw must be strictly serializable, and what was acknowledged must be there.
#pragma once

#include "sim/target.h"

namespace hadal::kv {

/// Named "kv".
const sim::Target& sim_target();

}  // namespace hadal::kv
