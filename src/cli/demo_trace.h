// The part of `hadal demo` that reads traces: of the demo's own run, and of a generated step.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace hadal::cli {

struct DemoTraceResult {
  std::string on, result;
  bool check = false;
};

/// Reads the trace that the demo's profiler wrote; checks that it has all events and that the
/// stages of the demo, which follow one another, fill its span. Writes a report beside it.
Result<DemoTraceResult> analyse_run(const std::string& trace_path, const std::string& report_path,
                                    uint64_t events_expected);

/// Generates a training step of the DualPipe kind, reads it back, holds the summary against the
/// answers of the generator, and writes the trace and its report.
Result<DemoTraceResult> analyse_step(const std::string& trace_path, const std::string& report_path);

}  // namespace hadal::cli
