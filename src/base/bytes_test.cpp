#include "base/bytes.h"

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> result;
  for (const int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

std::string message_of(const Result<>& result) {
  return result ? "" : result.error().message;
}

TEST(Bytes, LoadsAndStoresAreLittleEndianAndUnaligned) {
  const auto data = bytes({0xff, 0x01, 0x02, 0x03, 0x84, 0x05, 0x06, 0x07, 0x88});
  EXPECT_EQ(load_le<uint16_t>(&data[1]), 0x0201);
  EXPECT_EQ(load_le<uint32_t>(&data[1]), 0x84030201u);
  EXPECT_EQ(load_le<int32_t>(&data[1]), static_cast<int32_t>(0x84030201u));
  EXPECT_EQ(load_le<uint64_t>(&data[1]), 0x8807060584030201u);
  auto out = bytes({0, 0, 0, 0, 0});
  store_le<uint32_t>(&out[1], 0x84030201u);
  EXPECT_EQ(out, bytes({0, 1, 2, 3, 0x84}));
}

TEST(Bytes, WriterLaysOutFields) {
  std::vector<std::byte> out;
  Writer w(out);
  w.u8(1);
  w.u16(0x0203);
  w.u32(0x04050607);
  w.varint(300);
  w.text("ab");
  EXPECT_EQ(out, bytes({1, 3, 2, 7, 6, 5, 4, 0xac, 2, 2, 'a', 'b'}));
  w.put_at<uint16_t>(1, 0xaabb);
  EXPECT_EQ(out[1], std::byte{0xbb});
  EXPECT_EQ(w.offset(), 12u);
}

TEST(Bytes, RoundTrip) {
  std::vector<std::byte> out;
  Writer w(out);
  w.u64(UINT64_MAX);
  w.i64(std::numeric_limits<int64_t>::min());
  w.f64(-0.1);
  w.text("");
  w.text(std::string(1000, 'x'));
  w.varint(3);
  for (const uint8_t value : {7, 8, 9}) w.u8(value);
  Reader in(out);
  EXPECT_EQ(in.u64(), UINT64_MAX);
  EXPECT_EQ(in.i64(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(in.f64(), -0.1);
  EXPECT_EQ(in.text(), "");
  EXPECT_EQ(in.text(), std::string(1000, 'x'));
  EXPECT_EQ(in.count(1), 3u);
  EXPECT_EQ(in.u8(), 7);
  EXPECT_EQ(in.remaining(), 2u);
  EXPECT_EQ(in.bytes(2).size(), 2u);
  EXPECT_TRUE(in.finish("record"));
}

TEST(Bytes, VarintsRoundTripAtEveryLength) {
  for (int bits = 0; bits <= 64; ++bits) {
    for (const int delta : {-1, 0, 1}) {
      const uint64_t value = (bits == 64 ? 0 : uint64_t{1} << bits) + static_cast<uint64_t>(delta);
      std::vector<std::byte> out;
      Writer(out).varint(value);
      EXPECT_LE(out.size(), 10u);
      Reader in(out);
      EXPECT_EQ(in.varint(), value);
      EXPECT_TRUE(in.finish("varint"));
    }
  }
}

TEST(Bytes, VarintRefusesOverlongAndOverflowingForms) {
  const auto refused = [](std::vector<std::byte> data) {
    Reader in(data);
    EXPECT_EQ(in.varint(), 0u);
    return message_of(in.finish("v"));
  };
  EXPECT_EQ(refused(bytes({0x80, 0x00})),
            "v: the varint at offset 0 is not the shortest form of a 64-bit value");
  EXPECT_NE(refused(bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02})), "");
  EXPECT_NE(refused(bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0})), "");
  EXPECT_NE(refused(bytes({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00})), "");
  EXPECT_EQ(refused(bytes({0x80})), "v: needs 2 bytes at offset 0, but ends at 1");
  EXPECT_NE(refused({}), "");
}

TEST(Bytes, TheFirstFailureSticksAndIsReported) {
  const auto data = bytes({1, 2, 3, 4, 5});
  Reader in(data);
  EXPECT_EQ(in.u32(), 0x04030201u);
  EXPECT_EQ(in.u16(), 0);
  EXPECT_EQ(in.u8(), 0) << "one byte was left, but the failure is sticky";
  EXPECT_EQ(in.varint(), 0u);
  EXPECT_TRUE(in.text().empty());
  EXPECT_EQ(in.count(1), 0u);
  EXPECT_EQ(in.remaining(), 0u);
  EXPECT_FALSE(in.ok());
  const Result<> result = in.finish("header");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kCorrupt);
  EXPECT_EQ(result.error().message, "header: needs 2 bytes at offset 4, but ends at 5");
}

TEST(Bytes, LengthsAreHeldAgainstWhatIsLeft) {
  std::vector<std::byte> out;
  Writer(out).varint(UINT64_MAX);
  Reader huge(out);
  EXPECT_TRUE(huge.prefixed().empty());
  EXPECT_FALSE(huge.ok());

  out = bytes({4, 0, 0, 0, 0, 0, 0, 0, 0});
  Reader two(out);
  EXPECT_EQ(two.count(4), 0u) << "4 elements of 4 bytes do not fit in 8";
  EXPECT_EQ(message_of(two.check("list")),
            "list: count 4 at offset 0 exceeds what fits in 9 bytes");
  Reader one(out);
  EXPECT_EQ(one.count(2), 4u);
  EXPECT_TRUE(one.check("list"));
}

TEST(Bytes, FinishRefusesLeftovers) {
  const auto data = bytes({1, 2, 3});
  Reader in(data);
  in.u8();
  EXPECT_TRUE(in.check("x"));
  EXPECT_EQ(message_of(in.finish("x")), "x: 2 bytes are left over at offset 1");
}

TEST(Bytes, CallersCanRejectValues) {
  const auto data = bytes({1, 9, 3});
  Reader in(data);
  in.u8();
  if (in.u8() > 2) in.reject("tag is not 1 or 2");
  in.reject("a later reason");
  EXPECT_EQ(message_of(in.finish("x")), "x: tag is not 1 or 2 at offset 2");
}

#ifndef NDEBUG
TEST(BytesDeathTest, AFailureNobodyAskedAboutIsABug) {
  EXPECT_DEATH({ Reader(Bytes()).u8(); }, "nobody asked");
}
#endif

TEST(BytesDeathTest, PutAtChecksItsOffset) {
  std::vector<std::byte> out(3);
  EXPECT_DEATH(Writer(out).put_at<uint32_t>(0, 1), "CHECK");
  EXPECT_DEATH(Writer(out).put_at<uint8_t>(SIZE_MAX, 1), "CHECK");
}

}  // namespace
}  // namespace hadal
