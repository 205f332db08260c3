// Messages for tests, with every kind of field that there is.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/codec_testing.h"

namespace hadal::net {

enum class Color : uint8_t { kRed, kGreen, kBlue, kLast = kBlue };

struct Simple {
  bool flag = false;
  int8_t small = 0;
  uint32_t number = 0;
  int64_t difference = 0;
  double real = 0;
  Hash128 id = {};
  std::string name = {};
  Color color = Color::kRed;

  static void fields(auto& self, auto& visit) {
    visit(self.flag);
    visit(self.small);
    visit(self.number);
    visit(self.difference);
    visit(self.real);
    visit(self.id);
    visit(self.name, at_most(40));
    visit(self.color, Color::kLast);
  }
};

struct Bounded {
  std::vector<std::byte> bytes = {};
  std::vector<std::string> names = {};

  static void fields(auto& self, auto& visit) {
    visit(self.bytes, at_most(16));
    visit(self.names, at_most(3), at_most(9));
  }
};

struct Pair {
  uint16_t x = 0;
  int16_t y = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.x);
    visit(self.y);
  }
};

struct Nested {
  Pair pair = {};
  std::vector<Pair> pairs = {};
  std::optional<Simple> simple = {};
  std::optional<std::string> text = {};
  std::vector<Color> colors = {};

  static void fields(auto& self, auto& visit) {
    visit(self.pair);
    visit(self.pairs, at_most(100));
    visit(self.simple);
    visit(self.text, at_most(30));
    visit(self.colors, at_most(10), Color::kLast);
  }
};

struct OlderInner {
  static constexpr bool kGrows = true;
  uint64_t x = 0;
  static void fields(auto& self, auto& visit) { visit(self.x); }
};

struct NewerInner {
  static constexpr bool kGrows = true;
  uint64_t x = 0, y = 55;
  static void fields(auto& self, auto& visit) {
    visit(self.x);
    visit(self.y);
  }
};

struct Older {
  uint64_t a = 0;
  std::vector<OlderInner> inner = {};
  static void fields(auto& self, auto& visit) {
    visit(self.a);
    visit(self.inner, at_most(1000));
  }
};

struct Newer {
  uint64_t a = 0;
  std::vector<NewerInner> inner = {};
  uint64_t b = 66;
  static void fields(auto& self, auto& visit) {
    visit(self.a);
    visit(self.inner, at_most(1000));
    visit(self.b);
  }
};

using TestMessages = MessageList<Simple, Bounded, Nested, Older, Newer>;

}  // namespace hadal::net
