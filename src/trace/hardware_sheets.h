// The hardware analyses as tables, for the terminal, CSV and the report.
#pragma once

#include "trace/contention.h"
#include "trace/memory.h"
#include "trace/occupancy.h"
#include "trace/patterns.h"
#include "trace/roofline.h"
#include "trace/sheet.h"
#include "trace/waves.h"

namespace hadal::trace {

Sheet occupancy_sheet(const GpuView& view, const OccupancyReport& report);
/// Kernels whose blocks do not fill their waves beside communication.
Sheet waves_sheet(const GpuView& view, const WaveReport& report);
/// The same kernel in the same place, alone and in company.
Sheet contention_sheet(const GpuView& view, const Contention& contention);
Sheet head_of_line_sheet(const GpuView& view, const WaveReport& report);

/// "NVIDIA H800: FP8 1979, BF16 989.5 TFLOP/s dense, 3.35 TB/s (data sheet)".
std::string peaks_text(const Peaks& peaks);
Sheet roofline_sheet(const Roofline& roofline);
Sheet roofline_totals_sheet(const Roofline& roofline);
Sheet comm_bandwidth_sheet(const Roofline& roofline);

Sheet copies_sheet(const MemoryUse& use);
Sheet allocation_calls_sheet(const MemoryUse& use);
Sheet memory_peaks_sheet(const MemoryUse& use);

Sheet sequences_sheet(const GpuView& view, const Patterns& patterns);
Sheet recompute_sheet(const GpuView& view, const Patterns& patterns);
Sheet chains_sheet(const GpuView& view, const Patterns& patterns);
Sheet grouped_rows_sheet(const GpuView& view, const Patterns& patterns);

}  // namespace hadal::trace
