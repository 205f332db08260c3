// Frames: what goes over a stream, as docs/formats/wire.md says.
//
// A header is parsed and checked as a whole: what read_header() returns may be believed, up to the
// payload, whose checksum is the receiver's to compare once it is there.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/error.h"

namespace hadal::net {

inline constexpr uint32_t kMagic = 0x316c6468;  // "hdl1"
inline constexpr uint32_t kVersion = 1;         // the only one so far
inline constexpr size_t kHeaderBytes = 32;
inline constexpr size_t kMessageBytesMax = size_t{1} << 20;
inline constexpr size_t kMessageBytesMin = 65536;  // what every receiver takes
inline constexpr size_t kPieceBytesMax = 512 * 1024;
inline constexpr size_t kControlBytesMax = 1024;
inline constexpr size_t kErrorTextBytesMax = 1024;
inline constexpr size_t kFinishedBytesMax = 2048;
inline constexpr size_t kNameBytesMax = 255;
inline constexpr size_t kTransfersMax = 32;  // that one side asks for at a time

enum class FrameKind : uint8_t {
  kHello = 1,
  kMessage = 2,
  kPing = 3,
  kPong = 4,
  kGoodbye = 5,
  kNothing = 6,
  kPull = 16,
  kPush = 17,
  kPulled = 18,
  kPushed = 19,
  kFinished = 20,
  kStop = 21,
};

struct FrameHeader {
  FrameKind kind = FrameKind::kNothing;
  uint64_t id = 0;
  uint32_t sequence = 0;
  uint32_t bytes = 0;  // of the payload
  uint32_t crc = 0;    // of the payload
};

void write_header(const FrameHeader& header, std::span<std::byte, kHeaderBytes> to);

/// kCorrupt: it is none, or more payload is announced than its kind may have.
Result<FrameHeader> read_header(std::span<const std::byte, kHeaderBytes> from);

// The numbers of codes are part of the format.
static_assert(static_cast<int>(Code::kInvalidArgument) == 0);
static_assert(static_cast<int>(Code::kTimeout) == 6);
static_assert(static_cast<int>(Code::kInternal) == 12);

}  // namespace hadal::net
