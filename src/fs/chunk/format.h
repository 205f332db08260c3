// The records of a chunk store, as docs/formats/chunks.md has them, and what they mean.
//
// A chunk is a piece of a file: up to a segment of bytes under an id. What is known of it is one or
// two states: the committed one, which readers see, and a pending one on top, which the next commit
// makes the committed one. A state is a list of extents, ranges of pages that lie in blocks of the
// data file; what no extent covers is zeros. States and the pages they name never change.
//
// Decoding takes hostile bytes: what does not obey the format is kCorrupt.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace hadal::fs {

inline constexpr uint32_t kChunkFormat = 1;
inline constexpr int64_t kPageBytes = 4096;
inline constexpr uint32_t kSegmentPagesMin = 256, kSegmentPagesMax = 262144;
inline constexpr size_t kSuperBytes = kPageBytes;
inline constexpr size_t kBatchHeaderBytes = 32;
inline constexpr size_t kFrameHeaderBytes = 8;
inline constexpr size_t kFramePayloadMax = size_t{1} << 20;

struct StoreId {
  uint64_t first = 0, second = 0;
  friend bool operator==(const StoreId&, const StoreId&) = default;
};

struct Super {
  StoreId id = {};
  uint32_t segment_pages = 0;
  uint32_t segments = 0;
  int64_t created_s = 0;
};

struct ChunkId {
  uint32_t target = 0;  // whose chunk it is: several may share a store
  uint64_t file = 0;
  uint32_t index = 0;  // in the file
  friend auto operator<=>(const ChunkId&, const ChunkId&) = default;
};

/// "3/1f/7": target, file in hexadecimal, index.
std::string to_string(const ChunkId& id);

/// Who made an update. A channel has one update at a time, and numbers them upwards.
struct WriterId {
  uint64_t client = 0;  // 0: nobody, and nothing is remembered
  uint32_t channel = 0;
  uint64_t sequence = 0;
  friend auto operator<=>(const WriterId&, const WriterId&) = default;
};

enum class UpdateKind : uint8_t {
  kWrite = 1,
  kTruncate,  // to a length that is not greater
  kExtend,    // to a length that is not smaller
  kRemove,
  kPunch,    // a range becomes zeros
  kReplace,  // the whole content, whatever was there: how a replica catches up
};

/// A power of two of pages in the data file.
struct Block {
  uint64_t page = 0;  // its first
  uint8_t order = 0;  // log2 of its pages
  uint64_t pages() const { return uint64_t{1} << order; }
  friend auto operator<=>(const Block&, const Block&) = default;
};

struct Extent {
  uint32_t first = 0;  // page of the chunk
  uint32_t pages = 0;
  Block block = {};
  uint32_t offset = 0;  // of the extent's first page in the block
  uint32_t end() const { return first + pages; }
  uint64_t data_page() const { return block.page + offset; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct ChunkState {
  UpdateKind kind = UpdateKind::kWrite;
  uint64_t chain_version = 0;
  uint64_t version = 0;  // of the chunk's content: one more with each update
  uint64_t length = 0;   // bytes
  WriterId writer = {};
  std::vector<Extent> extents = {};  // by page, none overlap
  friend bool operator==(const ChunkState&, const ChunkState&) = default;
};

/// Pages that were written, with their checksums.
struct PageRun {
  uint64_t page = 0;
  std::vector<uint32_t> sums = {};
  friend bool operator==(const PageRun&, const PageRun&) = default;
};

struct ChunkRecord {
  ChunkId id = {};
  std::optional<ChunkState> committed = {}, pending = {};
  std::vector<PageRun> runs = {};
  friend bool operator==(const ChunkRecord&, const ChunkRecord&) = default;
};

struct WriterRecord {
  WriterId writer = {};
  ChunkId id = {};
  uint64_t version = 0, length = 0;
  friend bool operator==(const WriterRecord&, const WriterRecord&) = default;
};

struct ForgetRecord {
  uint64_t client = 0;
  friend bool operator==(const ForgetRecord&, const ForgetRecord&) = default;
};

struct EndRecord {
  uint64_t chunks = 0, writers = 0;
  friend bool operator==(const EndRecord&, const EndRecord&) = default;
};

using Record = std::variant<ChunkRecord, WriterRecord, ForgetRecord, EndRecord>;

std::array<std::byte, kSuperBytes> encode_super(const Super& super);
Result<Super> decode_super(Bytes page);

/// The record's length and the record.
void append_record(std::vector<std::byte>& out, const Record& record);
/// The next record of a payload.
Result<Record> take_record(Reader& in);

}  // namespace hadal::fs
