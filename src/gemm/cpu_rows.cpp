#include "gemm/cpu_rows.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/check.h"
#include "gemm/cpu_kernels.h"
#include "gemm/spec.h"

namespace hadal::gemm {
namespace {

Result<> check(std::string_view array, int64_t index, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{}[{}] is {}; it must be {} to {}", array, index, value, low, high));
}

}  // namespace

int64_t TileCursor::memory_words(const GemmSpec& spec) {
  return spec.grouping == Grouping::kRowGroups ? spec.m + spec.num_groups + 1 : 0;
}

int64_t TileCursor::tiles_max(const GemmSpec& spec) {
  const int64_t whole = ceil_div(spec.m, kTileRows);
  switch (spec.grouping) {
    case Grouping::kBatched:
    case Grouping::kMasked: return spec.num_groups * whole;
    case Grouping::kRowEnds:
    case Grouping::kRowGroups: return std::min(spec.m, whole + spec.num_groups);
    case Grouping::kNone:
    case Grouping::kK:
    case Grouping::kKFlat: break;
  }
  return whole;
}

Result<TileCursor> TileCursor::make(const GemmSpec& spec, const GemmArgs& args,
                                    std::span<int32_t> memory) {
  TileCursor cursor(spec, args);
  TRY(cursor.check_groups());
  if (spec.grouping == Grouping::kRowGroups) TRY(cursor.sort_by_group(memory));
  if (spec.a_rows != 0) TRY(cursor.check_rows());
  return cursor;
}

Result<> TileCursor::check_groups() const {
  const int32_t* groups = args_->groups;
  int64_t end = 0;
  for (int g = 0; g < spec_->num_groups; ++g) {
    switch (spec_->grouping) {
      case Grouping::kMasked: TRY(check("groups", g, groups[g], 0, spec_->m)); break;
      case Grouping::kRowEnds:
        if (groups[g] == end) break;
        TRY(check("groups", g, groups[g], round_up(end, spec_->row_alignment), spec_->m));
        end = groups[g];
        break;
      case Grouping::kK:
      case Grouping::kKFlat:
        TRY(check("groups", g, groups[g], end, spec_->k));
        if (groups[g] % kBlock != 0) {
          return fail(Code::kInvalidArgument,
                      fmt::format("groups[{}] is {}; it must be a multiple of 128", g, groups[g]));
        }
        end = groups[g];
        break;
      case Grouping::kNone:
      case Grouping::kBatched:
      case Grouping::kRowGroups: return {};
    }
  }
  return {};
}

// A counting sort: rows of a group stay in order.
Result<> TileCursor::sort_by_group(std::span<int32_t> memory) {
  CHECK(static_cast<int64_t>(memory.size()) >= memory_words(*spec_));
  const int32_t* ids = args_->groups;
  const std::span<int32_t> starts = memory.first(spec_->num_groups + 1);
  int32_t* const order = memory.data() + starts.size();
  std::fill(starts.begin(), starts.end(), 0);
  for (int64_t row = 0; row < spec_->m; ++row) {
    TRY(check("groups", row, ids[row], -1, spec_->num_groups - 1));
    if (ids[row] >= 0) ++starts[ids[row]];
  }
  // starts[g] becomes the end of group g, and counts down to its start.
  for (int g = 1; g <= spec_->num_groups; ++g) starts[g] += starts[g - 1];
  for (int64_t row = spec_->m; row-- > 0;) {
    if (ids[row] >= 0) order[--starts[ids[row]]] = static_cast<int32_t>(row);
  }
  starts_ = starts.data();
  order_ = order;
  return {};
}

Result<> TileCursor::check_rows() const {
  const int64_t matrices = has_own_a(*spec_) ? spec_->num_groups : 1;
  TileCursor walk = *this;
  for (int g = 0; g < spec_->num_groups; ++g) {
    const Range r = walk.range(g);
    const int64_t base = matrices > 1 ? g * spec_->m : 0;
    for (int64_t i = r.begin; i < r.end; ++i) {
      const int64_t row = base + row_at(i);
      TRY(check("rows", row, args_->rows[row], 0, spec_->a_rows - 1));
    }
    if (spec_->grouping == Grouping::kRowEnds && r.end > r.begin) walk.previous_end_ = r.end;
  }
  return {};
}

TileCursor::Range TileCursor::range(int group) const {
  switch (spec_->grouping) {
    case Grouping::kMasked: return {0, args_->groups[group]};
    case Grouping::kRowEnds: {
      const int64_t begin = round_up(previous_end_, spec_->row_alignment);
      return {begin, std::max<int64_t>(begin, args_->groups[group])};
    }
    case Grouping::kRowGroups: return {starts_[group], starts_[group + 1]};
    case Grouping::kK:
    case Grouping::kKFlat: return {0, group == 0 ? spec_->m : 0};
    case Grouping::kNone:
    case Grouping::kBatched: break;
  }
  return {0, spec_->m};
}

int64_t TileCursor::next(std::span<Tile> tiles) {
  int64_t made = 0;
  const bool own_a = has_own_a(*spec_);
  while (made < static_cast<int64_t>(tiles.size()) && group_ < spec_->num_groups) {
    const Range r = range(group_);
    if (at_ < 0) at_ = r.begin;
    if (at_ >= r.end) {
      if (r.end > r.begin) previous_end_ = r.end;
      ++group_;
      at_ = -1;
      continue;
    }
    Tile& tile = tiles[made++];
    tile = {.group = group_, .a_group = own_a ? group_ : 0};
    for (; tile.rows < kTileRows && at_ < r.end; ++tile.rows, ++at_) {
      const int64_t row = row_at(at_);
      tile.d_row[tile.rows] = static_cast<int32_t>(row);
      tile.a_row[tile.rows] = spec_->a_rows == 0
                                  ? static_cast<int32_t>(row)
                                  : args_->rows[(own_a ? group_ * spec_->m : 0) + row];
    }
  }
  return made;
}

int64_t make_segments(const GemmSpec& spec, const GemmArgs& args, std::span<const Tile> tiles,
                      std::span<Segment> segments) {
  int64_t made = 0;
  const int64_t num_tiles = static_cast<int64_t>(tiles.size());
  if (has_k_groups(spec)) {
    int64_t begin = 0;
    for (int g = 0; g < spec.num_groups; ++g) {
      segments[made++] = {.group = g,
                          .d_group = g,
                          .tile_begin = 0,
                          .tile_end = num_tiles,
                          .k_begin = begin,
                          .k_end = args.groups[g]};
      begin = args.groups[g];
    }
    return made;
  }
  for (int64_t i = 0; i < num_tiles; ++i) {
    if (made == 0 || segments[made - 1].group != tiles[i].group) {
      segments[made++] = {.group = tiles[i].group,
                          .d_group = tiles[i].a_group,
                          .tile_begin = i,
                          .tile_end = i,
                          .k_begin = 0,
                          .k_end = spec.k};
    }
    segments[made - 1].tile_end = i + 1;
  }
  return made;
}

}  // namespace hadal::gemm
