// From chunks to a Trace: joins the tables of the workers, concatenates the columns, pairs B with
// E, sorts, names the tracks.
//
// Whatever was first in the file or first seen by a thread is forgotten here: names, tracks,
// launches, copies and collectives are numbered by their order among themselves, rows are sorted by
// a key that is complete but for the offset.
#pragma once

#include <span>
#include <vector>

#include "base/threads.h"
#include "trace/chunk.h"
#include "trace/header.h"
#include "trace/trace.h"

namespace hadal::trace {

/// Fills `trace` with everything that comes from events. The chunks are consecutive and give up
/// their memory column by column: at no time do both hold all. `trace.base_ns` is
/// baseTimeNanoseconds or 0. kUnsupported for more than 65536 tracks or 2^32 - 2 events.
Result<> assemble(std::vector<Chunk>& chunks, std::span<Tables> tables, ThreadPool& pool,
                  Trace& trace);

}  // namespace hadal::trace
