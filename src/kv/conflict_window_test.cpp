#include "kv/conflict_window.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::kv {
namespace {

std::string key_of(uint64_t i) {
  std::string key = std::to_string(i);
  return std::string(4 - key.size(), '0') + key;
}

TEST(ConflictWindow, KnowsBordersOfRanges) {
  ConflictWindow window;
  window.add({"b", "d"}, 5);
  EXPECT_TRUE(window.written_since({"a", "c"}, 4));
  EXPECT_TRUE(window.written_since(only("b"), 4));
  EXPECT_FALSE(window.written_since(only("b"), 5));
  EXPECT_FALSE(window.written_since({"a", "b"}, 4));
  EXPECT_FALSE(window.written_since(only("d"), 4));
  EXPECT_TRUE(window.written_since(only("czz"), 4));
  window.add(only("c"), 6);
  EXPECT_TRUE(window.written_since({"a", "z"}, 5));
  EXPECT_FALSE(window.written_since({"b", "c"}, 5));
  EXPECT_TRUE(window.written_since(only("cc"), 4)) << "what is around a key keeps its version";
}

/// Random writes against a plain array of versions by key.
TEST(ConflictWindow, AgreesWithAnArray) {
  constexpr uint64_t kKeys = 2000;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    Rng rng(seed);
    ConflictWindow window;
    std::vector<Version> model(kKeys);
    Version floor = 0;
    for (Version version = 1; version <= 6000; ++version) {
      const uint64_t begin = rng.below(kKeys);
      const uint64_t longest = rng.below(20) == 0 ? kKeys : 3;
      const uint64_t end = std::min(kKeys, begin + 1 + rng.below(longest));
      window.add({key_of(begin), key_of(end)}, version);
      std::fill(model.begin() + begin, model.begin() + end, version);
      if (version > 500 && rng.below(3) == 0) {
        floor = version - 500;
        window.forget(floor, 1 + rng.below(4));
      }
      const uint64_t from = rng.below(kKeys), to = std::min(kKeys, from + 1 + rng.below(50));
      const Version since = floor + rng.below(version - floor + 1);
      const bool written = *std::max_element(model.begin() + from, model.begin() + to) > since;
      ASSERT_EQ(window.written_since({key_of(from), key_of(to)}, since), written)
          << "seed " << seed << ", version " << version;
    }
    EXPECT_LE(window.entries(), 2 * kKeys + 1);
    window.forget(6000, window.blocks());
    window.forget(6000, window.blocks());
    EXPECT_EQ(window.entries(), 1U) << "nothing is remembered that nobody can ask for";
  }
}

}  // namespace
}  // namespace hadal::kv
