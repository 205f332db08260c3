// Expert-parallel load balancing: which experts to replicate, and on which GPU each replica lives.
//
// A mixture-of-experts layer sends each token to a few of its E experts. Loads differ by an order
// of magnitude and change with the traffic, so a cluster keeps R >= E physical slots and fills the
// spare ones with copies of the busy experts. A plan says for every layer which expert each slot
// holds; the step time follows the busiest GPU, so a plan is as good as its largest GPU load over
// the mean.
//
//   Problem problem{.num_layers = 58, .num_experts = 256, .num_replicas = 288, .num_groups = 8,
//                   .num_nodes = 4, .num_gpus = 32, .load = counts};
//   Plan plan = TRY(rebalance(problem));
//   plan.expert(layer, slot);  plan.slots(layer, expert);  plan.quality[layer].imbalance;
//
// Terms. A slot is room for one expert's weights on one GPU; GPU g owns the slots
// [gpu_first_slot[g], gpu_first_slot[g+1]), and node j the GPUs j*D/N .. (j+1)*D/N-1. A group is
// E/G consecutive experts that routing treats as one (group-limited routing); where G is a multiple
// of N the hierarchical scope keeps every replica of a group's experts on one node. Loads are in
// tokens, or in any other unit, and all replicas of an expert share its load equally unless
// dispatch weights say otherwise.
//
// Three policies. kReference is DeepSeek's published EPLB algorithm bit for bit, float32 arithmetic
// and all. kOptimal searches replica counts and placement together, for as long as it is allowed,
// and returns a lower bound with every layer. kIncremental starts from the previous plan and buys
// balance with as few expert moves as it can.
//
// Everything here is a pure function of its arguments: the same input, options and seed give the
// same plan on every machine and for any number of threads, unless a time budget cut the search
// short (Plan::cut_short says so). All functions are thread-safe; a Workspace belongs to one call
// at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::eplb {

/// Expert `expert` must keep a replica on `gpu`, in one layer or (layer == -1) in every one.
struct Pin {
  int layer = -1;
  int expert = 0;
  int gpu = 0;
};

/// What to balance, and where. Spans must outlive the call only.
struct Problem {
  int num_layers = 0;
  int num_experts = 0;                // E, per layer
  int num_replicas = 0;               // R >= E: slots in the whole cluster
  int num_groups = 1;                 // G divides E
  int num_nodes = 1;                  // N divides D
  int num_gpus = 1;                   // D
  std::span<const double> load = {};  // [num_layers][num_experts], finite and >= 0

  // Constraints; leave empty what does not apply. kReference supports none of them.
  std::span<const int> gpu_capacity = {};  // [D] slots, sum R; default R/D, the first R%D one more
  std::span<const double> gpu_speed =
      {};  // [D] > 0, relative; the load of a GPU counts as load / speed
  std::span<const int> failed_gpus = {};  // their slots stay empty (-1)
  std::span<const Pin> pins = {};
  int min_nodes_per_expert = 1;     // replicas on at least this many nodes (global scope only)
  int max_replicas_per_expert = 0;  // 0: no limit but the number of live GPUs
};

enum class Policy { kAuto, kReference, kOptimal, kIncremental };

/// Whether groups stay whole on a node. kAuto: hierarchical if and only if N divides G, as
/// published.
enum class Scope { kAuto, kHierarchical, kGlobal };

/// The order of equal loads in kReference. kStable: lower index first, on every platform. kTorch:
/// the order of torch.sort on a CPU build without SIMD sort (libstdc++'s introsort), which the
/// published vectors were made with; the two differ only for rows of more than 16 items.
enum class Ties { kStable, kTorch };

/// How tokens are divided over an expert's replicas. kWeighted: plans and scores by the best
/// unequal split, and fills Plan::dispatch_weight.
enum class Dispatch { kEqual, kWeighted };

/// What moving one expert's weights into a slot costs, by where the nearest copy is. The unit is
/// the caller's: moves, bytes, microseconds.
struct MoveCost {
  double same_gpu = 0;
  double same_node = 1;
  double other_node = 1;
};

struct Options {
  /// kAuto: kIncremental if there is a previous plan, else kOptimal.
  Policy policy = Policy::kAuto;
  Scope scope = Scope::kAuto;
  Ties ties = Ties::kStable;
  Dispatch dispatch = Dispatch::kEqual;

  /// Search effort of kOptimal and kIncremental: at most this many steps a layer (deterministic),
  /// and where budget_ms > 0 at most that much time for the whole call (anytime: the best plan so
  /// far).
  int64_t steps_max = 5'000;
  double budget_ms = 0;
  uint64_t seed = 0;

  /// kIncremental: at most so much per call, over all layers, by MoveCost. Negative: no limit.
  double moves_max = -1;
  MoveCost move_cost = {};
  /// kIncremental stops spending moves on a layer that is within this of a fresh plan's imbalance.
  double tolerance = 0.01;

  int threads = 1;  // layers are planned in parallel

  /// kReference: also compute LayerQuality::lower_bound and gap, which takes longer than the plan.
  bool bounds = true;
};

/// Quality of one layer of a plan. Loads in the unit of Problem::load, divided by gpu_speed.
struct LayerQuality {
  double max = 0;          // largest GPU load
  double mean = 0;         // total load / total speed of live GPUs
  double imbalance = 1;    // max / mean; 1 where the layer has no load at all
  double lower_bound = 0;  // no plan that keeps the constraints has a smaller max
  double gap = 0;          // max / lower_bound - 1; 0 is proven optimal
  int moves = 0;           // slots whose expert was not on that GPU in the previous plan
};

/// Which expert every slot holds. Self-contained; spans returned by its functions point into it.
struct Plan {
  int num_layers = 0;
  int num_experts = 0;
  int num_slots = 0;
  int num_groups = 1;
  int num_nodes = 1;
  int num_gpus = 1;
  int max_count = 0;  // X: the largest replica count over all layers and experts

  std::vector<int32_t> gpu_first_slot;  // [D + 1]
  std::vector<int32_t> phy2log;         // [layers][slots] expert in the slot, -1 empty
  std::vector<int32_t> log2phy;         // [layers][experts][X] slots of the expert, padded with -1
  std::vector<int32_t> logcnt;          // [layers][experts] number of replicas, >= 1
  std::vector<float> dispatch_weight;   // kWeighted: [layers][slots] share of the expert's tokens
  std::vector<LayerQuality> quality;    // [layers]

  Policy policy = Policy::kReference;  // what was used: never kAuto
  Scope scope = Scope::kGlobal;        // likewise
  Dispatch dispatch = Dispatch::kEqual;
  bool cut_short = false;  // a time budget ended the search

  int expert(int layer, int slot) const {
    return phy2log[static_cast<size_t>(layer) * num_slots + slot];
  }
  std::span<const int32_t> experts(int layer) const {
    return {phy2log.data() + static_cast<size_t>(layer) * num_slots,
            static_cast<size_t>(num_slots)};
  }
  int count(int layer, int expert) const {
    return logcnt[static_cast<size_t>(layer) * num_experts + expert];
  }
  /// Slots of an expert: without the padding.
  std::span<const int32_t> slots(int layer, int expert) const {
    const size_t row = static_cast<size_t>(layer) * num_experts + expert;
    return {log2phy.data() + row * max_count, static_cast<size_t>(logcnt[row])};
  }
  int gpu_of(int slot) const;  // by binary search in gpu_first_slot
  int node_of_gpu(int gpu) const { return gpu / (num_gpus / num_nodes); }
};

/// Scratch memory of rebalance(). Reusing one makes calls of the same shape allocation-free in
/// kReference (the plan's own vectors are reused as well when the same Plan is passed again).
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Plans every layer. `previous` is for kIncremental and for LayerQuality::moves; it must have the
/// problem's shape. Errors (kInvalidArgument) name the field, its value and what is allowed.
Result<Plan> rebalance(const Problem& problem, const Options& options = {},
                       const Plan* previous = nullptr);

/// The same into an existing plan, with scratch memory kept between calls.
Result<> rebalance_into(Plan& plan, Workspace& workspace, const Problem& problem,
                        const Options& options = {}, const Plan* previous = nullptr);

/// The first rule that `problem` breaks, as rebalance() would say it.
Result<> validate(const Problem& problem, const Options& options = {});

/// The first way in which `plan` is not a plan: sizes, ranges, an expert without replica, tables
/// that are not each other's inverse. For plans that come from outside.
Result<> validate(const Plan& plan);

/// Fills log2phy, logcnt and max_count from phy2log. Replicas are ranked by slot.
Result<> index_plan(Plan& plan);

/// Scores `plan` on loads that need not be those it was made from.
struct Evaluation {
  struct Level {
    double max = 0, mean = 0, imbalance = 1;  // averages over layers of the per-layer value
    double worst_imbalance = 1;               // the worst layer's
    double balancedness = 1;                  // sum over layers of mean / sum over layers of max
  };
  Level gpu, node, slot;
  int duplicates = 0;             // slots whose expert the same GPU already holds, all layers
  std::vector<double> gpu_load;   // [layers][gpus]
  std::vector<double> imbalance;  // [layers] at GPU level
};
/// `load` is [plan.num_layers][num_experts]. gpu_speed empty: all 1.
Result<Evaluation> evaluate(const Plan& plan, std::span<const double> load,
                            std::span<const double> gpu_speed = {});

/// Slots of `next` whose expert was not on the same GPU in `previous`, per layer: the weights that
/// must cross a link.
int count_moves(const Plan& previous, const Plan& next, int layer);

std::string_view name(Policy policy);      // "auto", "reference", "optimal", "incremental"
std::string_view name(Scope scope);        // "auto", "hierarchical", "global"
std::string_view name(Ties ties);          // "stable", "torch"
std::string_view name(Dispatch dispatch);  // "equal", "weighted"

}  // namespace hadal::eplb
