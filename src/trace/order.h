// The order of the rows: invariant 2 of trace.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "trace/trace.h"

namespace hadal::trace {

/// The rows in the order they shall have, without those of phase kEnd (chunk.h); sets begin and end
/// of the tracks. A merge sort of the runs that are sorted already: profilers write each thread's
/// events nearly in order.
std::vector<uint32_t> order_rows(Trace& trace, ThreadPool& pool);

/// Makes row i what row order[i] was, column by column.
void permute(std::span<const uint32_t> order, ThreadPool& pool, Events& events);

}  // namespace hadal::trace
