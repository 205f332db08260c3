#include "eplb/reference.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "base/check.h"

namespace hadal::eplb {
namespace {

constexpr int kLanes = 8;         // floats in an AVX2 register
constexpr int kAccumulators = 4;  // independent chains of the reduction
constexpr int kLevels = 4;        // of the cascade

// Sums `rows` rows of kAccumulators * lanes consecutive floats, column by column, in the cascade of
// ATen's SumKernel: blocks of `step` rows are summed apart, and block sums again in blocks.
template <int lanes>
std::array<float, kAccumulators * lanes> cascade(const float* values, size_t rows) {
  constexpr int kColumns = kAccumulators * lanes;
  const int log2_rows = rows < 2 ? 0 : static_cast<int>(std::bit_width(rows - 1));
  const int power = std::max(4, log2_rows / kLevels);
  const size_t step = size_t{1} << power;
  std::array<std::array<float, kColumns>, kLevels> level{};
  const auto add_row = [&](size_t row) {
    for (int c = 0; c < kColumns; ++c) level[0][c] += values[row * kColumns + c];
  };
  size_t row = 0;
  while (row + step <= rows) {
    for (size_t end = row + step; row < end; ++row) add_row(row);
    for (int l = 1; l < kLevels; ++l) {
      for (int c = 0; c < kColumns; ++c) level[l][c] += level[l - 1][c];
      level[l - 1].fill(0);
      if ((row & ((step - 1) << (l * power))) != 0) break;
    }
  }
  for (; row < rows; ++row) add_row(row);
  for (int l = 1; l < kLevels; ++l) {
    for (int c = 0; c < kColumns; ++c) level[0][c] += level[l][c];
  }
  return level[0];
}

// `lanes` partial sums of the first values.size() / lanes * lanes values.
template <int lanes>
std::array<float, lanes> lane_sums(std::span<const float> values) {
  const size_t vectors = values.size() / lanes;
  const size_t rows = vectors / kAccumulators;
  const auto columns = cascade<lanes>(values.data(), rows);
  std::array<float, lanes> sum;
  std::copy_n(columns.begin(), lanes, sum.begin());
  for (size_t v = rows * kAccumulators; v < vectors; ++v) {
    for (int i = 0; i < lanes; ++i) sum[i] += values[v * lanes + i];
  }
  for (int a = 1; a < kAccumulators; ++a) {
    for (int i = 0; i < lanes; ++i) sum[i] += columns[a * lanes + i];
  }
  return sum;
}

uint64_t key_of(float load, size_t index) {
  return static_cast<uint64_t>(std::bit_cast<uint32_t>(load)) << 32 | index;
}

// Packs items into `packs` packs of equal size: pack[i] and rank[i], the place within the pack.
void pack_balanced(std::span<const float> loads, int packs, Ties ties, ReferenceScratch& s,
                   std::span<int32_t> pack, std::span<int32_t> rank) {
  const int items = static_cast<int>(loads.size());
  const int capacity = items / packs;
  if (capacity == 1) {
    std::iota(pack.begin(), pack.end(), 0);
    std::fill(rank.begin(), rank.end(), 0);
    return;
  }
  s.sequence.resize(items);
  order_descending(loads, ties, s.order, s.sequence);
  s.pack_load.assign(packs, 0);
  s.pack_size.assign(packs, 0);
  s.tree.assign(packs, [](size_t p) { return key_of(0, p); });
  for (const int32_t item : s.sequence) {
    const auto p = static_cast<uint32_t>(s.tree.min());
    pack[item] = static_cast<int32_t>(p);
    rank[item] = s.pack_size[p]++;
    s.pack_load[p] += loads[item];
    s.tree.replace(p, s.pack_size[p] < capacity ? key_of(s.pack_load[p], p) : WinnerTree::kNever);
  }
}

// Gives each of `replicas` - experts spare slots to the expert with the largest load per replica,
// the lowest index of equals. Fills count, replica_expert and replica_rank.
void replicate(std::span<const float> loads, int replicas, ReferenceScratch& s) {
  const int experts = static_cast<int>(loads.size());
  s.count.assign(experts, 1);
  s.replica_expert.resize(replicas);
  s.replica_rank.resize(replicas);
  std::iota(s.replica_expert.begin(), s.replica_expert.begin() + experts, 0);
  std::fill_n(s.replica_rank.begin(), experts, 0);
  if (replicas == experts) return;
  // Inverted bits turn the smallest key into the largest load.
  const auto key = [&](size_t e) {
    const uint32_t bits = std::bit_cast<uint32_t>(loads[e] / static_cast<float>(s.count[e]));
    return static_cast<uint64_t>(~bits) << 32 | e;
  };
  s.tree.assign(experts, key);
  for (int r = experts; r < replicas; ++r) {
    const auto e = static_cast<uint32_t>(s.tree.min());
    s.replica_expert[r] = static_cast<int32_t>(e);
    s.replica_rank[r] = s.count[e]++;
    s.tree.replace(e, key(e));
  }
}

// expert_at[i]: the expert at position i when groups are laid out node by node.
void lay_out_groups(const ReferenceShape& shape, std::span<const float> load, Ties ties,
                    ReferenceScratch& s) {
  const int group_size = shape.experts / shape.groups;
  const int groups_per_node = shape.groups / shape.nodes;
  s.expert_at.resize(shape.experts);
  if (shape.groups == 1) {
    std::iota(s.expert_at.begin(), s.expert_at.end(), 0);
    return;
  }
  s.sums.resize(shape.groups);
  for (int g = 0; g < shape.groups; ++g) {
    s.sums[g] = torch_sum(load.subspan(static_cast<size_t>(g) * group_size, group_size));
  }
  s.pack.resize(shape.groups);
  s.rank.resize(shape.groups);
  pack_balanced(s.sums, shape.nodes, ties, s, s.pack, s.rank);
  for (int g = 0; g < shape.groups; ++g) {
    const int place = (s.pack[g] * groups_per_node + s.rank[g]) * group_size;
    std::iota(s.expert_at.begin() + place, s.expert_at.begin() + place + group_size,
              g * group_size);
  }
}

}  // namespace

float torch_sum(std::span<const float> values) {
  float sum = 0;
  if (values.size() < kLanes) {
    sum += lane_sums<1>(values)[0];
    return sum;
  }
  const auto lanes = lane_sums<kLanes>(values);
  for (size_t i = values.size() / kLanes * kLanes; i < values.size(); ++i) sum += values[i];
  for (const float lane : lanes) sum += lane;
  return sum;
}

void reference_layer(const ReferenceShape& shape, std::span<const float> load, Ties ties,
                     ReferenceScratch& s, std::span<int32_t> phy2log, std::span<int32_t> slot_rank,
                     std::span<int32_t> logcnt) {
  DCHECK(shape.groups % shape.nodes == 0 && shape.experts % shape.groups == 0);
  DCHECK(shape.gpus % shape.nodes == 0 && shape.replicas % shape.gpus == 0);
  const int node_experts = shape.experts / shape.nodes;
  const int node_slots = shape.replicas / shape.nodes;
  const int node_gpus = shape.gpus / shape.nodes;
  const int gpu_slots = shape.replicas / shape.gpus;
  lay_out_groups(shape, load, ties, s);
  s.loads.resize(node_experts);
  s.replica_load.resize(node_slots);
  s.pack.resize(std::max<size_t>(s.pack.size(), node_slots));
  s.rank.resize(std::max<size_t>(s.rank.size(), node_slots));
  for (int node = 0; node < shape.nodes; ++node) {
    const auto expert_at =
        std::span(s.expert_at).subspan(static_cast<size_t>(node) * node_experts, node_experts);
    for (int i = 0; i < node_experts; ++i) s.loads[i] = load[expert_at[i]];
    replicate(s.loads, node_slots, s);
    for (int i = 0; i < node_experts; ++i) {
      logcnt[expert_at[i]] = s.count[i];
      s.loads[i] /= static_cast<float>(s.count[i]);
    }
    for (int r = 0; r < node_slots; ++r) s.replica_load[r] = s.loads[s.replica_expert[r]];
    const auto pack = std::span(s.pack).first(node_slots);
    const auto rank = std::span(s.rank).first(node_slots);
    pack_balanced(s.replica_load, node_gpus, ties, s, pack, rank);
    const int first_slot = node * node_slots;
    for (int r = 0; r < node_slots; ++r) {
      const int slot = first_slot + pack[r] * gpu_slots + rank[r];
      phy2log[slot] = expert_at[s.replica_expert[r]];
      slot_rank[slot] = s.replica_rank[r];
    }
  }
}

}  // namespace hadal::eplb
