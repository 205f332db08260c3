// Several ranks, and found events, as tables.
#pragma once

#include <vector>

#include "trace/query.h"
#include "trace/ranks.h"
#include "trace/sheet.h"

namespace hadal::trace {

/// How many ranks and collectives, how well the clocks agree, who is late, whose GPU is slow: one
/// sentence each, the last two where they can be told.
std::vector<std::string> rank_sentences(const RanksUse& use);

/// By rank.
Sheet ranks_sheet(const RanksUse& use);
Sheet collective_kinds_sheet(const RanksUse& use);
/// The collectives with the longest waits, at most `most`.
Sheet worst_collectives_sheet(const RanksUse& use, size_t most);
/// Regions by how much longer the slowest rank computes in them than the median one.
Sheet region_compute_sheet(const RanksUse& use);

Sheet events_sheet(const Found& found);

}  // namespace hadal::trace
