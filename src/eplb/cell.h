// The packing problem at the heart of balancing, and a state that a search can change.
//
// A cell is what must be balanced as one piece: in global scope a layer on the whole cluster, in
// hierarchical scope the experts of a node's groups on that node's GPUs. Expert e has `load[e]` to
// give away and between count_min and count_max replicas, each with an equal share; GPU g has room
// for capacity[g] replicas and finishes its share in time load / speed. The aim is the smallest
// largest time. All indices are local to the cell.
//
// Invariants of a Packing between calls: the counts sum to the cell's slots; every count is within
// its limits; no GPU holds more than its capacity; no GPU holds an expert twice unless
// `duplicates_allowed` (set only where no other placement was found); pinned replicas stay; every
// expert is on at least nodes_min nodes.
//
// Arithmetic is plain double in a fixed order, without contraction, so that a search takes the same
// decisions on every machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/error.h"

namespace hadal::eplb {

struct Cell {
  int slots = 0;  // replicas to place: the sum of capacity, >= experts()
  std::vector<double> load;
  std::vector<int> count_min, count_max;  // per expert
  std::vector<int> capacity;              // per GPU
  std::vector<double> speed;              // per GPU
  std::vector<int> node;                  // per GPU, for nodes_min and for the cost of moves
  std::vector<std::pair<int, int>> pins;  // (expert, GPU)
  int nodes_min = 1;

  int experts() const { return static_cast<int>(load.size()); }
  int gpus() const { return static_cast<int>(capacity.size()); }
  double total_load() const;
  double total_speed() const;
  bool is_pinned(int expert, int gpu) const {
    return !pins.empty() &&
           std::find(pins.begin(), pins.end(), std::pair(expert, gpu)) != pins.end();
  }
};

class Packing {
 public:
  /// Replica counts that minimise the largest replica, then replicas by descending load onto the
  /// fastest-finishing GPU with room. Fails (kInvalidArgument) if the constraints cannot be met.
  static Result<Packing> make(const Cell& cell);
  /// A placement given by the experts on every GPU (each list at most its capacity). Takes it as it
  /// is; the caller answers for the invariants.
  Packing(const Cell& cell, std::vector<std::vector<int32_t>> experts_on);

  const Cell& cell() const { return *cell_; }
  int count(int expert) const { return static_cast<int>(gpus_of_[expert].size()); }
  double share(int expert) const { return share_[expert]; }
  double load(int gpu) const { return load_[gpu]; }
  double time(int gpu) const { return load_[gpu] * inverse_speed_[gpu]; }
  double time_with(int gpu, double extra) const {
    return (load_[gpu] + extra) * inverse_speed_[gpu];
  }
  const std::vector<int32_t>& experts_on(int gpu) const { return experts_on_[gpu]; }
  const std::vector<int32_t>& gpus_of(int expert) const { return gpus_of_[expert]; }
  bool has(int expert, int gpu) const {
    const auto& gpus = gpus_of_[expert];
    return std::find(gpus.begin(), gpus.end(), gpu) != gpus.end();
  }
  bool duplicates_allowed() const { return duplicates_allowed_; }
  double max_time() const;

  /// May the replica of `expert` on `from` go to `to`?
  bool can_move(int expert, int from, int to) const;
  /// May the replica of `donor` on `gpu` be given up, and its slot go to a new one of `receiver`?
  bool can_transfer(int donor, int receiver, int gpu) const;

  void move(int expert, int from, int to);
  void swap(int expert_a, int gpu_a, int expert_b, int gpu_b);
  void transfer(int donor, int receiver, int gpu);

  /// Calls visit(gpu, change of its load) for what transfer(donor, receiver, gpu) would do. A GPU
  /// may be visited several times; its changes add up.
  template <typename Visit>
  void for_each_change(int donor, int receiver, int gpu, Visit visit) const {
    const double receiver_share = cell_->load[receiver] / (count(receiver) + 1);
    const double donor_share = cell_->load[donor] / (count(donor) - 1);
    visit(gpu, receiver_share - donor_share);
    for (const int32_t g : gpus_of_[receiver]) visit(g, receiver_share - share_[receiver]);
    for (const int32_t g : gpus_of_[donor]) visit(g, donor_share - share_[donor]);
  }

  /// Sums all loads afresh: after many changes rounding has crept in.
  void recompute();
  /// True if every invariant holds; for tests and for CHECK after a search.
  bool is_valid() const;

 private:
  explicit Packing(const Cell& cell);
  void choose_counts(std::vector<int>& count) const;
  bool place_replica(int expert);
  bool make_room(int expert);
  bool on_new_node(int expert, int gpu) const;
  void add(int expert, int gpu);
  void replace_gpu(int expert, int from, int to);
  void set_share(int expert);
  int nodes_without(int expert, int gpu) const;

  const Cell* cell_;
  std::vector<std::vector<int32_t>> experts_on_;  // per GPU
  std::vector<std::vector<int32_t>> gpus_of_;     // per expert
  std::vector<double> share_;                     // per expert: load / count
  std::vector<double> load_;                      // per GPU
  std::vector<double> inverse_speed_;             // per GPU
  std::vector<int> wanted_;                       // per expert while placing: its final count
  bool duplicates_allowed_ = false;
};

}  // namespace hadal::eplb
