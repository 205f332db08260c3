// A 64-bit and a 128-bit hash for bytes, and a mixer for integers.
//
// hash_bytes is XXH3-64 with a seed (libxxhash 0.8 froze its output), chosen because it is
// specified, portable, and reads at memory speed with plain SSE2 while short keys cost a few
// nanoseconds. hash_bytes_128 is XXH3-128, for names of contents: among n of them two are equal by
// chance with n^2 / 2^129. Values may be stored: docs/formats/hash.md specifies all four functions
// with golden values.
//
// None of this resists an adversary: a table keyed by strangers' bytes needs a secret seed, and
// corruption is detected by crc32c.h, whose errors are bounded. Pure functions, safe from any
// thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/rng.h"

namespace hadal {

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed = 0);

inline uint64_t hash_text(std::string_view text, uint64_t seed = 0) {
  return hash_bytes(std::as_bytes(std::span(text)), seed);
}

struct Hash128 {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
  friend auto operator<=>(const Hash128&, const Hash128&) = default;
};

Hash128 hash_bytes_128(std::span<const std::byte> bytes);

/// A bijection of 64-bit integers in which every input bit moves every output bit: SplitMix64's
/// mix.
constexpr uint64_t hash_u64(uint64_t value) {
  return splitmix64(value);
}

/// The hash of the pair (a, b), in this order: hash_combine(hash_combine(x, y), z) for more.
constexpr uint64_t hash_combine(uint64_t a, uint64_t b) {
  return hash_u64(hash_u64(a) ^ b);
}

}  // namespace hadal
