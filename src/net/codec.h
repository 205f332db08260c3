// Messages: plain structs that say once which fields they have, and are encoded, decoded, filled
// with random values and fuzzed by that.
//
//   struct OpenRequest {
//     uint64_t parent = 0;
//     std::string name = {};
//     Mode mode = Mode::kRead;
//     std::optional<int64_t> bytes = {};
//     std::vector<Extent> extents = {};                // a struct with fields() of its own
//
//     static void fields(auto& self, auto& visit) {
//       visit(self.parent);
//       visit(self.name, at_most(255));                // bytes
//       visit(self.mode, Mode::kLast);                 // values 0 to kLast
//       visit(self.bytes);
//       visit(self.extents, at_most(1000));            // elements
//     }
//   };
//
// A field is a bool, an integer, a double, an enum with its last value, a Hash128, a string or a
// vector of bytes with its bound, a vector of fields with its bound (and then the elements' rule:
// `at_most(16), at_most(255)` for strings), an optional with its value's rule, or a struct. What
// has a length has a bound: there is no overload without.
//
// Evolution: a message grows at its end. Trailing fields that a receiver does not know are ignored,
// those that a sender did not know keep their defaults. The same holds for an inner struct that
// says `static constexpr bool kGrows = true`, which costs it a length; others never change.
//
// Decoding allocates in proportion to its input. docs/formats/wire.md has the encoding. Pure
// functions.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

namespace hadal::net {

/// The largest number of bytes or elements that a field may have.
struct Bound {
  size_t max;
};
constexpr Bound at_most(size_t max) {
  return {max};
}

class Encoder;
class Decoder;

template <typename T>
concept Message = std::default_initializable<T> &&
                  requires(T& value, Decoder& visit) { T::fields(value, visit); };

template <typename T>
concept Growing = Message<T> && T::kGrows;

template <typename T>
concept Enum = std::is_enum_v<T>;

/// Appends fields to a vector. A field that breaks its bound is an error in the end.
class Encoder {
 public:
  explicit Encoder(std::vector<std::byte>& out) : writer_(out) {}

  template <std::integral T>
  void operator()(const T& value) {
    if constexpr (sizeof(T) == 1) {
      writer_.u8(static_cast<uint8_t>(value));
    } else if constexpr (std::unsigned_integral<T>) {
      writer_.varint(value);
    } else {  // 2x or -2x - 1
      const auto wide = static_cast<int64_t>(value);
      writer_.varint((static_cast<uint64_t>(wide) << 1) ^ static_cast<uint64_t>(wide >> 63));
    }
  }
  void operator()(const double& value) { writer_.f64(value); }
  void operator()(const Hash128& value) {
    writer_.u64(value.low);
    writer_.u64(value.high);
  }
  template <Enum E>
  void operator()(const E& value, E last) {
    const auto number = static_cast<uint64_t>(value);
    hold(number, static_cast<uint64_t>(last));
    writer_.varint(number);
  }
  void operator()(const std::string& value, Bound bound) {
    hold(value.size(), bound.max);
    writer_.text(value);
  }
  void operator()(const std::vector<std::byte>& value, Bound bound) {
    hold(value.size(), bound.max);
    writer_.prefixed(value);
  }
  template <typename T, typename... Rule>
  void operator()(const std::vector<T>& values, Bound bound, Rule... rule) {
    hold(values.size(), bound.max);
    writer_.varint(values.size());
    for (const T& value : values) (*this)(value, rule...);
  }
  template <typename T, typename... Rule>
  void operator()(const std::optional<T>& value, Rule... rule) {
    writer_.u8(value.has_value());
    if (value) (*this)(*value, rule...);
  }
  template <Message T>
  void operator()(const T& value) {
    if constexpr (Growing<T>) {
      std::vector<std::byte> inner;
      Encoder visit(inner);
      T::fields(value, visit);
      if (!broken_) broken_ = visit.broken_;
      writer_.prefixed(inner);
    } else {
      T::fields(value, *this);
    }
  }

  /// kInvalidArgument: a field was larger than its bound.
  Result<> finish(std::string_view what) const {
    return broken_ ? broken(what, *broken_) : Result<>();
  }

 private:
  struct Broken {
    uint64_t value, max;
  };
  static Result<> broken(std::string_view what, Broken broken);

  void hold(uint64_t value, uint64_t max) {
    if (value > max && !broken_) broken_ = Broken{value, max};
  }

  Writer writer_;
  std::optional<Broken> broken_;
};

/// Reads fields. The Reader says in the end whether they were there.
class Decoder {
 public:
  /// `grows`: the fields may end early.
  Decoder(Reader& in, bool grows) : in_(in), grows_(grows) {}

  template <typename T, typename... Rule>
  void operator()(T& value, Rule... rule) {
    if (grows_ && in_.remaining() == 0) return;
    const bool outer = std::exchange(grows_, false);  // what is inside a field is whole
    read(value, rule...);
    grows_ = outer;
  }

 private:
  template <std::integral T>
  void read(T& value) {
    if constexpr (std::same_as<T, bool>) {
      const uint8_t byte = in_.u8();
      if (byte > 1) in_.reject("a bool is neither 0 nor 1");
      value = byte == 1;
    } else if constexpr (sizeof(T) == 1) {
      value = static_cast<T>(in_.u8());
    } else if constexpr (std::unsigned_integral<T>) {
      const uint64_t wide = in_.varint();
      if (!std::in_range<T>(wide)) in_.reject("an integer is too large for its field");
      value = static_cast<T>(wide);
    } else {
      const uint64_t raw = in_.varint();
      const auto wide = static_cast<int64_t>((raw >> 1) ^ (0 - (raw & 1)));
      if (!std::in_range<T>(wide)) in_.reject("an integer is too large for its field");
      value = static_cast<T>(wide);
    }
  }
  void read(double& value) { value = in_.f64(); }
  void read(Hash128& value) {
    value.low = in_.u64();
    value.high = in_.u64();
  }
  template <Enum E>
  void read(E& value, E last) {
    const uint64_t number = in_.varint();
    if (number > static_cast<uint64_t>(last)) return in_.reject("an enum is out of range");
    value = static_cast<E>(number);
  }
  void read(std::string& value, Bound bound) { value = text_of(bytes(bound)); }
  void read(std::vector<std::byte>& value, Bound bound) {
    const Bytes view = bytes(bound);
    value.assign(view.begin(), view.end());
  }
  template <typename T, typename... Rule>
  void read(std::vector<T>& values, Bound bound, Rule... rule) {
    const size_t count = in_.count(1);
    if (count > bound.max) return in_.reject("a list is longer than its bound");
    values.clear();
    for (size_t i = 0; i < count && (i == 0 || in_.remaining() > 0); ++i) {
      read(values.emplace_back(), rule...);
    }
    if (values.size() < count) in_.reject("a list ends early");
  }
  template <typename T, typename... Rule>
  void read(std::optional<T>& value, Rule... rule) {
    bool present = false;
    read(present);
    value.reset();
    if (present) read(value.emplace(), rule...);
  }
  template <Message T>
  void read(T& value) {
    if constexpr (Growing<T>) {
      Reader inner(in_.prefixed());
      Decoder visit(inner, true);
      T::fields(value, visit);
      if (!inner.ok()) in_.reject("an inner record is malformed");
    } else {
      T::fields(value, *this);
    }
  }
  Bytes bytes(Bound bound) {
    const uint64_t size = in_.varint();
    if (size <= bound.max) return in_.bytes(size);
    in_.reject("a text or a run of bytes is longer than its bound");
    return {};
  }

  Reader& in_;
  bool grows_;
};

/// Appends `value` to `out`. kInvalidArgument names `what`: a field is larger than its bound.
template <Message T>
Result<> encode(const T& value, std::vector<std::byte>& out, std::string_view what) {
  Encoder visit(out);
  T::fields(value, visit);
  return visit.finish(what);
}

/// Fills `value`. kCorrupt names `what`.
template <Message T>
Result<> decode(Bytes bytes, T& value, std::string_view what) {
  Reader in(bytes);
  Decoder visit(in, true);
  T::fields(value, visit);
  return in.check(what);
}

/// The fields of `value` at the reader's place, where the rest of the input is something else: they
/// are a record that does not grow.
template <Message T>
void decode_front(Reader& in, T& value) {
  Decoder visit(in, false);
  T::fields(value, visit);
}

}  // namespace hadal::net
