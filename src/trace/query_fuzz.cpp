// Arbitrary text as a query and as a what-if: an error or a result, never a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "trace/hand_trace.h"
#include "trace/query.h"
#include "trace/replay.h"

namespace {

using namespace hadal::trace;  // NOLINT(google-build-using-namespace): a test program

Trace small_trace() {
  HandTrace t;
  t.add(Category::kUserAnnotation, -1, "attn(B)", 0, 1000);
  t.launched(7, "gemm", 100'000, 2'000'000, 20).launched(20, "ncclKernel", 100'000, 500, 30);
  t.add(Category::kRuntime, -1, "cudaDeviceSynchronize", 2000, 3'000'000);
  return t.trace();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Trace trace = small_trace();
  static const GpuView view = gpu_view(trace, Rules());
  static const ReplayGraph graph = replay_graph(view);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto query = parse_query(text)) (void)find_events(view, 0, *query);
  if (const auto scenario = parse_scenario(text)) (void)what_if(graph, *scenario);
  return 0;
}
