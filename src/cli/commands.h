// Every command adds itself to the tree with one of these functions; main() calls them in the order
// in which `hadal --help` shows them.
#pragma once

#include "cli/args.h"

namespace hadal::cli {

void add_eplb(Command& root);
void add_trace(Command& root);
void add_gpu(Command& root);
void add_demo(Command& root);
void add_gemm(Command& root);
void add_fs(Command& root);
void add_sim(Command& root);
void add_kv(Command& root);
void add_doctor(Command& root);
void add_completion(Command& root, const CommandTree& tree);
void add_version(Command& root);

// The verbs of `hadal eplb`.
void add_eplb_plan(Command& eplb);
void add_eplb_evaluate(Command& eplb);
void add_eplb_show(Command& eplb);
void add_eplb_simulate(Command& eplb);

void add_gemm_bench(Command& gemm);

void add_fs_chunks_bench(Command& chunks);

// The verbs of `hadal trace`.
void add_trace_views(Command& parent);    // summary, kernels, streams, regions, overlap, gates, ...
void add_trace_reports(Command& parent);  // report, findings, check, info
void add_trace_causes(Command& parent);   // critical, diff
void add_trace_files(Command& parent);    // cut, merge
void add_trace_ranks(Command& parent);
void add_trace_query(Command& parent);
void add_trace_generate(Command& trace);
void add_trace_hardware(Command& parent);  // occupancy, roofline, memory, patterns

}  // namespace hadal::cli
