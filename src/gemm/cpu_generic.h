// The inner loops of gemm/cpu_kernels.h, written once over a small vocabulary S that each
// instruction set supplies (cpu_scalar.cpp, cpu_avx2.cpp, cpu_avx512.h, cpu_avx512bf16.cpp).
//
// What makes one text enough: wide A and wide B consist of dwords, one per column or row, whatever
// is in them - a float32 of one k, or two bf16 of a pair of k. S::kPerDword says which, and
// S::multiply_add consumes it. A "step" below is one dword of k.
//
// S has, besides the vocabulary of cpu/convert_generic.h (S::V are kLanes lanes of 32 bits):
//   kTileVectors<rows>         vectors of columns that tile() keeps in registers per row; chosen so
//                              that nothing spills and enough sums are in flight
//   kCodeVectors<rows>         the same for tile_e4m3(), which needs registers for widening
//   multiply_add, fma_f32, div_f32, max_f32_or_nan (b if it is a NaN)
//   splat_from(p)              the dword at p in every lane
//   load_once(p)               load(), which the compiler does not repeat for want of a register
//   transpose(x)               of kLanes vectors
//   pairs_first(x)             bytes of four columns, in their 16 bytes, from k0..k3 of each column
//                              to the order of codes of B
//   store_interleaved(p, a, b, c)        a0 b0 c0 a1 b1 c1 ...
//   load_steps<format>(p)      kLanes * kPerDword elements of a row, widened, in order
//   widen<format>(codes, out)  kLanes columns of a quad -> a vector per step
//   kHasDot                    whether dot() is an instruction
//   dot(sum, u, s)             sum + the four products of unsigned bytes of u and signed ones of s
//   i32_to_f32
//   look_up_int8(...)          with kHasDot: requantize() below
//
// S lives in an unnamed namespace, so that each translation unit has its own copy of all this,
// compiled for its own instruction set and invisible to the linker.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cpu/convert_generic.h"
#include "gemm/cpu_kernels.h"
#include "gemm/mqa_generic.h"
#include "tensor/types.h"

namespace hadal::gemm {

enum class Format { kE4m3, kE5m2, kBf16 };

/// bf16 of the 128 e5m2 codes without sign, like cpu::make_e4m3_table().
consteval cpu::E4m3Table make_e5m2_table() {
  cpu::E4m3Table table{};
  for (uint32_t code = 0; code < 128; ++code) {
    uint32_t bits = (code << 5) + (112u << 7);
    if (code < 4) bits = code == 0 ? 0 : code == 3 ? 0x3840 : 0x3700 + (code << 7);  // code * 2^-16
    if (code == 0x7c) bits = 0x7f80;
    if (code > 0x7c) bits = 0x7fc0 | (code & 3) << 5;
    table.bits[code] = static_cast<uint16_t>(bits);
    table.low[code] = static_cast<uint8_t>(bits);
    table.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return table;
}

template <class S>
struct CpuGeneric {
  using V = typename S::V;
  static constexpr int kLanes = static_cast<int>(S::kLanes);
  static constexpr int kVectorBytes = 4 * kLanes;
  static constexpr int kRowBytes = 4 * kPanel;  // one step of wide B, or one quad of codes
  static constexpr int kQuadSteps = kQuad / S::kPerDword;

  static constexpr int element_bytes(Format format) { return format == Format::kBf16 ? 2 : 1; }

  // ---------------------------------------------------------------- packing

  /// Dwords d to d + kLanes of up to kLanes rows of `bytes` bytes; zero where there are none.
  static void load_edge(const uint8_t* b, int64_t stride, int rows, int64_t bytes, int64_t d,
                        V (&x)[kLanes]) {
    for (int i = 0; i < kLanes; ++i) {
      uint8_t buffer[kVectorBytes] = {};
      const int64_t rest = bytes - 4 * d;
      const int64_t have = i >= rows ? 0 : rest < kVectorBytes ? rest : kVectorBytes;
      if (have > 0) __builtin_memcpy(buffer, b + i * stride + 4 * d, static_cast<size_t>(have));
      x[i] = S::load(buffer);
    }
  }

  /// Hands out the dwords [0, dwords) of kPanel rows of `bytes` bytes each: sink(d, row, x) gets
  /// dword d of the kLanes rows from `row` on. kLanes rows advance together: the prefetchers follow
  /// 16 streams but not 64, which were half as fast where rows are a multiple of 4096 bytes apart.
  template <typename Sink>
  static void transpose_rows(const uint8_t* b, int64_t stride, int rows, int64_t bytes,
                             int64_t dwords, Sink sink) {
    for (int row = 0; row < kPanel; row += kLanes) {
      for (int64_t d = 0; d < dwords; d += kLanes) {
        const uint8_t* from = b + row * stride;
        V x[kLanes];
        if (row + kLanes <= rows && 4 * d + kVectorBytes <= bytes) {
          const uint8_t* p = from + 4 * d;
          for (int i = 0; i < kLanes; ++i) {
            x[i] = S::load(p);
            p += stride;
          }
          S::transpose(x);
          for (int i = 0; i < kLanes; ++i) sink(d + i, row, x[i]);
          continue;
        }
        load_edge(from, stride, rows - row, bytes, d, x);
        S::transpose(x);
        for (int i = 0; i < kLanes && d + i < dwords; ++i) sink(d + i, row, x[i]);
      }
    }
  }

  static void pack_b(const uint8_t* b, int64_t stride, int rows, int64_t k, uint8_t* codes) {
    transpose_rows(b, stride, rows, k, (k + 3) / kQuad, [=](int64_t quad, int row, V x) {
      S::store(codes + quad * kRowBytes + 4 * row, S::pairs_first(x));
    });
  }

  static void pack_b_bf16(const Bf16* b, int64_t stride, int rows, int64_t k, void* wide) {
    uint8_t* out = static_cast<uint8_t*>(wide);
    const auto sink = [=](int64_t pair, int row, V x) {
      if constexpr (S::kPerDword == 2) {
        S::store(out + pair * kRowBytes + 4 * row, x);
      } else {
        S::store(out + 2 * pair * kRowBytes + 4 * row, S::template shift_left<16>(x));
        S::store(out + (2 * pair + 1) * kRowBytes + 4 * row, S::bit_and(x, S::splat(0xffff0000)));
      }
    };
    transpose_rows(reinterpret_cast<const uint8_t*>(b), 2 * stride, rows, 2 * k,
                   (k + 3) / kQuad * 2, sink);
  }

  template <Format kFormat>
  static void widen(const uint8_t* codes, int64_t k, void* wide) {
    uint8_t* out = static_cast<uint8_t*>(wide);
    for (int64_t quad = 0; quad < k / kQuad; ++quad) {
      for (int column = 0; column < kPanel; column += kLanes) {
        V x[kQuadSteps];
        S::template widen<kFormat>(codes + quad * kRowBytes + 4 * column, x);
        for (int i = 0; i < kQuadSteps; ++i) {
          S::store(out + (quad * kQuadSteps + i) * kRowBytes + 4 * column, x[i]);
        }
      }
    }
  }

  template <Format kFormat>
  static void pack_a_steps(const uint8_t* const rows[kTileRows], void* out) {
    V x[kTileRows];
    for (int r = 0; r < kTileRows; ++r) {
      x[r] = rows[r] == nullptr ? S::splat(0) : S::template load_steps<kFormat>(rows[r]);
    }
    S::store_interleaved(out, x[0], x[1], x[2]);
  }

  template <Format kFormat>
  static void pack_a(const uint8_t* const rows[kTileRows], int64_t k, void* wide) {
    constexpr int64_t kChunk = kLanes * S::kPerDword;
    constexpr int kBytes = element_bytes(kFormat);
    uint8_t* out = static_cast<uint8_t*>(wide);
    const uint8_t* next[kTileRows] = {rows[0], rows[1], rows[2]};
    int64_t rest = k;
    for (; rest >= kChunk; rest -= kChunk) {
      pack_a_steps<kFormat>(next, out);
      for (const uint8_t*& row : next) row = row == nullptr ? nullptr : row + kChunk * kBytes;
      out += kTileRows * kVectorBytes;
    }
    if (rest == 0) return;
    uint8_t last[kTileRows][kChunk * kBytes] = {};
    uint8_t steps[kTileRows * kVectorBytes];
    for (int r = 0; r < kTileRows; ++r) {
      if (next[r] == nullptr) continue;
      __builtin_memcpy(last[r], next[r], static_cast<size_t>(rest * kBytes));
      next[r] = last[r];
    }
    pack_a_steps<kFormat>(next, steps);
    const int64_t used = (rest + kQuad - 1) / kQuad * kQuadSteps * kTileRows * 4;
    __builtin_memcpy(out, steps, static_cast<size_t>(used));
  }

  template <Format kFormat>
  static void pack_a_codes(const uint8_t* const rows[kTileRows], int64_t k, void* wide) {
    pack_a<kFormat>(rows, k, wide);
  }
  static void pack_a_bf16(const Bf16* const rows[kTileRows], int64_t k, void* wide) {
    const uint8_t* bytes[kTileRows];
    for (int r = 0; r < kTileRows; ++r) bytes[r] = reinterpret_cast<const uint8_t*>(rows[r]);
    pack_a<Format::kBf16>(bytes, k, wide);
  }

  // ---------------------------------------------------------------- int8

  /// kBlock codes -> int8 + kOffset. Returns the code of the largest magnitude.
  template <uint8_t kOffset>
  static uint8_t requantize(const uint8_t* codes, const Int8Table& table, uint8_t* out) {
    if constexpr (S::kHasDot) return S::template look_up_int8<kOffset>(codes, table, out);
    uint8_t largest = 0;
    for (int i = 0; i < kBlock; ++i) {
      const uint8_t magnitude = codes[i] & 0x7f;
      largest = magnitude > largest ? magnitude : largest;
    }
    const uint8_t* row = table.magnitude[largest];
    for (int i = 0; i < kBlock; ++i) {
      const uint8_t x = row[codes[i] & 0x7f];
      out[i] = static_cast<uint8_t>((codes[i] & 0x80 ? -x : x) + kOffset);
    }
    return largest;
  }

  /// requantize() of `count` codes, which zeros follow. None without a row.
  template <uint8_t kOffset>
  static uint8_t requantize_row(const uint8_t* codes, int64_t count, const Int8Table& table,
                                uint8_t* out) {
    if (codes != nullptr && count >= kBlock) return requantize<kOffset>(codes, table, out);
    uint8_t last[kBlock] = {};
    if (codes != nullptr) __builtin_memcpy(last, codes, static_cast<size_t>(count));
    return requantize<kOffset>(last, table, out);
  }

  static void int8_pack_b(const uint8_t* b, int64_t stride, int rows, int64_t k,
                          const Int8Table& table, uint8_t* codes, float* steps) {
    alignas(64) uint8_t block[kLanes][kBlock];
    for (int row = 0; row < kPanel; row += kLanes) {
      for (int64_t done = 0; done < k; done += kBlock) {
        for (int i = 0; i < kLanes; ++i) {
          const uint8_t* from = row + i < rows ? b + (row + i) * stride + done : nullptr;
          const uint8_t largest = requantize_row<0x80>(from, k - done, table, block[i]);
          steps[done / kBlock * kPanel + row + i] = table.step[largest];
        }
        const int64_t quads = ((k - done < kBlock ? k - done : kBlock) + kQuad - 1) / kQuad;
        uint8_t* out = codes + done / kQuad * kRowBytes + 4 * row;
        for (int64_t quad = 0; quad < quads; quad += kLanes) {
          V x[kLanes];
          for (int i = 0; i < kLanes; ++i) x[i] = S::load(block[i] + 4 * quad);
          S::transpose(x);
          for (int i = 0; i < kLanes && quad + i < quads; ++i) {
            S::store(out + (quad + i) * kRowBytes, x[i]);
          }
        }
      }
    }
  }

  static void int8_pack_a(const uint8_t* const rows[kTileRows], int64_t k, const Int8Table& table,
                          uint8_t* out, float* steps, int32_t* starts) {
    alignas(64) uint8_t block[kTileRows][kBlock];
    alignas(64) uint8_t interleaved[kTileRows * kBlock];
    for (int64_t done = 0; done < k; done += kBlock) {
      for (int r = 0; r < kTileRows; ++r) {
        const uint8_t* from = rows[r] == nullptr ? nullptr : rows[r] + done;
        *steps++ = table.step[requantize_row<0>(from, k - done, table, block[r])];
        int32_t sum = 0;
        for (const uint8_t x : block[r]) sum += static_cast<int8_t>(x);
        *starts++ = -128 * sum;
      }
      for (int quad = 0; quad < kBlock / kQuad; quad += kLanes) {
        S::store_interleaved(interleaved + quad * 4 * kTileRows, S::load(block[0] + 4 * quad),
                             S::load(block[1] + 4 * quad), S::load(block[2] + 4 * quad));
      }
      const int64_t quads = ((k - done < kBlock ? k - done : kBlock) + kQuad - 1) / kQuad;
      __builtin_memcpy(out, interleaved, static_cast<size_t>(quads * 4 * kTileRows));
      out += quads * 4 * kTileRows;
    }
  }

  // ---------------------------------------------------------------- tiles

  /// How far ahead of itself a single tile fetches B.
  static constexpr int kPrefetchBytes = 4096;

  /// Sums of a block of float32 products.
  struct FloatSums {
    template <int kRows, int kVectors>
    static void start(const TileArgs&, int64_t, V (&block_sum)[kRows][kVectors]) {
      for (auto& row : block_sum) {
        for (V& x : row) x = S::splat(0);
      }
    }

    /// sums += block sums * a_scale * b_scale, for the columns from `column` on.
    template <int kRows, int kVectors>
    static void add_block(const TileArgs& args, int64_t block, int column,
                          const V (&block_sum)[kRows][kVectors], V (&sum)[kRows][kVectors]) {
      const float* a_scale = args.a_scale + block * args.a_scale_step;
      const float* b_scale = args.b_scale + block * args.b_scale_step + column;
      if (!args.b_scale_per_column) b_scale -= column;
      for (int r = 0; r < kRows; ++r) {
        const V a = S::splat_from(a_scale + r);
        const V one = S::mul_f32(a, S::splat_from(b_scale));
        for (int j = 0; j < kVectors; ++j) {
          const V scale =
              args.b_scale_per_column ? S::mul_f32(a, S::load(b_scale + j * kLanes)) : one;
          sum[r][j] = S::fma_f32(block_sum[r][j], scale, sum[r][j]);
        }
      }
    }
  };

  /// The sources of B: wide in memory, codes widened on the way, int8. accumulate() multiplies
  /// `quads` quads from a block's start on.
  struct Wide : FloatSums {
    static constexpr int kSteps = kQuadSteps;  // of A, for each quad
    static constexpr int64_t kQuadBytes = int64_t{kQuadSteps} * kRowBytes;
    static constexpr bool kKeepsSums = true;
    template <int kRows>
    static constexpr int kVectors = S::template kTileVectors<kRows>;

    template <int kRows, int kVectors>
    static void accumulate(const uint32_t* a, const uint8_t* b, int quads,
                           V (&sum)[kRows][kVectors]) {
      int step = 0;
      do {
        V y[kRows];
        for (int r = 0; r < kRows; ++r) y[r] = S::splat_from(a + r);
        for (int j = 0; j < kVectors; ++j) {
          const V x = S::load_once(b + j * kVectorBytes);
          for (int r = 0; r < kRows; ++r) sum[r][j] = S::multiply_add(sum[r][j], y[r], x);
        }
        a += kTileRows;
        b += kRowBytes;
      } while (++step < quads * kQuadSteps);
    }
  };

  template <Format kFormat>
  struct Codes : FloatSums {
    static constexpr int kSteps = kQuadSteps;
    static constexpr int64_t kQuadBytes = kRowBytes;
    static constexpr bool kKeepsSums = false;  // tables of codes need the registers
    template <int kRows>
    static constexpr int kVectors = S::template kCodeVectors<kRows>;

    template <int kRows, int kVectors>
    static void accumulate(const uint32_t* a, const uint8_t* b, int quads,
                           V (&sum)[kRows][kVectors]) {
      for (int quad = 0; quad < quads; ++quad) {
        for (int byte = 0; byte < kVectors * kVectorBytes; byte += 64) {
          __builtin_prefetch(b + byte + kPrefetchBytes);
        }
        for (int j = 0; j < kVectors; ++j) {
          V x[kQuadSteps];
          S::template widen<kFormat>(b + j * kVectorBytes, x);
          for (int i = 0; i < kQuadSteps; ++i) {
            for (int r = 0; r < kRows; ++r) {
              sum[r][j] = S::multiply_add(sum[r][j], S::splat_from(a + i * kTileRows + r), x[i]);
            }
          }
        }
        a += kQuadSteps * kTileRows;
        b += kRowBytes;
      }
    }
  };

  template <bool kStream>
  struct Int8 {
    static constexpr int kSteps = 1;
    static constexpr int64_t kQuadBytes = kRowBytes;
    static constexpr bool kKeepsSums = S::kHasDot;
    template <int kRows>
    static constexpr int kVectors =
        S::kHasDot ? S::template kTileVectors<kRows> : S::template kCodeVectors<kRows>;

    template <int kRows, int kVectors>
    static void start(const TileArgs& args, int64_t block, V (&block_sum)[kRows][kVectors]) {
      for (int r = 0; r < kRows; ++r) {
        const V x = S::splat_from(args.a_start + block * args.a_scale_step + r);
        for (int j = 0; j < kVectors; ++j) block_sum[r][j] = x;
      }
    }

    template <int kRows, int kVectors>
    static void accumulate(const uint32_t* a, const uint8_t* b, int quads,
                           V (&sum)[kRows][kVectors]) {
      int quad = 0;
      do {
        if (kStream) {
          for (int byte = 0; byte < kVectors * kVectorBytes; byte += 64) {
            __builtin_prefetch(b + byte + kPrefetchBytes);
          }
        }
        V y[kRows];
        for (int r = 0; r < kRows; ++r) y[r] = S::splat_from(a + r);
        for (int j = 0; j < kVectors; ++j) {
          const V x = S::load_once(b + j * kVectorBytes);
          for (int r = 0; r < kRows; ++r) sum[r][j] = S::dot(sum[r][j], x, y[r]);
        }
        a += kTileRows;
        b += kRowBytes;
      } while (++quad < quads);
    }

    /// Multiplied, then added: instruction sets without a fused operation give the same bits.
    template <int kRows, int kVectors>
    static void add_block(const TileArgs& args, int64_t block, int column,
                          const V (&block_sum)[kRows][kVectors], V (&sum)[kRows][kVectors]) {
      const float* b_scale = args.b_scale + block * args.b_scale_step + column;
      for (int r = 0; r < kRows; ++r) {
        const V a = S::splat_from(args.a_scale + block * args.a_scale_step + r);
        for (int j = 0; j < kVectors; ++j) {
          const V scale = S::mul_f32(a, S::load(b_scale + j * kLanes));
          sum[r][j] = S::add_f32(sum[r][j], S::mul_f32(S::i32_to_f32(block_sum[r][j]), scale));
        }
      }
    }
  };

  /// From memory even if they are zero: g++ 12 spills what is either loaded or set.
  template <int kRows, int kVectors>
  static void load_sums(const float* from, bool zero, V (&sum)[kRows][kVectors]) {
    alignas(64) static constexpr float kZeros[kTileRows * kPanel] = {};
    if (zero) from = kZeros;
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) sum[r][j] = S::load(from + r * kPanel + j * kLanes);
    }
  }
  template <int kRows, int kVectors>
  static void store_sums(float* to, const V (&sum)[kRows][kVectors]) {
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) S::store(to + r * kPanel + j * kLanes, sum[r][j]);
    }
  }

  template <class Source, int kRows>
  static void tile_rows(const TileArgs& args) {
    constexpr int kVectors = Source::template kVectors<kRows>;
    // Sums of a whole panel stay in registers next to those of a block, where both fit.
    constexpr bool kKeepSums = Source::kKeepsSums && kVectors * kLanes == kPanel;
    const uint32_t* a = static_cast<const uint32_t*>(args.a);
    const uint8_t* b = static_cast<const uint8_t*>(args.b);
    const uint8_t* next = static_cast<const uint8_t*>(args.next);
    V sum[kRows][kVectors];
    if (kKeepSums) load_sums(args.sums, args.first, sum);
    int64_t k = 0;
    do {
      for (int64_t byte = 0; byte < args.next_bytes; byte += 64) {
        __builtin_prefetch(next + byte, 0, 2);
      }
      next += args.next_bytes;
      const int quads = static_cast<int>((args.k - k < kBlock ? args.k - k : kBlock) / kQuad);
      for (int column = 0; column < kPanel; column += kVectors * kLanes) {
        V block_sum[kRows][kVectors];
        Source::start(args, k / kBlock, block_sum);
        Source::accumulate(a, b + 4 * column, quads, block_sum);
        if (!kKeepSums) load_sums(args.sums + column, args.first && k == 0, sum);
        Source::add_block(args, k / kBlock, column, block_sum, sum);
        if (!kKeepSums) store_sums(args.sums + column, sum);
      }
      a += quads * Source::kSteps * kTileRows;
      b += quads * Source::kQuadBytes;
      k += kBlock;
    } while (k < args.k);
    if (kKeepSums) store_sums(args.sums, sum);
  }

  template <class Source>
  static void tile(const TileArgs& args) {
    switch (args.rows) {
      case 1: return tile_rows<Source, 1>(args);
      case 2: return tile_rows<Source, 2>(args);
      default: return tile_rows<Source, 3>(args);
    }
  }

  // ---------------------------------------------------------------- finish

  static V splat_f32(float x) { return S::splat(__builtin_bit_cast(uint32_t, x)); }

  /// x * sigmoid(x) = x / (1 + e) for x >= 0 and x * e / (1 + e) for x < 0, with e = exp(-|x|),
  /// which neither overflows nor cancels; within 3 units in the last place, subnormal results
  /// included. NaN stays NaN, -infinity gives -0.
  ///
  /// exp: n = round(y / ln 2), r = y - n ln 2 in two parts, the first with 9 bits so that n times
  /// it is exact; |r| < 0.35, where Taylor's polynomial of degree 7 is 5e-9 off; 2^n in two factors
  /// because n goes down to -174.
  static V silu(V x) {
    const V sign = S::splat(0x80000000);
    const V magnitude = S::min_f32_or_nan(splat_f32(120), S::bit_and(x, S::splat(0x7fffffff)));
    const V y = S::bit_or(magnitude, sign);
    const float kRound = 12582912;  // 1.5 * 2^23: adding it leaves the rounded integer in the bits
    const V shifted = S::fma_f32(y, splat_f32(1.44269504f), splat_f32(kRound));
    const V n = S::sub(shifted, splat_f32(kRound));
    const V n_f32 = S::add_f32(shifted, splat_f32(-kRound));
    V r = S::fma_f32(n_f32, splat_f32(-0.693359375f), y);
    r = S::fma_f32(n_f32, splat_f32(2.12194440e-4f), r);
    V p = splat_f32(1.0f / 5040);
    constexpr float kTaylor[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (const float c : kTaylor) p = S::fma_f32(p, r, splat_f32(c));
    const V n_half = S::sub(S::template shift_right<1>(S::add(n, S::splat(512))), S::splat(256));
    const V scale = S::template shift_left<23>(S::add(n_half, S::splat(127)));
    const V scale_rest = S::template shift_left<23>(S::add(S::sub(n, n_half), S::splat(127)));
    const auto times_scale = [&](V v) { return S::mul_f32(S::mul_f32(v, scale), scale_rest); };
    const V below = times_scale(S::mul_f32(y, p));
    const V top = S::select(S::greater(S::splat(0), x), below, x);
    return S::div_f32(top, S::add_f32(splat_f32(1), times_scale(p)));
  }

  static V load_as_f32(const void* p, DType type, int i) {
    const uint8_t* bytes = static_cast<const uint8_t*>(p);
    if (type == DType::kF32) return S::load(bytes + 4 * i);
    if (type == DType::kF16) return S::f16_to_f32(S::load_half(bytes + 2 * i));
    return S::template shift_left<16>(S::load_u16(bytes + 2 * i));
  }

  /// alpha * sum + beta * c + bias, from column i on.
  static V affine(const FinishArgs& args, const float* sums, const void* c, const float* bias,
                  int i) {
    V x = S::mul_f32(splat_f32(args.alpha), S::load(sums + i));
    if (c != nullptr) {
      x = S::fma_f32(splat_f32(args.beta), load_as_f32(c, args.c_type, i), x);
    }
    if (bias != nullptr) x = S::add_f32(x, S::load(bias + i));
    return x;
  }

  static V result(const FinishArgs& args, int i) {
    const V x = affine(args, args.sums, args.c, args.bias, i);
    if (args.up_sums != nullptr) {
      return S::mul_f32(silu(x), affine(args, args.up_sums, nullptr, args.up_bias, i));
    }
    return args.silu ? silu(x) : x;
  }

  static constexpr int kFinishColumns = 2 * kLanes;

  static void finish_columns(const FinishArgs& args, int i) {
    const V x0 = result(args, i);
    const V x1 = result(args, i + kLanes);
    uint8_t* d = static_cast<uint8_t*>(args.d);
    if (args.type == DType::kF32) {
      S::store(d + 4 * i, x0);
      S::store(d + 4 * (i + kLanes), x1);
    } else if (args.type == DType::kF16) {
      S::store_f16(d + 2 * i, x0);
      S::store_f16(d + 2 * (i + kLanes), x1);
    } else {
      using Convert = cpu::Convert<S>;
      S::store_low16(d + 2 * i, Convert::round_bf16(x0), Convert::round_bf16(x1));
    }
  }

  /// A copy of `count` elements from element i of `from` on, with room for kFinishColumns.
  struct Tail {
    alignas(64) uint8_t bytes[4 * kFinishColumns] = {};

    template <typename T>
    const T* fill(const T* from, int i, int count, size_t size) {
      if (from == nullptr) return nullptr;
      __builtin_memcpy(bytes, reinterpret_cast<const uint8_t*>(from) + i * size,
                       static_cast<size_t>(count) * size);
      return reinterpret_cast<const T*>(bytes);
    }
    const void* fill(const void* from, int i, int count, size_t size) {
      return fill(static_cast<const uint8_t*>(from), i, count, size);
    }
  };

  /// The usual case, which small k would feel.
  static int finish_plain(const FinishArgs& args) {
    const V alpha = splat_f32(args.alpha);
    const float* const sums = args.sums;
    uint8_t* const d = static_cast<uint8_t*>(args.d);
    const int columns = args.columns / kFinishColumns * kFinishColumns;
    for (int i = 0; i < columns; i += kFinishColumns) {
      const V x0 = S::mul_f32(alpha, S::load(sums + i));
      const V x1 = S::mul_f32(alpha, S::load(sums + i + kLanes));
      using Convert = cpu::Convert<S>;
      S::store_low16(d + 2 * i, Convert::round_bf16(x0), Convert::round_bf16(x1));
    }
    return columns;
  }

  static void finish(const FinishArgs& args) {
    const bool plain = args.type == DType::kBf16 && args.c == nullptr && args.bias == nullptr &&
                       args.up_sums == nullptr && !args.silu;
    int i = plain ? finish_plain(args) : 0;
    for (; i + kFinishColumns <= args.columns; i += kFinishColumns) finish_columns(args, i);
    const int rest = args.columns - i;
    if (rest == 0) return;
    Tail sums, up_sums, c, bias, up_bias, d;
    const size_t c_size = args.c_type == DType::kF32 ? 4 : 2;
    const size_t size = args.type == DType::kF32 ? 4 : 2;
    FinishArgs tail = args;
    tail.sums = sums.fill(args.sums, i, rest, 4);
    tail.up_sums = up_sums.fill(args.up_sums, i, rest, 4);
    tail.c = c.fill(args.c, i, rest, c_size);
    tail.bias = bias.fill(args.bias, i, rest, 4);
    tail.up_bias = up_bias.fill(args.up_bias, i, rest, 4);
    tail.d = d.bytes;
    finish_columns(tail, 0);
    __builtin_memcpy(static_cast<uint8_t*>(args.d) + i * size, d.bytes,
                     static_cast<size_t>(rest) * size);
  }

  static consteval CpuKernels table() {
    return {
        .wide_bytes = 4 / S::kPerDword,
        .pack_b = pack_b,
        .pack_b_bf16 = pack_b_bf16,
        .widen_e4m3 = widen<Format::kE4m3>,
        .widen_e5m2 = widen<Format::kE5m2>,
        .pack_a_e4m3 = pack_a<Format::kE4m3>,
        .pack_a_e5m2 = pack_a<Format::kE5m2>,
        .pack_a_bf16 = pack_a_bf16,
        .tile = tile<Wide>,
        .tile_e4m3 = tile<Codes<Format::kE4m3>>,
        .tile_e5m2 = tile<Codes<Format::kE5m2>>,
        .int8_pack_b = int8_pack_b,
        .int8_pack_a = int8_pack_a,
        .int8_tile = tile<Int8<false>>,
        .int8_stream = tile<Int8<true>>,
        .finish = finish,
        .score = MqaGeneric<S>::score,
    };
  }
};

}  // namespace hadal::gemm
