#include "base/hash.h"

#define XXH_INLINE_ALL  // compiled for our baseline, and no shared library at run time
#include <xxhash.h>

namespace hadal {

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace hadal
