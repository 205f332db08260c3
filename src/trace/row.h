// From an event's fields to a row of a chunk.
#pragma once

#include "trace/chunk.h"

namespace hadal::trace {

/// Adds the event at `offset` to `rows` or to the chunk's side tables. Returns why it is no event,
/// or null.
const char* add_event(const RawEvent& event, uint64_t offset, const LoadOptions& options,
                      Tables& tables, Events& rows, Chunk& chunk);

/// The track number of a place in the worker's table; 0 and a flag if there are too many.
uint16_t track_of(const TrackView& view, Tables& tables);

/// The digits of "7", "stream 7" or "GPU 0"; nothing if there are none.
std::optional<int64_t> trailing_number(std::string_view text);

}  // namespace hadal::trace
