#include "trace/event_parser.h"

#include <string>
#include <string_view>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "trace/number.h"
#include "trace/scan.h"
#include "trace/trace_generator.h"

namespace hadal::trace {
namespace {

std::string padded(std::string_view text) {
  return std::string(text) + std::string(kScanPadding, kScanFill);
}

void expect_equal(const RawEvent& a, const RawEvent& b) {
  ASSERT_EQ(a.seen, b.seen);
  EXPECT_EQ(a.phase, b.phase);
  EXPECT_EQ(a.category.category, b.category.category);
  EXPECT_EQ(a.category.marks, b.category.marks);
  EXPECT_EQ(a.category.forward_backward, b.category.forward_backward);
  for (int f = 0; f < kNumFields; ++f) {
    // ph and cat are not looked at on the way through the tree.
    if (f <= static_cast<int>(Field::kCategory)) continue;
    EXPECT_EQ(a[static_cast<Field>(f)], b[static_cast<Field>(f)]) << f;
  }
}

// The tree and the parser proper must agree on every text, however broken.
TEST(EventParser, TheTreeChangesNothing) {
  const std::string text = TraceGenerator(1).generate(40 << 10).text;
  std::vector<std::string> events;
  for (size_t at = text.find("{\n    \"ph\""); at != std::string::npos;) {
    const size_t next = text.find("{\n    \"ph\"", at + 1);
    if (next == std::string::npos) break;
    events.push_back(text.substr(at, next - at));
    at = next;
  }
  ASSERT_GT(events.size(), 100);
  EventParser parser;
  Rng rng(7);
  int broken = 0, whole = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string event = events[rng.below(events.size())];
    for (uint64_t edits = rng.below(3); edits > 0; --edits) {
      const size_t at = rng.below(event.size());
      constexpr std::string_view kBytes = "\"{}[],:\\ 0a\n\0\xff";
      switch (rng.below(3)) {
        case 0: event[at] = kBytes[rng.below(kBytes.size())]; break;
        case 1: event.erase(at, 1 + rng.below(4)); break;
        default: event.insert(at, 1, kBytes[rng.below(kBytes.size())]);
      }
    }
    if (rng.chance(0.1)) event.resize(rng.below(event.size() + 1));
    if (event.empty() || event[0] != '{') continue;
    const std::string buffer = padded(event);
    const char* const end = buffer.data() + event.size();
    RawEvent a, b;
    const ParseResult with = parser.parse(buffer.data(), end, a);
    const ParseResult without = EventParser::parse_alone(buffer.data(), end, b);
    ASSERT_EQ(with.state, without.state) << event;
    ASSERT_EQ(with.at, without.at) << event;
    if (with.state == Parsed::kWhole) {
      ++whole;
      expect_equal(a, b);
    } else {
      ++broken;
    }
  }
  EXPECT_GT(broken, 1000);
  EXPECT_GT(whole, 10000);
}

TEST(Scan, AgreesWithAByteLoop) {
  Rng rng(2);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    constexpr std::string_view kBytes = "\"{}[]\\ abc\n\0\xff\x7f\x80;";
    for (uint64_t n = rng.below(90); n > 0; --n) text += kBytes[rng.below(kBytes.size())];
    const std::string buffer = padded(text);
    const char *const begin = buffer.data(), *const end = begin + text.size();

    const char* blank = begin;
    while (static_cast<unsigned char>(*blank) <= ' ') ++blank;
    EXPECT_EQ(skip_blanks(begin), blank);

    size_t i = 0;
    while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
    EXPECT_EQ(string_end(begin, end), i < text.size() ? begin + i : nullptr);

    if (text.empty() || (text[0] != '[' && text[0] != '{')) continue;
    int depth = 0;
    const char* after = nullptr;
    for (size_t k = 0; k < text.size() && after == nullptr; ++k) {
      if (text[k] == '"') {
        const char* close = string_end(begin + k + 1, end);
        if (close == nullptr) break;
        k = static_cast<size_t>(close - begin);
      } else if (text[k] == '[' || text[k] == '{') {
        ++depth;
      } else if ((text[k] == ']' || text[k] == '}') && --depth == 0) {
        after = begin + k + 1;
      }
    }
    EXPECT_EQ(container_end(begin, end), after) << text;
  }
}

TEST(Number, Times) {
  EXPECT_EQ(parse_time("1740461679470692.123"), 1740461679470692123);
  EXPECT_EQ(parse_time("1740461679470692"), 1740461679470692000);
  EXPECT_EQ(parse_time("12345678"), 12345678000);
  EXPECT_EQ(parse_time("123456789.1"), 123456789100);
  EXPECT_EQ(parse_time("0.0004999"), 0);
  EXPECT_EQ(parse_time("0.0005"), 1);
  EXPECT_EQ(parse_time("-1.0015"), -1002);
  EXPECT_EQ(parse_time("+7."), 7000);
  EXPECT_EQ(parse_time("1.5e3"), 1500000);
  EXPECT_EQ(parse_time("00000000000000000000012"), 12000);
  for (const std::string_view bad :
       {"", "-", ".", "x", "1x", "nan", "inf", "1e400", "1e17", "4000000000000001",
        "99999999999999999999", "1.2.3", "--1", "0x10", "12345678x"}) {
    EXPECT_FALSE(parse_time(bad)) << bad;
  }
  Rng rng(3);
  for (int i = 0; i < 10000; ++i) {
    const uint64_t us = rng.next() >> (12 + rng.below(50));
    if (us > 3'999'999'999'999'999) continue;
    const uint64_t ns = rng.below(1000);
    EXPECT_EQ(parse_time(fmt::format("{}.{:03}", us, ns)), static_cast<int64_t>(us * 1000 + ns));
  }
}

TEST(Number, Integers) {
  EXPECT_EQ(parse_unsigned("18446744073709551615"), UINT64_MAX);
  EXPECT_FALSE(parse_unsigned("18446744073709551616"));
  EXPECT_EQ(parse_unsigned("0xFf"), 255);
  EXPECT_EQ(parse_unsigned("12.75"), 12);
  for (const std::string_view bad : {"", "-1", "nan", "inf", "0x", "0xg", "a", "1e20", "1 "}) {
    EXPECT_FALSE(parse_unsigned(bad)) << bad;
  }
  EXPECT_EQ(parse_integer("-12"), -12);
  EXPECT_FALSE(parse_integer("9223372036854775808"));
  EXPECT_EQ(parse_real("-2.5e1"), -25.0);
  EXPECT_FALSE(parse_real("1e999"));
}

}  // namespace
}  // namespace hadal::trace
