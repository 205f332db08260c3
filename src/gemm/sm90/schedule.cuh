// Which tile comes next. Every role of every block walks the same list of tiles by itself.
//
// The list has the groups in order, each padded to whole clusters, so the blocks of a cluster
// always work on one group and share its B; a block beyond the last rows multiplies zeros and
// stores nothing. Blocks that split k have the same tile and a range of k each. Within a group
// tiles go along m in panels, so that what runs at the same time reads few rows of A and B and
// finds them in the second-level cache.
#pragma once

#include "gemm/sm90/parameters.cuh"

namespace hadal::gemm::sm90 {

struct Work {
  int32_t group;
  int32_t m_begin, m_end;  // rows of D (and of A): the tile's first, and where the group ends
  int32_t n_begin;         // column of D
  int32_t k_begin, k_end;
  int32_t group_k_begin, group_k_end;  // the same before a split
};

template <typename C>
class Schedule {
 public:
  HADAL_DEVICE Schedule(const Parameters& p, gpu::device::SharedAddress table)
      : p_(p), table_(table) {
    const uint32_t tile_columns = p.finish == Finish::kSwiglu ? C::kTileN / 2 : C::kTileN;
    tile_columns_ = static_cast<int32_t>(tile_columns);
    tiles_n_ = gpu::device::ceil_div(p.columns, tile_columns_);
  }

  /// Builds the table of groups. All threads of the block, which then need a barrier.
  HADAL_DEVICE void build() {
    using namespace gpu::device;
    if (!has_table(p_.division)) return;
    const int32_t thread = static_cast<int32_t>(thread_index().x);
    for (int32_t g = thread; g < p_.num_groups; g += C::kThreads) {
      int32_t begin = 0, end = 0;
      if (p_.division == Division::kCounts) {
        end = minimum(maximum(load_constant(p_.groups + g), 0), p_.m);
      } else if (p_.division == Division::kRowEnds) {
        end = minimum(load_constant(p_.groups + g), p_.m);
        if (g > 0) begin = round_up(maximum(load_constant(p_.groups + g - 1), 0), p_.row_alignment);
      }
      store_shared(begins(g), begin);
      store_shared(ends(g), maximum(begin, end));
    }
    sync_block();
    if (p_.division == Division::kRowIds) {
      for (int32_t row = thread; row < p_.m; row += C::kThreads) {
        const int32_t id = load_constant(p_.groups + row);
        if (id < 0 || id >= p_.num_groups) continue;
        const bool first = row == 0 || load_constant(p_.groups + row - 1) != id;
        const bool last = row == p_.m - 1 || load_constant(p_.groups + row + 1) != id;
        if (first) store_shared(begins(id), row);
        if (last) store_shared(ends(id), row + 1);
      }
      sync_block();
    }
    if (warp_index() == 0) sum_units();
  }

  /// The work of this block in the unit (a tile of each block of the cluster); false behind the
  /// last one.
  HADAL_DEVICE bool find(int32_t unit, Work& work) const {
    using namespace gpu::device;
    work.k_begin = 0;
    work.k_end = p_.k;
    int32_t m_first = 0;
    if (has_table(p_.division)) {
      if (unit >= load_shared<int32_t>(firsts(p_.num_groups))) return false;
      int32_t low = 0, high = p_.num_groups;  // firsts(low) <= unit < firsts(high)
      while (high - low > 1) {
        const int32_t middle = (low + high) / 2;
        if (load_shared<int32_t>(firsts(middle)) <= unit) {
          low = middle;
        } else {
          high = middle;
        }
      }
      work.group = low;
      m_first = load_shared<int32_t>(begins(low));
      work.m_end = load_shared<int32_t>(ends(low));
      unit -= load_shared<int32_t>(firsts(low));
    } else {
      const int32_t units = units_of(p_.m);
      work.group = units == 0 ? p_.num_groups : unit / units;
      if (work.group >= p_.num_groups) return false;
      work.m_end = p_.m;
      unit -= work.group * units;
      if (p_.division == Division::kDepthEnds) set_depth(work);
    }
    work.group_k_begin = work.k_begin;
    work.group_k_end = work.k_end;
    if constexpr (C::kSplit > 1) cut_depth(work);
    place(unit, m_first, work);
    return true;
  }

 private:
  static constexpr int32_t kPanel = 8;  // tiles along m

  HADAL_DEVICE gpu::device::SharedAddress begins(int32_t group) const {
    return table_ + 4 * static_cast<uint32_t>(group);
  }
  HADAL_DEVICE gpu::device::SharedAddress ends(int32_t group) const {
    return table_ + 4 * (kGroupsMax + static_cast<uint32_t>(group));
  }
  HADAL_DEVICE gpu::device::SharedAddress firsts(int32_t group) const {
    return table_ + 4 * (2 * kGroupsMax + static_cast<uint32_t>(group));
  }
  HADAL_DEVICE static int32_t units_m(int32_t rows) {
    return gpu::device::ceil_div(rows, static_cast<int32_t>(C::kTileM * C::kShare));
  }
  HADAL_DEVICE int32_t units_of(int32_t rows) const { return units_m(rows) * tiles_n_; }

  // The first unit of each group, and the number of all behind the last. One warp.
  HADAL_DEVICE void sum_units() {
    using namespace gpu::device;
    const int32_t lane = static_cast<int32_t>(lane_index());
    int32_t before = 0;
    for (int32_t base = 0; base < p_.num_groups; base += kWarpSize) {
      const int32_t g = base + lane;
      const bool there = g < p_.num_groups;
      const int32_t units =
          there ? units_of(load_shared<int32_t>(ends(g)) - load_shared<int32_t>(begins(g))) : 0;
      int32_t sum = units;
      for (uint32_t distance = 1; distance < kWarpSize; distance *= 2) {
        const int32_t below = shuffle_up(sum, distance);
        if (lane >= static_cast<int32_t>(distance)) sum += below;
      }
      if (there) store_shared(firsts(g), before + sum - units);
      before += shuffle(sum, kWarpSize - 1);
    }
    if (lane == 0) store_shared(firsts(p_.num_groups), before);
  }

  HADAL_DEVICE void set_depth(Work& work) const {
    using namespace gpu::device;
    const int32_t end = load_constant(p_.groups + work.group);
    const int32_t begin = work.group == 0 ? 0 : load_constant(p_.groups + work.group - 1);
    work.k_begin = maximum(begin, 0);
    work.k_end = minimum(maximum(end, work.k_begin), p_.k);
  }

  /// This block's share of k: whole blocks, as even as can be.
  HADAL_DEVICE static void cut_depth(Work& work) {
    constexpr int32_t kDepth = C::kDepth, kSplit = C::kSplit;
    const int32_t blocks = gpu::device::ceil_div(work.k_end - work.k_begin, kDepth);
    const int32_t rank = static_cast<int32_t>(gpu::device::cluster_rank());
    const int32_t first = work.k_begin;
    work.k_begin = first + blocks * rank / kSplit * kDepth;
    work.k_end = gpu::device::minimum(first + blocks * (rank + 1) / kSplit * kDepth, work.k_end);
  }

  HADAL_DEVICE void place(int32_t unit, int32_t m_first, Work& work) const {
    using namespace gpu::device;
    const int32_t rows = units_m(work.m_end - m_first);
    const int32_t panel = unit / (kPanel * tiles_n_);
    const int32_t width = minimum(kPanel, rows - panel * kPanel);
    const int32_t rest = unit - panel * kPanel * tiles_n_;
    int32_t m = panel * kPanel + rest % width;
    if constexpr (C::kShare > 1) m = m * int32_t{C::kShare} + cluster_rank();
    work.m_begin = m_first + m * static_cast<int32_t>(C::kTileM);
    work.n_begin = rest / width * tile_columns_;
  }

  const Parameters& p_;
  gpu::device::SharedAddress table_;
  int32_t tile_columns_, tiles_n_;
};

}  // namespace hadal::gemm::sm90
