// Smaller and larger traces: a window cut out of one, the ranks of a job merged into one.
//
// Events are copied as they stand in their file; only what must change is replaced. The files are
// read in order, compressed or not, and the output is written in the same way, so memory stays at
// what load() needs. The result is a trace that load() and every viewer can open.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace hadal::trace {

struct CutSummary {
  uint64_t events = 0;  // written, metadata and arrows included
  uint64_t rows = 0;    // those of Trace::events that were kept
  // What the inputs lacked.
  uint64_t lost_events = 0;                 // could not be read
  std::vector<std::string> truncated = {};  // the files that end in the middle
};

/// Writes the part of a trace that touches [start_ns, end_ns), in nanoseconds since its first
/// event: every event that overlaps it on its own track, the runtime calls that launched the GPU
/// work inside (they may come long before), the arrows of both, counters and instants inside, and
/// all of the metadata. Events are not shortened. B and E pairs are kept whole: the E is written
/// anew behind its B, without arguments. Events that load() cannot read are left out. `output` is
/// compressed if it ends in .gz or .zst, and may be `path` itself. Errors of load() and of the
/// output; kInvalidArgument for an empty window.
Result<CutSummary> cut(const std::string& path, int64_t start_ns, int64_t end_ns,
                       const std::string& output);

/// Writes several ranks' traces as one. Rank r is what the trace says, or its place among `paths`
/// where one says nothing or two say the same. Its times are moved to a common epoch and by
/// offsets_ns[r-th path] (empty: no offsets), which the caller has from aligned collectives;
/// process ids become pid + 10'000'000 * rank (texts get "rank N " in front, as do the processes'
/// names), correlations and the ids of arrows are moved so that ranks do not share any. Metadata is
/// the first trace's, without its rank. kInvalidArgument if there are no paths, or offsets of
/// another number; kUnsupported if correlations need more than 32 bits.
Result<CutSummary> merge(std::span<const std::string> paths, std::span<const int64_t> offsets_ns,
                         const std::string& output);

}  // namespace hadal::trace
