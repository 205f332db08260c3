// Bytes and bandwidth of communication kernels, as roofline.h defines them. Internal to it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trace/roofline.h"

namespace hadal::trace {

/// The bus bandwidth factor of nccl-tests for a collective by its name ("allreduce",
/// "_allgather_base", "all_to_allv", ...); 1 for those without one, and for fewer than two ranks.
double bus_factor(std::string_view collective, int ranks);

/// Size of an element of a collective's dtype ("BFloat16", "Float", ...); 0: unknown.
int dtype_bytes(std::string_view dtype);

std::vector<CommBandwidth> comm_bandwidth(const GpuView& view, const Model& model,
                                          std::vector<std::string>& notes);

}  // namespace hadal::trace
