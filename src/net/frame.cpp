#include "net/frame.h"

#include <fmt/core.h>

#include "base/crc32c.h"

namespace hadal::net {
namespace {

/// How much payload a kind may have; nothing for a kind that does not exist.
Result<size_t> payload_bytes_max(uint8_t kind) {
  switch (FrameKind{kind}) {
    case FrameKind::kPing:
    case FrameKind::kPong:
    case FrameKind::kStop: return 0;
    case FrameKind::kHello:
    case FrameKind::kGoodbye:
    case FrameKind::kPull:
    case FrameKind::kPush: return kControlBytesMax;
    case FrameKind::kFinished: return kFinishedBytesMax;
    case FrameKind::kMessage:
    case FrameKind::kNothing: return kMessageBytesMax;
    case FrameKind::kPulled:
    case FrameKind::kPushed: return kPieceBytesMax;
  }
  return fail(Code::kCorrupt, fmt::format("a frame is of kind {}, which there is not", kind));
}

}  // namespace

void write_header(const FrameHeader& header, std::span<std::byte, kHeaderBytes> to) {
  std::byte* const p = to.data();
  store_le<uint32_t>(p, kMagic);
  store_le<uint32_t>(p + 4, static_cast<uint8_t>(header.kind));
  store_le<uint64_t>(p + 8, header.id);
  store_le<uint32_t>(p + 16, header.sequence);
  store_le<uint32_t>(p + 20, header.bytes);
  store_le<uint32_t>(p + 24, header.crc);
  store_le<uint32_t>(p + 28, crc32c::value(to.first<28>()));
}

Result<FrameHeader> read_header(std::span<const std::byte, kHeaderBytes> from) {
  const std::byte* const p = from.data();
  if (const auto magic = load_le<uint32_t>(p); magic != kMagic) {
    return fail(Code::kCorrupt, fmt::format("a frame begins with {:#010x}; it must begin with "
                                            "{:#010x}: the peer is no hadal process",
                                            magic, kMagic));
  }
  if (load_le<uint32_t>(p + 28) != crc32c::value(from.first<28>())) {
    return fail(Code::kCorrupt, "the header of a frame fails its checksum");
  }
  const auto kind = load_le<uint32_t>(p + 4);  // with the zeros behind it
  if (kind > 255) return fail(Code::kCorrupt, "reserved bytes of a frame are not 0");
  const FrameHeader header{FrameKind{static_cast<uint8_t>(kind)}, load_le<uint64_t>(p + 8),
                           load_le<uint32_t>(p + 16), load_le<uint32_t>(p + 20),
                           load_le<uint32_t>(p + 24)};
  const size_t bytes_max = TRY(payload_bytes_max(static_cast<uint8_t>(kind)));
  if (header.bytes > bytes_max) {
    return fail(Code::kCorrupt, fmt::format("a frame of kind {} announces {} bytes; it may have {}",
                                            kind, header.bytes, bytes_max));
  }
  return header;
}

}  // namespace hadal::net
