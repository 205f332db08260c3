#include "base/bytes.h"

#include <fmt/core.h>

namespace hadal {

uint64_t Reader::varint_long() {
  uint64_t value = 0;
  const std::byte* const at = p_;
  for (int shift = 0; shift < 64; shift += 7) {
    if (p_ == end_) return fail_at(Failure::kTruncated, at, static_cast<uint64_t>(p_ - at) + 1), 0;
    const auto byte = static_cast<uint64_t>(*p_++);
    const uint64_t bits = byte & 0x7f;
    // The tenth byte has room for one bit.
    if (shift == 63 && byte > 1) return fail_at(Failure::kVarint, at, 0), 0;
    value |= bits << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) return fail_at(Failure::kVarint, at, 0), 0;
      return value;
    }
  }
  return fail_at(Failure::kVarint, at, 0), 0;
}

void Reader::fail_at(Failure failure, const std::byte* at, uint64_t wanted) {
  if (failure_ == Failure::kNone) {
    failure_ = failure;
    wanted_ = wanted;
    failed_offset_ = static_cast<size_t>(at - begin_);
  }
  p_ = end_;  // so that every later read fails on the path it already has
}

Result<> Reader::check(std::string_view what) {
  asked_ = true;
  const size_t size = static_cast<size_t>(end_ - begin_);
  switch (failure_) {
    case Failure::kNone: return {};
    case Failure::kTruncated:
      return fail(Code::kCorrupt, fmt::format("{}: needs {} bytes at offset {}, but ends at {}",
                                              what, wanted_, failed_offset_, size));
    case Failure::kVarint:
      return fail(
          Code::kCorrupt,
          fmt::format("{}: the varint at offset {} is not the shortest form of a 64-bit value",
                      what, failed_offset_));
    case Failure::kCount:
      return fail(Code::kCorrupt,
                  fmt::format("{}: count {} at offset {} exceeds what fits in {} bytes", what,
                              wanted_, failed_offset_, size));
    case Failure::kRejected:
      return fail(Code::kCorrupt,
                  fmt::format("{}: {} at offset {}", what, reason_, failed_offset_));
  }
  return fail(Code::kInternal, fmt::format("{}: unknown failure", what));
}

Result<> Reader::finish(std::string_view what) {
  TRY(check(what));
  if (p_ == end_) return {};
  return fail(Code::kCorrupt,
              fmt::format("{}: {} bytes are left over at offset {}", what, remaining(), offset()));
}

}  // namespace hadal
