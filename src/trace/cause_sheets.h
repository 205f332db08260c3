// The critical path, what-if replays and the difference of two traces as tables.
#pragma once

#include <vector>

#include "trace/critical.h"
#include "trace/diff.h"
#include "trace/replay.h"
#include "trace/sheet.h"

namespace hadal::trace {

Sheet path_classes_sheet(const CriticalPath& path);
Sheet path_regions_sheet(const CriticalPath& path);
Sheet path_kernels_sheet(const CriticalPath& path);
/// All steps, the longest first.
Sheet path_steps_sheet(const GpuView& view, const CriticalPath& path, size_t most = kAllRows);
Sheet what_if_sheet(const std::vector<WhatIf>& results);

Sheet diff_identity_sheet(const TraceDiff& d);
// Rows without any difference are left out.
Sheet diff_regions_sheet(const TraceDiff& d);
Sheet diff_families_sheet(const TraceDiff& d);
Sheet diff_kernels_sheet(const TraceDiff& d);

}  // namespace hadal::trace
