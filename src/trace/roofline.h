// How close kernels come to what the GPU can do.
//
// For each kernel with known work (shapes.h) and a device with known peaks (model.h):
//   TFLOP/s     = FLOP / duration
//   intensity   = FLOP / bytes
//   SM share    = blocks / SMs for kernels of one block per SM and fewer blocks than SMs (a
//                 persistent grid cannot use more SMs than it has blocks), else what a detected
//                 partition leaves while communication runs beside it, else 1
//   attainable  = min(peak of the type * SM share, intensity * memory bandwidth)
//   percent     = 100 * achieved / attainable; for work without FLOP that of the bandwidth
//   of peak     = 100 * TFLOP/s / (peak of the type * SM share), whatever the bytes
// A percentage above 100 is never cut and never silent: above_peak is set, and says that the bytes
// came from caches in part or that a dimension or the peak is wrong.
//
// Totals add FLOP and time. Where kernels run side by side the sum of durations counts time twice;
// `union_ns` does not. Percentages of totals are of the peak: FLOP over what the SMs in use could
// do in the sum of durations.
//
// Communication, where its bytes are known:
//   NCCL        algorithm bandwidth = bytes / time; bus bandwidth = that times the factor of
//               nccl-tests (n ranks): all-reduce 2(n-1)/n; all-gather, reduce-scatter, all-to-all
//               (n-1)/n; else 1. Bytes: of the larger buffer.
//   DeepEP      from the model file: tokens * nodes * (hidden + 4 hidden / 128) for a dispatch in
//               FP8, tokens * nodes * 2 hidden for a combine in BF16; logical bytes, as DeepEP's
//               own documentation counts them.
// The time of one rank's kernel includes its wait for others, so these are lower bounds.
//
// Pure functions of the view; times in ns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/model.h"
#include "trace/shapes.h"
#include "trace/sheet.h"

namespace hadal::trace {

struct Roof {
  uint32_t shape = 0;  // in Shapes::list
  double tflops = 0, tb_s = 0, intensity = 0;
  double sm_share = 1;
  double peak_tflops = 0;        // of the type on its share of the SMs; 0: unknown
  double attainable_tflops = 0;  // likewise, with the bandwidth; 0: unknown
  double percent = 0;            // of the roofline; 0: unknown
  bool memory_bound = false;
  bool above_peak = false;
};

/// Kernels of one name and one shape.
struct RoofRow {
  std::string name;  // short
  Shape shape;       // of the first of them
  uint64_t count = 0;
  int64_t total_ns = 0;
  double flop = 0, bytes = 0;
  double peak_flop = 0;  // what the peaks make of total_ns
  double percent_min = 0, percent_max = 0;
  bool memory_bound = false, above_peak = false;
  double sm_share = 1;    // of the first of them
  double tflops() const;  // 0 for none
  double tb_s() const;
  double percent_of_peak() const;  // of all together; 0: unknown
};

struct RoofTotal {
  std::string name;
  uint64_t count = 0;
  int64_t total_ns = 0, union_ns = 0;
  double flop = 0, peak_flop = 0;
  double tflops() const;        // over the sum of durations
  double tflops_union() const;  // over the union
  double percent_of_peak() const;
};

struct CommBandwidth {
  std::string name;       // short name of the kernel
  std::string operation;  // "dispatch", "allreduce", ...
  std::string group;      // NCCL: process group
  std::string region;     // DeepEP: where it was launched; may be empty
  int ranks = 0;          // NCCL
  uint64_t count = 0;
  int64_t total_ns = 0;
  double bytes = 0;  // of all
  double bus_factor = 1;
  ShapeSource source = ShapeSource::kNone;
  double gb_s() const;
  double bus_gb_s() const { return gb_s() * bus_factor; }
};

struct Roofline {
  std::optional<Peaks> peaks;
  std::vector<Roof> kernels;      // with FLOP or bytes, by activity
  std::vector<RoofRow> rows;      // longest total first
  std::vector<RoofTotal> totals;  // GEMM and attention by short name, longest first
  std::optional<RoofTotal> gemm;  // all of them
  int64_t kernel_ns = 0;          // of all kernels of the view
  int64_t known_ns = 0;           // of those in `kernels`
  int64_t gemm_unknown_ns = 0;    // of GEMMs without all dimensions
  std::vector<CommBandwidth> communication;
  std::vector<std::string> notes;
};

Roofline roofline(const GpuView& view, const Shapes& shapes, const Model& model = {});
Json to_json(const GpuView& view, const Shapes& shapes, const Roofline& roofline);

}  // namespace hadal::trace
