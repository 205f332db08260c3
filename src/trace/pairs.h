// B and E events become one row.
#pragma once

#include "trace/trace.h"

namespace hadal::trace {

/// Gives each row of phase kBegin (chunk.h) the duration to its E and makes it a complete event;
/// rows of phase kEnd stay, to be dropped by the order. On a track, by time and then by the order
/// in the file: an E with a name ends the innermost open B of that name, one without ends the
/// innermost of all. What cannot be paired is counted in Health: a B extends to the end of its
/// track, an E is dropped.
void pair_begins(Trace& trace);

}  // namespace hadal::trace
