// The producers: one warp starts the copies of X and Y, three others read the scales.
//
// Codes come by TMA. Scales may lie in any order and type, so threads read them; each of the three
// warps serves every third stage and reads for its next one as soon as it has served this one,
// which hides the time that a read takes. A gathered row of A is a
// box of its own: the copy engine puts it where the swizzled tile wants it. So is every row where
// groups along k are flat: their rows have the length of the group, but are whole lines of 128
// bytes, which are numbered.
#pragma once

#include "gemm/sm90/schedule.cuh"

namespace hadal::gemm::sm90 {

inline constexpr uint32_t kScaleWarps = 3;

/// Stages that a tile takes.
template <typename C>
HADAL_DEVICE int32_t num_blocks(const Work& work) {
  return gpu::device::ceil_div(work.k_end - work.k_begin, static_cast<int32_t>(C::kDepth));
}

/// The row of B that stands in row `i` of a tile of B.
template <typename C>
HADAL_DEVICE int32_t row_of_b(const Parameters& p, const Work& work, int32_t i) {
  constexpr int32_t kHalf = C::kTileN / 2;
  if (p.finish == Finish::kSwiglu && i >= kHalf) return p.columns + work.n_begin + i - kHalf;
  return work.n_begin + i;
}

/// The row of A that stands in row `i` of a tile of A; behind all rows where there is none.
HADAL_DEVICE int32_t row_of_a(const Parameters& p, const Work& work, int32_t i) {
  const int32_t row = work.m_begin + i;
  if (p.rows == nullptr) return row;
  if (row >= work.m_end) return p.a_rows;
  const int64_t first = p.own_a ? int64_t{work.group} * p.m : 0;
  return gpu::device::load_constant(p.rows + first + row);
}

/// The first line of a row of the group's own matrix, one of `rows` rows; behind all lines where
/// there is no such row. Flat only.
template <typename C>
HADAL_DEVICE int32_t line_of(const Parameters& p, const Work& work, int32_t row, int32_t rows) {
  constexpr int32_t kDepth = C::kDepth;
  if (row >= rows) return rows * (p.k / kDepth);
  return rows * (work.group_k_begin / kDepth) +
         row * ((work.group_k_end - work.group_k_begin) / kDepth);
}

/// Rows of a tile one by one, kRowCount of them: `rows` are rows, or, where flat, first lines.
template <typename C, uint32_t kRowCount>
HADAL_DEVICE void load_rows(const Parameters& p, const Work& work, const TensorMap& map, int32_t k,
                            const int32_t (&rows)[gpu::device::ceil_div(kRowCount, 32u)],
                            int32_t group, gpu::device::SharedAddress to,
                            gpu::device::Barrier full) {
  using namespace gpu::device;
  constexpr int32_t kDepth = C::kDepth;
  const int32_t line = p.flat ? (k - work.group_k_begin) / kDepth : 0;
  HADAL_UNROLL
  for (uint32_t j = 0; j < ceil_div(kRowCount, 32u); ++j) {
    const uint32_t i = 32 * j + lane_index();
    if (i < kRowCount) load_tile(to + 128 * i, map, full, {p.flat ? 0 : k, rows[j] + line, group});
  }
}

template <typename C>
HADAL_DEVICE void load_tiles_of_a(const Parameters& p, const Work& work, int32_t k,
                                  const int32_t (&rows)[gpu::device::ceil_div(C::kTileM, 32u)],
                                  gpu::device::SharedAddress to, gpu::device::Barrier full,
                                  bool elected) {
  using namespace gpu::device;
  const int32_t group = p.own_a ? work.group : 0;
  if (p.rows != nullptr || p.flat) {
    load_rows<C, C::kTileM>(p, work, p.map_a, k, rows, group, to, full);
  } else {
    if (elected) load_tile(to, p.map_a, full, {k, work.m_begin, group});
  }
}

template <typename C>
HADAL_DEVICE void load_tiles_of_b(const Parameters& p, const Work& work, int32_t k,
                                  gpu::device::SharedAddress to, gpu::device::Barrier full) {
  using namespace gpu::device;
  const int32_t group = p.own_b ? work.group : 0;
  if constexpr (C::kSwap) {
    load_tile<Cache::kEvictFirst>(to, p.map_b, full, {k, work.n_begin, group});
  } else {
    constexpr int32_t kHalf = C::kColumns / 2;
    const int32_t second = row_of_b<C>(p, work, kHalf);
    if constexpr (C::kShare == 1) {
      load_tile(to, p.map_b, full, {k, work.n_begin, group});
      load_tile(to + 128 * kHalf, p.map_b, full, {k, second, group});
    } else {  // each block loads its half for both
      const bool low = cluster_rank() == 0;
      load_tile_multicast(to + (low ? 0 : 128 * kHalf), p.map_b, full, 3,
                          {k, low ? work.n_begin : second, group});
    }
  }
}

/// The warp that copies. All lanes.
template <typename C>
HADAL_DEVICE void load_codes(const Parameters& p, const Schedule<C>& schedule,
                             const Memory<C>& memory) {
  using namespace gpu::device;
  const bool elected = elect_one();
  Ring<C::kStages> ring;
  Work work;
  for (int32_t unit = block_index().x / C::kCluster; schedule.find(unit, work);
       unit += grid_size().x / C::kCluster) {
    int32_t rows_a[ceil_div(C::kTileM, 32u)] = {}, rows_b[ceil_div(C::kTileN, 32u)] = {};
    if (p.rows != nullptr || p.flat) {
      HADAL_UNROLL
      for (uint32_t j = 0; j < ceil_div(C::kTileM, 32u); ++j) {
        rows_a[j] = row_of_a(p, work, 32 * j + lane_index());
        if (p.flat) rows_a[j] = line_of<C>(p, work, rows_a[j], p.m);
      }
    }
    if (p.flat) {
      HADAL_UNROLL
      for (uint32_t j = 0; j < ceil_div(C::kTileN, 32u); ++j) {
        rows_b[j] = line_of<C>(p, work, row_of_b<C>(p, work, 32 * j + lane_index()), p.n);
      }
    }
    for (int32_t k = work.k_begin; k < work.k_end; k += C::kDepth) {
      const Barrier full = memory.full(ring.stage);
      memory.empty(ring.stage).wait(ring.parity ^ 1);
      if (elected) full.arrive_expect(C::kBytesX + C::kBytesY);
      sync_warp();
      const SharedAddress a = C::kSwap ? memory.y(ring.stage) : memory.x(ring.stage);
      const SharedAddress b = C::kSwap ? memory.x(ring.stage) : memory.y(ring.stage);
      load_tiles_of_a<C>(p, work, k, rows_a, a, full, elected);
      if (p.flat) {
        load_rows<C, C::kTileN>(p, work, p.map_b, k, rows_b, 0, b, full);
      } else {
        if (elected) load_tiles_of_b<C>(p, work, k, b, full);
      }
      ring.next();
    }
  }
  // A block must not end before the arrivals of the other one have come to its barriers.
  if constexpr (C::kShare > 1) {
    for (uint32_t i = 0; i < C::kStages; ++i) {
      memory.empty(ring.stage).wait(ring.parity ^ 1);
      ring.next();
    }
  }
}

HADAL_DEVICE float load_scale(const Scales& s, int64_t group, int32_t row, int32_t block) {
  using namespace gpu::device;
  const int64_t r = row >> s.row_shift;
  const int32_t j = block & s.block_mask;
  const int64_t first = group * s.group_stride;
  if (s.kind == ScaleKind::kF32) {
    const float* data = static_cast<const float*>(s.data);
    return load_constant(data + first + r * s.row_stride + j * s.block_stride);
  }
  const uint8_t* data = static_cast<const uint8_t*>(s.data);
  uint8_t code;
  if (s.kind == ScaleKind::kE8m0) {
    code = load_global(data + first + r * s.row_stride + j * s.block_stride);
  } else {
    code = load_global(data + 4 * (first + r * s.row_stride + (j / 4) * s.block_stride) + j % 4);
  }
  // 2^(code - 127); 255 is NaN, 0 is subnormal.
  return float_of(code == 255 ? 0x7fffffff : code == 0 ? 0x00400000 : uint32_t{code} << 23);
}

/// The scales of one block of k, on their way from global to shared memory: X's rows, then Y's.
template <typename C>
class StageScales {
 public:
  /// Starts to read. All lanes.
  HADAL_DEVICE void read(const Parameters& p, const Work& work, int32_t block) {
    using namespace gpu::device;
    const int32_t group_a = p.own_a ? work.group : 0, group_b = p.own_b ? work.group : 0;
    HADAL_UNROLL
    for (uint32_t j = 0; j < kPerLane; ++j) {
      const uint32_t i = 32 * j + lane_index();
      if (i >= kCount) continue;
      const bool of_x = i < C::kRows;
      const int32_t row = static_cast<int32_t>(of_x ? i : i - C::kRows);
      // Rows behind the last have some scale; nothing that they make is stored.
      if (of_x != C::kSwap) {
        const int32_t last = (p.rows != nullptr ? p.a_rows : p.m) - 1;
        const int32_t r = minimum(maximum(row_of_a(p, work, row), 0), last);
        values_[j] = load_scale(p.a_scale, group_a, r, block);
      } else {
        values_[j] =
            load_scale(p.b_scale, group_b, minimum(row_of_b<C>(p, work, row), p.n - 1), block);
      }
    }
  }

  HADAL_DEVICE void write(gpu::device::SharedAddress to) const {
    using namespace gpu::device;
    HADAL_UNROLL
    for (uint32_t j = 0; j < kPerLane; ++j) {
      const uint32_t i = 32 * j + lane_index();
      if (i < kCount) store_shared(to + 4 * i, values_[j]);
    }
  }

 private:
  static constexpr uint32_t kCount = C::kRows + (C::kOneScale ? 8 : C::kColumns);
  static constexpr uint32_t kPerLane = gpu::device::ceil_div(kCount, 32u);
  float values_[kPerLane];
};

/// One of the warps that read scales; `turn` says which of them. All lanes.
template <typename C>
HADAL_DEVICE void load_scales(const Parameters& p, const Schedule<C>& schedule,
                              const Memory<C>& memory, uint32_t turn) {
  using namespace gpu::device;
  constexpr int32_t kDepth = C::kDepth, kTurns = kScaleWarps;
  Ring<C::kStages> ring;
  Work work;
  int32_t until = static_cast<int32_t>(turn);  // stages until it is this warp's turn
  for (int32_t unit = block_index().x / C::kCluster; schedule.find(unit, work);
       unit += grid_size().x / C::kCluster) {
    StageScales<C> scales;
    const auto read_at = [&](int32_t k) {
      if (k < work.k_end) scales.read(p, work, k / kDepth);
    };
    read_at(work.k_begin + until * kDepth);
    for (int32_t k = work.k_begin; k < work.k_end; k += kDepth) {
      memory.empty(ring.stage).wait(ring.parity ^ 1);
      if (until == 0) scales.write(memory.scales(ring.stage));
      // Also at the stages of the others: a barrier must not run a phase ahead of who waits for it.
      sync_warp();
      if (elect_one()) memory.full(ring.stage).arrive();
      if (until == 0) read_at(k + kTurns * kDepth);
      until = until == 0 ? kTurns - 1 : until - 1;
      ring.next();
    }
  }
}

}  // namespace hadal::gemm::sm90
