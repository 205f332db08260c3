// What the report says beside its timeline: the five numbers, the findings, and a tab per subject.
#pragma once

#include <span>

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

/// The `analyses` of ReportInput (trace/report.h). Figures of all ranks; findings and tables of
/// each rank in turn, those of the first rank first. At least one view.
Json report_analyses(std::span<const GpuView> ranks);

}  // namespace hadal::trace
