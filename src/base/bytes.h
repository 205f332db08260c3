// Reading and writing bytes: little-endian numbers, varints, length-prefixed strings.
//
// Every disk and wire format of hadal is little-endian and read through a Reader, which hostile
// input cannot crash. Its error is sticky: a read that does not fit returns zero or nothing, and so
// does every read after it, so that a decoder is straight-line code with one check at its end:
//
//   Result<Header> decode(Bytes bytes) {
//     Reader in(bytes);
//     const Header header{.id = in.u64(), .name = std::string(in.text()), .size = in.varint()};
//     TRY(in.finish("header"));  // everything fitted, and nothing is left over
//     return header;
//   }
//
// (A Result from every read would say the same with a branch and an Error at each, and g++ 12 leaks
// the members already built when TRY returns from inside braces.) Two rules keep the zeros from
// being used: a Reader that failed and was never asked by ok(), check() or finish() is a bug, which
// a DCHECK in its destructor reports; and numbers of elements come from count(), which bounds them
// by the bytes that are left, so that no input can ask for a loop or an allocation longer than
// itself.
//
// A varint is LEB128: seven bits per byte, lowest first, the high bit set on all but the last byte,
// at most ten bytes. The shortest form is the only one accepted, so that a value has one encoding.
//
// Text and bytes from a Reader are views into its input. Objects belong to one thread at a time.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/error.h"

namespace hadal {

static_assert(std::endian::native == std::endian::little,
              "the code loads and stores without swaps");

using Bytes = std::span<const std::byte>;

inline Bytes bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T>
concept Number = (std::integral<T> && !std::same_as<T, bool>) || std::floating_point<T>;

/// The number stored little-endian in the sizeof(T) bytes at `p`, which need not be aligned.
template <Number T>
T load_le(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

template <Number T>
void store_le(void* p, std::type_identity_t<T> value) {
  std::memcpy(p, &value, sizeof value);
}

class Reader {
 public:
  explicit Reader(Bytes input) : begin_(input.data()), p_(begin_), end_(begin_ + input.size()) {}
  ~Reader() { DCHECK(failure_ == Failure::kNone || asked_, "a Reader failed and nobody asked"); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  uint8_t u8() { return number<uint8_t>(); }
  uint16_t u16() { return number<uint16_t>(); }
  uint32_t u32() { return number<uint32_t>(); }
  uint64_t u64() { return number<uint64_t>(); }
  int64_t i64() { return number<int64_t>(); }
  double f64() { return number<double>(); }

  uint64_t varint() {
    if (p_ != end_ && *p_ < std::byte{0x80}) [[likely]]
      return static_cast<uint64_t>(*p_++);
    return varint_long();
  }

  /// A varint that says how many elements follow, each of at least `bytes_each` >= 1 bytes.
  size_t count(size_t bytes_each) {
    DCHECK(bytes_each > 0);
    const std::byte* const at = p_;
    const uint64_t n = varint();
    if (n > remaining() / bytes_each) [[unlikely]]
      return fail_at(Failure::kCount, at, n), 0;
    return n;
  }

  /// The next `n` bytes.
  Bytes bytes(uint64_t n) {
    if (n > remaining()) [[unlikely]]
      return fail_at(Failure::kTruncated, p_, n), Bytes();
    const Bytes result(p_, n);
    p_ += n;
    return result;
  }

  /// A varint length and that many bytes.
  Bytes prefixed() { return bytes(varint()); }
  std::string_view text() { return text_of(prefixed()); }

  size_t remaining() const { return static_cast<size_t>(end_ - p_); }  // 0 after a failure
  size_t offset() const { return static_cast<size_t>(p_ - begin_); }   // of the next read

  /// Marks the input as bad for a reason of the caller's, such as an unknown tag. The first failure
  /// counts. `reason` must outlive the Reader: "tag is not 1 or 2".
  void reject(std::string_view reason) {
    reason_ = failure_ == Failure::kNone ? reason : reason_;
    fail_at(Failure::kRejected, p_, 0);
  }

  [[nodiscard]] bool ok() {
    asked_ = true;
    return failure_ == Failure::kNone;
  }

  /// kCorrupt if any read has failed: "header: needs 8 bytes at offset 12 of 14".
  Result<> check(std::string_view what);
  /// The same, and kCorrupt if bytes are left over.
  Result<> finish(std::string_view what);

 private:
  enum class Failure : uint8_t { kNone, kTruncated, kVarint, kCount, kRejected };

  template <Number T>
  T number() {
    if (remaining() < sizeof(T)) [[unlikely]]
      return fail_at(Failure::kTruncated, p_, sizeof(T)), T{};
    const T value = load_le<T>(p_);
    p_ += sizeof(T);
    return value;
  }

  uint64_t varint_long();
  void fail_at(Failure failure, const std::byte* at, uint64_t wanted);

  const std::byte* begin_;
  const std::byte* p_;
  const std::byte* end_;
  Failure failure_ = Failure::kNone;
  bool asked_ = false;
  uint64_t wanted_ = 0;        // bytes or elements that the failed read asked for
  size_t failed_offset_ = 0;   // where it began
  std::string_view reason_{};  // of kRejected
};

/// Appends to a vector, which keeps its capacity when the caller clears and reuses it.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  void u8(uint8_t value) { number(value); }
  void u16(uint16_t value) { number(value); }
  void u32(uint32_t value) { number(value); }
  void u64(uint64_t value) { number(value); }
  void i64(int64_t value) { number(value); }
  void f64(double value) { number(value); }

  void varint(uint64_t value) {
    std::byte buffer[10];
    size_t size = 0;
    for (; value >= 0x80; value >>= 7) buffer[size++] = static_cast<std::byte>(value | 0x80);
    buffer[size++] = static_cast<std::byte>(value);
    bytes({buffer, size});
  }

  void bytes(Bytes bytes) {
    if (bytes.empty()) return;
    const size_t at = out_.size();
    out_.resize(at + bytes.size());
    std::memcpy(out_.data() + at, bytes.data(), bytes.size());
  }
  void prefixed(Bytes data) {
    varint(data.size());
    bytes(data);
  }
  void text(std::string_view text) { prefixed(bytes_of(text)); }

  /// Offset of the next byte in the vector, for put_at().
  size_t offset() const { return out_.size(); }

  /// Overwrites what was written at `offset`: a length or checksum known only afterwards.
  template <Number T>
  void put_at(size_t offset, std::type_identity_t<T> value) {
    CHECK(offset <= out_.size() && out_.size() - offset >= sizeof(T));
    store_le<T>(out_.data() + offset, value);
  }

 private:
  template <Number T>
  void number(T value) {
    const size_t at = out_.size();
    out_.resize(at + sizeof(T));
    store_le<T>(out_.data() + at, value);
  }

  std::vector<std::byte>& out_;
};

}  // namespace hadal
