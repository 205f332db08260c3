// hadal trace: the group of its verbs.
#include "cli/commands.h"

namespace hadal::cli {

void add_trace(Command& root) {
  Command trace =
      root.add("trace", "Analyse PyTorch profiler traces: where time goes, what to change");
  add_trace_views(trace);
  add_trace_hardware(trace);
  add_trace_reports(trace);
  add_trace_causes(trace);
  add_trace_ranks(trace);
  add_trace_query(trace);
  add_trace_files(trace);
  add_trace_generate(trace);
}

}  // namespace hadal::cli
