// The inner loop of the scores of mqa_logits.h, over the vocabulary of gemm/cpu_generic.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "gemm/cpu_kernels.h"

namespace hadal::gemm {

template <class S>
struct MqaGeneric {
  using V = typename S::V;
  static constexpr int kLanes = static_cast<int>(S::kLanes);
  /// Heads at once; with so many vectors of keys nothing spills and enough sums are in flight.
  static constexpr int kHeads = 4;
  static constexpr int kVectors = kLanes == 16 ? 4 : 2;

  /// total += w * max(0, dot) of kCount heads, in their order.
  template <int kCount>
  static void add_heads(const ScoreArgs& args, int head, const uint8_t* keys,
                        V (&total)[kVectors]) {
    const int64_t steps = args.depth / S::kPerDword;
    const uint8_t* q = static_cast<const uint8_t*>(args.q) + head * steps * 4;
    V sum[kCount][kVectors];
    for (auto& row : sum) {
      for (V& x : row) x = S::splat(0);
    }
    int64_t step = 0;
    do {
      V y[kCount];
      for (int r = 0; r < kCount; ++r) y[r] = S::splat_from(q + r * steps * 4);
      for (int j = 0; j < kVectors; ++j) {
        const V x = S::load_once(keys + j * kLanes * 4);
        for (int r = 0; r < kCount; ++r) sum[r][j] = S::multiply_add(sum[r][j], y[r], x);
      }
      q += 4;
      keys += 4 * kPanel;
    } while (++step < steps);
    for (int r = 0; r < kCount; ++r) {
      const V weight = S::splat_from(args.weights + head + r);
      for (int j = 0; j < kVectors; ++j) {
        const V positive = S::max_f32_or_nan(S::splat(0), sum[r][j]);
        total[j] = S::fma_f32(positive, weight, total[j]);
      }
    }
  }

  /// Fetches what comes next in as many parts as there are turns of heads: all at once would fill
  /// the queues of misses and stall.
  static void fetch(const ScoreArgs& args, int head) {
    const int64_t begin = args.next_bytes * head / args.heads;
    const int64_t end = args.next_bytes * (head + kHeads) / args.heads;
    const uint8_t* next = static_cast<const uint8_t*>(args.next);
    for (int64_t byte = begin; byte < end; byte += 64) __builtin_prefetch(next + byte, 0, 2);
  }

  static void score(const ScoreArgs& args) {
    for (int column = 0; column < kPanel; column += kVectors * kLanes) {
      const uint8_t* keys = static_cast<const uint8_t*>(args.keys) + 4 * column;
      V total[kVectors];
      for (V& x : total) x = S::splat(0);
      int head = 0;
      for (; head + kHeads <= args.heads; head += kHeads) {
        if (column == 0) fetch(args, head);
        add_heads<kHeads>(args, head, keys, total);
      }
      for (; head < args.heads; ++head) add_heads<1>(args, head, keys, total);
      for (int j = 0; j < kVectors; ++j) {
        const int at = column + j * kLanes;
        S::store(args.out + at, S::mul_f32(total[j], S::load(args.scales + at)));
      }
    }
  }
};

}  // namespace hadal::gemm
