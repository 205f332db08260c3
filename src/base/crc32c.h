// CRC-32C (Castagnoli), the checksum of every block that hadal stores or sends.
//
// Chosen over other checksums because it finds every burst of up to 32 bits and, in blocks of up to
// 2^28 bytes, every two flipped bits; because x86 and ARM have an instruction for it; and because
// the checksum of a whole follows from those of its parts (combine), so that a chunk's checksum
// need not be computed again when its blocks are known.
//
// A value is what iSCSI, ext4 and others store: reflected polynomial 0x82f63b78, register started
// at all ones and complemented at the end. crc32c::value("123456789") is 0xe3069283, the CRC of
// nothing is 0. Values are stored little-endian and unmasked.
//
// On x86 the crc32 instruction gives eight bytes every cycle but each result three cycles late, so
// three parts of the input go through it at once and are joined by table (as in Mark Adler's
// crc32c.c and the Intel paper by Gopal et al., 2011). Elsewhere eight tables take eight bytes at a
// time; that path is compiled everywhere and reachable by name. Pure functions, safe from any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hadal::crc32c {

/// The CRC of what `crc` is the CRC of, followed by `bytes`. Start from 0.
uint32_t extend(uint32_t crc, std::span<const std::byte> bytes);

inline uint32_t value(std::span<const std::byte> bytes) {
  return extend(0, bytes);
}

/// The CRC of A followed by B, from the CRCs of both and B's length. Some 100 ns.
uint32_t combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);

/// memcpy(to, from.data(), from.size()) and extend(crc, from) in one pass; no overlap.
uint32_t copy(uint32_t crc, std::byte* to, std::span<const std::byte> from);

/// The two implementations. extend_hardware is the portable one where the build has no instruction.
uint32_t extend_portable(uint32_t crc, std::span<const std::byte> bytes);
uint32_t extend_hardware(uint32_t crc, std::span<const std::byte> bytes);
bool has_hardware();

}  // namespace hadal::crc32c
