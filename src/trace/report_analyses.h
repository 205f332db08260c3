// What the report says beside its timeline: the five numbers, the findings, and a tab per subject.
#pragma once

#include <span>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/model.h"
#include "trace/ranks.h"

namespace hadal::trace {

/// The `analyses` of ReportInput (trace/report.h): figures, findings and tables of each rank, those
/// of the first rank first. At least one view. `model` as in find() and roofline(). `use` is what
/// compare_ranks() says of the same views in the same order; null: nothing of ranks against each
/// other.
Json report_analyses(std::span<const GpuView> ranks, const Model& model = {},
                     const RanksUse* use = nullptr);

}  // namespace hadal::trace
