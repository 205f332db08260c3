#include "io/buffer.h"

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "sim/world.h"

namespace hadal::io {
namespace {

bool aligned(std::span<const std::byte> bytes) {
  return reinterpret_cast<uintptr_t>(bytes.data()) % kBlockBytes == 0;
}

TEST(AlignedBuffer, BeginsAtABlockAndMoves) {
  AlignedBuffer one(kBlockBytes);
  EXPECT_TRUE(aligned(one.bytes()));
  std::memset(one.bytes().data(), 7, one.size());
  AlignedBuffer two = std::move(one);
  EXPECT_EQ(one.size(), 0U);  // NOLINT(bugprone-use-after-move): moved means empty
  EXPECT_EQ(two.bytes().back(), std::byte{7});
  two = AlignedBuffer();
  EXPECT_TRUE(two.bytes().empty());
}

TEST(BufferPool, GivesPowersOfTwoAndTheLastOneFirst) {
  BufferPool pool(1 << 20);
  const auto* first = static_cast<std::byte*>(nullptr);
  {
    auto a = *pool.get(1), b = *pool.get(4097);
    EXPECT_EQ(a.size(), 4096U);
    EXPECT_EQ(b.size(), 8192U);
    EXPECT_TRUE(aligned(a.bytes()) && aligned(b.bytes()));
    EXPECT_EQ(pool.bytes_out(), 12'288U);
    first = a.bytes().data();
  }
  EXPECT_EQ(pool.bytes_out(), 0U);
  EXPECT_EQ(pool.bytes_kept(), 12'288U);
  EXPECT_EQ(pool.get(0)->bytes().data(), first);
}

TEST(BufferPool, RefusesWhatItNeverHas) {
  BufferPool pool(3 << 20);
  EXPECT_TRUE(pool.get(2 << 20));
  const auto refused = pool.get((2 << 20) + 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_EQ(refused.error().message, "a buffer of 2097153 bytes; the pool has up to 2097152");
  BufferPool large(size_t{1} << 30);
  EXPECT_FALSE(large.get(BufferPool::kBufferBytesMax + 1));
  EXPECT_FALSE(large.get(SIZE_MAX));
}

TEST(BufferPool, HoldsItsBound) {
  constexpr size_t kBytes = 1 << 20;
  sim::World world({.seed = 3});
  BufferPool pool(kBytes);
  int done = 0;
  world.add_process("p", [&](sim::Process& self) {
    for (int fiber = 0; fiber < 20; ++fiber) {
      self.spawn("user", [&] {
        for (int i = 0; i < 200; ++i) {
          auto lease = *pool.get(self.rng().below(kBytes / 2) + 1);
          EXPECT_LE(pool.bytes_out() + pool.bytes_kept(), kBytes);
          sleep_fiber(static_cast<int64_t>(self.rng().below(kMillisecond)));
        }
        ++done;
      });
    }
  });
  world.run_for(1000 * kSecond);
  EXPECT_EQ(done, 20);
  EXPECT_EQ(pool.bytes_out(), 0U);
}

TEST(BufferPool, AWaitEndsAtItsDeadline) {
  sim::World world({.seed = 3});
  BufferPool pool(4096);
  std::string said;
  world.add_process("p", [&](sim::Process& self) {
    const auto held = *pool.get(4096);
    const auto none = pool.get(1, Deadline::after(self.clock(), kSecond));
    EXPECT_EQ(none.error().code, Code::kTimeout);
    said = none.error().message;
  });
  world.run_for(10 * kSecond);
  EXPECT_EQ(said, "no buffer of 4096 bytes: all 4096 of the pool are in use");
}

}  // namespace
}  // namespace hadal::io
