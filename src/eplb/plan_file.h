// Plans as JSON, for other tools and for the next run.
//
//   {
//     "hadal_plan": 1,                          version
//     "policy": "optimal", "scope": "hierarchical", "dispatch": "equal",
//     "num_layers": 58, "num_experts": 256, "num_replicas": 288 (slots),
//     "num_groups": 8, "num_nodes": 4, "num_gpus": 32,
//     "gpu_first_slot": [num_gpus + 1],
//     "phy2log": [layers][slots], "log2phy": [layers][experts][X], "logcnt": [layers][experts],
//     "dispatch_weight": [layers][slots],       only with "dispatch": "weighted"
//     "cut_short": false,
//     "layers": [{"max", "mean", "imbalance", "lower_bound", "gap", "moves"}, ...]
//   }
//
// A document without "hadal_plan" is a bare placement, as other balancers write it: phy2log with
// num_experts (or num_logical_experts) and num_gpus; num_groups and num_nodes default to 1. Its
// tables are rebuilt by index_plan() and its qualities are those of an unscored plan.
//
// Numbers are printed with the digits that read back to the same double. Both ways are exact:
// plan_from_json(plan_to_json(p)) is p again for every plan with a layer that validate() accepts.
#pragma once

#include <cstddef>
#include <string>

#include "base/error.h"
#include "eplb/eplb.h"

namespace hadal::eplb {

inline constexpr int kPlanFileVersion = 1;
inline constexpr size_t kPlanFileBytesMax = size_t{1} << 28;

/// The JSON text of a valid plan, one layer a line, with a newline at the end. A quality that is
/// not finite is written as null.
std::string plan_to_json(const Plan& plan);

/// The plan in a JSON text; it passes validate(). Errors (kInvalidArgument) name the field.
Result<Plan> plan_from_json(std::string bytes);

/// The same from a file, or standard input for "-"; errors begin with the file's name.
Result<Plan> read_plan(const std::string& path, size_t bytes_max = kPlanFileBytesMax);

}  // namespace hadal::eplb
