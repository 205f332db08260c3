// From sums to values of D, in registers: alpha, beta C, bias, activation.
//
// A thread holds, of each tile of 64 rows that its warpgroup has summed, pairs of neighbours: of
// rows lane / 4 and 8 further, columns 2 * (lane % 4) and the next, in every eight columns. Gates
// and their partners are in the same thread, so SwiGLU is arithmetic on its own registers.
#pragma once

#include "gemm/sm90/multiply.cuh"

namespace hadal::gemm::sm90 {

/// Where the values of a thread stand in D: register i of a tile of 64 rows of X.
template <typename C>
class Place {
 public:
  HADAL_DEVICE Place(const Parameters& p, const Work& work, uint32_t wave)
      : rows_(work.m_end), columns_(p.columns) {
    using namespace gpu::device;
    const uint32_t warp = warp_index();
    const int32_t x = static_cast<int32_t>(64 * (warp / 4 * C::kWaves + wave) + 16 * (warp % 4) +
                                           lane_index() / 4);
    const int32_t y = static_cast<int32_t>(2 * (lane_index() % 4));
    row_ = work.m_begin + (C::kSwap ? y : x);
    column_ = work.n_begin + (C::kSwap ? x : y);
  }
  HADAL_DEVICE int32_t row(uint32_t i) const {
    return row_ + static_cast<int32_t>(C::kSwap ? 8 * (i / 4) + i % 2 : 8 * (i / 2 % 2));
  }
  HADAL_DEVICE int32_t column(uint32_t i) const {
    return column_ + static_cast<int32_t>(C::kSwap ? 8 * (i / 2 % 2) : 8 * (i / 4) + i % 2);
  }
  /// Whether D has that element; both of a pair or neither, where pairs are along columns.
  HADAL_DEVICE bool has(uint32_t i) const { return row(i) < rows_ && column(i) < columns_; }
  HADAL_DEVICE int32_t last_column() const { return columns_ - 1; }

 private:
  int32_t rows_, columns_, row_, column_;
};

/// Two neighbouring values of C.
HADAL_DEVICE void load_pair(const Parameters& p, int64_t at, float& first, float& second) {
  using namespace gpu::device;
  if (p.c_type == Number::kF32) {
    const float* c = static_cast<const float*>(p.c) + at;
    const uint64_t pair = load_global(reinterpret_cast<const uint64_t*>(c));
    first = float_of(static_cast<uint32_t>(pair));
    second = float_of(static_cast<uint32_t>(pair >> 32));
    return;
  }
  const uint16_t* c = static_cast<const uint16_t*>(p.c) + at;
  const uint32_t pair = load_global(reinterpret_cast<const uint32_t*>(c));
  const bool bf16 = p.c_type == Number::kBf16;
  first = bf16 ? first_of_bf16(pair) : first_of_f16(pair);
  second = bf16 ? second_of_bf16(pair) : second_of_f16(pair);
}

HADAL_DEVICE float load_one(const Parameters& p, int64_t at) {
  using namespace gpu::device;
  if (p.c_type == Number::kF32) return load_global(static_cast<const float*>(p.c) + at);
  const uint32_t code = load_global(static_cast<const uint16_t*>(p.c) + at);
  return p.c_type == Number::kBf16 ? first_of_bf16(code) : first_of_f16(code);
}

/// x += beta * c.
template <typename C>
HADAL_DEVICE void add_c(const Parameters& p, const Work& work, const Place<C>& place,
                        float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  const int64_t group = (p.own_d ? work.group : 0) * p.c_group_stride;
  HADAL_UNROLL
  for (uint32_t i = 0; i < kRegisters<C>; i += 2) {
    float c[2] = {};
    if constexpr (C::kSwap) {
      HADAL_UNROLL
      for (uint32_t e = 0; e < 2; ++e) {
        const int64_t at = group + place.row(i + e) * p.c_stride + place.column(i + e);
        if (place.has(i + e)) c[e] = load_one(p, at);
      }
    } else {
      const int64_t at = group + place.row(i) * p.c_stride + place.column(i);
      if (place.has(i)) load_pair(p, at, c[0], c[1]);
    }
    x[i] = multiply_add(p.beta, c[0], x[i]);
    x[i + 1] = multiply_add(p.beta, c[1], x[i + 1]);
  }
}

/// x[kFrom + i] += bias of the column of register i, for all i below kTo - kFrom.
template <typename C, uint32_t kFrom, uint32_t kTo>
HADAL_DEVICE void add_bias(const float* bias, const Place<C>& place, float (&x)[kRegisters<C>]) {
  using namespace gpu::device;
  const auto at = [&](uint32_t i) {
    return load_constant(bias + minimum(place.column(i), place.last_column()));
  };
  HADAL_UNROLL
  for (uint32_t i = kFrom; i < kTo; i += 4) {
    // Registers i and i + 1 are two columns, or, exchanged, i and i + 2.
    const float first = at(i - kFrom), second = at(i - kFrom + (C::kSwap ? 2 : 1));
    x[i] += first;
    x[i + 1] += C::kSwap ? first : second;
    x[i + 2] += C::kSwap ? second : first;
    x[i + 3] += second;
  }
}

/// x * sigmoid(x). e^-x overflows to infinity for x < -88, which gives -0.
HADAL_DEVICE float silu(float x) {
  return x / (1 + gpu::device::exp2_approx(x * -1.44269504f));
}

/// The values of D of one wave, in the first of `tiles`; with SwiGLU in a tile that is not gated,
/// in its first half.
template <typename C>
HADAL_DEVICE void finish(const Parameters& p, const Work& work, const Place<C>& place,
                         float (&tiles)[C::kSlices][kRegisters<C>]) {
  constexpr uint32_t kAll = kRegisters<C>;
  HADAL_UNROLL
  for (uint32_t slice = 0; slice < C::kSlices; ++slice) {
    HADAL_UNROLL
    for (float& v : tiles[slice]) v *= p.alpha;
  }
  float(&x)[kAll] = tiles[0];
  if (p.c != nullptr) add_c<C>(p, work, place, x);
  const float* bias = p.bias == nullptr ? nullptr : p.bias + int64_t{work.group} * p.n;
  if (C::kSwap || p.finish != Finish::kSwiglu) {
    if (bias != nullptr) add_bias<C, 0, kAll>(bias, place, x);
    if (p.finish == Finish::kNone) return;
    HADAL_UNROLL
    for (float& v : x) v = silu(v);
    return;
  }
  constexpr uint32_t kGates = C::kGated ? kAll : kAll / 2, kFrom = kAll - kGates;
  float(&y)[kAll] = tiles[C::kSlices - 1];  // the partners, from kFrom on
  if (bias != nullptr) {
    add_bias<C, 0, kGates>(bias, place, x);
    add_bias<C, kFrom, kAll>(bias + p.columns, place, y);
  }
  HADAL_UNROLL
  for (uint32_t i = 0; i < kGates; ++i) x[i] = silu(x[i]) * y[kFrom + i];
}

}  // namespace hadal::gemm::sm90
