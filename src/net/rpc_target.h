// The simulator's target "rpc": clients that call servers, with bulk data, while networks and
// processes fail; and then once more when all is well.
//
// What must hold: every call ends by its deadline; a response is that of its own call; what was
// answered was executed, what was not begun was not, and nothing was executed twice; bulk data is
// what was exposed; a server runs no more calls than it may; after everything has healed, calls
// succeed.
#pragma once

#include "sim/target.h"

namespace hadal::net {

sim::Target rpc_target();

}  // namespace hadal::net
