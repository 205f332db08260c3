// The analyses as tables, for the terminal, CSV and the report.
#pragma once

#include <vector>

#include "trace/comm.h"
#include "trace/gates.h"
#include "trace/kernels.h"
#include "trace/launch.h"
#include "trace/regions.h"
#include "trace/sheet.h"
#include "trace/streams.h"
#include "trace/summary.h"

namespace hadal::trace {

Sheet summary_sheet(const Summary& summary);

Sheet streams_sheet(const GpuView& view, const std::vector<StreamUse>& streams);
/// The longest gaps of all streams.
Sheet gaps_sheet(const GpuView& view, const std::vector<StreamUse>& streams, size_t gaps_max);

Sheet kernels_sheet(const KernelTable& table);
Sheet families_sheet(const KernelTable& table);

Sheet roles_sheet(const CommUse& use);
Sheet comm_kernels_sheet(const CommUse& use);
/// Time of each role per region name, one column per index (up to 12).
Sheet role_growth_sheet(const CommUse& use);
Sheet unclassified_sheet(const CommUse& use);

Sheet regions_sheet(const std::vector<RegionUse>& uses, size_t most = kAllRows);
/// Phases by layers, busy time.
Sheet grid_sheet(const PhaseGrid& grid, const std::vector<RegionUse>& uses);
Sheet overlap_sheet(const OverlapMatrix& matrix);
Sheet phases_sheet(const OverlapMatrix& matrix);
Sheet gates_sheet(const GpuView& view, const std::vector<Gate>& all, size_t most = kAllRows);

Sheet launches_sheet(const GpuView& view, const LaunchUse& use);
Sheet api_sheet(const LaunchUse& use);
Sheet blocking_sheet(const GpuView& view, const LaunchUse& use, size_t most = kAllRows);

}  // namespace hadal::trace
