#include "net/codec.h"

#include <gtest/gtest.h>

#include "net/codec_testing.h"
#include "net/test_messages.h"

namespace hadal::net {
namespace {

TEST(Codec, RoundTripsOfEveryType) {
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(TestMessages::check_round_trips(rng), "");
}

TEST(Codec, BytesAreThoseOfTheFormat) {
  Simple value{.flag = true, .small = -1, .number = 300, .difference = -3};
  value.id = {1, 2};
  value.name = "ab";
  value.color = Color::kBlue;
  const std::vector<std::byte> bytes = encoded(value);
  const std::vector<uint8_t> wanted = {1,                                           // flag
                                       0xff,                                        // small
                                       0xac, 0x02,                                  // number
                                       5,                                           // difference
                                       0,    0,    0,   0, 0, 0, 0, 0,              // real
                                       1,    0,    0,   0, 0, 0, 0, 0, 2, 0, 0, 0,  // id
                                       0,    0,    0,   0,                          // id
                                       2,    'a',  'b',                             // name
                                       2};                                          // color
  ASSERT_EQ(bytes.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(static_cast<uint8_t>(bytes[i]), wanted[i]);
}

TEST(Codec, OlderAndNewerMessagesAreRead) {
  const Newer newer{.a = 7, .inner = {{.x = 1, .y = 2}, {.x = 3, .y = 4}}, .b = 9};
  Older older;
  ASSERT_TRUE(decode(encoded(newer), older, "older"));
  EXPECT_EQ(older.a, 7U);
  ASSERT_EQ(older.inner.size(), 2U);
  EXPECT_EQ(older.inner[1].x, 3U);

  Newer back;
  ASSERT_TRUE(decode(encoded(older), back, "newer"));
  EXPECT_EQ(back.inner[1].x, 3U);
  EXPECT_EQ(back.inner[1].y, 55U);  // its default
  EXPECT_EQ(back.b, 66U);
}

template <typename T>
std::string decode_error(std::vector<uint8_t> bytes) {
  T value = {};
  const auto result = decode(std::as_bytes(std::span(bytes)), value, "m");
  return result ? "" : result.error().message;
}

TEST(Codec, WhatBreaksABoundIsAnError) {
  EXPECT_NE(decode_error<Simple>({2}).find("a bool is neither 0 nor 1"), std::string::npos);
  EXPECT_NE(decode_error<Simple>({1, 0, 0x80, 0x80, 0x80, 0x80, 0x10}).find("too large"),
            std::string::npos);
  EXPECT_NE(decode_error<Older>({1, 0xff, 0xff, 0x03}), "");  // a list longer than the input
  EXPECT_NE(decode_error<Bounded>({17}).find("longer than its bound"), std::string::npos);
  EXPECT_EQ(decode_error<Bounded>({0, 1, 0}), "");
  EXPECT_NE(decode_error<Bounded>({0, 4, 0, 0, 0, 0}).find("list is longer"), std::string::npos);
  // A record that does not grow is whole, or not there.
  EXPECT_EQ(decode_error<Nested>({}), "");
  EXPECT_NE(decode_error<Nested>({1}), "");

  std::vector<std::byte> out;
  EXPECT_EQ(encode(Bounded{.bytes = std::vector<std::byte>(20)}, out, "m").error().code,
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::net
