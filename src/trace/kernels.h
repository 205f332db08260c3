// Kernels by name and by family.
//
// Names of C++ kernels are long: "void cutlass::device_kernel<dpsk::...::GemmKernel>(...)". The
// short name keeps what tells kernels apart: no return type, no parameters, no template arguments,
// no namespaces, but the argument of a wrapper that says nothing itself (device_kernel,
// elementwise_kernel): "fp8_ptp128c::GemmKernel", "direct_copy_kernel_cuda". The family says what
// kind of work it is: gemm, attention, norm, elementwise, reduce, cast, copy, sort, rope, random,
// communication, memory, other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

/// See above. At most 60 characters; a name that cannot be taken apart is cut.
std::string short_name(std::string_view kernel_name);
/// The family of a kernel that computes; by name.
std::string_view family(std::string_view kernel_name);

/// Sums over a set of activities. Percentiles are nearest-rank, the deviation is the sample's.
struct DurationStats {
  uint64_t count = 0;
  int64_t sum_ns = 0, min_ns = 0, max_ns = 0, median_ns = 0, p95_ns = 0;
  double mean_ns = 0, deviation_ns = 0;
};
/// Of durations in any order; all zero for none.
DurationStats duration_stats(std::vector<int64_t> values);

struct KernelRow {
  std::string name;  // the full name; for a family its name
  std::string short_name;
  Class kind = Class::kCompute;
  Role role = Role::kNone;
  std::string_view family;
  DurationStats time;
  int64_t alone_ns = 0;  // while one of them was the only activity of the GPU
  std::vector<uint32_t> activities;
};

struct KernelTable {
  std::vector<KernelRow> kernels;   // by sum, largest first, then name
  std::vector<KernelRow> families;  // likewise; `activities` stays empty
  int64_t sum_ns = 0;               // of all durations
};

KernelTable kernel_table(const GpuView& view);

/// For each activity the time during which it was the only one on its device.
std::vector<int64_t> time_alone(const GpuView& view);

/// {sum_us, kernels: [{name, short_name, class, role, family, count, sum_us, ...}], families:
/// [...]}
Json to_json(const KernelTable& table);

}  // namespace hadal::trace
