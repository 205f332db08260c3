// The chunk store in the simulator: `hadal sim run chunks`.
#pragma once

#include "sim/target.h"

namespace hadal::fs {

/// Workers change, read, hold and scrub chunks of a small store, which is killed, loses power,
/// meets disk errors and bit rot, and is opened again. Checked against a model of every chunk: what
/// was acknowledged is there, what was not is there whole or not at all, an update that is sent
/// again is made once, readers keep their version, the books balance, and wrong bytes are never
/// returned.
sim::Target chunks_target();

}  // namespace hadal::fs
