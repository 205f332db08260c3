// What can be asked of a plan whatever policy made it: consistency, indexing, scores, moves.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "eplb/eplb.h"

namespace hadal::eplb {
namespace {

// An index of so many entries (512 MiB) is far beyond any model; the shape of a hostile plan file
// could ask for more than the machine has.
constexpr uint64_t kIndexEntriesMax = uint64_t{1} << 27;

std::unexpected<Error> invalid(std::string message) {
  return fail(Code::kInvalidArgument, std::move(message));
}

Result<> check_at_least(std::string_view field, int value, int least) {
  if (value >= least) return {};
  return invalid(fmt::format("{} is {}; it must be at least {}", field, value, least));
}

Result<> check_size(std::string_view field, size_t size, std::string_view product,
                    unsigned __int128 wanted) {
  if (size == wanted) return {};
  return invalid(fmt::format("{} has {} values; it must have {}", field, size, product));
}

size_t rows(const Plan& plan) {
  return static_cast<size_t>(plan.num_layers) * plan.num_experts;
}

Result<> check_shape(const Plan& plan) {
  TRY(check_at_least("num_layers", plan.num_layers, 0));
  TRY(check_at_least("num_experts", plan.num_experts, 1));
  TRY(check_at_least("num_replicas", plan.num_slots, 1));
  TRY(check_at_least("num_groups", plan.num_groups, 1));
  TRY(check_at_least("num_nodes", plan.num_nodes, 1));
  TRY(check_at_least("num_gpus", plan.num_gpus, 1));
  if (plan.num_gpus % plan.num_nodes != 0) {
    return invalid(fmt::format("num_gpus is {}; it must be a multiple of num_nodes {}",
                               plan.num_gpus, plan.num_nodes));
  }
  if (plan.num_experts % plan.num_groups != 0) {
    return invalid(fmt::format("num_experts is {}; it must be a multiple of num_groups {}",
                               plan.num_experts, plan.num_groups));
  }
  if (plan.num_slots < plan.num_experts) {
    return invalid(fmt::format("num_replicas is {}; it must be at least num_experts {}",
                               plan.num_slots, plan.num_experts));
  }
  return check_size("phy2log", plan.phy2log.size(), "num_layers x num_replicas",
                    static_cast<unsigned __int128>(plan.num_layers) * plan.num_slots);
}

Result<> check_gpus(const Plan& plan) {
  const std::vector<int32_t>& first = plan.gpu_first_slot;
  TRY(check_size("gpu_first_slot", first.size(), "num_gpus + 1", size_t(plan.num_gpus) + 1));
  if (first.front() != 0 || first.back() != plan.num_slots) {
    return invalid(
        fmt::format("gpu_first_slot goes from {} to {}; it must go from 0 to "
                    "num_replicas {}",
                    first.front(), first.back(), plan.num_slots));
  }
  const auto drop = std::adjacent_find(first.begin(), first.end(), std::greater<>());
  if (drop != first.end()) {
    return invalid(fmt::format("gpu_first_slot falls from {} to {} at GPU {}; it must not fall",
                               *drop, *(drop + 1), drop - first.begin()));
  }
  return {};
}

Result<> check_slots(const Plan& plan) {
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    for (int slot = 0; slot < plan.num_slots; ++slot) {
      const int expert = plan.expert(layer, slot);
      if (expert >= -1 && expert < plan.num_experts) continue;
      return invalid(
          fmt::format("phy2log[{}][{}] is {}; it must be an expert below {}, or -1 for an "
                      "empty slot",
                      layer, slot, expert, plan.num_experts));
    }
  }
  return {};
}

/// The replicas of one expert: as many slots as logcnt says, each holding the expert, none twice.
/// `seen` marks the slots of the layer that an expert has claimed.
Result<> check_expert(const Plan& plan, int layer, int expert, std::vector<uint8_t>& seen) {
  const size_t row = static_cast<size_t>(layer) * plan.num_experts + expert;
  const int count = plan.logcnt[row];
  if (count < 1 || count > plan.max_count) {
    return invalid(fmt::format("logcnt[{}][{}] is {}; it must be 1 .. {}", layer, expert, count,
                               plan.max_count));
  }
  for (int k = 0; k < plan.max_count; ++k) {
    const int slot = plan.log2phy[row * plan.max_count + k];
    if (k >= count) {
      if (slot == -1) continue;
      return invalid(fmt::format("log2phy[{}][{}][{}] is {}; it must be -1 behind the {} replicas",
                                 layer, expert, k, slot, count));
    }
    const bool holds = slot >= 0 && slot < plan.num_slots && plan.expert(layer, slot) == expert;
    if (!holds || seen[slot] != 0) {
      return invalid(
          fmt::format("log2phy[{}][{}][{}] is {}; it must be another slot that holds the "
                      "expert",
                      layer, expert, k, slot));
    }
    seen[slot] = 1;
  }
  return {};
}

Result<> check_index(const Plan& plan) {
  TRY(check_size("logcnt", plan.logcnt.size(), "num_layers x num_experts",
                 static_cast<unsigned __int128>(plan.num_layers) * plan.num_experts));
  const int most =
      plan.logcnt.empty() ? 0 : *std::max_element(plan.logcnt.begin(), plan.logcnt.end());
  if (plan.max_count != most) {
    return invalid(
        fmt::format("log2phy has room for {} replicas; it must be {}, the largest logcnt",
                    plan.max_count, most));
  }
  TRY(check_size("log2phy", plan.log2phy.size(), "num_layers x num_experts x the largest logcnt",
                 static_cast<unsigned __int128>(rows(plan)) * plan.max_count));
  std::vector<uint8_t> seen;
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    seen.assign(plan.num_slots, 0);
    for (int expert = 0; expert < plan.num_experts; ++expert) {
      TRY(check_expert(plan, layer, expert, seen));
    }
    for (int slot = 0; slot < plan.num_slots; ++slot) {
      if (seen[slot] != 0 || plan.expert(layer, slot) == -1) continue;
      return invalid(fmt::format("phy2log[{}][{}] is {}, but log2phy does not list that slot",
                                 layer, slot, plan.expert(layer, slot)));
    }
  }
  return {};
}

Result<> check_weights(const Plan& plan) {
  if (plan.dispatch == Dispatch::kEqual) {
    return check_size("dispatch_weight", plan.dispatch_weight.size(), "none with equal dispatch",
                      0);
  }
  TRY(check_size("dispatch_weight", plan.dispatch_weight.size(), "num_layers x num_replicas",
                 plan.phy2log.size()));
  for (size_t i = 0; i < plan.phy2log.size(); ++i) {
    const float weight = plan.dispatch_weight[i];
    if (weight >= 0 && weight <= 1 && (plan.phy2log[i] >= 0 || weight == 0)) continue;
    return invalid(
        fmt::format("dispatch_weight[{}][{}] is {}; it must be 0 .. 1, and 0 for an empty "
                    "slot",
                    i / plan.num_slots, i % plan.num_slots, weight));
  }
  constexpr double kRounding = 1e-3;  // shares are floats, and other tools print few digits
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    const float* weight = plan.dispatch_weight.data() + static_cast<size_t>(layer) * plan.num_slots;
    for (int expert = 0; expert < plan.num_experts; ++expert) {
      double sum = 0;
      for (const int slot : plan.slots(layer, expert)) sum += weight[slot];
      if (std::abs(sum - 1) <= kRounding) continue;
      return invalid(
          fmt::format("the dispatch weights of layer {}, expert {} add up to {}; they must "
                      "add up to 1",
                      layer, expert, sum));
    }
  }
  return {};
}

/// Sums over layers that become an Evaluation::Level.
class LevelSum {
 public:
  /// Returns the layer's imbalance.
  double add(double max, double mean) {
    const double imbalance = mean > 0 ? max / mean : 1;
    max_ += max;
    mean_ += mean;
    imbalance_ += imbalance;
    worst_ = std::max(worst_, imbalance);
    ++layers_;
    return imbalance;
  }

  Evaluation::Level level() const {
    if (layers_ == 0) return {};
    return {.max = max_ / layers_,
            .mean = mean_ / layers_,
            .imbalance = imbalance_ / layers_,
            .worst_imbalance = worst_,
            .balancedness = max_ > 0 ? mean_ / max_ : 1};
  }

 private:
  double max_ = 0, mean_ = 0, imbalance_ = 0, worst_ = 1;
  int layers_ = 0;
};

class Evaluator {
 public:
  Evaluator(const Plan& plan, std::span<const double> load, std::span<const double> gpu_speed)
      : plan_(plan), load_(load), gpu_speed_(gpu_speed), slot_gpu_(plan.num_slots) {
    std::vector<uint8_t> slot_used(plan.num_slots);
    for (size_t i = 0; i < plan.phy2log.size(); ++i) {
      if (plan.phy2log[i] >= 0) slot_used[i % plan.num_slots] = 1;
    }
    // A GPU that holds nothing in any layer has failed: its speed is not there to be used.
    gpu_live_.resize(plan.num_gpus);
    for (int gpu = 0; gpu < plan.num_gpus; ++gpu) {
      for (int slot = plan.gpu_first_slot[gpu]; slot < plan.gpu_first_slot[gpu + 1]; ++slot) {
        slot_gpu_[slot] = gpu;
        if (slot_used[slot] != 0) gpu_live_[gpu] = 1;
      }
    }
    node_speed_.resize(plan.num_nodes);
    for (int gpu = 0; gpu < plan.num_gpus; ++gpu) {
      if (gpu_live_[gpu] == 0) continue;
      node_speed_[plan.node_of_gpu(gpu)] += speed(gpu);
      total_speed_ += speed(gpu);
    }
    last_gpu_.resize(plan.num_experts);
  }

  Evaluation run() {
    result_.gpu_load.resize(static_cast<size_t>(plan_.num_layers) * plan_.num_gpus);
    for (int layer = 0; layer < plan_.num_layers; ++layer) score_layer(layer);
    result_.gpu = gpu_.level();
    result_.node = node_.level();
    result_.slot = slot_.level();
    return std::move(result_);
  }

 private:
  double speed(int gpu) const { return gpu_speed_.empty() ? 1 : gpu_speed_[gpu]; }

  double slot_load(int layer, int slot, int expert) const {
    const double load = load_[static_cast<size_t>(layer) * plan_.num_experts + expert];
    if (plan_.dispatch == Dispatch::kEqual) return load / plan_.count(layer, expert);
    return load * plan_.dispatch_weight[static_cast<size_t>(layer) * plan_.num_slots + slot];
  }

  void score_layer(int layer) {
    double* gpu_load = result_.gpu_load.data() + static_cast<size_t>(layer) * plan_.num_gpus;
    std::vector<double> node_load(plan_.num_nodes);
    std::fill(last_gpu_.begin(), last_gpu_.end(), -1);
    double total = 0, slot_max = 0;
    int slots = 0;
    for (int slot = 0; slot < plan_.num_slots; ++slot) {
      const int expert = plan_.expert(layer, slot);
      if (expert < 0) continue;
      const int gpu = slot_gpu_[slot];
      // Slots are in the order of their GPUs, so the last GPU seen is enough.
      if (std::exchange(last_gpu_[expert], gpu) == gpu) ++result_.duplicates;
      const double load = slot_load(layer, slot, expert);
      gpu_load[gpu] += load;
      node_load[plan_.node_of_gpu(gpu)] += load;
      total += load;
      slot_max = std::max(slot_max, load);
      ++slots;
    }
    double gpu_max = 0, node_max = 0;
    for (int gpu = 0; gpu < plan_.num_gpus; ++gpu) {
      gpu_load[gpu] /= speed(gpu);
      gpu_max = std::max(gpu_max, gpu_load[gpu]);
    }
    for (int node = 0; node < plan_.num_nodes; ++node) {
      if (node_load[node] > 0) node_max = std::max(node_max, node_load[node] / node_speed_[node]);
    }
    result_.imbalance.push_back(gpu_.add(gpu_max, total / total_speed_));
    node_.add(node_max, total / total_speed_);
    slot_.add(slot_max, total / slots);
  }

  const Plan& plan_;
  std::span<const double> load_, gpu_speed_;
  std::vector<int> slot_gpu_;
  std::vector<uint8_t> gpu_live_;
  std::vector<double> node_speed_;
  std::vector<int> last_gpu_;  // [experts] where this layer's latest replica is
  double total_speed_ = 0;
  LevelSum gpu_, node_, slot_;
  Evaluation result_;
};

}  // namespace

int Plan::gpu_of(int slot) const {
  DCHECK(slot >= 0 && slot < num_slots);
  // GPUs without slots start where the next one does; the last GPU that starts there owns the slot.
  const auto after = std::upper_bound(gpu_first_slot.begin(), gpu_first_slot.end(), slot);
  return static_cast<int>(after - gpu_first_slot.begin()) - 1;
}

Result<> validate(const Plan& plan) {
  TRY(check_shape(plan));
  TRY(check_gpus(plan));
  TRY(check_slots(plan));
  TRY(check_index(plan));
  TRY(check_weights(plan));
  return check_size("layers", plan.quality.size(), "num_layers", plan.num_layers);
}

Result<> index_plan(Plan& plan) {
  TRY(check_shape(plan));
  TRY(check_slots(plan));
  plan.logcnt.assign(rows(plan), 0);
  plan.max_count = 0;
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    int32_t* count = plan.logcnt.data() + static_cast<size_t>(layer) * plan.num_experts;
    for (const int expert : plan.experts(layer)) {
      if (expert >= 0) plan.max_count = std::max(plan.max_count, ++count[expert]);
    }
    const int32_t* missing = std::find(count, count + plan.num_experts, 0);
    if (missing != count + plan.num_experts) {
      return invalid(fmt::format("phy2log[{}] has no slot with expert {}; every expert needs one",
                                 layer, missing - count));
    }
  }
  if (rows(plan) * plan.max_count > kIndexEntriesMax) {
    return invalid(fmt::format("one expert has {} replicas; an index of so many is not allowed",
                               plan.max_count));
  }
  plan.log2phy.assign(rows(plan) * plan.max_count, -1);
  std::vector<int32_t> rank(plan.num_experts);
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    std::fill(rank.begin(), rank.end(), 0);
    int32_t* table =
        plan.log2phy.data() + static_cast<size_t>(layer) * plan.num_experts * plan.max_count;
    for (int slot = 0; slot < plan.num_slots; ++slot) {
      const int expert = plan.expert(layer, slot);
      if (expert < 0) continue;
      table[static_cast<size_t>(expert) * plan.max_count + rank[expert]++] = slot;
    }
  }
  return {};
}

Result<Evaluation> evaluate(const Plan& plan, std::span<const double> load,
                            std::span<const double> gpu_speed) {
  if (load.size() != rows(plan)) {
    return invalid(fmt::format("load has {} values; the plan needs {} ({} layers x {} experts)",
                               load.size(), rows(plan), plan.num_layers, plan.num_experts));
  }
  for (size_t i = 0; i < load.size(); ++i) {
    if (load[i] >= 0 && std::isfinite(load[i])) continue;
    return invalid(fmt::format("load[{}][{}] is {}; it must be finite and >= 0",
                               i / plan.num_experts, i % plan.num_experts, load[i]));
  }
  if (!gpu_speed.empty() && gpu_speed.size() != static_cast<size_t>(plan.num_gpus)) {
    return invalid(fmt::format("gpu_speed has {} values; it must have num_gpus {}",
                               gpu_speed.size(), plan.num_gpus));
  }
  for (size_t gpu = 0; gpu < gpu_speed.size(); ++gpu) {
    if (gpu_speed[gpu] > 0 && std::isfinite(gpu_speed[gpu])) continue;
    return invalid(
        fmt::format("gpu_speed[{}] is {}; it must be finite and > 0", gpu, gpu_speed[gpu]));
  }
  return Evaluator(plan, load, gpu_speed).run();
}

int count_moves(const Plan& previous, const Plan& next, int layer) {
  CHECK(previous.num_experts == next.num_experts && previous.num_gpus == next.num_gpus);
  int moves = 0;
  std::vector<int> held_by(next.num_experts, -1);  // the latest GPU that held the expert before
  for (int gpu = 0; gpu < next.num_gpus; ++gpu) {
    for (int s = previous.gpu_first_slot[gpu]; s < previous.gpu_first_slot[gpu + 1]; ++s) {
      if (const int expert = previous.expert(layer, s); expert >= 0) held_by[expert] = gpu;
    }
    for (int s = next.gpu_first_slot[gpu]; s < next.gpu_first_slot[gpu + 1]; ++s) {
      const int expert = next.expert(layer, s);
      if (expert >= 0 && held_by[expert] != gpu) ++moves;
    }
  }
  return moves;
}

std::string_view name(Policy policy) {
  switch (policy) {
    case Policy::kAuto: return "auto";
    case Policy::kReference: return "reference";
    case Policy::kOptimal: return "optimal";
    case Policy::kIncremental: return "incremental";
  }
  return "unknown";
}

std::string_view name(Scope scope) {
  switch (scope) {
    case Scope::kAuto: return "auto";
    case Scope::kHierarchical: return "hierarchical";
    case Scope::kGlobal: return "global";
  }
  return "unknown";
}

std::string_view name(Ties ties) {
  switch (ties) {
    case Ties::kStable: return "stable";
    case Ties::kTorch: return "torch";
  }
  return "unknown";
}

std::string_view name(Dispatch dispatch) {
  switch (dispatch) {
    case Dispatch::kEqual: return "equal";
    case Dispatch::kWeighted: return "weighted";
  }
  return "unknown";
}

}  // namespace hadal::eplb
