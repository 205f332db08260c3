#include "eplb/groups.h"

#include <bit>
#include <limits>
#include <numeric>

#include <fmt/core.h>

#include "eplb/bounds.h"

namespace hadal::eplb {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

class GroupSearch::Impl {
 public:
  Impl(const Problem& problem, const Layout& layout, int layer, Dispatch dispatch)
      : problem_(problem),
        layout_(layout),
        layer_(layer),
        dispatch_(dispatch),
        groups_(problem.num_groups),
        nodes_(layout.live_nodes()),
        group_size_(problem.num_experts / problem.num_groups),
        floor_(groups_ / nodes_) {
    for (int j = 1; j < nodes_; ++j) alike_ = alike_ && alike(0, j);
    alike_ = alike_ && groups_ % nodes_ == 0;
    cost_.resize(nodes_);
  }

  void raise(const std::vector<int>& node_of, int node, double bound) {
    if (groups_ > kGroupsExactMax) return;
    const uint32_t set = set_of(node_of, node);
    const double known = cost(node, set);
    cost_[alike_ ? 0 : node][set] = std::max(known, bound);
  }

  Result<GroupAssignment> best() {
    GroupAssignment found;
    found.node_of = by_load();
    if (found.node_of.empty()) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("{} groups of {} experts do not fit the slots of {} live nodes whole; "
                      "use the global scope",
                      groups_, group_size_, nodes_));
    }
    if (groups_ <= kGroupsExactMax) exact(found);
    return found;
  }

 private:
  bool alike(int a, int b) const {
    const auto x = layout_.gpus_of(a);
    const auto y = layout_.gpus_of(b);
    if (x.size() != y.size()) return false;
    for (size_t i = 0; i < x.size(); ++i) {
      if (layout_.capacity[x[i]] != layout_.capacity[y[i]]) return false;
      if (layout_.speed[x[i]] != layout_.speed[y[i]]) return false;
    }
    return true;
  }

  int ceiling() const { return floor_ + (groups_ % nodes_ != 0); }
  bool fits(int node, int groups) const {
    return groups * group_size_ <= layout_.slots_on(layout_.gpus_of(node));
  }
  double speed_of(int node) const {
    double speed = 0;
    for (const int g : layout_.gpus_of(node)) speed += layout_.speed[g];
    return speed;
  }
  double load_of(int group) const {
    const double* first = problem_.load.data() +
                          static_cast<size_t>(layer_) * problem_.num_experts +
                          static_cast<size_t>(group) * group_size_;
    return std::accumulate(first, first + group_size_, 0.0);
  }

  // Heaviest group first onto the node that it leaves least loaded, then exchanges of two groups
  // while they lower the larger of the two node times. Empty if some group fits nowhere.
  std::vector<int> by_load() const {
    std::vector<double> load(groups_), time(nodes_, 0), speed(nodes_);
    std::vector<int> order(groups_), node_of(groups_), size(nodes_, 0);
    for (int g = 0; g < groups_; ++g) load[g] = load_of(g), order[g] = g;
    for (int j = 0; j < nodes_; ++j) speed[j] = speed_of(j);
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return std::pair(-load[a], a) < std::pair(-load[b], b); });
    int larger_left = groups_ % nodes_;  // how many nodes may still get one group more
    for (const int g : order) {
      int best = -1;
      for (int j = 0; j < nodes_; ++j) {
        const bool may_grow = size[j] < floor_ || (size[j] == floor_ && larger_left > 0);
        if (!may_grow || !fits(j, size[j] + 1)) continue;
        if (best < 0 || time[j] + load[g] / speed[j] < time[best] + load[g] / speed[best]) best = j;
      }
      if (best < 0) return {};
      larger_left -= size[best]++ == floor_;
      time[best] += load[g] / speed[best];
      node_of[g] = best;
    }
    exchange(load, speed, time, node_of);
    return node_of;
  }

  void exchange(const std::vector<double>& load, const std::vector<double>& speed,
                std::vector<double>& time, std::vector<int>& node_of) const {
    for (bool better = true; better;) {
      better = false;
      for (int a = 0; a < groups_; ++a) {
        for (int b = 0; b < a; ++b) {
          const int i = node_of[a], j = node_of[b];
          const double d = load[a] - load[b];
          const double ti = time[i] - d / speed[i], tj = time[j] + d / speed[j];
          if (i == j || std::max(ti, tj) >= std::max(time[i], time[j]) * (1 - 1e-12)) continue;
          std::swap(node_of[a], node_of[b]);
          time[i] = ti, time[j] = tj;
          better = true;
        }
      }
    }
  }

  double cost(int node, uint32_t set) {
    auto& known = cost_[alike_ ? 0 : node];
    if (known.empty()) known.assign(size_t{1} << groups_, -1);
    double& value = known[set];
    if (value >= 0) return value;
    std::vector<int> experts;
    for (int g = 0; g < groups_; ++g) {
      if ((set >> g & 1) == 0) continue;
      for (int i = 0; i < group_size_; ++i) experts.push_back(g * group_size_ + i);
    }
    const Cell cell = make_cell(problem_, layout_, layer_, experts, layout_.gpus_of(node));
    return value = dispatch_ == Dispatch::kEqual ? quick_bound(cell)
                                                 : cell.total_load() / cell.total_speed();
  }

  uint32_t set_of(const std::vector<int>& node_of, int node) const {
    uint32_t set = 0;
    for (int g = 0; g < groups_; ++g) set |= static_cast<uint32_t>(node_of[g] == node) << g;
    return set;
  }

  double cost_of(const std::vector<int>& node_of) {
    double worst = 0;
    for (int j = 0; j < nodes_; ++j) worst = std::max(worst, cost(j, set_of(node_of, j)));
    return worst;
  }

  // reach[j][set]: the smallest largest cost when the first j nodes have taken the groups of `set`.
  // Only sets that beat the known assignment are kept.
  void exact(GroupAssignment& found) {
    const uint32_t all = (1u << groups_) - 1;
    double best = cost_of(found.node_of);
    std::vector<std::vector<double>> reach(nodes_ + 1, std::vector<double>(all + 1, kInfinity));
    std::vector<std::vector<uint32_t>> taken(nodes_ + 1, std::vector<uint32_t>(all + 1, 0));
    reach[0][0] = 0;
    for (int j = 0; j < nodes_; ++j) {
      for (uint32_t set = 0; set <= all; ++set) {
        if (reach[j][set] >= best) continue;
        const uint32_t rest = all & ~set;
        for (uint32_t sub = rest; sub != 0; sub = (sub - 1) & rest) {
          const int size = std::popcount(sub);
          if (size < floor_ || size > ceiling() || !fits(j, size)) continue;
          // Nodes that are alike may be exchanged: the lowest free group goes to the next one.
          if (alike_ && (sub & (rest & -rest)) == 0) continue;
          if (!rest_is_feasible(std::popcount(rest) - size, nodes_ - 1 - j)) continue;
          const double worst = std::max(reach[j][set], cost(j, sub));
          if (worst >= best || worst >= reach[j + 1][set | sub]) continue;
          reach[j + 1][set | sub] = worst;
          taken[j + 1][set | sub] = sub;
          if ((set | sub) == all && j + 1 == nodes_) best = worst;
        }
      }
    }
    found.lower_bound = best;
    if (reach[nodes_][all] == kInfinity) return;  // the known assignment is optimal
    for (uint32_t j = nodes_, set = all; j > 0; set &= ~taken[j][set], --j) {
      for (int g = 0; g < groups_; ++g) {
        if (taken[j][set] >> g & 1) found.node_of[g] = static_cast<int>(j) - 1;
      }
    }
  }

  bool rest_is_feasible(int groups, int nodes) const {
    return groups >= nodes * floor_ && groups <= nodes * ceiling();
  }

  const Problem& problem_;
  const Layout& layout_;
  int layer_;
  Dispatch dispatch_;
  int groups_, nodes_, group_size_, floor_;
  bool alike_ = true;
  std::vector<std::vector<double>> cost_;  // per node (one if alike) and set; -1 unknown
};

GroupSearch::GroupSearch(const Problem& problem, const Layout& layout, int layer, Dispatch dispatch)
    : impl_(std::make_unique<Impl>(problem, layout, layer, dispatch)) {}
GroupSearch::~GroupSearch() = default;
Result<GroupAssignment> GroupSearch::best() {
  return impl_->best();
}
void GroupSearch::raise(const std::vector<int>& node_of, int node, double bound) {
  impl_->raise(node_of, node, bound);
}

Result<GroupAssignment> assign_groups(const Problem& problem, const Layout& layout, int layer,
                                      Dispatch dispatch) {
  return GroupSearch(problem, layout, layer, dispatch).best();
}

std::vector<int> experts_on_node(const Problem& problem, const std::vector<int>& node_of,
                                 int node) {
  const int group_size = problem.num_experts / problem.num_groups;
  std::vector<int> experts;
  for (int g = 0; g < problem.num_groups; ++g) {
    if (node_of[g] != node) continue;
    for (int i = 0; i < group_size; ++i) experts.push_back(g * group_size + i);
  }
  return experts;
}

}  // namespace hadal::eplb
