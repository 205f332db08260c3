#include "eplb/dispatch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/core.h>

#include "base/rng.h"

namespace hadal::eplb {
namespace {

/// Load below this fraction of the total is rounding: 10^4 additions of half an ulp each.
constexpr double kNegligible = 1e-12;

Result<> check_placement(int num_experts, std::span<const int32_t> slot_expert,
                         std::span<const int32_t> gpu_first_slot) {
  if (num_experts < 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("num_experts is {}; it must be 0 or more", num_experts));
  }
  if (gpu_first_slot.size() < 2 || gpu_first_slot.front() != 0 ||
      static_cast<size_t>(gpu_first_slot.back()) != slot_expert.size() ||
      !std::is_sorted(gpu_first_slot.begin(), gpu_first_slot.end())) {
    return fail(Code::kInvalidArgument,
                fmt::format("gpu_first_slot must ascend from 0 to the number of slots, {}",
                            slot_expert.size()));
  }
  std::vector<uint8_t> seen(static_cast<size_t>(num_experts));
  for (size_t slot = 0; slot < slot_expert.size(); ++slot) {
    const int32_t expert = slot_expert[slot];
    if (expert < -1 || expert >= num_experts) {
      return fail(Code::kInvalidArgument,
                  fmt::format("slot {} holds expert {}; allowed are -1 to {}", slot, expert,
                              num_experts - 1));
    }
    if (expert >= 0) seen[expert] = 1;
  }
  const auto missing = std::find(seen.begin(), seen.end(), 0);
  if (missing != seen.end()) {
    return fail(Code::kInvalidArgument, fmt::format("expert {} has no slot; every expert needs one",
                                                    missing - seen.begin()));
  }
  return {};
}

Result<> check_load(std::span<const double> load, size_t size, const char* name = "load") {
  if (load.size() != size) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} has {} values; it must have {}", name, load.size(), size));
  }
  for (size_t i = 0; i < load.size(); ++i) {
    if (!(load[i] >= 0) || std::isinf(load[i])) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{}[{}] is {}; it must be finite and >= 0", name, i, load[i]));
    }
  }
  return {};
}

Result<> check_speed(std::span<const double> speed, size_t gpus) {
  if (!speed.empty() && speed.size() != gpus) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("gpu_speed has {} values; it must have {} or none", speed.size(), gpus));
  }
  for (size_t g = 0; g < speed.size(); ++g) {
    if (!(speed[g] > 0) || std::isinf(speed[g])) {
      return fail(Code::kInvalidArgument,
                  fmt::format("gpu_speed[{}] is {}; it must be finite and > 0", g, speed[g]));
    }
  }
  return {};
}

}  // namespace

Placement placement(const Plan& plan, int layer) {
  const std::span<const int32_t> experts = plan.experts(layer);
  return {.num_experts = plan.num_experts,
          .slot_expert = {experts.begin(), experts.end()},
          .gpu_first_slot = plan.gpu_first_slot};
}

Result<> Splitter::bind(const Plan& plan, int layer, std::span<const double> gpu_speed) {
  if (layer < 0 || layer >= plan.num_layers) {
    return fail(Code::kInvalidArgument,
                fmt::format("layer is {}; the plan has {}", layer, plan.num_layers));
  }
  return bind(plan.num_experts, plan.experts(layer), plan.gpu_first_slot, gpu_speed);
}

Result<> Splitter::bind(const Placement& placement, std::span<const double> gpu_speed) {
  return bind(placement.num_experts, placement.slot_expert, placement.gpu_first_slot, gpu_speed);
}

Result<> Splitter::bind(int num_experts, std::span<const int32_t> slot_expert,
                        std::span<const int32_t> gpu_first_slot,
                        std::span<const double> gpu_speed) {
  TRY(check_placement(num_experts, slot_expert, gpu_first_slot));
  TRY(check_speed(gpu_speed, gpu_first_slot.size() - 1));
  num_experts_ = num_experts;
  num_gpus_ = static_cast<int>(gpu_first_slot.size()) - 1;
  speed_.assign(static_cast<size_t>(num_gpus_), 1.0);
  std::copy(gpu_speed.begin(), gpu_speed.end(), speed_.begin());

  // Sort the slots by expert, keeping them ascending, so that slots of one GPU are neighbours.
  slot_edge_.assign(slot_expert.size(), -1);
  edge_gpu_.clear();
  edge_expert_.clear();
  edge_slots_.clear();
  expert_first_.assign(static_cast<size_t>(num_experts) + 1, 0);
  for (const int32_t expert : slot_expert) {
    if (expert >= 0) ++expert_first_[expert + 1];
  }
  std::partial_sum(expert_first_.begin(), expert_first_.end(), expert_first_.begin());
  cursor_.assign(expert_first_.begin(), expert_first_.end());
  path_.assign(slot_expert.size(), 0);
  gpu_edges_.assign(slot_expert.size(), 0);  // here: the GPU of each slot
  for (int g = 0; g < num_gpus_; ++g) {
    for (int32_t slot = gpu_first_slot[g]; slot < gpu_first_slot[g + 1]; ++slot) {
      gpu_edges_[slot] = g;
      if (slot_expert[slot] >= 0) path_[cursor_[slot_expert[slot]]++] = slot;
    }
  }
  index_edges(slot_expert);
  return {};
}

/// From path_ (slots by expert) and gpu_edges_ (GPU by slot): one edge per expert and GPU.
void Splitter::index_edges(std::span<const int32_t> slot_expert) {
  split_experts_.clear();
  for (int e = 0; e < num_experts_; ++e) {
    const int32_t first = expert_first_[e];
    const int32_t last = expert_first_[e + 1];
    expert_first_[e] = static_cast<int32_t>(edge_gpu_.size());
    for (int32_t i = first; i < last; ++i) {
      const int32_t slot = path_[i];
      if (i == first || edge_gpu_.back() != gpu_edges_[slot]) {
        edge_gpu_.push_back(gpu_edges_[slot]);
        edge_expert_.push_back(e);
        edge_slots_.push_back(0);
      }
      ++edge_slots_.back();
      slot_edge_[slot] = static_cast<int32_t>(edge_gpu_.size()) - 1;
    }
    if (static_cast<int32_t>(edge_gpu_.size()) > expert_first_[e] + 1) split_experts_.push_back(e);
  }
  expert_first_[num_experts_] = static_cast<int32_t>(edge_gpu_.size());

  gpu_first_.assign(static_cast<size_t>(num_gpus_) + 1, 0);
  for (const int32_t e : split_experts_) {
    for (int32_t i = expert_first_[e]; i < expert_first_[e + 1]; ++i)
      ++gpu_first_[edge_gpu_[i] + 1];
  }
  std::partial_sum(gpu_first_.begin(), gpu_first_.end(), gpu_first_.begin());
  cursor_.assign(gpu_first_.begin(), gpu_first_.end());
  gpu_edges_.assign(static_cast<size_t>(gpu_first_.back()), 0);
  for (const int32_t e : split_experts_) {
    for (int32_t i = expert_first_[e]; i < expert_first_[e + 1]; ++i) {
      gpu_edges_[cursor_[edge_gpu_[i]]++] = i;
    }
  }

  const size_t nodes = static_cast<size_t>(num_experts_) + num_gpus_;
  load_.assign(static_cast<size_t>(num_experts_), 0.0);
  excess_.assign(static_cast<size_t>(num_experts_), 0.0);
  fixed_.assign(static_cast<size_t>(num_gpus_), 0.0);
  room_.assign(static_cast<size_t>(num_gpus_), 0.0);
  gpu_time_.assign(static_cast<size_t>(num_gpus_), 0.0);
  tight_.assign(static_cast<size_t>(num_gpus_), 0);
  trial_.assign(static_cast<size_t>(num_gpus_), 0);
  share_.assign(edge_gpu_.size(), 0.0);
  flow_.assign(edge_gpu_.size(), 0.0);
  weights_.assign(slot_expert.size(), 0.0);
  level_.assign(nodes, 0);
  cursor_.assign(nodes, 0);
  queue_.assign(nodes, 0);
  path_.assign(nodes, 0);
  warm_ = false;
}

Result<double> Splitter::split(std::span<const double> load) {
  TRY(check_load(load, static_cast<size_t>(num_experts_)));
  std::copy(load.begin(), load.end(), load_.begin());
  std::fill(fixed_.begin(), fixed_.end(), 0.0);
  double total = 0;
  for (int e = 0; e < num_experts_; ++e) {
    total += load_[e];
    const int32_t edge = expert_first_[e];
    if (expert_first_[e + 1] == edge + 1) fixed_[edge_gpu_[edge]] += load_[e];
  }
  if (std::isinf(total)) {
    return fail(Code::kInvalidArgument, "the sum of load overflows a double");
  }
  epsilon_ = total * kNegligible / std::max(1, num_experts_ + num_gpus_);

  guess_bound();
  start_flow(total);
  // Each cut is a set of GPUs, and T rises with each, so the loop ends; the limit is for rounding.
  for (iterations_ = 1; iterations_ <= num_gpus_ + num_experts_; ++iterations_) {
    if (push_flow() <= total * kNegligible) break;
    // What the search for a path reached in vain is the cut: it needs more time.
    for (int g = 0; g < num_gpus_; ++g) trial_[g] = level_[num_experts_ + g] >= 0;
    const double needed = confined_time();
    if (!(needed > bound_ * (1 + 1e-15))) break;
    for (int g = 0; g < num_gpus_; ++g) room_[g] += (needed - bound_) * speed_[g];
    bound_ = needed;
    tight_.swap(trial_);
  }
  write_weights();
  warm_ = true;
  return time_;
}

/// The time that the GPUs of trial_ need for the experts hosted by them alone.
double Splitter::confined_time() {
  double load = 0;
  double speed = 0;
  for (int g = 0; g < num_gpus_; ++g) {
    if (trial_[g] == 0) continue;
    load += fixed_[g];
    speed += speed_[g];
  }
  for (const int32_t e : split_experts_) {
    bool inside = true;
    for (int32_t i = expert_first_[e]; i < expert_first_[e + 1]; ++i) {
      inside = inside && trial_[edge_gpu_[i]] != 0;
    }
    if (inside) load += load_[e];
  }
  return speed > 0 ? load / speed : 0;
}

/// The largest bound of a few easy sets: all GPUs in use, each GPU, and the last tight set.
void Splitter::guess_bound() {
  if (warm_) trial_ = tight_;
  bound_ = warm_ ? confined_time() : -1;
  for (int g = 0; g < num_gpus_; ++g) {
    trial_[g] = gpu_first_[g] < gpu_first_[g + 1] || fixed_[g] > 0 ? 1 : 0;
  }
  const double mean = confined_time();
  if (mean > bound_) {
    bound_ = mean;
    tight_.swap(trial_);
  }
  int single = -1;
  for (int g = 0; g < num_gpus_; ++g) {
    if (fixed_[g] > bound_ * speed_[g]) {
      bound_ = fixed_[g] / speed_[g];
      single = g;
    }
  }
  if (single >= 0) {
    std::fill(tight_.begin(), tight_.end(), 0);
    tight_[single] = 1;
  }
}

/// Places load along the last shares (equal ones at first) as far as it fits, then wherever it
/// fits.
void Splitter::start_flow(double total) {
  for (int g = 0; g < num_gpus_; ++g) room_[g] = bound_ * speed_[g] - fixed_[g];
  for (const int32_t e : split_experts_) {
    const int32_t first = expert_first_[e];
    const int32_t last = expert_first_[e + 1];
    excess_[e] = load_[e];
    for (int32_t i = first; i < last; ++i) {
      const double share = warm_ ? share_[i] : 1.0 / (last - first);
      const double amount = std::clamp(load_[e] * share, 0.0, std::max(0.0, room_[edge_gpu_[i]]));
      flow_[i] = amount;
      excess_[e] -= amount;
      room_[edge_gpu_[i]] -= amount;
    }
  }
  for (const int32_t e : split_experts_) {
    for (int32_t i = expert_first_[e]; i < expert_first_[e + 1]; ++i) {
      if (excess_[e] <= epsilon_) break;
      const double amount = std::clamp(room_[edge_gpu_[i]], 0.0, excess_[e]);
      flow_[i] += amount;
      excess_[e] -= amount;
      room_[edge_gpu_[i]] -= amount;
    }
  }
  if (total == 0) std::fill(flow_.begin(), flow_.end(), 0.0);
}

/// Dinic: blocking flows along shortest paths until none is left. Returns the load not placed.
double Splitter::push_flow() {
  while (search_levels()) {
    for (const int32_t e : split_experts_) cursor_[e] = expert_first_[e];
    for (int g = 0; g < num_gpus_; ++g) cursor_[num_experts_ + g] = gpu_first_[g];
    for (const int32_t e : split_experts_) {
      if (level_[e] == 0) push_path(e);
    }
  }
  double left = 0;
  for (const int32_t e : split_experts_) left += std::max(0.0, excess_[e]);
  return left;
}

/// Distances from the experts with excess, over expert -> any host, GPU -> expert with flow there.
/// Experts are nodes 0 .. E-1, GPUs follow. True if some GPU with room is reached; the search ends
/// with its level. Otherwise the reached GPUs (level >= 0) are the cut.
bool Splitter::search_levels() {
  std::fill(level_.begin(), level_.end(), -1);
  int tail = 0;
  for (const int32_t e : split_experts_) {
    if (excess_[e] > epsilon_) {
      level_[e] = 0;
      queue_[tail++] = e;
    }
  }
  int found = -1;
  for (int head = 0; head < tail; ++head) {
    const int32_t node = queue_[head];
    const int32_t next = level_[node] + 1;
    if (found >= 0 && next > found) break;
    if (node < num_experts_) {
      for (int32_t i = expert_first_[node]; i < expert_first_[node + 1]; ++i) {
        const int32_t to = num_experts_ + edge_gpu_[i];
        if (level_[to] >= 0) continue;
        level_[to] = next;
        queue_[tail++] = to;
        if (room_[edge_gpu_[i]] > epsilon_) found = next;
      }
    } else {
      const int32_t g = node - num_experts_;
      for (int32_t i = gpu_first_[g]; i < gpu_first_[g + 1]; ++i) {
        const int32_t edge = gpu_edges_[i];
        if (flow_[edge] <= epsilon_ || level_[edge_expert_[edge]] >= 0) continue;
        level_[edge_expert_[edge]] = next;
        queue_[tail++] = edge_expert_[edge];
      }
    }
  }
  return found >= 0;
}

/// Sends the expert's excess along paths of ascending level while there are any.
void Splitter::push_path(int expert) {
  while (excess_[expert] > epsilon_ && walk_path(expert)) {
  }
}

/// One path from `expert` to a GPU with room; path_ holds its edges, alternately towards a GPU and
/// back to an expert. Moves as much as the narrowest place allows.
bool Splitter::walk_path(int expert) {
  int length = 0;
  int32_t node = expert;
  while (true) {
    if (node >= num_experts_ && room_[node - num_experts_] > epsilon_) break;
    const bool at_expert = node < num_experts_;
    const int32_t end = at_expert ? expert_first_[node + 1] : gpu_first_[node - num_experts_ + 1];
    int32_t& cursor = cursor_[node];
    int32_t to = -1;
    for (; cursor < end && to < 0; cursor += to < 0) {
      const int32_t edge = at_expert ? cursor : gpu_edges_[cursor];
      const int32_t next = at_expert ? num_experts_ + edge_gpu_[edge] : edge_expert_[edge];
      const bool open = at_expert || flow_[edge] > epsilon_;
      if (open && level_[next] == level_[node] + 1) {
        to = next;
        path_[length] = edge;
      }
    }
    if (to >= 0) {
      ++length;
      node = to;
      continue;
    }
    if (length == 0) return false;
    const int32_t edge = path_[--length];  // a dead end: step back, and past this edge
    node = at_expert ? num_experts_ + edge_gpu_[edge] : edge_expert_[edge];
    ++cursor_[node];
  }
  double amount = std::min(excess_[expert], room_[node - num_experts_]);
  for (int i = 1; i < length; i += 2) amount = std::min(amount, flow_[path_[i]]);
  excess_[expert] -= amount;
  room_[node - num_experts_] -= amount;
  for (int i = 0; i < length; ++i) flow_[path_[i]] += i % 2 == 0 ? amount : -amount;
  return true;
}

void Splitter::write_weights() {
  for (int e = 0; e < num_experts_; ++e) {
    const int32_t first = expert_first_[e];
    const int32_t last = expert_first_[e + 1];
    double sum = 0;
    for (int32_t i = first; i < last; ++i) {
      flow_[i] = std::max(0.0, last == first + 1 ? load_[e] : flow_[i]);
      sum += flow_[i];
    }
    int32_t slots = 0;
    for (int32_t i = first; i < last; ++i) slots += edge_slots_[i];
    for (int32_t i = first; i < last; ++i) {
      share_[i] = sum > 0 ? flow_[i] / sum : static_cast<double>(edge_slots_[i]) / slots;
    }
  }
  for (size_t slot = 0; slot < weights_.size(); ++slot) {
    const int32_t edge = slot_edge_[slot];
    weights_[slot] = edge < 0 ? 0.0 : share_[edge] / edge_slots_[edge];
  }
  std::fill(gpu_time_.begin(), gpu_time_.end(), 0.0);
  for (size_t i = 0; i < edge_gpu_.size(); ++i) {
    gpu_time_[edge_gpu_[i]] += share_[i] * load_[edge_expert_[i]];
  }
  time_ = 0;
  for (int g = 0; g < num_gpus_; ++g) {
    gpu_time_[g] /= speed_[g];
    time_ = std::max(time_, gpu_time_[g]);
  }
}

Result<> split_plan(Plan& plan, std::span<const double> load, std::span<const double> gpu_speed) {
  const size_t experts = static_cast<size_t>(plan.num_experts);
  TRY(check_load(load, experts * plan.num_layers));
  std::vector<float> weights(static_cast<size_t>(plan.num_layers) * plan.num_slots);
  std::vector<LayerQuality> quality = plan.quality;
  quality.resize(static_cast<size_t>(plan.num_layers));
  Splitter splitter;
  for (int layer = 0; layer < plan.num_layers; ++layer) {
    const std::span<const double> row = load.subspan(layer * experts, experts);
    TRY(splitter.bind(plan, layer, gpu_speed));
    TRY(splitter.split(row));
    std::copy(splitter.weights().begin(), splitter.weights().end(),
              weights.begin() + static_cast<ptrdiff_t>(layer) * plan.num_slots);
    LayerQuality& q = quality[layer];
    double speed = 0;
    for (int g = 0; g < plan.num_gpus; ++g) {
      const auto first = plan.experts(layer).begin() + plan.gpu_first_slot[g];
      const auto last = plan.experts(layer).begin() + plan.gpu_first_slot[g + 1];
      const bool live = std::any_of(first, last, [](int32_t expert) { return expert >= 0; });
      if (live) speed += gpu_speed.empty() ? 1.0 : gpu_speed[g];
    }
    q.max = splitter.time();
    q.mean = speed > 0 ? std::accumulate(row.begin(), row.end(), 0.0) / speed : 0;
    q.imbalance = q.mean > 0 ? q.max / q.mean : 1;
    q.gap = q.lower_bound > 0 ? std::max(0.0, q.max / q.lower_bound - 1) : 0;
  }
  plan.dispatch_weight = std::move(weights);
  plan.quality = std::move(quality);
  plan.dispatch = Dispatch::kWeighted;
  return {};
}

Result<> ReplicaChooser::bind(int num_experts, std::span<const int32_t> slot_expert,
                              std::span<const double> weights) {
  const int32_t offsets[] = {0, static_cast<int32_t>(slot_expert.size())};
  TRY(check_placement(num_experts, slot_expert, offsets));
  if (!weights.empty()) TRY(check_load(weights, slot_expert.size(), "weights"));
  std::vector<Entry> entries(static_cast<size_t>(num_experts), Entry{0, 0, 0});
  std::vector<double> sum(static_cast<size_t>(num_experts), 0.0);
  const auto weight = [&](size_t slot) { return weights.empty() ? 1.0 : weights[slot]; };
  for (size_t slot = 0; slot < slot_expert.size(); ++slot) {
    if (slot_expert[slot] < 0) continue;
    ++entries[slot_expert[slot]].count;
    sum[slot_expert[slot]] += weight(slot);
  }
  uint32_t first = 0;
  for (int e = 0; e < num_experts; ++e) {
    if (!(sum[e] > 0) || std::isinf(sum[e])) {
      return fail(Code::kInvalidArgument,
                  fmt::format("the weights of expert {} sum to {}; the sum must be finite and > 0",
                              e, sum[e]));
    }
    uint64_t key = static_cast<uint64_t>(e);
    entries[e].first = first;
    entries[e].offset = static_cast<uint32_t>(splitmix64(key));
    first += std::exchange(entries[e].count, 0);
  }
  slots_.assign(first, -1);
  ends_.assign(first, 0);
  std::vector<double> prefix(static_cast<size_t>(num_experts), 0.0);
  for (size_t slot = 0; slot < slot_expert.size(); ++slot) {
    const int32_t e = slot_expert[slot];
    if (e < 0) continue;
    Entry& entry = entries[e];
    prefix[e] += weight(slot);
    // A slot of weight 0 ends where its predecessor does; the last with weight ends at 2^32
    // exactly, since it divides the same sum of the same numbers in the same order.
    ends_[entry.first + entry.count] =
        static_cast<uint64_t>(std::llround(prefix[e] / sum[e] * 0x1p32));
    slots_[entry.first + entry.count++] = static_cast<int32_t>(slot);
  }
  entries_ = std::move(entries);
  return {};
}

Result<> ReplicaChooser::route(std::span<const int32_t> experts, int topk, uint64_t first_index,
                               std::span<int32_t> slots) const {
  if (topk < 1 || experts.size() % topk != 0 || slots.size() != experts.size()) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("experts has {} values, slots {} and topk is {}; the sizes must be equal "
                    "and a multiple of topk",
                    experts.size(), slots.size(), topk));
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    const int32_t expert = experts[i];
    if (expert < -1 || expert >= static_cast<int32_t>(entries_.size())) {
      return fail(Code::kInvalidArgument,
                  fmt::format("experts[{}] is {}; allowed are -1 to {}", i, expert,
                              static_cast<int>(entries_.size()) - 1));
    }
    slots[i] = expert < 0 ? -1 : choose(expert, first_index + i / topk);
  }
  return {};
}

}  // namespace hadal::eplb
