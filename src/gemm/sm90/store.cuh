// The epilogue: from sums to D.
//
// Values are finished in registers (finish.cuh), converted, and turned into rows of D in a room of
// shared memory that each warp has for itself; from there the copy engine stores them, row by row,
// while the warp goes on. A row is stored if it is the group's, so tails, odd strides and the ends
// of groups are no cases of their own, and no warp waits for another.
//
// Pitches of the room are such that no two lanes meet in a bank.
#pragma once

#include "gemm/sm90/finish.cuh"

namespace hadal::gemm::sm90 {

/// The first element of a row of D.
HADAL_DEVICE int64_t start_of_row(const Parameters& p, const Work& work, int32_t row) {
  return (p.own_d ? work.group : 0) * p.d_group_stride + row * p.d_stride;
}

/// Waits until the room's rows have been read by the copy engine. All lanes.
HADAL_DEVICE void claim_room() {
  gpu::device::wait_stores_read<0>();
  gpu::device::sync_warp();
}

/// Hands `kRowCount` rows in the room, `bytes` each, to the copy engine: rows of D from `row` on,
/// at `column`. All lanes.
template <uint32_t kRowCount>
HADAL_DEVICE void release_room(const Parameters& p, const Work& work,
                               gpu::device::SharedAddress room, uint32_t pitch, int32_t row,
                               int32_t column, uint32_t size, uint32_t columns) {
  using namespace gpu::device;
  fence_async_shared();
  sync_warp();
  const int32_t left = minimum(static_cast<int32_t>(columns), p.columns - column);
  HADAL_UNROLL
  for (uint32_t first = 0; first < kRowCount; first += 32) {
    const uint32_t i = first + lane_index();
    const int32_t r = row + static_cast<int32_t>(i);
    if (i >= kRowCount || r >= work.m_end || left <= 0) continue;
    uint8_t* const to = static_cast<uint8_t*>(p.d) + size * (start_of_row(p, work, r) + column);
    store_bytes(to, room + i * pitch, size * static_cast<uint32_t>(left));
  }
  commit_stores();
}

HADAL_DEVICE uint32_t pack(bool bf16, float first, float second) {
  return bf16 ? gpu::device::pack_bf16(first, second) : gpu::device::pack_f16(first, second);
}

// ---------------------------------------------------------------- X is A: rows stay rows

/// Columns kFrom to kTo of this warp's 16 rows as 16-bit numbers.
template <typename C, uint32_t kFrom, uint32_t kTo>
HADAL_DEVICE void put_halves(gpu::device::SharedAddress room, bool bf16,
                             const float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  const uint32_t lane = lane_index();
  const SharedAddress at = room + lane % 16 * C::kHalvesPitch + 16 * (lane / 16);
  HADAL_UNROLL
  for (uint32_t column = kFrom; column < kTo; column += 16) {
    const uint32_t i = column / 2;
    const uint32_t matrices[4] = {pack(bf16, x[i], x[i + 1]), pack(bf16, x[i + 2], x[i + 3]),
                                  pack(bf16, x[i + 4], x[i + 5]), pack(bf16, x[i + 6], x[i + 7])};
    store_matrices(at + 2 * (column - kFrom), matrices);
  }
}

template <typename C, uint32_t kFrom, uint32_t kTo>
HADAL_DEVICE void put_floats(gpu::device::SharedAddress room, const float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  const SharedAddress at = room + lane_index() / 4 * C::kFloatsPitch + 8 * (lane_index() % 4);
  HADAL_UNROLL
  for (uint32_t i = kFrom / 2; i < kTo / 2; i += 2) {
    const uint64_t pair = uint64_t{bits_of(x[i])} | uint64_t{bits_of(x[i + 1])} << 32;
    const uint32_t low = i / 2 % 2;  // 1: eight rows further
    store_shared(at + 8 * low * C::kFloatsPitch + 32 * (i / 4 - kFrom / 8), pair);
  }
}

/// Columns kFrom to kWidth of the values of a tile, part by part.
template <typename C, uint32_t kWidth, uint32_t kFrom = 0>
HADAL_DEVICE void store_halves(const Parameters& p, const Work& work,
                               gpu::device::SharedAddress room, int32_t row,
                               const float (&x)[kRegisters<C>]) {
  if constexpr (kFrom < kWidth) {
    constexpr uint32_t kTo = kWidth - kFrom < 128 ? kWidth : kFrom + 128;
    claim_room();
    put_halves<C, kFrom, kTo>(room, p.d_type == Number::kBf16, x);
    release_room<16>(p, work, room, C::kHalvesPitch, row,
                     work.n_begin + static_cast<int32_t>(kFrom), 2, kTo - kFrom);
    store_halves<C, kWidth, kTo>(p, work, room, row, x);
  }
}

template <typename C, uint32_t kWidth, uint32_t kFrom = 0>
HADAL_DEVICE void store_floats(const Parameters& p, const Work& work,
                               gpu::device::SharedAddress room, int32_t row,
                               const float (&x)[kRegisters<C>]) {
  if constexpr (kFrom < kWidth) {
    constexpr uint32_t kTo = kWidth - kFrom < 64 ? kWidth : kFrom + 64;
    claim_room();
    put_floats<C, kFrom, kTo>(room, x);
    release_room<16>(p, work, room, C::kFloatsPitch, row,
                     work.n_begin + static_cast<int32_t>(kFrom), 4, kTo - kFrom);
    store_floats<C, kWidth, kTo>(p, work, room, row, x);
  }
}

/// Rows of numbers, the first kWidth columns of a tile.
template <typename C, uint32_t kWidth>
HADAL_DEVICE void store_rows(const Parameters& p, const Work& work, gpu::device::SharedAddress room,
                             int32_t row, const float (&x)[kRegisters<C>]) {
  if (p.d_type == Number::kF32) {
    store_floats<C, kWidth>(p, work, room, row, x);
  } else {
    store_halves<C, kWidth>(p, work, room, row, x);
  }
}

// ---------------------------------------------------------------- e4m3 with fresh scales

/// The scale of 128 values in four lanes' registers whose largest magnitude is `largest`.
HADAL_DEVICE float fresh_scale(const Parameters& p, uint32_t largest) {
  using namespace gpu::device;
  largest = maximum(largest, shuffle_xor(largest, 1));
  largest = maximum(largest, shuffle_xor(largest, 2));
  const float scale = float_of(largest) / 448;
  if (!p.scales_are_powers || scale != scale) return scale;
  return float_of((bits_of(scale) + 0x7fffff) & 0xff800000);
}

HADAL_DEVICE void store_scale(const Parameters& p, const Work& work, int32_t row, float scale) {
  using namespace gpu::device;
  const Scales& s = p.d_scale;
  const int32_t j = work.n_begin / 128;
  const int64_t first = (p.own_d ? work.group : 0) * s.group_stride + row * s.row_stride;
  if (s.kind == ScaleKind::kF32) {
    store_global(static_cast<float*>(s.data) + first + j * s.block_stride, scale);
    return;
  }
  const uint8_t code = scale == scale ? static_cast<uint8_t>(bits_of(scale) >> 23) : 255;
  uint8_t* const data = static_cast<uint8_t*>(s.data);
  const bool packed = s.kind == ScaleKind::kPacked4;
  store_global(packed ? data + 4 * (first + (j / 4) * s.block_stride) + j % 4
                      : data + first + j * s.block_stride,
               code);
}

/// Codes and scales of rows `place.row(2 * kHigh)`: those of the lower or the higher eight rows.
template <typename C, uint32_t kHigh>
HADAL_DEVICE void put_codes(const Parameters& p, const Work& work, const Place<C>& place,
                            gpu::device::SharedAddress room, const float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  uint32_t largest = bits_of(1e-4f);  // tensor/quantize.h: what all zeros have
  HADAL_UNROLL
  for (uint32_t i = 2 * kHigh; i < kRegisters<C>; i += 4) {
    HADAL_UNROLL
    for (uint32_t e = i; e < i + 2; ++e) {
      // Magnitudes are ordered as their bits are; a NaN of any kind comes last.
      if (place.column(e) <= place.last_column()) {
        largest = maximum(largest, bits_of(x[e]) & 0x7fffffff);
      }
    }
  }
  const float scale = fresh_scale(p, largest);
  const uint32_t lane = lane_index();
  const SharedAddress at = room + (8 * kHigh + lane / 4) * C::kCodesPitch + 2 * (lane % 4);
  HADAL_UNROLL
  for (uint32_t i = 2 * kHigh; i < kRegisters<C>; i += 4) {
    store_shared(at + 8 * (i / 4), pack_e4m3(x[i] / scale, x[i + 1] / scale));
  }
  const int32_t row = place.row(2 * kHigh);
  if (lane % 4 == 0 && row < work.m_end) store_scale(p, work, row, scale);
}

/// Codes of 16 rows and 128 columns. Rows of D are aligned to 8 bytes only, so lanes store them.
template <typename C>
HADAL_DEVICE void store_codes(const Parameters& p, const Work& work, const Place<C>& place,
                              gpu::device::SharedAddress room, int32_t row,
                              const float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  sync_warp();
  put_codes<C, 0>(p, work, place, room, x);
  put_codes<C, 1>(p, work, place, room, x);
  sync_warp();
  const uint32_t unit = lane_index() % 16;
  const int32_t column = work.n_begin + static_cast<int32_t>(8 * unit);
  for (uint32_t i = lane_index() / 16; i < 16; i += 2) {
    const int32_t r = row + static_cast<int32_t>(i);
    if (r >= work.m_end || column >= p.columns) continue;
    const uint64_t codes = load_shared<uint64_t>(room + i * C::kCodesPitch + 8 * unit);
    uint8_t* const to = static_cast<uint8_t*>(p.d) + start_of_row(p, work, r) + column;
    store_global(reinterpret_cast<uint64_t*>(to), codes);
  }
}

// ---------------------------------------------------------------- X is B: rows become columns

template <typename C>
HADAL_DEVICE void put_halves_turned(gpu::device::SharedAddress room, bool bf16,
                                    const float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  constexpr uint32_t kMatrices = C::kColumns == 8 ? 2 : 4;  // of 8 columns and 8 rows of D
  const uint32_t lane = lane_index();
  const uint32_t row = lane % 8 + (kMatrices == 4 ? 8 * (lane / 16) : 0);
  const SharedAddress at = room + row * C::kHalvesPitch + 16 * (lane / 8 % 2);
  HADAL_UNROLL
  for (uint32_t i = 0; i < kRegisters<C>; i += 2 * kMatrices) {
    uint32_t matrices[kMatrices];
    HADAL_UNROLL
    for (uint32_t j = 0; j < kMatrices; ++j) {
      matrices[j] = pack(bf16, x[i + 2 * j], x[i + 2 * j + 1]);
    }
    store_matrices<true>(at + 2 * i * C::kHalvesPitch, matrices);
  }
}

template <typename C>
HADAL_DEVICE void put_floats_turned(gpu::device::SharedAddress room,
                                    const float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kRegisters<C>; ++i) {
    const uint32_t row = 8 * (i / 4) + 2 * (lane_index() % 4) + i % 2;
    const uint32_t column = lane_index() / 4 + 8 * (i / 2 % 2);
    store_shared(room + row * C::kFloatsPitch + 4 * column, x[i]);
  }
}

/// All rows of D of the tile, 16 columns from `column` on.
template <typename C>
HADAL_DEVICE void store_turned(const Parameters& p, const Work& work,
                               gpu::device::SharedAddress room, int32_t column,
                               const float (&x)[kRegisters<C>]) {
  claim_room();
  if (p.d_type == Number::kF32) {
    put_floats_turned<C>(room, x);
    release_room<C::kColumns>(p, work, room, C::kFloatsPitch, work.m_begin, column, 4, 16);
  } else {
    put_halves_turned<C>(room, p.d_type == Number::kBf16, x);
    release_room<C::kColumns>(p, work, room, C::kHalvesPitch, work.m_begin, column, 2, 16);
  }
}

template <typename C>
HADAL_DEVICE void store(const Parameters& p, const Work& work, const Memory<C>& memory,
                        Sums<C>& sums) {
  using namespace gpu::device;
  const uint32_t warp = warp_index();
  const SharedAddress room = memory.room(warp);
  HADAL_UNROLL
  for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
    const Place<C> place(p, work, wave);
    finish<C>(p, work, place, sums[wave]);
    const float(&x)[kRegisters<C>] = sums[wave][0];
    const int32_t first =
        static_cast<int32_t>(64 * (warp / 4 * C::kWaves + wave) + 16 * (warp % 4));
    if constexpr (C::kSwap) {
      store_turned<C>(p, work, room, work.n_begin + first, x);
    } else if constexpr (C::kFresh) {
      store_codes<C>(p, work, place, room, work.m_begin + first, x);
    } else if (C::kGated || p.finish != Finish::kSwiglu) {
      store_rows<C, 2 * kRegisters<C>>(p, work, room, work.m_begin + first, x);
    } else {
      store_rows<C, kRegisters<C>>(p, work, room, work.m_begin + first, x);
    }
  }
}

}  // namespace hadal::gemm::sm90
