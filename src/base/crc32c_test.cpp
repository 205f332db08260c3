#include "base/crc32c.h"

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/rng.h"

namespace hadal::crc32c {
namespace {

std::vector<std::byte> random_bytes(size_t size) {
  std::vector<std::byte> data(size);
  Rng rng(size);
  for (std::byte& byte : data) byte = static_cast<std::byte>(rng.next());
  return data;
}

/// The definition, bit by bit.
uint32_t bitwise(Bytes data) {
  uint32_t state = ~uint32_t{0};
  for (const std::byte byte : data) {
    state ^= static_cast<uint32_t>(byte);
    for (int i = 0; i < 8; ++i) state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78 : 0);
  }
  return ~state;
}

// Sizes around every boundary of the implementations: 8, 3 * 256, 3 * 4096.
const size_t kSizes[] = {0,   1,   2,   7,    8,    9,     15,    16,    63,    255,   256,
                         767, 768, 769, 1535, 1543, 12287, 12288, 12289, 13063, 24583, 40000};

TEST(Crc32c, KnownVectors) {
  // RFC 3720 appendix B.4, and the check value of the CRC catalogues.
  std::vector<std::byte> data(32);
  const auto check = [&](Bytes bytes, uint32_t want) {
    EXPECT_EQ(value(bytes), want);
    EXPECT_EQ(extend_portable(0, bytes), want);
    EXPECT_EQ(extend_hardware(0, bytes), want);
  };
  check(data, 0x8a9136aa);
  for (std::byte& byte : data) byte = std::byte{0xff};
  check(data, 0x62a8ab43);
  for (size_t i = 0; i < 32; ++i) data[i] = static_cast<std::byte>(i);
  check(data, 0x46dd794e);
  for (size_t i = 0; i < 32; ++i) data[i] = static_cast<std::byte>(31 - i);
  check(data, 0x113fdb5c);
  check(bytes_of("123456789"), 0xe3069283);
  check({}, 0);
}

TEST(Crc32c, EveryPathAgreesWithTheDefinition) {
  for (const size_t size : kSizes) {
    for (size_t offset = 0; offset < 3; ++offset) {  // aligned or not
      const auto data = random_bytes(size + offset);
      const Bytes bytes = Bytes(data).subspan(offset);
      const uint32_t want = bitwise(bytes);
      ASSERT_EQ(extend(0, bytes), want) << size;
      ASSERT_EQ(extend_portable(0, bytes), want) << size;
      ASSERT_EQ(extend_hardware(0, bytes), want) << size;
    }
  }
}

TEST(Crc32c, ExtendContinues) {
  const auto data = random_bytes(30000);
  for (const size_t split : {size_t{0}, size_t{1}, size_t{13}, size_t{12289}, size_t{30000}}) {
    const Bytes a = Bytes(data).first(split), b = Bytes(data).subspan(split);
    ASSERT_EQ(extend(extend(0, a), b), value(data));
    ASSERT_EQ(extend_portable(extend_portable(0, a), b), value(data));
  }
}

TEST(Crc32c, CombineJoinsTwoParts) {
  const auto data = random_bytes(70000);
  for (const size_t split : {size_t{0}, size_t{1}, size_t{13}, size_t{4096}, size_t{70000}}) {
    const Bytes a = Bytes(data).first(split), b = Bytes(data).subspan(split);
    ASSERT_EQ(combine(value(a), value(b), b.size()), value(data)) << split;
  }
}

TEST(Crc32c, CombineTakesLengthsThatNoBufferHas) {
  // A followed by 2^k zero bytes, by doubling: zeros(2n) = combine(zeros(n), zeros(n), n).
  const uint32_t a = value(bytes_of("a"));
  uint32_t zeros = value(bytes_of(std::string_view("\0", 1)));
  uint32_t joined = combine(a, zeros, 1);
  for (int k = 0; k < 63; ++k) {
    const uint64_t bytes = uint64_t{1} << k;
    joined = combine(joined, zeros, bytes);  // a and 2^(k+1) zeros
    zeros = combine(zeros, zeros, bytes);
    ASSERT_EQ(combine(a, zeros, 2 * bytes), joined) << k;
  }
}

TEST(Crc32c, CopyCopiesAndChecks) {
  for (const size_t size : kSizes) {
    const auto data = random_bytes(size + 1);
    const Bytes from = Bytes(data).subspan(1);
    std::vector<std::byte> to(size + 2, std::byte{0x5a});
    const uint32_t start = value(bytes_of("before"));
    ASSERT_EQ(copy(start, to.data() + 1, from), extend(start, from)) << size;
    ASSERT_TRUE(size == 0 || std::memcmp(to.data() + 1, from.data(), size) == 0) << size;
    ASSERT_EQ(to.front(), std::byte{0x5a});
    ASSERT_EQ(to.back(), std::byte{0x5a});
  }
}

TEST(Crc32c, LargeCopiesGoAroundTheCache) {
  const auto from = random_bytes((8 << 20) + 4099);
  std::vector<std::byte> to(from.size() + 1);
  ASSERT_EQ(copy(0, to.data() + 1, from), extend_portable(0, from));
  ASSERT_EQ(std::memcmp(to.data() + 1, from.data(), from.size()), 0);
}

TEST(Crc32c, EverySingleBitFlipIsSeen) {
  auto data = random_bytes(1000);
  const uint32_t want = value(data);
  for (size_t bit = 0; bit < 8000; ++bit) {
    data[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    ASSERT_NE(value(data), want);
    data[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
  }
}

}  // namespace
}  // namespace hadal::crc32c
