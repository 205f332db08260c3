// One 64-bit hash for bytes, and a mixer for integers.
//
// hash_bytes is XXH3-64 with a seed (libxxhash 0.8 froze its output), chosen because it is
// specified, portable, and reads at memory speed with plain SSE2 while short keys cost a few
// nanoseconds. Values may be stored: docs/formats/hash.md specifies all three functions with golden
// values.
//
// None of this resists an adversary: a table keyed by strangers' bytes needs a secret seed, and
// corruption is detected by crc32c.h, whose errors are bounded. Pure functions, safe from any
// thread.
#pragma once

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
