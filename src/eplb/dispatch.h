// Dispatch: how an expert's tokens are best divided over its replicas, and which replica a token
// takes.
//
// A placement fixes which GPUs host an expert. If all replicas of an expert get the same share, a
// busy GPU stays busy while a neighbour with a copy of the same expert idles; shares of any size
// let the load flow there. The best shares minimise the time T of the slowest GPU:
//
//   sum over g of x[e][g] = load[e],  sum over e of x[e][g] <= T * speed[g],  x >= 0, x = 0
//   off-host.
//
// By max-flow/min-cut the optimum is the tightest set N of GPUs:
//
//   T = max over N of  (load of the experts that N alone hosts) / (speed of N).
//
// Splitter finds both sides at once by Newton's method on the cut (Dinkelbach 1967; for parametric
// flow: Radzik 1992). It starts from a T that some set proves necessary and pushes a maximum flow
// with that T (Dinic 1970). Load that does not fit names a set N that needs more, which is the next
// T, and the flow goes on from where it is. When all fits, the last N proves that no split is
// faster. A few rounds suffice, and between batches the shares and N of the last call are a nearly
// right start.
//
// ReplicaChooser turns the shares into a choice per token that is a pure function of (placement,
// shares, expert, token index): all ranks take the same replica of the same token without a word
// exchanged, which tensor-parallel ranks depend on.
//
// Units: load in tokens or any other unit; T in load per speed. All of it is double arithmetic in a
// fixed order: the same input gives the same bits. A Splitter belongs to one thread; a
// ReplicaChooser may be read by many.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "eplb/eplb.h"

namespace hadal::eplb {

/// Which expert every slot of one layer holds (-1: none), and which slots a GPU owns:
/// [gpu_first_slot[g], gpu_first_slot[g + 1]). Self-contained.
struct Placement {
  int num_experts = 0;
  std::vector<int32_t> slot_expert;     // [slots]
  std::vector<int32_t> gpu_first_slot;  // [gpus + 1]
};

/// One layer of a plan.
Placement placement(const Plan& plan, int layer);

class Splitter {
 public:
  /// Takes a placement of `num_experts` experts; gpu_speed [gpus] > 0, empty: all 1. Forgets the
  /// last split. Errors: kInvalidArgument for an expert number out of range, an expert without a
  /// slot, offsets that do not ascend from 0 to the number of slots, or a speed that is not above
  /// 0.
  Result<> bind(int num_experts, std::span<const int32_t> slot_expert,
                std::span<const int32_t> gpu_first_slot, std::span<const double> gpu_speed = {});
  Result<> bind(const Plan& plan, int layer, std::span<const double> gpu_speed = {});
  Result<> bind(const Placement& placement, std::span<const double> gpu_speed = {});

  /// The best split of `load` [experts], finite and >= 0, over the bound placement; returns time().
  /// Starts from the last split if there was one. No allocation after bind(). The shares are those
  /// of one optimum of many: only time() and bound() do not depend on the start.
  Result<double> split(std::span<const double> load);

  /// Share of its expert's tokens that each slot takes: [slots], >= 0, sum 1 per expert; 0 in an
  /// empty slot. An expert without load, and replicas on the same GPU, share equally.
  std::span<const double> weights() const { return weights_; }
  /// The load of each GPU over its speed: [gpus].
  std::span<const double> gpu_time() const { return gpu_time_; }
  /// The largest gpu_time().
  double time() const { return time_; }
  /// What the tight set proves: no split of this placement is faster. Equal to time() but for
  /// rounding, a few parts in 10^13.
  double bound() const { return bound_; }
  /// The tight set: gpu_is_tight() [gpus] is 1 for the GPUs in N. bound() is the load of the
  /// experts hosted by these alone, over their speed.
  std::span<const uint8_t> gpu_is_tight() const { return tight_; }
  /// Cuts tried by the last split(): 1 if the first guess of the tight set was right.
  int iterations() const { return iterations_; }

  int num_experts() const { return num_experts_; }
  int num_gpus() const { return num_gpus_; }

 private:
  void index_edges(std::span<const int32_t> slot_expert);
  double confined_time();
  void guess_bound();
  void start_flow(double total);
  double push_flow();
  bool search_levels();
  void push_path(int expert);
  bool walk_path(int expert);
  void write_weights();

  int num_experts_ = 0;
  int num_gpus_ = 0;
  bool warm_ = false;
  std::vector<double> speed_;           // [gpus]
  std::vector<int32_t> slot_edge_;      // [slots] edge the slot belongs to, -1 empty
  std::vector<int32_t> expert_first_;   // [experts + 1] edges of an expert, ascending by GPU
  std::vector<int32_t> edge_gpu_;       // [edges]
  std::vector<int32_t> edge_expert_;    // [edges]
  std::vector<int32_t> edge_slots_;     // [edges] slots of the expert on the GPU
  std::vector<int32_t> gpu_first_;      // [gpus + 1] into gpu_edges_: edges of split experts only
  std::vector<int32_t> gpu_edges_;      // edges by GPU
  std::vector<int32_t> split_experts_;  // experts on two GPUs or more

  std::vector<double> load_;      // [experts] of this call
  std::vector<double> fixed_;     // [gpus] load that has nowhere else to go
  std::vector<double> share_;     // [edges] of the last split: sum 1 per expert
  std::vector<double> flow_;      // [edges]
  std::vector<double> excess_;    // [experts] not placed yet
  std::vector<double> room_;      // [gpus] T * speed - load
  std::vector<int32_t> level_;    // [experts + gpus]
  std::vector<int32_t> cursor_;   // [experts + gpus]
  std::vector<int32_t> queue_;    // [experts + gpus]
  std::vector<int32_t> path_;     // edges of the path being built
  std::vector<uint8_t> tight_;    // [gpus]
  std::vector<uint8_t> trial_;    // [gpus]
  std::vector<double> weights_;   // [slots]
  std::vector<double> gpu_time_;  // [gpus]
  double epsilon_ = 0;            // load too small to matter
  double time_ = 0;
  double bound_ = 0;
  int iterations_ = 0;
};

/// Fills plan.dispatch_weight for all layers with the best split of `load` [layers][experts], sets
/// plan.dispatch and the max, mean, imbalance and gap of plan.quality (lower bounds are kept).
Result<> split_plan(Plan& plan, std::span<const double> load,
                    std::span<const double> gpu_speed = {});

/// No placement whatever of these experts on GPUs with `gpu_capacity` [gpus] slots, split however,
/// is faster than this. The largest of
///  - the mean, sum(load) / sum(speed);
///  - the least T at which the parts that must exist fit into the slots. With s = the largest speed
///  no
///    part of an expert exceeds T*s, so expert e has p_e >= max(1, ceil(load/(T*s))) parts, and the
///    parts are at most sum(gpu_capacity);
///  - for k = 2 .. 8 the least T at which the large parts fit. Call a part large if it exceeds
///    h = T*s/k. An expert of p parts with j large ones has load <= j*T*s + (p-j)*h, hence
///    j >= (k*load/(T*s) - p) / (k-1), rounded up; but GPU g can hold no more than
///    min(capacity, ceil(k*speed/s) - 1) large parts within T. Giving the spare parts to the
///    experts where they reduce j the soonest minimises the sum of j exactly (every later reduction
///    of an expert costs k-1 parts, the first at most that).
/// Each test fails for all T below the least at which it holds, so bisection finds that. For equal
/// speeds and k = 2 it reads: sum over e of ceil(2*load/T) <= slots + GPUs.
Result<double> weighted_bound(std::span<const double> load, std::span<const int32_t> gpu_capacity,
                              std::span<const double> gpu_speed = {});

struct ImproveOptions {
  int64_t steps_max = 2000;  // placements tried, each costs a split
  uint64_t seed = 0;
};

/// Local search on the placement for the weighted split: swaps two slots of different GPUs or gives
/// a spare replica's slot to another expert, where a GPU of the tight set gets rid of load, and
/// keeps what lowers T. Replica counts change; every expert keeps one. Returns the T reached, never
/// above the initial one. It knows no groups, pins or failures: the caller passes slots that may be
/// mixed.
Result<double> improve_weighted(Placement& placement, std::span<const double> load,
                                std::span<const double> gpu_speed = {},
                                const ImproveOptions& options = {});

/// Chooses a replica for every token. The sequence of an expert is frac(offset(e) + i/phi): the
/// golden ratio's rotation, of the lowest discrepancy there is, cut into intervals as wide as the
/// shares. Of n consecutive indices a slot gets its share of n to within about 2 + log2(n)/2
/// tokens, where random choice is off by sqrt(n). All in 32-bit integers, hence the same on every
/// machine.
class ReplicaChooser {
 public:
  /// `weights` [slots] as Splitter gives them; need not sum to exactly 1. Empty: equal shares.
  /// Errors: kInvalidArgument for a number out of range, an expert without a slot or without
  /// weight.
  Result<> bind(int num_experts, std::span<const int32_t> slot_expert,
                std::span<const double> weights = {});

  /// The slot of the token with this index. `index` is any number that all ranks agree upon and
  /// that counts up: the token's position in the global batch, or better (exact shares for every
  /// expert) its position among the tokens of that expert. `expert` must be in range.
  int32_t choose(int32_t expert, uint64_t index) const noexcept {
    const Entry entry = entries_[static_cast<size_t>(expert)];
    if (entry.count == 1) return slots_[entry.first];
    const uint64_t position = (entry.offset + static_cast<uint32_t>(index) * 0x9e3779b9u) & kMask;
    uint32_t rank = 0;
    for (uint32_t i = 0; i + 1 < entry.count; ++i) rank += position >= ends_[entry.first + i];
    return slots_[entry.first + rank];
  }

  /// For a router's output `experts` [tokens][topk] (-1: none, stays -1) the slots, same shape.
  /// Token t has index first_index + t.
  Result<> route(std::span<const int32_t> experts, int topk, uint64_t first_index,
                 std::span<int32_t> slots) const;

 private:
  static constexpr uint64_t kMask = 0xffffffffu;
  struct Entry {
    uint32_t first;
    uint32_t count;
    uint32_t offset;
  };
  std::vector<Entry> entries_;  // [experts]
  std::vector<int32_t> slots_;  // by expert, ascending
  std::vector<uint64_t> ends_;  // end of the slot's interval in units of 2^-32
};

}  // namespace hadal::eplb
