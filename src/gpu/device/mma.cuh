// Matrix products of a warpgroup (wgmma), and the loads and stores of 8x8 matrices around them.
//
// D[64, N] (+)= A[64, K] B[N, K]^T: 64 rows per warpgroup, N any multiple of 8 up to 256, K 32
// bytes deep (32 for FP8, 16 for bf16 and f16, 8 for tf32). A lies in shared memory or in
// registers, B in shared memory, D in N/2 float registers per thread:
//
//   d[4 * j + 2 * h + i] is D[16 * warp + 8 * h + lane / 4][8 * j + 2 * (lane % 4) + i]
//
// with `warp` within the warpgroup, which starts at a multiple of four warps. A in registers: a[0]
// holds row lane / 4, a[1] row lane / 4 + 8, bytes 4 * (lane % 4) to +3 of the first 16 bytes of K;
// a[2] and a[3] the same of the second.
//
//   begin_mma(acc);                                  // registers are ready
//   mma<Operand::kE4m3>(acc, a, b, /*accumulate=*/k != 0);   ...more...
//   commit_mma();
//   wait_mma<0>(acc);                                // registers may be read
//
// Between mma() and the wait_mma() that names them, accumulators and A registers belong to the
// hardware. FP8 products are exact; Hopper aligns the sum of an instruction to its largest term and
// keeps about 14 bits, so sums over K > 128 want a second accumulator.
//
// Tiles in shared memory. K-major: rows of 16, 32, 64 or 128 bytes along K (the swizzle's width;
// with kNone, 8 rows of 16 bytes are one block of 128 bytes), eight rows are an atom, atoms follow
// each other every `stride` bytes. MN-major (16-bit types): rows along M or N, eight of consecutive
// k are an atom. What TMA writes with the same Swizzle is such a tile; atoms start at multiples of
// eight rows' bytes.
#pragma once

#include "gpu/device/memory.cuh"
#include "gpu/device/wgmma.cuh"

namespace hadal::gpu::device {

/// The element type of A and B; products accumulate in f32.
enum class Operand : uint8_t { kE4m3, kE5m2, kBf16, kF16, kTf32 };

/// Which dimension of A or B is contiguous; kMn for 16-bit types only.
enum class Major : uint8_t { kK, kMn };

/// A tile in shared memory, as wgmma takes it: start, leading and stride offset in units of 16
/// bytes at bits 0, 16 and 32, base offset at bit 49, swizzle at bit 62.
struct Tile {
  uint64_t descriptor;
};

HADAL_DEVICE constexpr uint32_t width_bytes_of(Swizzle swizzle) {
  return swizzle == Swizzle::k128  ? 128
         : swizzle == Swizzle::k64 ? 64
         : swizzle == Swizzle::k32 ? 32
                                   : 16;
}

/// Any tile; the strides are multiples of 16 bytes. For K-major tiles `stride` is between atoms of
/// eight rows, and `leading` (kNone only) between the two 16-byte halves of K. For MN-major tiles
/// with a swizzle, `leading` is between atoms along M or N and `stride` between groups of eight k;
/// with kNone it is the other way round.
HADAL_DEVICE Tile make_tile(SharedAddress start, Swizzle swizzle, uint32_t stride,
                            uint32_t leading) {
  const uint64_t mode = swizzle == Swizzle::kNone ? 0 : 4 - static_cast<uint64_t>(swizzle);
  return {static_cast<uint64_t>((start.offset & 0x3ffff) >> 4) |
          static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 |
          mode << 62};
}

/// A K-major tile whose rows are as wide as the swizzle and follow each other densely: what TMA
/// writes for a box of width x rows bytes.
template <Swizzle kSwizzle>
HADAL_DEVICE Tile make_tile(SharedAddress start) {
  static_assert(kSwizzle != Swizzle::kNone);
  return make_tile(start, kSwizzle, 8 * width_bytes_of(kSwizzle), 0);
}

/// The tile `bytes` further: 32 for the next step of K within a K-major row, or whole atoms.
HADAL_DEVICE Tile operator+(Tile tile, uint32_t bytes) {
  return {tile.descriptor + (bytes >> 4)};
}

#if defined(__CUDACC__)

template <Operand kOperand>
struct OperandText;
template <>
struct OperandText<Operand::kE4m3> {
  static constexpr const char kType[] = ".e4m3";
  static constexpr const char kDepth[] = "k32";
};
template <>
struct OperandText<Operand::kE5m2> {
  static constexpr const char kType[] = ".e5m2";
  static constexpr const char kDepth[] = "k32";
};
template <>
struct OperandText<Operand::kBf16> {
  static constexpr const char kType[] = ".bf16";
  static constexpr const char kDepth[] = "k16";
};
template <>
struct OperandText<Operand::kF16> {
  static constexpr const char kType[] = ".f16";
  static constexpr const char kDepth[] = "k16";
};
template <>
struct OperandText<Operand::kTf32> {
  static constexpr const char kType[] = ".tf32";
  static constexpr const char kDepth[] = "k8";
};

/// The end of the instruction: whether 16-bit operands in shared memory are MN-major. Other types
/// have no such operands.
template <Operand kType, Major kMajorA, Major kMajorB>
struct MajorText {
  static constexpr const char kShared[] = "";
  static constexpr const char kRegisters[] = "";
};
template <Operand kType, Major kMajorA, Major kMajorB>
  requires(kType == Operand::kBf16 || kType == Operand::kF16)
struct MajorText<kType, kMajorA, kMajorB> {
  static constexpr char kDigitA = kMajorA == Major::kMn ? '1' : '0';
  static constexpr char kDigitB = kMajorB == Major::kMn ? '1' : '0';
  static constexpr const char kShared[] = {',', kDigitA, ',', kDigitB, 0};
  static constexpr const char kRegisters[] = {',', kDigitB, 0};
};

template <int kCount>
HADAL_DEVICE void pin(float (&registers)[kCount]) {
  HADAL_UNROLL
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

template <int kCount>
HADAL_DEVICE void pin(uint32_t (&registers)[kCount]) {
  HADAL_UNROLL
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

#endif

/// Hands the named register arrays (accumulators, A fragments) to the mma() that follow. Needed
/// before the first and after every access by other code. All lanes of the warpgroup.
template <typename... Registers>
HADAL_DEVICE void begin_mma(Registers&... registers) {
#if defined(__CUDACC__)
  (pin(registers), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  emulator::begin_mma_fence();
  (emulator::begin_mma_registers(registers, sizeof(registers)), ...);
#endif
}

template <Operand kTypeA, Operand kTypeB, Major kMajorA, Major kMajorB>
HADAL_DEVICE constexpr bool is_mma() {
  constexpr bool kFp8A = kTypeA == Operand::kE4m3 || kTypeA == Operand::kE5m2;
  constexpr bool kFp8B = kTypeB == Operand::kE4m3 || kTypeB == Operand::kE5m2;
  constexpr bool kHalf = kTypeA == Operand::kBf16 || kTypeA == Operand::kF16;
  return ((kFp8A && kFp8B) || kTypeA == kTypeB) &&
         (kHalf || (kMajorA == Major::kK && kMajorB == Major::kK));
}

/// D (+)= A B^T with both operands in shared memory; D = A B^T where `accumulate` is false.
template <Operand kTypeA, Operand kTypeB = kTypeA, Major kMajorA = Major::kK,
          Major kMajorB = Major::kK, int kRegisters>
HADAL_DEVICE void mma(float (&d)[kRegisters], Tile a, Tile b, bool accumulate) {
  static_assert(kRegisters % 4 == 0 && kRegisters <= 128, "N is a multiple of 8 up to 256");
  static_assert(is_mma<kTypeA, kTypeB, kMajorA, kMajorB>());
#if defined(__CUDACC__)
  wgmma_shared<OperandText<kTypeA>, OperandText<kTypeB>, MajorText<kTypeA, kMajorA, kMajorB>>(
      d, a.descriptor, b.descriptor, accumulate);
#else
  emulator::mma({2 * kRegisters, static_cast<uint8_t>(kTypeA), static_cast<uint8_t>(kTypeB),
                 kMajorA == Major::kMn, kMajorB == Major::kMn},
                d, a.descriptor, nullptr, b.descriptor, accumulate);
#endif
}

/// The same with A in registers.
template <Operand kTypeA, Operand kTypeB = kTypeA, Major kMajorB = Major::kK, int kRegisters>
HADAL_DEVICE void mma(float (&d)[kRegisters], const uint32_t (&a)[4], Tile b, bool accumulate) {
  static_assert(kRegisters % 4 == 0 && kRegisters <= 128, "N is a multiple of 8 up to 256");
  static_assert(is_mma<kTypeA, kTypeB, Major::kK, kMajorB>());
#if defined(__CUDACC__)
  wgmma_registers<OperandText<kTypeA>, OperandText<kTypeB>, MajorText<kTypeA, Major::kK, kMajorB>>(
      d, a, b.descriptor, accumulate);
#else
  emulator::mma({2 * kRegisters, static_cast<uint8_t>(kTypeA), static_cast<uint8_t>(kTypeB), false,
                 kMajorB == Major::kMn},
                d, 0, a, b.descriptor, accumulate);
#endif
}

/// Closes the group of mma() since the last one. All lanes of the warpgroup.
HADAL_DEVICE void commit_mma() {
#if defined(__CUDACC__)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  emulator::commit_mma();
#endif
}

/// Waits until at most `kPending` groups are not done. The named registers, which only done groups
/// may have used, belong to the program again.
template <uint32_t kPending, typename... Registers>
HADAL_DEVICE void wait_mma(Registers&... registers) {
#if defined(__CUDACC__)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
  (pin(registers), ...);
#else
  emulator::wait_mma(kPending);
  (emulator::end_mma_registers(registers, sizeof(registers)), ...);
#endif
}

// --- 8x8 matrices of 16-bit elements ---

/// Stores 1, 2 or 4 matrices. Lane i gives the address of row i % 8 of matrix i / 8 (16 bytes, a
/// multiple of 16); r[j] of lane i are elements 2 * (i % 4) and +1 of row i / 4 of matrix j, or,
/// with kTranspose, of column i / 4. Addresses of lanes beyond the matrices are not used. All
/// lanes.
template <bool kTranspose = false, int kCount>
HADAL_DEVICE void store_matrices(SharedAddress row, const uint32_t (&r)[kCount]) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
#if defined(__CUDACC__)
  if constexpr (kCount == 1 && !kTranspose) {
    asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0], {%1};" ::"r"(row.offset), "r"(r[0])
                 : "memory");
  } else if constexpr (kCount == 1) {
    asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(row.offset),
                 "r"(r[0])
                 : "memory");
  } else if constexpr (kCount == 2 && !kTranspose) {
    asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(row.offset),
                 "r"(r[0]), "r"(r[1])
                 : "memory");
  } else if constexpr (kCount == 2) {
    asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(row.offset),
                 "r"(r[0]), "r"(r[1])
                 : "memory");
  } else if constexpr (!kTranspose) {
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row.offset),
        "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
        : "memory");
  } else {
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row.offset),
        "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
        : "memory");
  }
#else
  emulator::store_matrices(row.offset, r, kCount, kTranspose);
#endif
}

/// Loads 1, 2 or 4 matrices; layout as store_matrices(). All lanes.
template <bool kTranspose = false, int kCount>
HADAL_DEVICE void load_matrices(uint32_t (&r)[kCount], SharedAddress row) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
#if defined(__CUDACC__)
  if constexpr (kCount == 1 && !kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(row.offset)
                 : "memory");
  } else if constexpr (kCount == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(row.offset)
                 : "memory");
  } else if constexpr (kCount == 2 && !kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(row.offset)
                 : "memory");
  } else if constexpr (kCount == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(row.offset)
                 : "memory");
  } else if constexpr (!kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row.offset)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row.offset)
                 : "memory");
  }
#else
  emulator::load_matrices(r, row.offset, kCount, kTranspose);
#endif
}

/// Where a 16-byte unit lies in a swizzled tile: `offset` is where it would lie without the
/// swizzle, from the start of an atom (a multiple of eight rows).
template <Swizzle kSwizzle>
HADAL_DEVICE constexpr uint32_t swizzled(uint32_t offset) {
  if constexpr (kSwizzle == Swizzle::k128) return offset ^ ((offset >> 3) & 0x70);
  if constexpr (kSwizzle == Swizzle::k64) return offset ^ ((offset >> 3) & 0x30);
  if constexpr (kSwizzle == Swizzle::k32) return offset ^ ((offset >> 3) & 0x10);
  return offset;
}

}  // namespace hadal::gpu::device
