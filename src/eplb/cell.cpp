#include "eplb/cell.h"

#include <numeric>
#include <queue>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::eplb {

double Cell::total_load() const {
  return std::accumulate(load.begin(), load.end(), 0.0);
}
double Cell::total_speed() const {
  return std::accumulate(speed.begin(), speed.end(), 0.0);
}

Packing::Packing(const Cell& cell)
    : cell_(&cell),
      experts_on_(cell.gpus()),
      gpus_of_(cell.experts()),
      share_(cell.experts(), 0),
      load_(cell.gpus(), 0) {
  for (const double speed : cell.speed) inverse_speed_.push_back(1 / speed);
}

Packing::Packing(const Cell& cell, std::vector<std::vector<int32_t>> experts_on) : Packing(cell) {
  experts_on_ = std::move(experts_on);
  for (int g = 0; g < cell.gpus(); ++g) {
    for (const int32_t e : experts_on_[g]) {
      if (has(e, g)) duplicates_allowed_ = true;
      gpus_of_[e].push_back(g);
    }
  }
  recompute();
}

// Each spare slot goes to the expert with the largest replicas: the counts with the smallest
// largest replica (facts of the published algorithm; exchange argument), here within count limits.
void Packing::choose_counts(std::vector<int>& count) const {
  count = cell_->count_min;
  using Entry = std::pair<double, int>;  // (share, -expert): largest share first, then lowest index
  std::priority_queue<Entry> queue;
  const auto push = [&](int e) {
    if (count[e] < cell_->count_max[e]) queue.emplace(cell_->load[e] / count[e], -e);
  };
  for (int e = 0; e < cell_->experts(); ++e) push(e);
  int spare = cell_->slots - std::accumulate(count.begin(), count.end(), 0);
  for (; spare > 0 && !queue.empty(); --spare) {
    const int e = -queue.top().second;
    queue.pop();
    ++count[e];
    push(e);
  }
}

Result<Packing> Packing::make(const Cell& cell) {
  Packing p(cell);
  p.choose_counts(p.wanted_);
  const int placed = std::accumulate(p.wanted_.begin(), p.wanted_.end(), 0);
  if (placed != cell.slots) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("limits on replicas allow {} replicas for {} slots", placed, cell.slots));
  }
  for (int e = 0; e < cell.experts(); ++e) p.share_[e] = cell.load[e] / p.wanted_[e];
  for (const auto& [expert, gpu] : cell.pins) {
    const bool full = static_cast<int>(p.experts_on_[gpu].size()) >= cell.capacity[gpu];
    if (full || p.count(expert) >= p.wanted_[expert]) {
      return fail(Code::kInvalidArgument,
                  fmt::format("pins ask for more than GPU {} or the replicas of expert {} can hold",
                              gpu, expert));
    }
    p.add(expert, gpu);
  }
  std::vector<int> order(cell.experts());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return std::pair(-p.share_[a], a) < std::pair(-p.share_[b], b); });
  for (const int e : order) {
    while (p.count(e) < p.wanted_[e]) {
      if (p.place_replica(e) || p.make_room(e)) continue;
      // Only a cell whose GPUs differ in capacity, or are fewer than the replicas, comes here.
      p.duplicates_allowed_ = true;
      if (p.place_replica(e)) continue;
      return fail(Code::kInvalidArgument,
                  fmt::format("no GPU can take replica {} of expert {}: min_nodes_per_expert, pins "
                              "and GPU capacities do not fit together",
                              p.count(e) + 1, e));
    }
  }
  p.recompute();
  return p;
}

bool Packing::on_new_node(int expert, int gpu) const {
  return std::none_of(gpus_of_[expert].begin(), gpus_of_[expert].end(),
                      [&](int32_t g) { return cell_->node[g] == cell_->node[gpu]; });
}

// Onto the GPU with room that would finish first.
bool Packing::place_replica(int expert) {
  const bool need_node = count(expert) < cell_->nodes_min;
  int best = -1;
  double best_time = 0;
  for (int g = 0; g < cell_->gpus(); ++g) {
    if (static_cast<int>(experts_on_[g].size()) >= cell_->capacity[g]) continue;
    if (!duplicates_allowed_ && has(expert, g)) continue;
    if (need_node && !on_new_node(expert, g)) continue;
    const double t = time_with(g, share_[expert]);
    if (best < 0 || t < best_time) best = g, best_time = t;
  }
  if (best < 0) return false;
  add(expert, best);
  return true;
}

// All GPUs with room hold the expert already: makes room on another GPU by sending one of its
// experts to a GPU with room. With equal capacities such a pair always exists.
bool Packing::make_room(int expert) {
  const bool need_node = count(expert) < cell_->nodes_min;
  for (int to = 0; to < cell_->gpus(); ++to) {
    if (static_cast<int>(experts_on_[to].size()) >= cell_->capacity[to]) continue;
    for (int from = 0; from < cell_->gpus(); ++from) {
      if (from == to || has(expert, from) || (need_node && !on_new_node(expert, from))) continue;
      for (const int32_t other : experts_on_[from]) {
        if (other == expert || !can_move(other, from, to)) continue;
        move(other, from, to);
        add(expert, from);
        return true;
      }
    }
  }
  return false;
}

void Packing::add(int expert, int gpu) {
  experts_on_[gpu].push_back(expert);
  gpus_of_[expert].push_back(gpu);
  load_[gpu] += share_[expert];
}

// How many nodes keep a replica if the one on `gpu` goes.
int Packing::nodes_without(int expert, int gpu) const {
  int nodes = 0;
  bool skipped = false;
  const auto& gpus = gpus_of_[expert];
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (gpus[i] == gpu && !std::exchange(skipped, true)) continue;
    bool first = true;
    for (size_t j = 0; j < i && first; ++j) {
      first = gpus[j] == gpu || cell_->node[gpus[j]] != cell_->node[gpus[i]];
    }
    nodes += first;
  }
  return nodes;
}

bool Packing::can_move(int expert, int from, int to) const {
  if (!duplicates_allowed_ && has(expert, to)) return false;
  if (cell_->is_pinned(expert, from)) return false;
  if (cell_->nodes_min <= 1 || cell_->node[from] == cell_->node[to]) return true;
  bool new_node = true;
  for (const int32_t g : gpus_of_[expert]) {
    if (g != from && cell_->node[g] == cell_->node[to]) new_node = false;
  }
  // While placing, an expert may be on fewer nodes than it must be in the end; it never gets worse.
  const int nodes = nodes_without(expert, from) + new_node;
  return nodes >= std::min(cell_->nodes_min, count(expert));
}

bool Packing::can_transfer(int donor, int receiver, int gpu) const {
  return donor != receiver && count(donor) > cell_->count_min[donor] &&
         count(receiver) < cell_->count_max[receiver] &&
         (duplicates_allowed_ || !has(receiver, gpu)) && !cell_->is_pinned(donor, gpu) &&
         (cell_->nodes_min <= 1 || nodes_without(donor, gpu) >= cell_->nodes_min);
}

void Packing::replace_gpu(int expert, int from, int to) {
  auto& gpus = gpus_of_[expert];
  *std::find(gpus.begin(), gpus.end(), from) = to;
}

void Packing::move(int expert, int from, int to) {
  auto& source = experts_on_[from];
  source.erase(std::find(source.begin(), source.end(), expert));
  experts_on_[to].push_back(expert);
  replace_gpu(expert, from, to);
  load_[from] -= share_[expert];
  load_[to] += share_[expert];
}

void Packing::swap(int expert_a, int gpu_a, int expert_b, int gpu_b) {
  auto& on_a = experts_on_[gpu_a];
  auto& on_b = experts_on_[gpu_b];
  std::swap(*std::find(on_a.begin(), on_a.end(), expert_a),
            *std::find(on_b.begin(), on_b.end(), expert_b));
  replace_gpu(expert_a, gpu_a, gpu_b);
  replace_gpu(expert_b, gpu_b, gpu_a);
  const double difference = share_[expert_a] - share_[expert_b];
  load_[gpu_a] -= difference;
  load_[gpu_b] += difference;
}

void Packing::transfer(int donor, int receiver, int gpu) {
  for_each_change(donor, receiver, gpu, [&](int g, double change) { load_[g] += change; });
  auto& experts = experts_on_[gpu];
  *std::find(experts.begin(), experts.end(), donor) = receiver;
  auto& gpus = gpus_of_[donor];
  gpus.erase(std::find(gpus.begin(), gpus.end(), gpu));
  gpus_of_[receiver].push_back(gpu);
  set_share(donor);
  set_share(receiver);
}

void Packing::set_share(int expert) {
  share_[expert] = cell_->load[expert] / count(expert);
}

double Packing::max_time() const {
  double max = 0;
  for (int g = 0; g < cell_->gpus(); ++g) max = std::max(max, time(g));
  return max;
}

void Packing::recompute() {
  for (int e = 0; e < cell_->experts(); ++e) set_share(e);
  for (int g = 0; g < cell_->gpus(); ++g) {
    load_[g] = 0;
    for (const int32_t e : experts_on_[g]) load_[g] += share_[e];
  }
}

bool Packing::is_valid() const {
  int slots = 0;
  for (int e = 0; e < cell_->experts(); ++e) {
    slots += count(e);
    if (count(e) < cell_->count_min[e] || count(e) > cell_->count_max[e]) return false;
    if (nodes_without(e, -1) < cell_->nodes_min) return false;
    for (const int32_t g : gpus_of_[e]) {
      const auto& on = experts_on_[g];
      const auto copies = std::count(on.begin(), on.end(), e);
      if (copies < 1 || (copies > 1 && !duplicates_allowed_)) return false;
    }
  }
  if (slots != cell_->slots) return false;
  for (int g = 0; g < cell_->gpus(); ++g) {
    if (static_cast<int>(experts_on_[g].size()) > cell_->capacity[g]) return false;
  }
  return std::all_of(cell_->pins.begin(), cell_->pins.end(),
                     [&](const auto& pin) { return has(pin.first, pin.second); });
}

}  // namespace hadal::eplb
