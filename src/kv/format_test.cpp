#include "kv/format.h"

#include <string>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace hadal::kv {
namespace {

TEST(Format, RecordsComeBack) {
  EXPECT_TRUE(decode_format(encode_format()));
  const State state{0x0123456789abcdefu, 42};
  EXPECT_EQ(decode_state(encode_state(state)), state);
}

/// The bytes that docs/formats/kv.md gives.
TEST(Format, BytesAreAsDocumented) {
  const auto hex = [](const std::string& bytes) {
    std::string text;
    for (const char c : bytes) {
      text += "0123456789abcdef"[static_cast<uint8_t>(c) >> 4];
      text += "0123456789abcdef"[c & 15];
    }
    return text;
  };
  EXPECT_EQ(hex(encode_format()),
            "686164616c206b7601000000"
            "df2ec81b");
  EXPECT_EQ(hex(encode_state({258, 3})),
            "02010000000000000300000000000000"
            "8f8d4e1f");
}

TEST(Format, EveryFlippedBitIsFound) {
  for (const std::string& good : {encode_format(), encode_state({7, 9})}) {
    for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
      EXPECT_FALSE(decode_format(bad));
      EXPECT_FALSE(decode_state(bad));
    }
    EXPECT_FALSE(decode_state(good.substr(1)));
    EXPECT_FALSE(decode_format(good.substr(0, 3)));
  }
}

TEST(Format, AnotherVersionIsUnsupported) {
  std::string other = encode_format().substr(0, 12);
  other[8] = 2;
  std::string crc(4, '\0');
  store_le<uint32_t>(crc.data(), crc32c::value(bytes_of(other)));
  const auto result = decode_format(other + crc);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kUnsupported);
  EXPECT_EQ(result.error().message, "the store has format 2; this program reads 1");
}

TEST(Format, RowsThatCannotBeAreFound) {
  EXPECT_TRUE(check_row(stored_key(""), ""));
  EXPECT_TRUE(check_row(stored_key("a"), "b"));
  EXPECT_TRUE(check_row(kFormatKey, encode_format()));
  EXPECT_FALSE(check_row(kStateKey, encode_format()));
  EXPECT_FALSE(check_row("", ""));
  EXPECT_FALSE(check_row("\x02", ""));
  EXPECT_FALSE(check_row(stored_key("\xff"), ""));
  EXPECT_FALSE(check_row(stored_key(std::string(kKeyBytesMax + 1, 'k')), ""));
  EXPECT_FALSE(check_row(stored_key("k"), std::string(kValueBytesMax + 1, 'v')));
}

}  // namespace
}  // namespace hadal::kv
