// The arithmetic of one wgmma, and how it finds its operands in shared memory.
//
// The layout is read from the descriptor's bits as the PTX manual defines them, without any code of
// the device vocabulary or of TMA, so that each checks the other. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "gpu/emulator/hooks.h"

namespace hadal::gpu::emulator {

/// The fields of a wgmma matrix descriptor, in bytes.
struct Descriptor {
  uint32_t start, leading, stride, base_offset;
  uint32_t width;  // of the swizzle: 128, 64, 32, or 0
};
Descriptor decode_descriptor(uint64_t bits);

/// Elements of K that one instruction takes: 32, 16 or 8.
int depth(uint8_t type);

/// Reads `rows` x depth elements as floats, row by row, from the bytes of shared memory that begin
/// at offset 0 and end at `shared.size()`. Nothing if the tile leaves [kSharedBase, end).
std::optional<std::vector<float>> gather(std::span<const uint8_t> shared, uint64_t descriptor,
                                         int rows, uint8_t type, bool mn_major);

/// The elements of K of one lane's A registers, by the fragment's layout: row lane / 4 (+ 8), and
/// where in K. `a` is [warp][lane][4] of a warpgroup; the result is 64 x depth.
std::vector<float> gather_registers(std::span<const uint32_t> a, uint8_t type);

/// d[64][columns] += a[64][depth] b[columns][depth]^T. Exact products; sums in f32 in the order of
/// k, or, with `truncate`, as Hopper sums FP8: the products of an instruction and the accumulator
/// are aligned to the largest and cut to 14 bits.
void multiply(std::span<float> d, std::span<const float> a, std::span<const float> b, int columns,
              int depth, bool truncate);

}  // namespace hadal::gpu::emulator
