// The scores of the lightning indexer (mqa_logits.h) on Hopper: persistent blocks,
// warp-specialized.
//
// Keys are the 64 rows of a product, queries times heads its 128 columns: a tile has 4, 2 or 1
// queries of 32, 64 or 128 heads. The accumulators of a tile go through max(0, x) * weight into
// sums in registers, two shuffles add those of the four lanes that share a key, and the lanes write
// logits straight into their rows. Heads and depth beyond the real ones are zeros that the copy
// engine fills in.
//
// A unit of work is a tile of queries and a chunk of keys. Every role walks the same list of units
// by itself and reads from the ranges which tiles of keys a unit needs, so there is no metadata,
// and one launch does all: also -infinity is written here, by the warps of math.
//
//   3 or 4 warpgroups  math, 64 keys each
//   one warp           copies queries and keys by TMA into rings of stages; its lanes share the
//                      blocks of a cache
//   three warps        read the keys' scales, each every third stage
//
// A full barrier of keys has one arrival of the warp that copies, with its bytes, and one of each
// scale warp; an empty one has one arrival per math warp.
#pragma once

#include "gpu/device/device.cuh"

namespace hadal::gemm::sm90 {

using gpu::TensorMap;
using gpu::device::Operand;

struct MqaParameters {
  TensorMap map_q;  // [queries][heads][depth], box: queries of a tile x heads x 128 bytes at most
  TensorMap map_k;  // [blocks][block_size][depth], box: 1 x piece x 128 bytes at most
  const float* weights;
  const uint8_t* cache;   // paged: the scales are in it
  const float* kv_scale;  // not paged
  const int32_t* ks;      // null: all ranges begin at 0
  const int32_t* ends;    // ke or context_lens
  const int32_t* table;   // null: not paged
  void* logits;
  int64_t stride;       // of rows, in elements
  int64_t block_bytes;  // of the cache
  int32_t queries, heads, depth;
  int32_t keys, columns;  // columns: of the logits; keys: that a range can have at most
  int32_t next_n;         // queries that have the same keys (not paged: all)
  int32_t request_tiles;  // of next_n queries
  int32_t tiles;          // of all queries
  int32_t chunk, chunks;  // keys (and columns) of a unit, and units of a tile
  int32_t block_size, max_blocks, num_blocks;
  int32_t piece;           // keys that one copy brings
  int32_t ends_per_query;  // context_lens has a length for each query
  int32_t compressed, clean, bf16;
};

template <uint32_t kHeadsOf, uint32_t kDepthOf>
struct MqaConfig {
  static constexpr uint32_t kHeads = kHeadsOf;
  static constexpr uint32_t kDepth = kDepthOf;
  static constexpr uint32_t kColumns = 128;
  static constexpr uint32_t kQueries = kColumns / kHeads;
  // Four queries keep more in registers than a quarter of the register file holds.
  static constexpr uint32_t kWarpgroups = kQueries == 4 ? 3 : 4;
  static constexpr uint32_t kRegistersOfMath = kQueries == 4 ? 152 : 112;
  static constexpr uint32_t kMathWarps = 4 * kWarpgroups;
  static constexpr uint32_t kThreads = 128 * (kWarpgroups + 1);
  static constexpr uint32_t kKeys = 64 * kWarpgroups;
  static constexpr uint32_t kWidth = kDepth < 128 ? kDepth : 128;  // bytes of a row in memory
  static constexpr uint32_t kPanels = kDepth / kWidth;
  static constexpr gpu::Swizzle kSwizzle = kWidth == 64 ? gpu::Swizzle::k64 : gpu::Swizzle::k128;

  static constexpr uint32_t kBytesQ = kColumns * kDepth;
  static constexpr uint32_t kBytesK = kKeys * kDepth;
  static constexpr uint32_t kBytesScales = 4 * kKeys;
  static constexpr uint32_t kStagesQ = 2;
  static constexpr uint32_t kSharedMax = 232448 - 1024;
  static constexpr uint32_t kFit =
      (kSharedMax - kStagesQ * (kBytesQ + 16)) / (kBytesK + kBytesScales + 16);
  static constexpr uint32_t kStages = kFit < 6 ? kFit : 6;

  // Places in shared memory.
  static constexpr uint32_t kQ = 0;
  static constexpr uint32_t kK = kQ + kStagesQ * kBytesQ;
  static constexpr uint32_t kScales = kK + kStages * kBytesK;
  static constexpr uint32_t kBarriers = kScales + kStages * kBytesScales;
  static constexpr uint32_t kSharedBytes = kBarriers + 16 * (kStages + kStagesQ);

  static_assert(kWidth == 64 || kWidth == 128);
  static_assert(kStages >= 2 && kSharedBytes <= kSharedMax);
};

template <typename C>
struct MqaMemory {
  gpu::device::SharedAddress base;

  HADAL_DEVICE gpu::device::SharedAddress q(uint32_t stage) const {
    return base + (C::kQ + stage * C::kBytesQ);
  }
  HADAL_DEVICE gpu::device::SharedAddress k(uint32_t stage) const {
    return base + (C::kK + stage * C::kBytesK);
  }
  HADAL_DEVICE gpu::device::SharedAddress scales(uint32_t stage) const {
    return base + (C::kScales + stage * C::kBytesScales);
  }
  HADAL_DEVICE gpu::device::Barrier full(uint32_t stage) const {
    return {base + (C::kBarriers + 8 * stage)};
  }
  HADAL_DEVICE gpu::device::Barrier empty(uint32_t stage) const {
    return {base + (C::kBarriers + 8 * (C::kStages + stage))};
  }
  HADAL_DEVICE gpu::device::Barrier full_q(uint32_t stage) const {
    return {base + (C::kBarriers + 16 * C::kStages + 8 * stage)};
  }
  HADAL_DEVICE gpu::device::Barrier empty_q(uint32_t stage) const {
    return {base + (C::kBarriers + 16 * C::kStages + 8 * (C::kStagesQ + stage))};
  }
};

// --- units ---

struct MqaUnit {
  int32_t row;                 // the first query
  int32_t rows;                // queries, up to kQueries
  int32_t request;             // row of the block table
  int32_t chunk_begin;         // of keys, and of columns
  int32_t key_begin, key_end;  // tiles of keys to compute, from key_begin on; may be none
};

/// The keys of a query; both 0 where there are none.
HADAL_DEVICE void find_keys(const MqaParameters& p, int32_t row, int32_t& begin, int32_t& end) {
  using namespace gpu::device;
  begin = 0;
  if (p.table == nullptr) {
    begin = maximum(load_constant(p.ks + row), 0);
    end = load_constant(p.ends + row);
  } else if (p.ends_per_query != 0) {
    end = load_constant(p.ends + row);
  } else {
    end = maximum(load_constant(p.ends + row / p.next_n), 0) - p.next_n + row % p.next_n + 1;
  }
  end = minimum(end, p.keys);
  if (begin >= end) begin = end = 0;
}

template <typename C>
HADAL_DEVICE bool find_unit(const MqaParameters& p, int32_t index, MqaUnit& unit) {
  using namespace gpu::device;
  const int32_t tile = index / p.chunks;
  if (tile >= p.tiles) return false;
  const int32_t in_request = tile % p.request_tiles * static_cast<int32_t>(C::kQueries);
  unit.request = tile / p.request_tiles;
  unit.row = unit.request * p.next_n + in_request;
  unit.rows = minimum(static_cast<int32_t>(C::kQueries), p.next_n - in_request);
  unit.chunk_begin = index % p.chunks * p.chunk;
  int32_t begin = p.keys, end = 0;
  for (int32_t i = 0; i < unit.rows; ++i) {
    int32_t row_begin, row_end;
    find_keys(p, unit.row + i, row_begin, row_end);
    if (row_end == 0) continue;
    begin = minimum(begin, row_begin);
    end = maximum(end, row_end);
  }
  constexpr int32_t kKeys = C::kKeys;
  unit.key_begin = maximum(begin / kKeys * kKeys, unit.chunk_begin);
  unit.key_end = minimum(end, unit.chunk_begin + p.chunk);
  return true;
}

// --- producers ---

/// The block of the cache that has a key of a request; not paged: 0. One that holds zeros for keys
/// that the unit does not need.
HADAL_DEVICE int32_t block_of(const MqaParameters& p, const MqaUnit& unit, int32_t key) {
  if (p.table == nullptr) return 0;
  if (key >= unit.key_end) return p.num_blocks;
  const int64_t row = int64_t{unit.request} * p.max_blocks;
  return gpu::device::load_constant(p.table + row + key / p.block_size);
}

/// One tile of keys: each lane copies a piece. All lanes.
template <typename C>
HADAL_DEVICE void load_keys(const MqaParameters& p, const MqaUnit& unit, int32_t first,
                            gpu::device::SharedAddress to, gpu::device::Barrier full) {
  using namespace gpu::device;
  const int32_t at = static_cast<int32_t>(lane_index()) * p.piece;
  if (at >= static_cast<int32_t>(C::kKeys)) return;
  const int32_t key = first + at;
  const int32_t block = block_of(p, unit, key);
  const int32_t in_block = p.table == nullptr ? key : key % p.block_size;
  HADAL_UNROLL
  for (uint32_t panel = 0; panel < C::kPanels; ++panel) {
    load_tile(to + (panel * C::kKeys + static_cast<uint32_t>(at)) * C::kWidth, p.map_k, full,
              {static_cast<int32_t>(panel * C::kWidth), in_block, block});
  }
}

/// The warp that copies. All lanes.
template <typename C>
HADAL_DEVICE void copy_tiles(const MqaParameters& p, const MqaMemory<C>& memory) {
  using namespace gpu::device;
  const bool elected = elect_one();
  Ring<C::kStages> ring;
  Ring<C::kStagesQ> ring_q;
  MqaUnit unit;
  for (int32_t i = block_index().x; find_unit<C>(p, i, unit); i += grid_size().x) {
    if (unit.key_begin >= unit.key_end) continue;
    memory.empty_q(ring_q.stage).wait(ring_q.parity ^ 1);
    if (elected) {
      const Barrier full = memory.full_q(ring_q.stage);
      full.arrive_expect(C::kBytesQ);
      HADAL_UNROLL
      for (uint32_t panel = 0; panel < C::kPanels; ++panel) {
        load_tile(memory.q(ring_q.stage) + panel * C::kColumns * C::kWidth, p.map_q, full,
                  {static_cast<int32_t>(panel * C::kWidth), 0, unit.row});
      }
    }
    sync_warp();
    ring_q.next();
    for (int32_t key = unit.key_begin; key < unit.key_end; key += C::kKeys) {
      memory.empty(ring.stage).wait(ring.parity ^ 1);
      if (elected) memory.full(ring.stage).arrive_expect(C::kBytesK);
      sync_warp();
      load_keys<C>(p, unit, key, memory.k(ring.stage), memory.full(ring.stage));
      sync_warp();
      ring.next();
    }
  }
}

inline constexpr uint32_t kMqaScaleWarps = 3;

HADAL_DEVICE float load_key_scale(const MqaParameters& p, const MqaUnit& unit, int32_t key) {
  using namespace gpu::device;
  if (key >= unit.key_end) return 0;
  if (p.table == nullptr) return load_constant(p.kv_scale + key);
  const int32_t block = block_of(p, unit, key);
  if (block < 0 || block >= p.num_blocks) return 0;
  const uint8_t* start = p.cache + block * p.block_bytes + int64_t{p.block_size} * p.depth;
  return load_constant(reinterpret_cast<const float*>(start) + key % p.block_size);
}

/// One of the warps that read scales; `turn` says which of them. All lanes.
template <typename C>
HADAL_DEVICE void copy_scales(const MqaParameters& p, const MqaMemory<C>& memory, uint32_t turn) {
  using namespace gpu::device;
  Ring<C::kStages> ring;
  MqaUnit unit;
  uint32_t next = 0;
  for (int32_t i = block_index().x; find_unit<C>(p, i, unit); i += grid_size().x) {
    for (int32_t key = unit.key_begin; key < unit.key_end; key += C::kKeys) {
      memory.empty(ring.stage).wait(ring.parity ^ 1);
      if (next == turn) {
        float values[C::kKeys / 32];
        HADAL_UNROLL
        for (uint32_t j = 0; j < C::kKeys / 32; ++j) {
          values[j] = load_key_scale(p, unit, key + static_cast<int32_t>(32 * j + lane_index()));
        }
        HADAL_UNROLL
        for (uint32_t j = 0; j < C::kKeys / 32; ++j) {
          store_shared(memory.scales(ring.stage) + 4 * (32 * j + lane_index()), values[j]);
        }
      }
      // Also at the stages of the others: a barrier must not run a phase ahead of who waits for it.
      sync_warp();
      if (elect_one()) memory.full(ring.stage).arrive();
      next = next == kMqaScaleWarps - 1 ? 0 : next + 1;
      ring.next();
    }
  }
}

// --- math ---

template <typename C>
using MqaWeights = float[C::kColumns / 4];

/// The weights of this lane's columns; zero where there is no head or no query.
template <typename C>
HADAL_DEVICE void load_weights(const MqaParameters& p, const MqaUnit& unit,
                               MqaWeights<C>& weights) {
  using namespace gpu::device;
  HADAL_UNROLL
  for (uint32_t j = 0; j < C::kColumns / 4; ++j) {
    const uint32_t column = 8 * (j / 2) + 2 * (lane_index() % 4) + j % 2;
    const int32_t query = static_cast<int32_t>(column / C::kHeads);
    const int32_t head = static_cast<int32_t>(column % C::kHeads);
    const bool there = query < unit.rows && head < p.heads;
    weights[j] = 0;
    if (there) weights[j] = load_constant(p.weights + int64_t{unit.row + query} * p.heads + head);
  }
}

/// What a lane writes of each tile of keys: of the 16 rows of its warp one, and of the queries
/// those whose number has the parity of lane bit 1 (a single query: lanes with bit 1 write
/// nothing). The columns of the queries, and what to take off a key to get its column.
template <typename C>
struct MqaRows {
  static constexpr uint32_t kCount = C::kQueries > 1 ? C::kQueries / 2 : 1;
  int32_t begin[kCount], end[kCount];  // keys
  int32_t shift[kCount];
  int32_t row[kCount];
};

template <typename C>
HADAL_DEVICE void find_rows(const MqaParameters& p, const MqaUnit& unit, MqaRows<C>& rows) {
  using namespace gpu::device;
  const int32_t odd = static_cast<int32_t>(lane_index() / 2 % 2);
  HADAL_UNROLL
  for (uint32_t i = 0; i < MqaRows<C>::kCount; ++i) {
    const int32_t query = 2 * static_cast<int32_t>(i) + odd;
    rows.row[i] = unit.row + query;
    rows.begin[i] = rows.end[i] = rows.shift[i] = 0;
    if (query >= unit.rows) continue;
    find_keys(p, rows.row[i], rows.begin[i], rows.end[i]);
    if (p.compressed == 0) continue;
    rows.shift[i] = rows.begin[i];
    rows.end[i] = rows.begin[i] + minimum(rows.end[i] - rows.begin[i], p.columns);
  }
}

/// The sums of this lane's columns for its two keys and each query, from the accumulators.
template <typename C>
HADAL_DEVICE void weigh(const float (&acc)[C::kColumns / 2], const MqaWeights<C>& weights,
                        float (&sums)[C::kQueries][2]) {
  using namespace gpu::device;
  constexpr uint32_t kEights = C::kHeads / 8;  // groups of eight columns of a query
  HADAL_UNROLL
  for (uint32_t query = 0; query < C::kQueries; ++query) {
    HADAL_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      float sum = 0;
      HADAL_UNROLL
      for (uint32_t j = query * kEights; j < (query + 1) * kEights; ++j) {
        sum = multiply_add(positive(acc[4 * j + 2 * half]), weights[2 * j], sum);
        sum = multiply_add(positive(acc[4 * j + 2 * half + 1]), weights[2 * j + 1], sum);
      }
      sums[query][half] = sum;
    }
  }
}

/// Adds the four lanes of a key, each of which keeps a quarter of the sums: lane bit 0 chooses the
/// half of the rows, bit 1 the queries. All lanes.
template <typename C>
HADAL_DEVICE void add_lanes(const float (&sums)[C::kQueries][2], float (&out)[MqaRows<C>::kCount]) {
  using namespace gpu::device;
  const bool second = lane_index() % 2 != 0, odd = lane_index() / 2 % 2 != 0;
  float one[C::kQueries];
  HADAL_UNROLL
  for (uint32_t query = 0; query < C::kQueries; ++query) {
    const float mine = second ? sums[query][1] : sums[query][0];
    const float other = second ? sums[query][0] : sums[query][1];
    one[query] = mine + shuffle_xor(other, 1);
  }
  if constexpr (C::kQueries == 1) {
    out[0] = one[0] + shuffle_xor(one[0], 2);
  } else {
    HADAL_UNROLL
    for (uint32_t i = 0; i < C::kQueries / 2; ++i) {
      const float mine = odd ? one[2 * i + 1] : one[2 * i];
      const float other = odd ? one[2 * i] : one[2 * i + 1];
      out[i] = mine + shuffle_xor(other, 2);
    }
  }
}

HADAL_DEVICE void store_logit(const MqaParameters& p, int64_t at, float value) {
  using namespace gpu::device;
  if (p.bf16 != 0) {
    store_global(static_cast<uint16_t*>(p.logits) + at,
                 static_cast<uint16_t>(pack_bf16(value, 0) & 0xffff));
  } else {
    store_global(static_cast<float*>(p.logits) + at, value);
  }
}

/// -infinity in the columns of this unit's chunk that no key of a row has. A warp takes a row, or
/// part of one.
template <typename C>
HADAL_DEVICE void fill_rest(const MqaParameters& p, const MqaUnit& unit) {
  using namespace gpu::device;
  constexpr int32_t kParts = C::kMathWarps / C::kQueries;
  const int32_t query = static_cast<int32_t>(warp_index()) / kParts;
  const int32_t part = static_cast<int32_t>(warp_index()) % kParts;
  if (query >= unit.rows) return;
  int32_t begin, end;
  find_keys(p, unit.row + query, begin, end);
  if (p.compressed != 0) {
    end -= begin;
    begin = 0;
  }
  const int32_t last = minimum(unit.chunk_begin + p.chunk, p.columns);
  const int64_t row = (unit.row + query) * p.stride;
  const int32_t lane = static_cast<int32_t>(lane_index());
  for (int32_t column = unit.chunk_begin + 32 * part + lane; column < last; column += 32 * kParts) {
    if (column < begin || column >= end) store_logit(p, row + column, float_of(0xff800000));
  }
}

/// One tile of keys: 64 of them in this warpgroup. All lanes.
template <typename C>
HADAL_DEVICE void multiply_tile(const MqaMemory<C>& memory, gpu::device::SharedAddress q,
                                uint32_t stage, const MqaWeights<C>& weights,
                                float (&out)[MqaRows<C>::kCount], float& scale) {
  using namespace gpu::device;
  const uint32_t warpgroup = warp_index() / 4;
  float acc[C::kColumns / 2];
  begin_mma(acc);
  HADAL_UNROLL
  for (uint32_t panel = 0; panel < C::kPanels; ++panel) {
    const uint32_t row = panel * C::kKeys + 64 * warpgroup;
    const Tile x = make_tile<C::kSwizzle>(memory.k(stage) + row * C::kWidth);
    const Tile y = make_tile<C::kSwizzle>(q + panel * C::kColumns * C::kWidth);
    HADAL_UNROLL
    for (uint32_t k = 0; k < C::kWidth; k += 32) {
      mma<Operand::kE4m3, Operand::kE4m3>(acc, x + k, y + k, panel != 0 || k != 0);
    }
  }
  commit_mma();
  const uint32_t key = 16 * warp_index() + 8 * (lane_index() % 2) + lane_index() / 4;
  scale = load_shared<float>(memory.scales(stage) + 4 * key);
  wait_mma<0>(acc);
  sync_warp();
  if (elect_one()) memory.empty(stage).arrive();
  float sums[C::kQueries][2];
  weigh<C>(acc, weights, sums);
  add_lanes<C>(sums, out);
}

template <typename C>
HADAL_DEVICE void calculate_logits(const MqaParameters& p, const MqaMemory<C>& memory) {
  using namespace gpu::device;
  constexpr bool kAlone = C::kQueries == 1;
  const bool writes = !kAlone || lane_index() / 2 % 2 == 0;
  const int32_t in_tile =
      static_cast<int32_t>(16 * warp_index() + 8 * (lane_index() % 2) + lane_index() / 4);
  Ring<C::kStages> ring;
  Ring<C::kStagesQ> ring_q;
  MqaUnit unit;
  for (int32_t i = block_index().x; find_unit<C>(p, i, unit); i += grid_size().x) {
    if (p.clean != 0) fill_rest<C>(p, unit);
    if (unit.key_begin >= unit.key_end) continue;
    MqaWeights<C> weights;
    load_weights<C>(p, unit, weights);
    MqaRows<C> rows;
    find_rows<C>(p, unit, rows);
    memory.full_q(ring_q.stage).wait(ring_q.parity);
    for (int32_t first = unit.key_begin; first < unit.key_end; first += C::kKeys) {
      memory.full(ring.stage).wait(ring.parity);
      float out[MqaRows<C>::kCount], scale;
      multiply_tile<C>(memory, memory.q(ring_q.stage), ring.stage, weights, out, scale);
      ring.next();
      const int32_t key = first + in_tile;
      HADAL_UNROLL
      for (uint32_t j = 0; j < MqaRows<C>::kCount; ++j) {
        if (!writes || key < rows.begin[j] || key >= rows.end[j]) continue;
        store_logit(p, rows.row[j] * p.stride + key - rows.shift[j], out[j] * scale);
      }
    }
    sync_warp();
    if (elect_one()) memory.empty_q(ring_q.stage).arrive();
    ring_q.next();
  }
}

template <typename C>
HADAL_DEVICE void mqa_logits(const MqaParameters& p) {
  using namespace gpu::device;
  const MqaMemory<C> memory{shared_memory()};
  const uint32_t warp = warp_index();
  if (warp == C::kMathWarps && elect_one()) {
    prefetch_map(p.map_q);
    prefetch_map(p.map_k);
    for (uint32_t i = 0; i < C::kStages; ++i) {
      memory.full(i).init(1 + kMqaScaleWarps);
      memory.empty(i).init(C::kMathWarps);
    }
    for (uint32_t i = 0; i < C::kStagesQ; ++i) {
      memory.full_q(i).init(1);
      memory.empty_q(i).init(C::kMathWarps);
    }
    fence_barrier_init();
  }
  sync_block();
  if (warp >= C::kMathWarps) {
    give_registers<32>();
    if (warp == C::kMathWarps) {
      copy_tiles<C>(p, memory);
    } else {
      copy_scales<C>(p, memory, warp - C::kMathWarps - 1);
    }
  } else {
    take_registers<C::kRegistersOfMath>();
    calculate_logits<C>(p, memory);
  }
}

}  // namespace hadal::gemm::sm90
