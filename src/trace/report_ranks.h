// What the report says of several ranks: their clocks, who is late, whose GPU is slow. Internal to
// report_analyses.h.
#pragma once

#include "trace/json.h"
#include "trace/ranks.h"
#include "trace/report_tab.h"

namespace hadal::trace {

/// The tab "Ranks". Its intervals are on the clock of the first rank.
ReportTab ranks_tab(const RanksUse& use);

/// What the timeline did to the clocks, for each rank: {offset_us, residual_us, drift_ppm,
/// component, collectives}.
Json clocks_json(const RanksUse& use);

/// A late rank and a slow GPU as findings of the page, where they stand out.
Json rank_findings_json(const RanksUse& use);

}  // namespace hadal::trace
