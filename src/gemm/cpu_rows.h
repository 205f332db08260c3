// Which rows the CPU backend multiplies, three at a time: the one place that knows the kinds of
// grouping. Everything after it sees tiles and segments.
#pragma once

#include <cstdint>
#include <span>

#include "gemm/gemm.h"

namespace hadal::gemm {

/// Up to three rows that share B.
struct Tile {
  int32_t group = 0;    // of B and bias
  int32_t a_group = 0;  // matrix of A and of D
  int32_t rows = 0;     // 1..3
  int32_t a_row[3] = {};
  int32_t d_row[3] = {};
};

/// Consecutive tiles of one group, and the range of k that they multiply.
struct Segment {
  int32_t group = 0;
  int32_t d_group = 0;
  int64_t tile_begin = 0, tile_end = 0;
  int64_t k_begin = 0, k_end = 0;
};

/// Yields the tiles of a product in the order of groups and rows. Reads the caller's arrays once
/// and checks them before the first tile.
class TileCursor {
 public:
  /// int32 words of memory that a cursor needs.
  static int64_t memory_words(const GemmSpec& spec);
  /// No more tiles than this.
  static int64_t tiles_max(const GemmSpec& spec);

  /// kInvalidArgument for groups and rows out of range. `memory` outlives the cursor.
  static Result<TileCursor> make(const GemmSpec& spec, const GemmArgs& args,
                                 std::span<int32_t> memory);

  /// Fills `tiles` as far as they go; returns how many. 0: no more.
  int64_t next(std::span<Tile> tiles);

 private:
  TileCursor(const GemmSpec& spec, const GemmArgs& args) : spec_(&spec), args_(&args) {}
  Result<> sort_by_group(std::span<int32_t> memory);
  Result<> check_groups() const;
  Result<> check_rows() const;
  struct Range {
    int64_t begin, end;
  };
  Range range(int group) const;
  int64_t row_at(int64_t i) const { return order_ != nullptr ? order_[i] : i; }

  const GemmSpec* spec_;
  const GemmArgs* args_;
  const int32_t* order_ = nullptr;   // kRowGroups: rows sorted by group
  const int32_t* starts_ = nullptr;  // kRowGroups: [num_groups + 1] into order_
  int group_ = 0;
  int64_t at_ = -1;           // next row (or place in order_) of group_; -1: its first
  int64_t previous_end_ = 0;  // kRowEnds: where the last group with rows ended
};

/// Cuts `tiles` into segments, one per group (grouping along k: each group once, over all tiles).
/// `segments` has room for tiles + groups. Returns how many.
int64_t make_segments(const GemmSpec& spec, const GemmArgs& args, std::span<const Tile> tiles,
                      std::span<Segment> segments);

}  // namespace hadal::gemm
