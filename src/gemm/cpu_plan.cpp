// The CPU backend: rows of A become tiles of three (cpu_rows.h), widened once; then every worker
// takes (segment, columns) items, widens a panel of B into its own cache, and runs the inner loops
// of cpu_kernels.h over it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

#include <fmt/core.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/threads.h"
#include "cpu/cpu.h"
#include "gemm/cpu_kernels.h"
#include "gemm/cpu_rows.h"
#include "gemm/plan.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

// A panel of wide B stays in a core's L2 (1 MB on Zen 4, 2 MB on Sapphire Rapids) next to the tiles
// that stream past it.
constexpr int64_t kWidePanelBytes = 256 << 10;
// Wide A of a chunk of tiles is read once per panel, from L3.
constexpr int64_t kWideABytes = 12 << 20;
constexpr int64_t kChunkTilesMin = 128, kChunkTilesMax = 512;
// An item should be worth its widening: at least this many rows, where there are so many.
constexpr int64_t kItemTilesMin = 64;
constexpr int64_t kItemsPerThread = 8;

/// Lines that are fetched to be read, and made writable afterwards, cost as much as without. g++ 12
/// has no builtin for this instruction that works in one function only; processors that lack it do
/// nothing.
void fetch_to_write(const std::byte* p, int64_t bytes) {
#if defined(__x86_64__)
  for (int64_t i = 0; i < bytes; i += 64) asm volatile("prefetchw %0" : : "m"(p[i]));
#else
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 1);
#endif
}

/// Columns of D that a fresh scale spans, and that an item computes together.
int64_t item_columns(const GemmSpec& spec) {
  return spec.d.type == DType::kE4m3 ? kBlock : kPanel;
}

/// Offsets of everything in a workspace.
class Layout {
 public:
  Layout() = default;
  Layout(const GemmSpec& spec, const CpuKernels& kernels, const PackedB& b, int threads) {
    const int64_t k = round_up(spec.k, kQuad);
    wide_bytes = spec.int8 ? 1 : kernels.wide_bytes;
    tile_bytes = std::max<int64_t>(k * kTileRows * wide_bytes, 1);
    chunk_tiles = std::clamp(kWideABytes / tile_bytes, kChunkTilesMin, kChunkTilesMax);
    chunk_tiles = std::min(chunk_tiles, std::max<int64_t>(TileCursor::tiles_max(spec), 1));
    k_chunk = std::min(k, kWidePanelBytes / (kPanel * wide_bytes) / kBlock * kBlock);
    const bool by_block = spec.int8 || (is_fp8(spec.a.type) && spec.a.scale.block.cols == kBlock);
    scale_step = by_block ? kTileRows : 0;
    tile_scales = kTileRows * (by_block ? std::max<int64_t>(ceil_div(k, kBlock), 1) : 1);
    sums_floats = chunk_tiles * kTileRows * kPanel;

    cursor = take(TileCursor::memory_words(spec) * 4);
    tiles = take(chunk_tiles * sizeof(Tile));
    segments = take((chunk_tiles + spec.num_groups) * sizeof(Segment));
    wide_a = take(chunk_tiles * tile_bytes);
    a_scales = take(chunk_tiles * tile_scales * 4);
    a_starts = take(spec.int8 ? chunk_tiles * tile_scales * 4 : 0);
    const int64_t first = total;
    wide_b = take(spec.int8 ? 0 : k_chunk * kPanel * wide_bytes);
    codes = take(spec.b.packed ? 0 : k_chunk * b.code_bytes);
    b_scales = take(spec.b.packed ? 0 : b.scale_floats * 4);
    sums = take(sums_floats * 4 * b.halves * (item_columns(spec) / kPanel));
    worker_bytes = total - first;
    total += worker_bytes * (threads - 1);
  }

  int64_t wide_bytes = 0;  // of an element of A as tiles read it
  int64_t tile_bytes = 0, tile_scales = 0, scale_step = 0, chunk_tiles = 0, k_chunk = 0;
  int64_t sums_floats = 0;  // of one panel
  int64_t cursor = 0, tiles = 0, segments = 0, wide_a = 0, a_scales = 0;
  int64_t a_starts = 0;
  int64_t wide_b = 0, codes = 0, b_scales = 0, sums = 0;  // of worker 0
  int64_t worker_bytes = 0, total = 0;

 private:
  int64_t take(int64_t bytes) {
    const int64_t at = total;
    total += round_up(bytes, 64);
    return at;
  }
};

class CpuPlan final : public Plan::Impl {
 public:
  CpuPlan(const GemmSpec& given, const CpuKernels& kernels, ThreadPool& pool)
      : kernels_(kernels), pool_(pool), b_(given, kernels) {
    spec = given;
    layout_ = Layout(spec, kernels, b_, pool.size());
  }
  size_t workspace_bytes() const { return layout_.total; }

  Result<> run(const GemmArgs& args, gpu::Stream) const override;

 private:
  struct Chunk;
  struct Panel;
  struct Item {
    const Segment* segment;
    int64_t tile_begin, tile_end, column;
    const std::byte* next_b;  // packed B that this worker will probably read then, or null
  };
  void widen_a(const Chunk& chunk, int64_t index) const;
  void rows_of_tile(const GemmArgs& args, const Tile& tile, int64_t offset, int64_t stride,
                    const void* (&rows)[kTileRows]) const;
  void widen_rows(const GemmArgs& args, const Tile& tile, int64_t offset, int64_t stride, int64_t k,
                  void* wide) const;
  void widen_a_int8(const Chunk& chunk, int64_t index) const;
  float a_scale(const Chunk& chunk, const Tile& tile, int64_t row, int64_t block) const;
  void multiply(const Chunk& chunk) const;
  const std::byte* packed_panel(const Chunk& chunk, const Segment& s, int64_t half,
                                int64_t column) const;
  void run_item(const Chunk& chunk, const Item& item, std::byte* scratch) const;
  void run_panel(const Chunk& chunk, const Item& item, const Panel& panel,
                 std::byte* scratch) const;
  const void* widen_b(const Chunk& chunk, const Item& item, const Panel& panel, int64_t k_begin,
                      int64_t length, std::byte* scratch) const;
  void run_tiles(const Chunk& chunk, const Item& item, const Panel& panel, int64_t k_begin,
                 TileArgs args, const float* item_sums) const;
  void fetch_d(const GemmArgs& args, const Item& item, const Tile& tile) const;
  void finish_tile(const Chunk& chunk, const Item& item, int64_t index, const float* sums) const;
  void finish_row(const GemmArgs& args, const Item& item, int64_t d_row, int64_t tile_row,
                  const float* sums) const;
  void finish_panel(const GemmArgs& args, const Item& item, int64_t d_row, int64_t column,
                    int64_t columns, const float* sums, void* d, DType type) const;

  const CpuKernels& kernels_;
  ThreadPool& pool_;
  PackedB b_;
  Layout layout_;
};

/// A panel of an item.
struct CpuPlan::Panel {
  int64_t half = 0, column = 0;
  const std::byte* b = nullptr;       // if packed
  const std::byte* next_b = nullptr;  // as Item's
  float* sums = nullptr;
  bool last = false;  // rows of D are finished with this one
};

/// Tiles whose A is widened together, and what is computed from them.
struct CpuPlan::Chunk {
  const GemmArgs& args;
  std::byte* workspace;
  std::span<Tile> tiles;
  std::span<const Segment> segments;
};

Result<> CpuPlan::run(const GemmArgs& args, gpu::Stream) const {
  if (spec.m == 0 || spec.n == 0) return {};
  TRY(check_args(spec, args, workspace_bytes()));
  std::byte* const workspace = args.workspace.data();
  TileCursor cursor = TRY(TileCursor::make(spec, args,
                                           {reinterpret_cast<int32_t*>(workspace + layout_.cursor),
                                            static_cast<size_t>(TileCursor::memory_words(spec))}));
  const std::span tiles(new (workspace + layout_.tiles) Tile[layout_.chunk_tiles],
                        layout_.chunk_tiles);
  const int64_t segments_max = layout_.chunk_tiles + spec.num_groups;
  const std::span segments(new (workspace + layout_.segments) Segment[segments_max], segments_max);
  while (const int64_t n = cursor.next(tiles)) {
    const int64_t num_segments = make_segments(spec, args, tiles.first(n), segments);
    const Chunk chunk{.args = args,
                      .workspace = workspace,
                      .tiles = tiles.first(n),
                      .segments = segments.first(num_segments)};
    if (spec.k > 0) {
      pool_.parallel_for(n, [&](int64_t begin, int64_t end, int) {
        for (int64_t tile = begin; tile < end; ++tile) widen_a(chunk, tile);
      });
    }
    multiply(chunk);
  }
  return {};
}

void CpuPlan::widen_a(const Chunk& chunk, int64_t index) const {
  if (spec.int8) return widen_a_int8(chunk, index);
  const Tile& tile = chunk.tiles[index];
  std::byte* const wide = chunk.workspace + layout_.wide_a + index * layout_.tile_bytes;
  float* const scales =
      reinterpret_cast<float*>(chunk.workspace + layout_.a_scales) + index * layout_.tile_scales;
  if (spec.grouping == Grouping::kKFlat) {
    for (const Segment& s : chunk.segments) {
      const int64_t k = s.k_end - s.k_begin;
      widen_rows(chunk.args, tile, spec.m * s.k_begin, k, k,
                 wide + s.k_begin * kTileRows * kernels_.wide_bytes);
    }
  } else {
    widen_rows(chunk.args, tile, tile.a_group * spec.a.group_stride, spec.a.stride, spec.k, wide);
  }
  if (spec.a.type == DType::kBf16) {
    std::fill_n(scales, kTileRows, 1.0f);
    return;
  }
  for (int64_t i = 0; i < layout_.tile_scales; ++i) {
    const int64_t row = i % kTileRows, block = i / kTileRows;
    scales[i] = row < tile.rows ? a_scale(chunk, tile, row, block) : 0.0f;
  }
}

/// A tile's rows of the matrix at `offset`, in elements; null behind the last.
void CpuPlan::rows_of_tile(const GemmArgs& args, const Tile& tile, int64_t offset, int64_t stride,
                           const void* (&rows)[kTileRows]) const {
  const int64_t element = spec.a.type == DType::kBf16 ? 2 : 1;
  for (int i = 0; i < tile.rows; ++i) {
    rows[i] = static_cast<const std::byte*>(args.a) + (offset + tile.a_row[i] * stride) * element;
  }
}

void CpuPlan::widen_rows(const GemmArgs& args, const Tile& tile, int64_t offset, int64_t stride,
                         int64_t k, void* wide) const {
  const void* rows[kTileRows] = {};
  rows_of_tile(args, tile, offset, stride, rows);
  if (spec.a.type == DType::kBf16) {
    kernels_.pack_a_bf16(reinterpret_cast<const Bf16* const*>(rows), k, wide);
    return;
  }
  const auto pack = spec.a.type == DType::kE4m3 ? kernels_.pack_a_e4m3 : kernels_.pack_a_e5m2;
  pack(reinterpret_cast<const uint8_t* const*>(rows), k, wide);
}

void CpuPlan::widen_a_int8(const Chunk& chunk, int64_t index) const {
  const Tile& tile = chunk.tiles[index];
  std::byte* const wide = chunk.workspace + layout_.wide_a + index * layout_.tile_bytes;
  float* const scales =
      reinterpret_cast<float*>(chunk.workspace + layout_.a_scales) + index * layout_.tile_scales;
  int32_t* const starts =
      reinterpret_cast<int32_t*>(chunk.workspace + layout_.a_starts) + index * layout_.tile_scales;
  const void* rows[kTileRows] = {};
  rows_of_tile(chunk.args, tile, tile.a_group * spec.a.group_stride, spec.a.stride, rows);
  kernels_.int8_pack_a(reinterpret_cast<const uint8_t* const*>(rows), spec.k,
                       int8_table(spec.a.type), reinterpret_cast<uint8_t*>(wide), scales, starts);
  for (int64_t i = 0; i < layout_.tile_scales; ++i) {
    const int64_t row = i % kTileRows, block = i / kTileRows;
    if (row < tile.rows) scales[i] *= a_scale(chunk, tile, row, block);
  }
}

float CpuPlan::a_scale(const Chunk& chunk, const Tile& tile, int64_t row, int64_t block) const {
  return scale_at(spec.a.scale, chunk.args.a_scale, tile.a_group, tile.a_row[row], block * kBlock);
}

void CpuPlan::multiply(const Chunk& chunk) const {
  const int64_t width = item_columns(spec);
  const int64_t num_columns = ceil_div(b_.half_rows, width);
  const int64_t num_segments = std::ssize(chunk.segments);
  int64_t parts = 1, longest = 0;
  for (const Segment& s : chunk.segments) longest = std::max(longest, s.tile_end - s.tile_begin);
  parts =
      ceil_div(kItemsPerThread * pool_.size(), std::max<int64_t>(num_segments * num_columns, 1));
  parts = std::clamp<int64_t>(parts, 1, std::max<int64_t>(longest / kItemTilesMin, 1));
  const int64_t num_items = num_segments * parts * num_columns;
  const auto run_range = [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const Segment& s = chunk.segments[i / (num_columns * parts)];
      const auto [first, last] =
          ThreadPool::split(s.tile_end - s.tile_begin, parts, i / num_columns % parts);
      if (first == last) continue;
      // Workers take turns, so that the next item of this one is about pool_.size() further on.
      const int64_t next = i + pool_.size();
      const std::byte* next_b = nullptr;
      if (next < num_items) {
        next_b = packed_panel(chunk, chunk.segments[next / (num_columns * parts)], 0,
                              next % num_columns * width);
      }
      run_item(chunk,
               {.segment = &s,
                .tile_begin = s.tile_begin + first,
                .tile_end = s.tile_begin + last,
                .column = i % num_columns * width,
                .next_b = next_b},
               chunk.workspace + worker * layout_.worker_bytes);
    }
  };
  pool_.parallel_for_dynamic(num_items, 1, run_range);
}

const std::byte* CpuPlan::packed_panel(const Chunk& chunk, const Segment& s, int64_t half,
                                       int64_t column) const {
  if (!spec.b.packed) return nullptr;
  return static_cast<const std::byte*>(chunk.args.b) +
         b_.offset(has_own_b(spec) ? s.group : 0, half, column / kPanel);
}

void CpuPlan::run_item(const Chunk& chunk, const Item& item, std::byte* scratch) const {
  const int64_t panels =
      ceil_div(std::min(item_columns(spec), b_.half_rows - item.column), kPanel) * b_.halves;
  const auto panel = [&](int64_t i) {
    const int64_t per_half = panels / b_.halves;
    const int64_t half = i / per_half, column = item.column + i % per_half * kPanel;
    return Panel{
        .half = half,
        .column = column,
        .b = packed_panel(chunk, *item.segment, half, column),
        .sums = reinterpret_cast<float*>(scratch + layout_.sums) + i * layout_.sums_floats};
  };
  for (int64_t i = 0; i < panels; ++i) {
    Panel p = panel(i);
    p.last = i + 1 == panels;
    p.next_b = p.last ? item.next_b : panel(i + 1).b;
    run_panel(chunk, item, p, scratch);
  }
}

void CpuPlan::run_panel(const Chunk& chunk, const Item& item, const Panel& panel,
                        std::byte* scratch) const {
  const Segment& s = *item.segment;
  const int64_t num_tiles = item.tile_end - item.tile_begin;
  const int64_t k = s.k_end - s.k_begin;
  const float* const item_sums = reinterpret_cast<const float*>(scratch + layout_.sums);
  if (k == 0) {
    std::fill_n(panel.sums, num_tiles * kTileRows * kPanel, 0.0f);
    for (int64_t t = item.tile_begin; panel.last && t < item.tile_end; ++t) {
      finish_tile(chunk, item, t, item_sums);
    }
    return;
  }
  const float* scales = reinterpret_cast<const float*>(scratch + layout_.b_scales);
  if (spec.b.packed) {
    scales = reinterpret_cast<const float*>(panel.b + round_up(spec.k, kQuad) * b_.code_bytes);
  } else if (!spec.int8) {
    panel_scales(spec, b_, chunk.args.b_scale, has_own_b(spec) ? s.group : 0,
                 panel.half * b_.half_rows + panel.column, b_.half_rows - panel.column,
                 reinterpret_cast<float*>(scratch + layout_.b_scales));
  }
  for (int64_t done = 0; done < k; done += layout_.k_chunk) {
    const int64_t k_begin = s.k_begin + done;
    const int64_t length = std::min(layout_.k_chunk, k - done);
    const bool ends = done + length == k;
    TileArgs args{.b = widen_b(chunk, item, panel, k_begin, length, scratch),
                  .k = round_up(length, kQuad),
                  .a_scale_step = layout_.scale_step,
                  .b_scale = scales + k_begin / kBlock * b_.scale_step,
                  .b_scale_step = b_.scale_step,
                  .b_scale_per_column = b_.scale_per_column,
                  .first = done == 0};
    // The tiles of this range fetch the codes of the next one; a single tile reads too fast.
    const std::byte* const next = ends ? panel.next_b : panel.b;
    if (next != nullptr && num_tiles > 1) {
      const int64_t next_k = ends ? std::min(layout_.k_chunk, k) : k - done - length;
      const int64_t blocks = ceil_div(length, kBlock);
      args.next = next + (ends ? s.k_begin : k_begin + length) * b_.code_bytes;
      args.next_bytes = round_up(
          ceil_div(std::min(next_k, layout_.k_chunk) * b_.code_bytes, blocks * num_tiles), 64);
    }
    run_tiles(chunk, item, panel, k_begin, args, ends && panel.last ? item_sums : nullptr);
  }
}

/// What tiles read of a panel: wide B, codes where there is one tile, or int8 B, whose scales are
/// found on the way.
const void* CpuPlan::widen_b(const Chunk& chunk, const Item& item, const Panel& panel,
                             int64_t k_begin, int64_t length, std::byte* scratch) const {
  const bool fp8 = is_fp8(spec.b.type);
  const void* b = nullptr;
  if (spec.b.packed) {
    b = panel.b + k_begin * b_.code_bytes;
  } else {
    const int64_t group = has_own_b(spec) ? item.segment->group : 0;
    const int64_t row = panel.half * b_.half_rows + panel.column;
    const int64_t rows = b_.half_rows - panel.column;
    std::byte* const codes = scratch + (fp8 ? layout_.codes : layout_.wide_b);
    const Segment& s = *item.segment;
    if (spec.int8) {
      panel_int8(
          spec, kernels_, chunk.args.b, chunk.args.b_scale, group, row, rows, k_begin, length,
          codes,
          reinterpret_cast<float*>(scratch + layout_.b_scales) + k_begin / kBlock * b_.scale_step);
    } else if (spec.grouping == Grouping::kKFlat) {
      const int64_t stride = s.k_end - s.k_begin;
      panel_codes(spec, kernels_, chunk.args.b,
                  spec.n * s.k_begin + row * stride + k_begin - s.k_begin, stride, rows, length,
                  codes);
    } else {
      panel_codes(spec, kernels_, chunk.args.b,
                  group * spec.b.group_stride + row * spec.b.stride + k_begin, spec.b.stride, rows,
                  length, codes);
    }
    b = codes;
  }
  if (!fp8 || spec.int8 || item.tile_end - item.tile_begin == 1) return b;
  const auto widen = spec.b.type == DType::kE4m3 ? kernels_.widen_e4m3 : kernels_.widen_e5m2;
  widen(static_cast<const uint8_t*>(b), round_up(length, kQuad), scratch + layout_.wide_b);
  return scratch + layout_.wide_b;
}

/// All tiles of an item with one range of k of a panel. Given `item_sums`, the range is the last
/// one, and each tile's rows of D are finished while the next tile is multiplied.
void CpuPlan::run_tiles(const Chunk& chunk, const Item& item, const Panel& panel, int64_t k_begin,
                        TileArgs args, const float* item_sums) const {
  const bool single = is_fp8(spec.b.type) && item.tile_end - item.tile_begin == 1;
  const auto codes = spec.b.type == DType::kE4m3 ? kernels_.tile_e4m3 : kernels_.tile_e5m2;
  const auto exact = single ? codes : kernels_.tile;
  const auto int8 = single ? kernels_.int8_stream : kernels_.int8_tile;
  const auto kernel = spec.int8 ? int8 : exact;
  const std::byte* const next = static_cast<const std::byte*>(args.next);
  const int64_t next_step = args.next_bytes * ceil_div(args.k, kBlock);
  for (int64_t t = item.tile_begin; t < item.tile_end; ++t) {
    if (item_sums != nullptr) fetch_d(chunk.args, item, chunk.tiles[t]);
    args.a = chunk.workspace + layout_.wide_a + t * layout_.tile_bytes +
             k_begin * kTileRows * layout_.wide_bytes;
    args.a_scale = reinterpret_cast<const float*>(chunk.workspace + layout_.a_scales) +
                   t * layout_.tile_scales + k_begin / kBlock * layout_.scale_step;
    if (spec.int8) {
      args.a_start = reinterpret_cast<const int32_t*>(chunk.workspace + layout_.a_starts) +
                     t * layout_.tile_scales + k_begin / kBlock * layout_.scale_step;
    }
    args.rows = chunk.tiles[t].rows;
    args.sums = panel.sums + (t - item.tile_begin) * kTileRows * kPanel;
    if (next != nullptr) args.next = next + (t - item.tile_begin) * next_step;
    kernel(args);
    if (item_sums != nullptr) finish_tile(chunk, item, t, item_sums);
  }
}

/// Rows of D lie pages apart, and the processor fetches what it writes: it is asked early, while
/// the tile is multiplied.
void CpuPlan::fetch_d(const GemmArgs& args, const Item& item, const Tile& tile) const {
  const int64_t size = static_cast<int64_t>(size_bytes(spec.d.type));
  const int64_t columns = std::min(item_columns(spec), b_.half_rows - item.column);
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t at =
        item.segment->d_group * spec.d.group_stride + tile.d_row[r] * spec.d.stride + item.column;
    const std::byte* const d = static_cast<const std::byte*>(args.d) + at * size;
    fetch_to_write(d, columns * size);
  }
}

void CpuPlan::finish_tile(const Chunk& chunk, const Item& item, int64_t index,
                          const float* sums) const {
  const Tile& tile = chunk.tiles[index];
  const int64_t first = (index - item.tile_begin) * kTileRows;
  for (int r = 0; r < tile.rows; ++r) finish_row(chunk.args, item, tile.d_row[r], first + r, sums);
}

// `sums` are those of the item's first panel; row `tile_row` of each panel belongs to this row of
// D.
void CpuPlan::finish_row(const GemmArgs& args, const Item& item, int64_t d_row, int64_t tile_row,
                         const float* sums) const {
  const int64_t end = std::min(item.column + item_columns(spec), b_.half_rows);
  const int64_t d_group = item.segment->d_group;
  const float* row = sums + tile_row * kPanel;
  const int64_t base = d_group * spec.d.group_stride + d_row * spec.d.stride;
  if (spec.d.type != DType::kE4m3) {
    void* d = static_cast<std::byte*>(args.d) +
              (base + item.column) * static_cast<int64_t>(size_bytes(spec.d.type));
    finish_panel(args, item, d_row, item.column, end - item.column, row, d, spec.d.type);
    return;
  }
  alignas(64) float values[kBlock];
  float amax = 0;
  for (int64_t column = item.column; column < end; column += kPanel) {
    float* const out = values + (column - item.column);
    finish_panel(args, item, d_row, column, std::min<int64_t>(kPanel, end - column), row, out,
                 DType::kF32);
    row += layout_.sums_floats;
  }
  const int64_t columns = end - item.column;
  bool finite = true;
  for (int64_t i = 0; i < columns; ++i) {
    finite = finite && std::isfinite(values[i]);
    amax = std::max(amax, std::abs(values[i]));
  }
  const float scale = block_scale(finite ? amax : std::numeric_limits<float>::infinity(),
                                  {.power_of_two = spec.d.scale.type == DType::kE8m0});
  const float inverse = 1 / scale;
  for (int64_t i = 0; i < columns; ++i) values[i] *= inverse;
  cpu::kernels().f32_to_e4m3(values, static_cast<E4m3*>(args.d) + base + item.column, columns);
  set_scale(spec.d.scale, args.d_scale, d_group, d_row, item.column, scale);
}

void CpuPlan::finish_panel(const GemmArgs& args, const Item& item, int64_t d_row, int64_t column,
                           int64_t columns, const float* sums, void* d, DType type) const {
  FinishArgs f{.sums = sums,
               .columns = static_cast<int>(columns),
               .alpha = args.alpha,
               .silu = spec.d.activation == Activation::kSilu,
               .d = d,
               .type = type};
  if (b_.halves == 2) {
    const int64_t panels =
        ceil_div(std::min(item.column + item_columns(spec), b_.half_rows) - item.column, kPanel);
    f.up_sums = sums + panels * layout_.sums_floats;
  }
  if (spec.d.bias) {
    f.bias = args.bias + item.segment->group * spec.n + column;
    if (b_.halves == 2) f.up_bias = f.bias + b_.half_rows;
  }
  if (spec.d.accumulate && args.beta != 0) {
    const int64_t offset =
        item.segment->d_group * spec.d.c_group_stride + d_row * spec.d.c_stride + column;
    f.beta = args.beta;
    f.c_type = spec.d.c_type;
    f.c = static_cast<const std::byte*>(args.c) +
          offset * static_cast<int64_t>(size_bytes(spec.d.c_type));
  }
  kernels_.finish(f);
}

}  // namespace

// Widening a panel costs about as much as multiplying it by this many rows.
constexpr double kWidenRows = 5;
// What one core reads from DRAM; the model does not measure it, because that takes milliseconds.
constexpr double kReadBytesPerS = 25e9;

double measure_tile_flops_per_s(const CpuKernels& kernels, bool int8) {
  constexpr int64_t kDepth = 512;  // all in the first two levels of cache
  struct alignas(64) Memory {
    std::byte a[kDepth * kTileRows * 4], b[kDepth * kPanel * 4];
    float sums[kTileRows * kPanel], scale[kPanel];
    int32_t start[kTileRows];
  };
  const auto memory = std::make_unique<Memory>();
  const TileArgs args{.a = memory->a,
                      .b = memory->b,
                      .rows = kTileRows,
                      .k = kDepth,
                      .a_scale = memory->scale,
                      .a_start = memory->start,
                      .b_scale = memory->scale,
                      .b_scale_per_column = int8,
                      .sums = memory->sums,
                      .first = true};
  RealClock clock;
  int64_t best_ns = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < 8; ++i) {
    const int64_t start = clock.now_ns();
    (int8 ? kernels.int8_tile : kernels.tile)(args);
    best_ns = std::min(best_ns, std::max<int64_t>(clock.now_ns() - start, 1));
  }
  return 2e9 * kTileRows * kPanel * kDepth / static_cast<double>(best_ns);
}

namespace {

PlanInfo describe(const GemmSpec& spec, const CpuMachine& machine) {
  const Work work = work_of(spec);
  const int64_t halves = spec.d.activation == Activation::kSwiglu ? 2 : 1;
  const int64_t panels = ceil_div(columns(spec), kPanel) * halves;
  const int64_t tiles = ceil_div(spec.expected_rows, kTileRows);
  PlanInfo info{
      .backend = fmt::format("cpu {}, {} threads", machine.isa, machine.threads),
      .kernel = fmt::format("{} x {} tiles{}, {}", kTileRows, kPanel, spec.int8 ? " of int8" : "",
                            spec.b.packed ? "packed B" : "B packed on the way"),
      .tile_m = kTileRows,
      .tile_n = kPanel,
      .tile_k = kBlock,
      .tiles = tiles * panels,
      .waves = static_cast<double>(panels) / machine.threads,
      .flops = work.flops,
      .bytes = work.bytes};
  const double rate = spec.int8 ? machine.int8_ops_per_s : machine.flops_per_s;
  const double compute_us = 1e6 * work.flops / (rate * machine.threads);
  const double memory_us = 1e6 * work.bytes / (kReadBytesPerS * machine.threads);
  info.limit_us = std::max(compute_us, memory_us);
  // Rows fill up the last tile, columns the last panel and threads the last round of items; many
  // rows pay for the widening of B.
  const double rows = std::max(1.0, static_cast<double>(spec.expected_rows));
  const double fill = static_cast<double>(tiles * kTileRows) / rows *
                      static_cast<double>(panels * kPanel) /
                      std::max(1.0, static_cast<double>(spec.n));
  const bool widens = is_fp8(spec.b.type) && !(spec.int8 && spec.b.packed) && tiles > 1;
  const double widen = widens ? 1 + kWidenRows / rows : 1;
  info.predicted_us = std::max(compute_us * std::max(fill, 1.0) * widen, memory_us);
  return info;
}

}  // namespace

Result<std::shared_ptr<const Plan::Impl>> plan_cpu(const GemmSpec& spec, const CpuKernels& kernels,
                                                   ThreadPool& pool, const CpuMachine& machine) {
  auto plan = std::make_shared<CpuPlan>(spec, kernels, pool);
  plan->info = describe(spec, machine);
  plan->info.workspace_bytes = plan->workspace_bytes();
  return plan;
}

}  // namespace hadal::gemm
