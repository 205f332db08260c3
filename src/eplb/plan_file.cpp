#include "eplb/plan_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/files.h"
#include "eplb/json_fields.h"

namespace hadal::eplb {
namespace {

constexpr std::string_view kSlotRule = "it must be a whole number";

template <typename T>
void append_row(fmt::memory_buffer& out, std::span<const T> row) {
  out.push_back('[');
  for (size_t i = 0; i < row.size(); ++i) {
    if (i > 0) out.push_back(',');
    // A float is printed as the double it is: its shortest text might read back one float off.
    using Printed = std::conditional_t<std::is_same_v<T, float>, double, T>;
    fmt::format_to(std::back_inserter(out), "{}", static_cast<Printed>(row[i]));
  }
  out.push_back(']');
}

void append_text(fmt::memory_buffer& out, std::string_view text) {
  out.append(text.data(), text.data() + text.size());
}

/// `"key": [[...],[...]]`, one layer a line; rows_per_layer > 0 nests once more.
template <typename T>
void append_layers(fmt::memory_buffer& out, std::string_view key, const std::vector<T>& values,
                   int num_layers, size_t rows_per_layer, size_t columns) {
  fmt::format_to(std::back_inserter(out), "  \"{}\": [", key);
  const T* row = values.data();
  for (int layer = 0; layer < num_layers; ++layer) {
    append_text(out, layer == 0 ? "\n    " : ",\n    ");
    if (rows_per_layer > 0) out.push_back('[');
    for (size_t i = 0; i < std::max<size_t>(rows_per_layer, 1); ++i) {
      if (i > 0) out.push_back(',');
      append_row(out, std::span<const T>(row, columns));
      row += columns;
    }
    if (rows_per_layer > 0) out.push_back(']');
  }
  append_text(out, num_layers == 0 ? "],\n" : "\n  ],\n");
}

std::string quality_number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "null";
}

void append_quality(fmt::memory_buffer& out, const std::vector<LayerQuality>& quality) {
  append_text(out, "  \"layers\": [");
  for (size_t i = 0; i < quality.size(); ++i) {
    const LayerQuality& q = quality[i];
    fmt::format_to(std::back_inserter(out),
                   "{}\n    {{\"max\": {}, \"mean\": {}, \"imbalance\": {}, \"lower_bound\": {}, "
                   "\"gap\": {}, \"moves\": {}}}",
                   i == 0 ? "" : ",", quality_number(q.max), quality_number(q.mean),
                   quality_number(q.imbalance), quality_number(q.lower_bound),
                   quality_number(q.gap), q.moves);
  }
  append_text(out, quality.empty() ? "]\n" : "\n  ]\n");
}

/// The fields of a plan document, by their place in the list that is read.
enum Field {
  kPhy2log,
  kExperts,
  kLogicalExperts,
  kLayersNumber,
  kReplicas,
  kGroups,
  kNodes,
  kGpus,
  kBareFields,  // a bare placement has those above
  kVersion = kBareFields,
  kPolicy,
  kScope,
  kDispatch,
  kFirstSlot,
  kLog2phy,
  kLogcnt,
  kWeight,
  kCutShort,
  kLayers,
  kFields
};

constexpr std::array<std::string_view, 6> kQualityKeys = {"max",         "mean", "imbalance",
                                                          "lower_bound", "gap",  "moves"};

constexpr std::array<JsonField, kFields> kPlanFields = [] {
  using Kind = JsonField::Kind;
  std::array<JsonField, kFields> fields{};
  fields[kPhy2log] = {.name = "phy2log", .rule = kSlotRule};
  fields[kExperts] = {.name = "num_experts", .kind = Kind::kInteger};
  fields[kLogicalExperts] = {.name = "num_logical_experts", .kind = Kind::kInteger};
  fields[kLayersNumber] = {.name = "num_layers", .kind = Kind::kInteger};
  fields[kReplicas] = {.name = "num_replicas", .kind = Kind::kInteger};
  fields[kGroups] = {.name = "num_groups", .kind = Kind::kInteger};
  fields[kNodes] = {.name = "num_nodes", .kind = Kind::kInteger};
  fields[kGpus] = {.name = "num_gpus", .kind = Kind::kInteger};
  fields[kVersion] = {.name = "hadal_plan", .kind = Kind::kInteger};
  fields[kPolicy] = {.name = "policy", .kind = Kind::kText};
  fields[kScope] = {.name = "scope", .kind = Kind::kText};
  fields[kDispatch] = {.name = "dispatch", .kind = Kind::kText};
  fields[kFirstSlot] = {.name = "gpu_first_slot", .rule = kSlotRule};
  fields[kLog2phy] = {.name = "log2phy", .rule = kSlotRule};
  fields[kLogcnt] = {.name = "logcnt", .rule = kSlotRule};
  fields[kWeight] = {.name = "dispatch_weight", .rule = "it must be a number from 0 to 1"};
  fields[kCutShort] = {.name = "cut_short", .kind = Kind::kFlag};
  fields[kLayers] = {
      .name = "layers", .rule = "it must be a number", .inner = kQualityKeys, .null_is_nan = true};
  return fields;
}();

/// Takes what plan_from_json() read apart into a Plan. Sizes that do not fit together are left for
/// validate(); here is checked what a Plan cannot express.
class PlanBuilder {
 public:
  explicit PlanBuilder(std::vector<JsonValue> values) : values_(std::move(values)) {}

  Result<Plan> build() {
    const bool bare = values_.size() == kBareFields;
    TRY(read_shape());
    if (bare) {
      TRY(spread_slots());
      TRY(index_plan(plan_));
      plan_.quality.resize(plan_.num_layers);
    } else {
      TRY(read_names());
      TRY(read_tables());
      TRY(read_quality());
    }
    TRY(validate(plan_));
    return std::move(plan_);
  }

 private:
  Result<> require(Field field) const {
    if (values_[field].present) return {};
    return fail(Code::kInvalidArgument, fmt::format("the plan has no {}", kPlanFields[field].name));
  }

  /// A number of the shape, 1 .. 2^31-1; `fallback` 0 makes it required.
  Result<int> number(Field field, int fallback) const {
    if (!values_[field].present && fallback > 0) return fallback;
    TRY(require(field));
    const int64_t value = values_[field].integer;
    if (value >= 1 && value <= std::numeric_limits<int>::max()) return static_cast<int>(value);
    return fail(Code::kInvalidArgument, fmt::format("{} is {}; it must be at least 1 and fit in 31 "
                                                    "bits",
                                                    kPlanFields[field].name, value));
  }

  Result<> expect(Field field, int64_t found, std::string_view of) const {
    if (!values_[field].present || values_[field].integer == found) return {};
    return fail(Code::kInvalidArgument,
                fmt::format("{} is {}, but phy2log has {} {}", kPlanFields[field].name,
                            values_[field].integer, found, of));
  }

  Result<> read_shape() {
    TRY(require(kPhy2log));
    const JsonValue& table = values_[kPhy2log];
    if (table.shape.size() != 2) {
      return fail(Code::kInvalidArgument, fmt::format("phy2log has {} dimensions; it must have 2 "
                                                      "(layers, slots)",
                                                      table.shape.size()));
    }
    plan_.num_layers = static_cast<int>(table.shape[0]);
    plan_.num_slots = static_cast<int>(table.shape[1]);
    TRY(expect(kLayersNumber, plan_.num_layers, "layers"));
    TRY(expect(kReplicas, plan_.num_slots, "slots a layer"));
    const bool alias = values_[kLogicalExperts].present && !values_[kExperts].present;
    plan_.num_experts = TRY(number(alias ? kLogicalExperts : kExperts, 0));
    plan_.num_gpus = TRY(number(kGpus, 0));
    plan_.num_groups = TRY(number(kGroups, 1));
    plan_.num_nodes = TRY(number(kNodes, 1));
    return read_integers(kPhy2log, plan_.phy2log);
  }

  /// The slots of a bare placement: R/D for every GPU, and one more for the first R%D.
  Result<> spread_slots() {
    if (plan_.num_gpus > plan_.num_slots) {
      return fail(Code::kInvalidArgument,
                  fmt::format("num_gpus is {}; it must be at most the {} slots of phy2log",
                              plan_.num_gpus, plan_.num_slots));
    }
    const int slots = plan_.num_slots / plan_.num_gpus;
    const int more = plan_.num_slots % plan_.num_gpus;
    plan_.gpu_first_slot.resize(static_cast<size_t>(plan_.num_gpus) + 1);
    for (int gpu = 0; gpu < plan_.num_gpus; ++gpu) {
      plan_.gpu_first_slot[gpu + 1] = plan_.gpu_first_slot[gpu] + slots + (gpu < more ? 1 : 0);
    }
    return {};
  }

  Result<> read_integers(Field field, std::vector<int32_t>& out) {
    TRY(require(field));
    const std::vector<double>& grid = values_[field].grid;
    out.resize(grid.size());
    for (size_t i = 0; i < grid.size(); ++i) {
      if (grid[i] != std::floor(grid[i]) ||
          std::abs(grid[i]) > std::numeric_limits<int32_t>::max()) {
        return fail(Code::kInvalidArgument,
                    fmt::format("{} has the value {}; {} of 31 bits", kPlanFields[field].name,
                                grid[i], kSlotRule));
      }
      out[i] = static_cast<int32_t>(grid[i]);
    }
    return {};
  }

  template <typename T>
  Result<> read_name(Field field, std::initializer_list<T> allowed, T& out) {
    TRY(require(field));
    std::string names;
    for (const T value : allowed) {
      if (name(value) == values_[field].text) {
        out = value;
        return {};
      }
      names += names.empty() ? "" : ", ";
      names += name(value);
    }
    return fail(Code::kInvalidArgument,
                fmt::format("{} is something else than one of {}", kPlanFields[field].name, names));
  }

  Result<> read_names() {
    using enum Policy;
    TRY(read_name(kPolicy, {kReference, kOptimal, kIncremental}, plan_.policy));
    TRY(read_name(kScope, {Scope::kHierarchical, Scope::kGlobal}, plan_.scope));
    return read_name(kDispatch, {Dispatch::kEqual, Dispatch::kWeighted}, plan_.dispatch);
  }

  Result<> read_tables() {
    TRY(read_integers(kFirstSlot, plan_.gpu_first_slot));
    TRY(read_integers(kLog2phy, plan_.log2phy));
    TRY(read_integers(kLogcnt, plan_.logcnt));
    const std::vector<int64_t>& shape = values_[kLog2phy].shape;
    if (shape.size() != 3 || shape[0] != plan_.num_layers || shape[1] != plan_.num_experts) {
      return fail(Code::kInvalidArgument,
                  "log2phy must have 3 dimensions (layers, experts, "
                  "replicas)");
    }
    plan_.max_count = static_cast<int>(shape[2]);
    if (plan_.dispatch == Dispatch::kWeighted) {
      TRY(require(kWeight));
      const std::vector<double>& weight = values_[kWeight].grid;
      plan_.dispatch_weight.assign(weight.begin(), weight.end());
    }
    plan_.cut_short = values_[kCutShort].flag;
    return {};
  }

  Result<> read_quality() {
    TRY(require(kLayers));
    const std::vector<double>& grid = values_[kLayers].grid;
    for (size_t i = 0; i + kQualityKeys.size() <= grid.size(); i += kQualityKeys.size()) {
      LayerQuality quality;
      const std::array<double*, 5> out = {&quality.max, &quality.mean, &quality.imbalance,
                                          &quality.lower_bound, &quality.gap};
      for (size_t k = 0; k < out.size(); ++k) {
        if (!std::isnan(grid[i + k])) *out[k] = grid[i + k];
      }
      const double moves = grid[i + out.size()];
      if (!(moves >= 0 && moves <= std::numeric_limits<int>::max())) {
        return fail(Code::kInvalidArgument,
                    fmt::format("layers[{}].moves is {}; it must be a whole number >= 0",
                                i / kQualityKeys.size(), moves));
      }
      quality.moves = static_cast<int>(moves);
      plan_.quality.push_back(quality);
    }
    return {};
  }

  std::vector<JsonValue> values_;
  Plan plan_;
};

}  // namespace

std::string plan_to_json(const Plan& plan) {
  fmt::memory_buffer out;
  fmt::format_to(std::back_inserter(out),
                 "{{\n  \"hadal_plan\": {},\n  \"policy\": \"{}\",\n  \"scope\": \"{}\",\n"
                 "  \"dispatch\": \"{}\",\n  \"num_layers\": {},\n  \"num_experts\": {},\n"
                 "  \"num_replicas\": {},\n  \"num_groups\": {},\n  \"num_nodes\": {},\n"
                 "  \"num_gpus\": {},\n  \"gpu_first_slot\": ",
                 kPlanFileVersion, name(plan.policy), name(plan.scope), name(plan.dispatch),
                 plan.num_layers, plan.num_experts, plan.num_slots, plan.num_groups, plan.num_nodes,
                 plan.num_gpus);
  append_row(out, std::span<const int32_t>(plan.gpu_first_slot));
  append_text(out, ",\n");
  append_layers(out, "phy2log", plan.phy2log, plan.num_layers, 0, plan.num_slots);
  append_layers(out, "log2phy", plan.log2phy, plan.num_layers, plan.num_experts, plan.max_count);
  append_layers(out, "logcnt", plan.logcnt, plan.num_layers, 0, plan.num_experts);
  if (plan.dispatch == Dispatch::kWeighted) {
    append_layers(out, "dispatch_weight", plan.dispatch_weight, plan.num_layers, 0, plan.num_slots);
  }
  append_text(out, plan.cut_short ? "  \"cut_short\": true,\n" : "  \"cut_short\": false,\n");
  append_quality(out, plan.quality);
  append_text(out, "}\n");
  return fmt::to_string(out);
}

Result<Plan> plan_from_json(std::string bytes) {
  const std::span<const JsonField> all(kPlanFields);
  // The version decides what the other keys mean, and may stand behind them.
  const JsonValue version = TRY(read_json_fields(bytes, all.subspan(kVersion, 1))).front();
  if (version.present && version.integer != kPlanFileVersion) {
    return fail(Code::kInvalidArgument,
                fmt::format("hadal_plan is {}; this program reads version {}", version.integer,
                            kPlanFileVersion));
  }
  const size_t count = version.present ? kFields : kBareFields;
  return PlanBuilder(TRY(read_json_fields(std::move(bytes), all.first(count)))).build();
}

Result<Plan> read_plan(const std::string& path, size_t bytes_max) {
  std::string bytes = TRY(read_input(path, static_cast<int64_t>(bytes_max)));
  Result<Plan> parsed = plan_from_json(std::move(bytes));
  if (!parsed) return std::unexpected(std::move(parsed).error().in(shown_path(path)));
  return parsed;
}

}  // namespace hadal::eplb
