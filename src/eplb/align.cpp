#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/core.h>

#include "eplb/transfers.h"

namespace hadal::eplb {
namespace {

constexpr int64_t kForbidden = int64_t{1} << 50;

/// The assignment of rows to columns of the least total cost [n][n], by shortest augmenting paths
/// with potentials (Kuhn 1955, Jonker and Volgenant 1987), O(n^3). column[row]; returns the total.
class Assignment {
 public:
  int64_t solve(int n, std::span<const int64_t> cost, std::span<int32_t> column) {
    // Row and column 0 are a root that the paths start from.
    row_potential_.assign(n + 1, 0);
    column_potential_.assign(n + 1, 0);
    row_of_.assign(n + 1, 0);
    for (int row = 1; row <= n; ++row) augment(n, cost, row);
    int64_t total = 0;
    for (int c = 1; c <= n; ++c) {
      column[row_of_[c] - 1] = c - 1;
      total += cost[static_cast<size_t>(row_of_[c] - 1) * n + c - 1];
    }
    return total;
  }

 private:
  void augment(int n, std::span<const int64_t> cost, int row) {
    slack_.assign(n + 1, std::numeric_limits<int64_t>::max());
    done_.assign(n + 1, 0);
    from_.assign(n + 1, 0);
    row_of_[0] = row;
    int current = 0;
    while (row_of_[current] != 0) {
      done_[current] = 1;
      const int i = row_of_[current];
      const int64_t* costs = cost.data() + static_cast<size_t>(i - 1) * n;
      int64_t least = std::numeric_limits<int64_t>::max();
      int next = 0;
      for (int c = 1; c <= n; ++c) {
        if (done_[c] != 0) continue;
        const int64_t reduced = costs[c - 1] - row_potential_[i] - column_potential_[c];
        if (reduced < slack_[c]) {
          slack_[c] = reduced;
          from_[c] = current;
        }
        if (slack_[c] < least) {
          least = slack_[c];
          next = c;
        }
      }
      for (int c = 0; c <= n; ++c) {
        if (done_[c] != 0) {
          row_potential_[row_of_[c]] += least;
          column_potential_[c] -= least;
        } else {
          slack_[c] -= least;
        }
      }
      current = next;
    }
    while (current != 0) {
      row_of_[current] = row_of_[from_[current]];
      current = from_[current];
    }
  }

  std::vector<int64_t> row_potential_;
  std::vector<int64_t> column_potential_;
  std::vector<int64_t> slack_;
  std::vector<int32_t> row_of_;
  std::vector<int32_t> from_;
  std::vector<uint8_t> done_;
};

/// Renames the GPUs of one layer after another.
class Aligner {
 public:
  Aligner(const Plan& previous, Plan& next, const AlignOptions& options)
      : previous_(previous),
        next_(next),
        options_(options),
        gpus_(next.num_gpus),
        per_node_(next.num_gpus / std::max(1, next.num_nodes)),
        by_node_(options.keep_nodes || next.scope == Scope::kHierarchical),
        failed_(static_cast<size_t>(gpus_)),
        held_(static_cast<size_t>(gpus_) * next.num_experts),
        near_(static_cast<size_t>(next.num_nodes) * next.num_experts),
        cost_(static_cast<size_t>(gpus_) * gpus_),
        name_(static_cast<size_t>(gpus_)),
        moved_to_(static_cast<size_t>(next.num_slots)) {
    for (const int gpu : options.failed_gpus) failed_[gpu] = 1;
  }

  int64_t align_layer(int layer) {
    remember_previous(layer);
    for (int a = 0; a < gpus_; ++a) {
      for (int b = 0; b < gpus_; ++b) {
        cost_[index(a, b)] = cost(layer, a, b);
      }
    }
    if (by_node_ && next_.num_nodes > 1) {
      name_by_node();
    } else {
      solver_.solve(gpus_, cost_, name_);
    }
    place_slots(layer);
    return rewrite(layer);
  }

 private:
  size_t index(int a, int b) const { return static_cast<size_t>(a) * gpus_ + b; }
  size_t held_index(int gpu, int expert) const {
    return static_cast<size_t>(gpu) * next_.num_experts + expert;
  }

  void remember_previous(int layer) {
    std::ranges::fill(held_, 0);
    std::ranges::fill(near_, 0);
    for (int g = 0; g < gpus_; ++g) {
      for (int s = next_.gpu_first_slot[g]; s < next_.gpu_first_slot[g + 1]; ++s) {
        const int32_t expert = previous_.expert(layer, s);
        if (expert < 0 || failed_[g] != 0) continue;
        ++held_[held_index(g, expert)];
        near_[held_index(next_.node_of_gpu(g), expert)] = 1;
      }
    }
    held_full_ = held_;
  }

  bool may_trade(int layer, int a, int b) const {
    if (a == b) return true;
    const auto slots = [&](int g) { return next_.gpu_first_slot[g + 1] - next_.gpu_first_slot[g]; };
    if (slots(a) != slots(b) || failed_[a] != 0 || failed_[b] != 0) return false;
    if (!options_.gpu_speed.empty() && options_.gpu_speed[a] != options_.gpu_speed[b]) return false;
    return std::ranges::all_of(options_.pins, [&](const Pin& pin) {
      const bool applies = pin.gpu == b && (pin.layer < 0 || pin.layer == layer);
      return !applies || !holds(layer, b, pin.expert) || holds(layer, a, pin.expert);
    });
  }

  bool holds(int layer, int gpu, int expert) const {
    const std::span<const int32_t> experts = next_.experts(layer);
    return std::find(experts.begin() + next_.gpu_first_slot[gpu],
                     experts.begin() + next_.gpu_first_slot[gpu + 1],
                     expert) != experts.begin() + next_.gpu_first_slot[gpu + 1];
  }

  /// Of calling GPU `a` of the next plan `b`: slots that do not keep their expert, then slots whose
  /// expert is new to the node, then the change of name itself, each outweighing all that follows.
  int64_t cost(int layer, int a, int b) {
    if (!may_trade(layer, a, b)) return kForbidden;
    int64_t changed = 0;
    int64_t far = 0;
    const int first = next_.gpu_first_slot[a];
    const int last = next_.gpu_first_slot[a + 1];
    for (int s = first; s < last; ++s) {
      const int32_t expert = next_.expert(layer, s);
      if (expert < 0) continue;
      uint16_t& left = held_[held_index(b, expert)];  // counted down here, set back below
      if (left > 0) {
        --left;
      } else {
        ++changed;
      }
      far += near_[held_index(next_.node_of_gpu(b), expert)] == 0;
    }
    for (int s = first; s < last; ++s) {
      const int32_t expert = next_.expert(layer, s);
      if (expert >= 0) held_[held_index(b, expert)] = held_full_[held_index(b, expert)];
    }
    const int64_t names = gpus_ + 1;
    return (changed * (next_.num_slots + 1) + far) * names + (a != b);
  }

  /// The best names within each pair of nodes decide which node is which.
  void name_by_node() {
    const int nodes = next_.num_nodes;
    std::vector<int64_t> inner(static_cast<size_t>(per_node_) * per_node_);
    std::vector<int64_t> node_cost(static_cast<size_t>(nodes) * nodes);
    std::vector<int32_t> names(node_cost.size() * per_node_);
    for (int i = 0; i < nodes; ++i) {
      for (int j = 0; j < nodes; ++j) {
        for (int a = 0; a < per_node_; ++a) {
          const int64_t* row = &cost_[index(i * per_node_ + a, j * per_node_)];
          std::copy_n(row, per_node_, &inner[static_cast<size_t>(a) * per_node_]);
        }
        const size_t pair = static_cast<size_t>(i) * nodes + j;
        const auto inside = std::span(names).subspan(pair * per_node_, per_node_);
        node_cost[pair] = std::min(kForbidden, solver_.solve(per_node_, inner, inside));
      }
    }
    std::vector<int32_t> node_name(nodes);
    solver_.solve(nodes, node_cost, node_name);
    for (int i = 0; i < nodes; ++i) {
      const size_t pair = static_cast<size_t>(i) * nodes + node_name[i];
      for (int a = 0; a < per_node_; ++a) {
        name_[i * per_node_ + a] = node_name[i] * per_node_ + names[pair * per_node_ + a];
      }
    }
  }

  /// moved_to_: experts that stay on their GPU first, into their old slots; then the others, into
  /// slots that were empty if there are any, since nothing need be read there first.
  void place_slots(int layer) {
    std::ranges::fill(moved_to_, -1);
    std::vector<int32_t> open;
    std::vector<int32_t> rest;
    for (int a = 0; a < gpus_; ++a) {
      const int b = name_[a];
      open.clear();
      for (int s = next_.gpu_first_slot[b]; s < next_.gpu_first_slot[b + 1]; ++s) {
        const int32_t expert = previous_.expert(layer, s);
        const int old = expert < 0 ? -1 : find_unplaced(layer, a, expert);
        if (old < 0) {
          open.push_back(s);
        } else {
          moved_to_[old] = s;
        }
      }
      std::ranges::sort(open, {},
                        [&](int s) { return std::pair(previous_.expert(layer, s) >= 0, s); });
      // By expert, empty slots last, so that the result does not depend on the order in `next`.
      rest.clear();
      for (int s = next_.gpu_first_slot[a]; s < next_.gpu_first_slot[a + 1]; ++s) {
        if (moved_to_[s] < 0) rest.push_back(s);
      }
      std::ranges::sort(rest, {}, [&](int s) {
        return std::pair(static_cast<uint32_t>(next_.expert(layer, s)),
                         s);  // -1 becomes the largest
      });
      for (size_t i = 0; i < rest.size(); ++i) moved_to_[rest[i]] = open[i];
    }
  }

  int find_unplaced(int layer, int gpu, int expert) const {
    for (int s = next_.gpu_first_slot[gpu]; s < next_.gpu_first_slot[gpu + 1]; ++s) {
      if (next_.expert(layer, s) == expert && moved_to_[s] < 0) return s;
    }
    return -1;
  }

  int64_t rewrite(int layer) {
    const size_t offset = static_cast<size_t>(layer) * next_.num_slots;
    const auto permute = [&](auto& values) {
      const auto row = std::span(values).subspan(offset, next_.num_slots);
      const std::vector old(row.begin(), row.end());
      for (size_t s = 0; s < old.size(); ++s) row[moved_to_[s]] = old[s];
    };
    permute(next_.phy2log);
    if (!next_.dispatch_weight.empty()) permute(next_.dispatch_weight);
    const size_t table = next_.log2phy.size() / std::max(1, next_.num_layers);
    for (int32_t& slot : std::span(next_.log2phy).subspan(layer * table, table)) {
      if (slot >= 0) slot = moved_to_[slot];
    }
    int64_t kept = 0;
    int moves = 0;
    for (int g = 0; g < gpus_; ++g) {
      for (int s = next_.gpu_first_slot[g]; s < next_.gpu_first_slot[g + 1]; ++s) {
        const int32_t expert = next_.expert(layer, s);
        if (expert < 0) continue;
        kept += expert == previous_.expert(layer, s);
        moves += held_[held_index(g, expert)] == 0;
      }
    }
    if (next_.quality.size() == static_cast<size_t>(next_.num_layers)) {
      next_.quality[layer].moves = moves;
    }
    return kept;
  }

  const Plan& previous_;
  Plan& next_;
  const AlignOptions& options_;
  const int gpus_;
  const int per_node_;
  const bool by_node_;
  std::vector<uint8_t> failed_;
  std::vector<uint16_t> held_;  // [gpus][experts] slots in the previous plan
  std::vector<uint16_t> held_full_;
  std::vector<uint8_t> near_;      // [nodes][experts] whether the node held it
  std::vector<int64_t> cost_;      // [gpus][gpus]
  std::vector<int32_t> name_;      // [gpus] new name of each GPU
  std::vector<int32_t> moved_to_;  // [slots]
  Assignment solver_;
};

Result<> check_arguments(const Plan& previous, const Plan& next, const AlignOptions& options) {
  if (previous.num_layers != next.num_layers || previous.num_experts != next.num_experts ||
      previous.num_slots != next.num_slots || previous.num_nodes != next.num_nodes ||
      previous.gpu_first_slot != next.gpu_first_slot) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("the plans differ in shape: {} layers, {} experts, {} slots before, {}, {}, "
                    "{} after, or in their GPUs",
                    previous.num_layers, previous.num_experts, previous.num_slots, next.num_layers,
                    next.num_experts, next.num_slots));
  }
  if (!options.gpu_speed.empty() &&
      options.gpu_speed.size() != static_cast<size_t>(next.num_gpus)) {
    return fail(Code::kInvalidArgument,
                fmt::format("gpu_speed has {} values; it must have {} or none",
                            options.gpu_speed.size(), next.num_gpus));
  }
  for (const int gpu : options.failed_gpus) {
    if (gpu < 0 || gpu >= next.num_gpus) {
      return fail(Code::kInvalidArgument,
                  fmt::format("failed_gpus has {}; allowed are 0 to {}", gpu, next.num_gpus - 1));
    }
  }
  return {};
}

}  // namespace

Result<int64_t> align(const Plan& previous, Plan& next, const AlignOptions& options) {
  TRY(check_arguments(previous, next, options));
  if (next.num_gpus == 0) return 0;
  Aligner aligner(previous, next, options);
  int64_t kept = 0;
  for (int layer = 0; layer < next.num_layers; ++layer) kept += aligner.align_layer(layer);
  return kept;
}

}  // namespace hadal::eplb
