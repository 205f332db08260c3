// The inner loops of the CPU backend, once per instruction set (cpu_<isa>.cpp). The driver is
// cpu_plan.cpp.
//
// Work is cut into tiles of kTileRows rows of A by one panel of kPanel columns of D (rows of B),
// and along k into blocks of kBlock. In every instruction set a result is
//
//   sum = 0;  for each block: { s = 0;  for k in the block, in order: s = multiply_add(a, b, s);
//                               sum = fma(s, a_scale * b_scale, sum); }
//
// so that it does not depend on which rows share a tile, on threads, or on packing. multiply_add is
// vdpbf16ps over pairs of k (avx512bf16), a fused multiply-add (avx512, avx2), or a multiplication
// and an addition (scalar, whose fma rounds twice as well); results of different instruction sets
// differ in rounding.
//
// In int8 mode (GemmSpec::int8) blocks of both sides are requantized (int8_table.h), and
//
//   s = sum of a * b over the block, in integers;  sum = sum + float(s) * (a_scale * b_scale)
//
// where each of the two multiplications and the addition rounds: s is exact, so that all
// instruction sets give the same bits. The instruction multiplies unsigned bytes of B by signed
// ones of A; B is stored with 128 added, and s starts at -128 times the sum of the row of A.
//
// Layouts. "Wide" is what multiply_add reads: bf16 pairs [k/2][x][2] (avx512bf16) or float32
// [k][x] (others). k is filled up with zeros to a multiple of kQuad; where k ends inside a block,
// the block is shorter.
//
//   codes of B   [k/4][64][4] bytes, within each 16 bytes ordered column-pairs first: bytes
//                c0k0 c0k1 c1k0 c1k1 c2k0 c2k1 c3k0 c3k1 c0k2 c0k3 ... c3k3 of four columns c0..c3,
//                so that one unpack instruction gives pairs in the order of the columns
//   wide B       x is the column, 64 of them
//   int8 B       [k/4][64][4] bytes: int8 + 128
//   int8 A       [k/4][3][4] int8
//   wide A       x is the row of the tile, 3 of them: a tile is [k/2][3][2] bf16 or [k][3] float32
//
// Plain pointers and sizes only: this header is included by translation units that are compiled for
// newer instruction sets (cpu/kernels.h says why).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "gemm/int8_table.h"
#include "tensor/types.h"

namespace hadal::gemm {

inline constexpr int kTileRows = 3;
inline constexpr int kPanel = 64;
inline constexpr int kBlock = 128;
inline constexpr int kQuad = 4;

/// One tile over a range of k. `rows` is 1..3; A's layout has room for 3 always.
struct TileArgs {
  const void* a = nullptr;  // wide or int8 A of the range
  const void* b = nullptr;  // wide or int8 B, or codes of B, of the range
  int rows = 0;
  int64_t k = 0;  // a multiple of kQuad, at least that; the range starts at a block's start
  const float* a_scale = nullptr;    // [block][3]: a_scale[block * a_scale_step + row]
  int64_t a_scale_step = 0;          // 3, or 0: the same for every block
  const int32_t* a_start = nullptr;  // int8: where the sums of a block start; as a_scale
  const float* b_scale = nullptr;  // one for all columns, or one per column ([64], 64-byte aligned)
  int64_t b_scale_step = 0;        // floats from one block's to the next's; may be 0
  bool b_scale_per_column = false;
  float* sums = nullptr;       // [rows][kPanel], 64-byte aligned
  bool first = false;          // sums start at zero; else they are added to
  const void* next = nullptr;  // what will be read after this tile: the tile fetches next_bytes of
  int64_t next_bytes = 0;      // it per block into the second-level cache
};

/// What becomes of a row of sums. y = activation(alpha * sum + beta * c + bias), stored as `type`,
/// rounded to nearest, ties to even; NaN stays NaN. c may be d.
struct FinishArgs {
  const float* sums = nullptr;     // [columns]; 64-byte aligned
  const float* up_sums = nullptr;  // SwiGLU: y = silu(of the gates, `sums`) * (of `up_sums`)
  int columns = 0;                 // 1..128
  float alpha = 1, beta = 0;
  const void* c = nullptr;  // null: none, as with up_sums
  DType c_type = DType::kF32;
  const float* bias = nullptr;  // null: none
  const float* up_bias = nullptr;
  bool silu = false;
  void* d = nullptr;  // kF32, kBf16, kF16: `columns` elements, no alignment beyond the type's
  DType type = DType::kF32;  // kF32, kBf16, kF16
};

/// One query and one panel of keys (mqa_logits.h): out[j] = scales[j] * the sum over heads, in
/// order, of weights[h] * max(0, dot(q[h], key j)).
struct ScoreArgs {
  const void* q = nullptr;     // [heads][depth] bf16 or float32, as wide_bytes says
  const void* keys = nullptr;  // wide B of `depth`
  int heads = 0;
  int64_t depth = 0;  // a multiple of kQuad, at least that
  const float* weights = nullptr;
  const float* scales = nullptr;  // [kPanel]
  float* out = nullptr;           // [kPanel]
  const void* next = nullptr;     // what will be read after this: fetched bit by bit into the
  int64_t next_bytes = 0;         // second-level cache
};

struct CpuKernels {
  int64_t wide_bytes;  // per element of wide A and B: 2 or 4

  /// rows (1..64) of B at b + row * stride, k codes each -> codes; missing rows and k become zero.
  void (*pack_b)(const uint8_t* b, int64_t stride, int rows, int64_t k, uint8_t* codes);
  /// The same for bf16, straight to wide B.
  void (*pack_b_bf16)(const Bf16* b, int64_t stride, int rows, int64_t k, void* wide);
  /// codes of k (a multiple of kQuad) -> wide B.
  void (*widen_e4m3)(const uint8_t* codes, int64_t k, void* wide);
  void (*widen_e5m2)(const uint8_t* codes, int64_t k, void* wide);

  /// Up to 3 rows of A (null: a row of zeros), k elements each -> a tile of wide A.
  void (*pack_a_e4m3)(const uint8_t* const rows[kTileRows], int64_t k, void* wide);
  void (*pack_a_e5m2)(const uint8_t* const rows[kTileRows], int64_t k, void* wide);
  void (*pack_a_bf16)(const Bf16* const rows[kTileRows], int64_t k, void* wide);

  /// From wide B, for many rows that share one widening.
  void (*tile)(const TileArgs& args);
  /// From codes of B, widened in registers: for a single tile, bound by memory.
  void (*tile_e4m3)(const TileArgs& args);
  void (*tile_e5m2)(const TileArgs& args);

  /// `k` codes of rows of B, as pack_b() -> int8 B, and the steps of blocks: [block][64].
  void (*int8_pack_b)(const uint8_t* b, int64_t stride, int rows, int64_t k, const Int8Table& table,
                      uint8_t* codes, float* steps);
  /// Rows of A, as pack_a_e4m3() -> int8 A, and of each block and row the step and where sums
  /// start: [block][3].
  void (*int8_pack_a)(const uint8_t* const rows[kTileRows], int64_t k, const Int8Table& table,
                      uint8_t* out, float* steps, int32_t* starts);
  /// From int8 B; scales are per column.
  void (*int8_tile)(const TileArgs& args);
  /// The same for a single tile, bound by memory.
  void (*int8_stream)(const TileArgs& args);

  void (*finish)(const FinishArgs& args);

  void (*score)(const ScoreArgs& args);
};

extern const CpuKernels kScalarCpuKernels;
extern const CpuKernels kAvx2CpuKernels;        // only on x86-64
extern const CpuKernels kAvx512CpuKernels;      // only on x86-64
extern const CpuKernels kAvx512Bf16CpuKernels;  // only on x86-64

}  // namespace hadal::gemm
