// What every message type should be put through, by its own fields(): for tests and fuzzers.
//
//   using AllMessages = MessageList<OpenRequest, OpenResponse>;
//   EXPECT_EQ(AllMessages::check_round_trips(rng), "");             // in a test
//   AllMessages::fuzz(Bytes(data, size));                           // in a fuzzer
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "net/codec.h"

namespace hadal::net {

/// A visitor that fills fields with values that are legal, and often at the edges of their types.
class Randomizer {
 public:
  explicit Randomizer(Rng& rng) : rng_(rng) {}

  template <std::integral T>
  void operator()(T& value) {
    const uint64_t raw = rng_.next() >> rng_.below(64);
    value = static_cast<T>(rng_.chance(0.5) ? raw : 0 - raw);
  }
  void operator()(bool& value) { value = rng_.chance(0.5); }
  void operator()(double& value) { value = rng_.normal(); }
  void operator()(Hash128& value) { value = {rng_.next(), rng_.next()}; }
  template <Enum E>
  void operator()(E& value, E last) {
    value = static_cast<E>(rng_.below(static_cast<uint64_t>(last) + 1));
  }
  void operator()(std::string& value, Bound bound) {
    value.resize(size(bound));
    for (char& c : value) c = static_cast<char>(rng_.next());
  }
  void operator()(std::vector<std::byte>& value, Bound bound) {
    value.resize(size(bound));
    for (std::byte& b : value) b = static_cast<std::byte>(rng_.next());
  }
  template <typename T, typename... Rule>
  void operator()(std::vector<T>& values, Bound bound, Rule... rule) {
    values.resize(std::min<size_t>(size(bound), 20));
    for (T& value : values) (*this)(value, rule...);
  }
  template <typename T, typename... Rule>
  void operator()(std::optional<T>& value, Rule... rule) {
    value.reset();
    if (rng_.chance(0.5)) (*this)(value.emplace(), rule...);
  }
  template <Message T>
  void operator()(T& value) {
    T::fields(value, *this);
  }

 private:
  /// Mostly short, sometimes as long as it may be.
  size_t size(Bound bound) {
    const size_t max = std::min<size_t>(bound.max, 4096);
    return rng_.chance(0.1) ? max : std::min<size_t>(max, rng_.below(12));
  }

  Rng& rng_;
};

template <Message T>
std::vector<std::byte> encoded(const T& value) {
  std::vector<std::byte> out;
  CHECK(encode(value, out, "message"), "a field is larger than its bound");
  return out;
}

/// Encodes a random value, decodes it whole, cut short, spoiled and with more behind it. Returns
/// what is wrong, or nothing.
template <Message T>
std::string check_round_trip(Rng& rng) {
  T value = {};
  Randomizer randomize(rng);
  randomize(value);
  const std::vector<std::byte> bytes = encoded(value);
  T copy = {};
  if (const auto result = decode(bytes, copy, "whole"); !result) return result.error().message;
  if (encoded(copy) != bytes) return "what was decoded is encoded otherwise";

  std::vector<std::byte> longer = bytes;
  longer.insert(longer.end(), 1 + rng.below(9), std::byte{0xff});
  T of_longer = {};
  if (const auto result = decode(longer, of_longer, "longer"); !result)
    return result.error().message;
  if (encoded(of_longer) != bytes) return "unknown fields behind the known ones change those";

  for (int i = 0; i < 8 && !bytes.empty(); ++i) {
    std::vector<std::byte> spoiled = bytes;
    spoiled[rng.below(bytes.size())] ^= static_cast<std::byte>(1 + rng.below(255));
    for (const Bytes input : {Bytes(bytes).first(rng.below(bytes.size())), Bytes(spoiled)}) {
      T other = {};
      if (decode(input, other, "spoiled")) encoded(other);  // what is accepted is within bounds
    }
  }
  return "";
}

template <Message... Ts>
struct MessageList {
  /// check_round_trip() of each type; the first thing that is wrong.
  static std::string check_round_trips(Rng& rng) {
    std::string wrong;
    ((wrong = wrong.empty() ? check_round_trip<Ts>(rng) : wrong), ...);
    return wrong;
  }

  /// The first byte chooses the type of the others. What decodes must encode, and that decode to
  /// the same.
  static void fuzz(Bytes input) {
    if (input.empty()) return;
    const size_t chosen = static_cast<size_t>(input[0]) % sizeof...(Ts);
    size_t i = 0;
    ((i++ == chosen ? fuzz_one<Ts>(input.subspan(1)) : void()), ...);
  }

 private:
  template <typename T>
  static void fuzz_one(Bytes input) {
    T value = {};
    if (!decode(input, value, "input")) return;
    const std::vector<std::byte> once = encoded(value);
    T again = {};
    CHECK(decode(once, again, "again") && encoded(again) == once);
  }
};

}  // namespace hadal::net
