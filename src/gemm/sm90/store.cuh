// The epilogue: from accumulators to D.
//
// Each warp turns its 16 rows into rows of memory in a room of its own in shared memory, part by
// part, and finishes them eight columns per lane: alpha, beta C, bias, activation, conversion, one
// wide store. A row is written if it is the group's, so tails, odd strides and the ends of groups
// are no cases of their own, and no warp waits for another.
#pragma once

#include "gemm/sm90/multiply.cuh"

namespace hadal::gemm::sm90 {

inline constexpr uint32_t kUnit = 8;  // columns that a lane finishes

HADAL_DEVICE void load_floats(float (&x)[kUnit], gpu::device::SharedAddress from) {
  using namespace gpu::device;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; i += 4) {
    const Vector4 v = load_shared<Vector4>(from + 4 * i);
    HADAL_UNROLL
    for (uint32_t j = 0; j < 4; ++j) x[i + j] = float_of(v.words[j]);
  }
}

/// x += beta * c.
HADAL_DEVICE void add_c(float (&x)[kUnit], const Parameters& p, int64_t at) {
  using namespace gpu::device;
  if (p.c_type == Number::kF32) {
    HADAL_UNROLL
    for (uint32_t i = 0; i < kUnit; i += 4) {
      const Vector4 v =
          load_global(reinterpret_cast<const Vector4*>(static_cast<const float*>(p.c) + at + i));
      HADAL_UNROLL
      for (uint32_t j = 0; j < 4; ++j) {
        x[i + j] = multiply_add(p.beta, float_of(v.words[j]), x[i + j]);
      }
    }
    return;
  }
  const Vector4 v =
      load_global(reinterpret_cast<const Vector4*>(static_cast<const uint16_t*>(p.c) + at));
  const bool bf16 = p.c_type == Number::kBf16;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; i += 2) {
    const uint32_t pair = v.words[i / 2];
    const float first = bf16 ? first_of_bf16(pair) : first_of_f16(pair);
    const float second = bf16 ? second_of_bf16(pair) : second_of_f16(pair);
    x[i] = multiply_add(p.beta, first, x[i]);
    x[i + 1] = multiply_add(p.beta, second, x[i + 1]);
  }
}

HADAL_DEVICE void add_bias(float (&x)[kUnit], const float* bias) {
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; ++i) x[i] += gpu::device::load_constant(bias + i);
}

/// x * sigmoid(x). e^-x overflows to infinity for x < -88, which gives -0.
HADAL_DEVICE float silu(float x) {
  return x / (1 + gpu::device::exp2_approx(x * -1.44269504f));
}

/// D's values at row `row`, columns `column` to +7, from the sums at `at` and, with SwiGLU, at
/// `up`.
HADAL_DEVICE void finish(float (&x)[kUnit], const Parameters& p, const Work& work, int32_t row,
                         int32_t column, gpu::device::SharedAddress at,
                         gpu::device::SharedAddress up) {
  const float* bias = p.bias == nullptr ? nullptr : p.bias + int64_t{work.group} * p.n + column;
  load_floats(x, at);
  HADAL_UNROLL
  for (float& v : x) v *= p.alpha;
  if (p.c != nullptr) {
    const int64_t group = p.own_d ? work.group : 0;
    add_c(x, p, group * p.c_group_stride + row * p.c_stride + column);
  }
  if (bias != nullptr) add_bias(x, bias);
  if (p.finish == Finish::kNone) return;
  HADAL_UNROLL
  for (float& v : x) v = silu(v);
  if (p.finish == Finish::kSilu) return;
  float y[kUnit];
  load_floats(y, up);
  HADAL_UNROLL
  for (float& v : y) v *= p.alpha;
  if (bias != nullptr) add_bias(y, bias + p.columns);
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; ++i) x[i] *= y[i];
}

HADAL_DEVICE void store_numbers(const Parameters& p, int64_t at, const float (&x)[kUnit]) {
  using namespace gpu::device;
  if (p.d_type == Number::kF32) {
    HADAL_UNROLL
    for (uint32_t i = 0; i < kUnit; i += 4) {
      const Vector4 v = {bits_of(x[i]), bits_of(x[i + 1]), bits_of(x[i + 2]), bits_of(x[i + 3])};
      store_global(reinterpret_cast<Vector4*>(static_cast<float*>(p.d) + at + i), v);
    }
    return;
  }
  const bool bf16 = p.d_type == Number::kBf16;
  Vector4 v;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; i += 2) {
    v.words[i / 2] = bf16 ? pack_bf16(x[i], x[i + 1]) : pack_f16(x[i], x[i + 1]);
  }
  store_global(reinterpret_cast<Vector4*>(static_cast<uint16_t*>(p.d) + at), v);
}

/// Codes of eight of the 128 columns that share a scale; 16 lanes have them all. All lanes;
/// `there` is whether this lane's are to be written.
HADAL_DEVICE void store_codes(const Parameters& p, int64_t group, int32_t row, int32_t column,
                              const float (&x)[kUnit], bool there) {
  using namespace gpu::device;
  float largest = 1e-4f;  // tensor/quantize.h: what all zeros have
  bool nan = false;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; ++i) {
    const float magnitude = float_of(bits_of(x[i]) & 0x7fffffff);
    nan = nan || magnitude != magnitude;
    if (there) largest = maximum(largest, magnitude);
  }
  uint32_t bits = there && nan ? 0x7fffffff : bits_of(largest);  // ordered as the floats are
  HADAL_UNROLL
  for (uint32_t distance = 1; distance < 16; distance *= 2) {
    bits = maximum(bits, shuffle_xor(bits, distance));
  }
  float scale = float_of(bits) / 448;
  if (p.scales_are_powers) {
    const uint32_t s = bits_of(scale);
    scale = float_of(scale == scale ? (s + 0x7fffff) & 0xff800000 : s);
  }
  if (!there) return;
  uint64_t codes = 0;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kUnit; i += 2) {
    codes |= uint64_t{pack_e4m3(x[i] / scale, x[i + 1] / scale)} << 8 * i;
  }
  const int64_t at = group * p.d_group_stride + row * p.d_stride + column;
  store_global(reinterpret_cast<uint64_t*>(static_cast<uint8_t*>(p.d) + at), codes);
  if (column % 128 != 0) return;
  const Scales& s = p.d_scale;
  const int32_t j = column / 128;
  const int64_t first = group * s.group_stride + row * s.row_stride;
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

/// Finishes what lies in the room: `rows` rows of D from `row` on, `units` times eight columns from
/// `column` on, kPitch floats from row to row; gates' partners `up` bytes further. All lanes.
template <typename C, uint32_t kRowCount, uint32_t kUnits>
HADAL_DEVICE void write_room(const Parameters& p, const Work& work, gpu::device::SharedAddress room,
                             int32_t row, int32_t column, uint32_t up) {
  using namespace gpu::device;
  constexpr uint32_t kTogether = 32 / kUnits;  // rows at once
  const int64_t group = p.own_d ? work.group : 0;
  const uint32_t unit = lane_index() % kUnits;
  for (uint32_t first = 0; first < kRowCount; first += kTogether) {
    const uint32_t i = first + lane_index() / kUnits;
    const int32_t r = row + static_cast<int32_t>(i);
    const int32_t n = column + static_cast<int32_t>(kUnit * unit);
    const bool there = i < kRowCount && r < work.m_end && n < p.columns;
    const SharedAddress at = room + 4 * (i * C::kPitch + kUnit * unit);
    float x[kUnit] = {};
    if (there) finish(x, p, work, r, n, at, at + up);
    if constexpr (C::kFresh) {
      store_codes(p, group, r, n, x, there);
    } else {
      if (there) store_numbers(p, group * p.d_group_stride + r * p.d_stride + n, x);
    }
  }
}

/// A part of the columns of this warp's 16 rows, row by row, into its room.
template <typename C>
HADAL_DEVICE void put(gpu::device::SharedAddress room, const float (&sum)[kRegisters<C>],
                      uint32_t from, uint32_t count, uint32_t to) {
  using namespace gpu::device;
  const uint32_t row = lane_index() / 4, pair = 2 * (lane_index() % 4);
  HADAL_UNROLL
  for (uint32_t j = 0; j < C::kColumns / 8; ++j) {
    if (8 * j < from || 8 * j >= from + count) continue;
    const uint32_t column = to + 8 * j - from + pair;
    HADAL_UNROLL
    for (uint32_t h = 0; h < 2; ++h) {
      const uint64_t words =
          uint64_t{bits_of(sum[4 * j + 2 * h])} | uint64_t{bits_of(sum[4 * j + 2 * h + 1])} << 32;
      store_shared(room + 4 * ((row + 8 * h) * C::kPitch + column), words);
    }
  }
}

/// X is A: rows of the accumulators are rows of D.
template <typename C>
HADAL_DEVICE void store_rows(const Parameters& p, const Work& work, gpu::device::SharedAddress room,
                             int32_t row, const float (&sum)[kRegisters<C>]) {
  using namespace gpu::device;
  if (p.finish == Finish::kSwiglu) {
    constexpr uint32_t kHalf = C::kColumns / 2;
    HADAL_UNROLL
    for (uint32_t first = 0; first < kHalf; first += 32) {
      put<C>(room, sum, first, 32, 0);
      put<C>(room, sum, kHalf + first, 32, 32);
      sync_warp();
      write_room<C, 16, 4>(p, work, room, row, work.n_begin + static_cast<int32_t>(first), 4 * 32);
      sync_warp();
    }
    return;
  }
  HADAL_UNROLL
  for (uint32_t first = 0; first < C::kColumns; first += C::kPart) {
    put<C>(room, sum, first, C::kPart, 0);
    sync_warp();
    write_room<C, 16, C::kPart / 8>(p, work, room, row, work.n_begin + static_cast<int32_t>(first),
                                    0);
    sync_warp();
  }
}

/// X is B: rows of the accumulators are columns of D.
template <typename C>
HADAL_DEVICE void store_columns(const Parameters& p, const Work& work,
                                gpu::device::SharedAddress room, int32_t column,
                                const float (&sum)[kRegisters<C>]) {
  using namespace gpu::device;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kRegisters<C>; ++i) {
    const uint32_t token = 8 * (i / 4) + 2 * (lane_index() % 4) + i % 2;
    const uint32_t n = lane_index() / 4 + 8 * (i / 2 % 2);
    store_shared(room + 4 * (token * C::kPitch + n), sum[i]);
  }
  sync_warp();
  write_room<C, C::kColumns, 2>(p, work, room, work.m_begin, column, 0);
  sync_warp();
}

template <typename C>
HADAL_DEVICE void store(const Parameters& p, const Work& work, const Memory<C>& memory,
                        const Sums<C>& sums) {
  using namespace gpu::device;
  const uint32_t warp = warp_index();
  HADAL_UNROLL
  for (uint32_t wave = 0; wave < C::kWaves; ++wave) {
    const int32_t first =
        static_cast<int32_t>(64 * (warp / 4 * C::kWaves + wave) + 16 * (warp % 4));
    if constexpr (C::kSwap) {
      store_columns<C>(p, work, memory.room(warp), work.n_begin + first, sums[wave]);
    } else {
      store_rows<C>(p, work, memory.room(warp), work.m_begin + first, sums[wave]);
    }
  }
}

}  // namespace hadal::gemm::sm90
