// Joining the tables of the workers: equal values of all of them get one number, by their order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "trace/chunk.h"
#include "trace/trace.h"

namespace hadal::trace {

/// From a worker and its number to the joined one; kNone for what no row uses.
using Numbers = std::vector<std::vector<uint32_t>>;

/// Which numbers of each worker's table occur in the chunks that count. A worker may also have seen
/// text from a wrong guess.
using Used = std::vector<std::vector<bool>>;

struct Joined {
  Numbers names, tracks, launches, copies, infos;
};

/// Joins everything that the chunks use into the tables of `trace`. Tracks have no rows yet.
/// kUnsupported for too many tracks.
Result<Joined> join_tables(std::span<const Chunk> chunks, std::span<Tables> tables, Trace& trace);

}  // namespace hadal::trace
