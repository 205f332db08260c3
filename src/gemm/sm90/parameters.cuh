// What a launch of the Hopper product gets, and the shape of its tiles.
//
// The tensor cores multiply a tile X of rows by a tile Y of columns (mma.cuh). Usually X is A and Y
// is B. A product of few rows of A ("tokens") exchanges them: X is B, whose rows fill the 64 that
// an instruction has, and Y is A with as few as 8; the tile then holds D transposed.
#pragma once

#include "gpu/device/device.cuh"

namespace hadal::gemm::sm90 {

using gpu::TensorMap;
using gpu::device::Operand;

/// How rows or k are divided among groups; gemm.h's Grouping.
enum class Division : int32_t { kUniform, kRowEnds, kRowIds, kCounts, kDepthEnds };
/// Whether groups are ranges of rows, which a table in shared memory holds.
HADAL_DEVICE constexpr bool has_table(Division division) {
  return division != Division::kUniform && division != Division::kDepthEnds;
}

enum class Number : int32_t { kBf16, kF16, kF32, kE4m3 };
enum class ScaleKind : int32_t { kF32, kE8m0, kPacked4 };
enum class Finish : int32_t { kNone, kSilu, kSwiglu };

inline constexpr uint32_t kGroupsMax = 512;  // that have a table in shared memory

/// Where the scale of row r and block j of k stands: element (r >> row_shift) * row_stride +
/// (j & block_mask) * block_stride; kPacked4: byte j % 4 of the word with j / 4 in place of j.
struct Scales {
  void* data;
  int64_t row_stride, block_stride, group_stride;
  int32_t row_shift;   // 0: a scale per row, 7: per 128, 31: one
  int32_t block_mask;  // -1: a scale per block of k, 0: one
  ScaleKind kind;
  int32_t unused;
};

struct Parameters {
  TensorMap map_a;  // [groups][rows][k], box: 128 bytes of k x rows of a tile (1 where gathered)
  TensorMap map_b;  // [groups][n][k], box: 128 bytes of k x rows of a tile (Y: half of them)
                    // Flat: both [lines of 128 bytes], box: one of them.
  Scales a_scale, b_scale, d_scale;
  const void* c;
  void* d;
  const float* bias;
  const int32_t* groups;
  const int32_t* rows;  // null: nothing is gathered
  int64_t c_stride, c_group_stride, d_stride, d_group_stride;
  int32_t m, n, k;
  int32_t columns;  // of D
  int32_t a_rows;
  int32_t num_groups;
  int32_t row_alignment;
  int32_t own_a, own_b, own_d;  // 1: a matrix per group
  int32_t flat;                 // 1: kDepthEnds, A and B matrices of groups, one behind the other
  Division division;
  Number d_type, c_type;
  Finish finish;
  int32_t scales_are_powers;  // fresh ones, of D
  float alpha, beta;
};

/// A member of the catalog. kWarpgroups of math have kWaves tiles of 64 rows each. The blocks of a
/// cluster either share Y, each with tiles of its own, or split the k of one tile. A gated tile
/// multiplies two slices of Y, gates and their partners, and stores one: SwiGLU.
template <uint32_t kWarpgroupsOf, uint32_t kWavesOf, uint32_t kColumnsOf, uint32_t kShareOf,
          uint32_t kSplitOf, bool kSwapOf, bool kGatedOf, bool kOneScaleOf, bool kFreshOf,
          Operand kTypeAOf, Operand kTypeBOf>
struct Config {
  static constexpr uint32_t kWarpgroups = kWarpgroupsOf;
  static constexpr uint32_t kWaves = kWavesOf;
  static constexpr uint32_t kRows = 64 * kWarpgroups * kWaves;  // of X
  static constexpr uint32_t kColumns = kColumnsOf;              // rows of Y
  static constexpr uint32_t kShare = kShareOf;                  // blocks that share Y
  static constexpr uint32_t kSplit = kSplitOf;                  // blocks that split k
  static constexpr uint32_t kCluster = kShare * kSplit;
  static constexpr bool kSwap = kSwapOf;  // X is B
  static constexpr bool kGated = kGatedOf;
  static constexpr uint32_t kSlices = kGated ? 2 : 1;  // of Y, an instruction's width each
  static constexpr bool kOneScale = kOneScaleOf;       // all of Y has one scale per block of k
  static constexpr bool kFresh = kFreshOf;             // D is e4m3 with new scales
  static constexpr Operand kTypeX = kSwap ? kTypeBOf : kTypeAOf;
  static constexpr Operand kTypeY = kSwap ? kTypeAOf : kTypeBOf;
  static constexpr bool kScaled = kTypeX == Operand::kE4m3 || kTypeX == Operand::kE5m2;
  static constexpr uint32_t kDepth = kScaled ? 128 : 64;  // elements of k in a stage: 128 bytes
  static constexpr uint32_t kTileM = kSwap ? kColumns : kRows;
  static constexpr uint32_t kTileN = kSwap ? kRows : kColumns;

  static constexpr uint32_t kMathWarps = 4 * kWarpgroups;
  static constexpr uint32_t kMathThreads = 128 * kWarpgroups;
  static constexpr uint32_t kThreads = kMathThreads + 128;

  // The epilogue's room of a warp: 16 rows of 128 halves, 64 floats or 128 codes; exchanged, a row
  // of 16 numbers for each column. Bytes from row to row:
  static constexpr uint32_t kHalvesPitch = kSwap ? 48 : 272;
  static constexpr uint32_t kFloatsPitch = kSwap ? 80 : 288;
  static constexpr uint32_t kCodesPitch = 144;
  static constexpr uint32_t kRoom =
      kSwap ? kFloatsPitch * kColumns : 16 * (kFresh ? kCodesPitch : kFloatsPitch);

  static constexpr uint32_t kBytesX = 128 * kRows;
  static constexpr uint32_t kBytesY = 128 * kColumns;
  static constexpr uint32_t kBytesScales = kScaled ? 4 * (kRows + kColumns) : 0;
  static constexpr uint32_t kStage = kBytesX + kBytesY + kBytesScales;
  // Sums that the other blocks of a split send to the first one: of one, and of all.
  static constexpr uint32_t kSumBytes = 4 * kRows * kColumns;
  static constexpr uint32_t kPartials = (kSplit - 1) * kSumBytes;
  static constexpr uint32_t kTable = 4 * (3 * kGroupsMax + 1) + 12;
  static constexpr uint32_t kSharedMax = 232448 - 1024;
  static constexpr uint32_t kFit =
      (kSharedMax - kPartials - kRoom * kMathWarps - kTable - 16) / (kStage + 16);
  static constexpr uint32_t kStages = kFit < 10 ? kFit : 10;

  // Places in shared memory.
  static constexpr uint32_t kX = 0;
  static constexpr uint32_t kY = kX + kStages * kBytesX;
  static constexpr uint32_t kScales = kY + kStages * kBytesY;
  static constexpr uint32_t kRooms = kScales + kStages * kBytesScales;
  static constexpr uint32_t kSums = kRooms + kMathWarps * kRoom;
  static constexpr uint32_t kBarriers = kSums + kPartials;
  static constexpr uint32_t kGroupTable = kBarriers + 16 * kStages + 16;
  static constexpr uint32_t kSharedBytes = kGroupTable + kTable;

  static_assert(kStages >= 3 && kSharedBytes <= kSharedMax);
  static_assert(kColumns % 8 == 0 && (kSwap || kColumns % 64 == 0));
  static_assert(!kSwap || kColumns == 8 || kColumns % 16 == 0);
  static_assert(!kGated || (!kSwap && kWaves == 1 && kSplit == 1));
  static_assert(kShare == 1 || (kShare == 2 && !kSwap && kSplit == 1));
  static_assert(!kFresh || (!kSwap && kColumns / kSlices == 128));
};

/// The shared memory of a block.
template <typename C>
struct Memory {
  gpu::device::SharedAddress base;

  HADAL_DEVICE gpu::device::SharedAddress x(uint32_t stage) const {
    return base + (C::kX + stage * C::kBytesX);
  }
  HADAL_DEVICE gpu::device::SharedAddress y(uint32_t stage) const {
    return base + (C::kY + stage * C::kBytesY);
  }
  /// Scales of X's rows, then of Y's.
  HADAL_DEVICE gpu::device::SharedAddress scales(uint32_t stage) const {
    return base + (C::kScales + stage * C::kBytesScales);
  }
  HADAL_DEVICE gpu::device::SharedAddress room(uint32_t warp) const {
    return base + (C::kRooms + warp * C::kRoom);
  }
  HADAL_DEVICE gpu::device::Barrier full(uint32_t stage) const {
    return {base + (C::kBarriers + 8 * stage)};
  }
  HADAL_DEVICE gpu::device::Barrier empty(uint32_t stage) const {
    return {base + (C::kBarriers + 8 * (C::kStages + stage))};
  }
  /// What block `rank` (1 and up) of a split has sent.
  HADAL_DEVICE gpu::device::SharedAddress sums(uint32_t rank) const {
    return base + (C::kSums + (rank - 1) * C::kSumBytes);
  }
  HADAL_DEVICE gpu::device::Barrier sums_full() const {
    return {base + (C::kBarriers + 16 * C::kStages)};
  }
  HADAL_DEVICE gpu::device::Barrier sums_empty() const {
    return {base + (C::kBarriers + 16 * C::kStages + 8)};
  }
  HADAL_DEVICE gpu::device::SharedAddress group_table() const { return base + C::kGroupTable; }
};

}  // namespace hadal::gemm::sm90
