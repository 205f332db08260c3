#include "fs/chunk/format.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/crc32c.h"

namespace hadal::fs {
namespace {

constexpr uint64_t kSuperMagic = 0x6b68636c61646168;  // "hadalchk"
constexpr size_t kSuperCrcAt = 12;

enum class RecordKind : uint8_t { kChunk = 1, kWriter, kForget, kEnd };
constexpr uint8_t kHasCommitted = 1, kHasPending = 2;
constexpr size_t kExtentBytesMin = 5;  // a byte each field

void put_id(Writer& out, const ChunkId& id) {
  out.u32(id.target);
  out.u64(id.file);
  out.u32(id.index);
}

ChunkId take_id(Reader& in) {
  ChunkId id;
  id.target = in.u32();
  id.file = in.u64();
  id.index = in.u32();
  return id;
}

/// A varint that must fit 32 bits.
uint32_t take_u32(Reader& in) {
  const uint64_t value = in.varint();
  if (value > UINT32_MAX) {
    in.reject("a number is over 32 bits");
    return 0;
  }
  return static_cast<uint32_t>(value);
}

void put_writer(Writer& out, const WriterId& writer) {
  out.u64(writer.client);
  out.varint(writer.channel);
  out.varint(writer.sequence);
}

WriterId take_writer(Reader& in) {
  WriterId writer;
  writer.client = in.u64();
  writer.channel = take_u32(in);
  writer.sequence = in.varint();
  return writer;
}

void put_state(Writer& out, const ChunkState& state) {
  out.u8(static_cast<uint8_t>(state.kind));
  out.varint(state.chain_version);
  out.varint(state.version);
  out.varint(state.length);
  put_writer(out, state.writer);
  out.varint(state.extents.size());
  uint32_t end = 0;
  for (const Extent& extent : state.extents) {
    out.varint(extent.first - end);
    out.varint(extent.pages);
    out.varint(extent.block.page);
    out.u8(extent.block.order);
    out.varint(extent.offset);
    end = extent.end();
  }
}

/// The next extent, which begins `end` or later.
Extent take_extent(Reader& in, uint32_t end) {
  Extent extent;
  const uint64_t first = uint64_t{end} + take_u32(in);
  extent.pages = take_u32(in);
  extent.block.page = in.varint();
  extent.block.order = in.u8();
  extent.offset = take_u32(in);
  if (first + extent.pages > kSegmentPagesMax || extent.pages == 0)
    in.reject("an extent has no pages or ends behind the largest chunk");
  if (extent.block.order > 18 || uint64_t{extent.offset} + extent.pages > extent.block.pages())
    in.reject("an extent ends behind its block");
  if (extent.block.page > (uint64_t{1} << 50)) in.reject("a block is beyond any device");
  extent.first = static_cast<uint32_t>(first);
  return extent;
}

ChunkState take_state(Reader& in) {
  ChunkState state;
  const uint8_t kind = in.u8();
  if (kind < 1 || kind > static_cast<uint8_t>(UpdateKind::kReplace))
    in.reject("an update's kind is not 1 to 6");
  state.kind = static_cast<UpdateKind>(kind);
  state.chain_version = in.varint();
  state.version = in.varint();
  state.length = in.varint();
  if (state.length > uint64_t{kSegmentPagesMax} * kPageBytes)
    in.reject("a chunk is longer than the largest one");
  state.writer = take_writer(in);
  const size_t count = in.count(kExtentBytesMin);
  state.extents.reserve(count);
  uint32_t end = 0;
  for (size_t i = 0; i < count; ++i) {
    state.extents.push_back(take_extent(in, end));
    if (!in.ok()) return {};
    end = state.extents.back().end();
  }
  return state;
}

struct RecordWriter {
  Writer& out;

  void operator()(const ChunkRecord& record) const {
    out.u8(static_cast<uint8_t>(RecordKind::kChunk));
    put_id(out, record.id);
    out.u8(static_cast<uint8_t>((record.committed ? kHasCommitted : 0) |
                                (record.pending ? kHasPending : 0)));
    if (record.committed) put_state(out, *record.committed);
    if (record.pending) put_state(out, *record.pending);
    out.varint(record.runs.size());
    for (const PageRun& run : record.runs) {
      out.varint(run.page);
      out.varint(run.sums.size());
      for (const uint32_t sum : run.sums) out.u32(sum);
    }
  }

  void operator()(const WriterRecord& record) const {
    out.u8(static_cast<uint8_t>(RecordKind::kWriter));
    put_writer(out, record.writer);
    put_id(out, record.id);
    out.varint(record.version);
    out.varint(record.length);
  }

  void operator()(const ForgetRecord& record) const {
    out.u8(static_cast<uint8_t>(RecordKind::kForget));
    out.u64(record.client);
  }

  void operator()(const EndRecord& record) const {
    out.u8(static_cast<uint8_t>(RecordKind::kEnd));
    out.varint(record.chunks);
    out.varint(record.writers);
  }
};

PageRun take_run(Reader& in) {
  PageRun run;
  run.page = in.varint();
  if (run.page > (uint64_t{1} << 50)) in.reject("a page is beyond any device");
  const size_t pages = in.count(sizeof(uint32_t));
  run.sums.reserve(pages);
  for (size_t i = 0; i < pages; ++i) run.sums.push_back(in.u32());
  return run;
}

ChunkRecord take_chunk(Reader& in) {
  ChunkRecord record;
  record.id = take_id(in);
  const uint8_t states = in.u8();
  if (states > (kHasCommitted | kHasPending)) in.reject("a chunk has states other than two");
  if ((states & kHasCommitted) != 0) record.committed = take_state(in);
  if ((states & kHasPending) != 0) record.pending = take_state(in);
  const size_t runs = in.count(2);
  for (size_t i = 0; i < runs; ++i) record.runs.push_back(take_run(in));
  return record;
}

Record take_body(Reader& in) {
  switch (static_cast<RecordKind>(in.u8())) {
    case RecordKind::kChunk: return take_chunk(in);
    case RecordKind::kWriter: {
      WriterRecord record;
      record.writer = take_writer(in);
      record.id = take_id(in);
      record.version = in.varint();
      record.length = in.varint();
      return record;
    }
    case RecordKind::kForget: return ForgetRecord{in.u64()};
    case RecordKind::kEnd: {
      EndRecord record;
      record.chunks = in.varint();
      record.writers = in.varint();
      return record;
    }
    default: in.reject("a record's kind is not 1 to 4"); return EndRecord{};
  }
}

}  // namespace

std::string to_string(const ChunkId& id) {
  return fmt::format("{}/{:x}/{}", id.target, id.file, id.index);
}

std::array<std::byte, kSuperBytes> encode_super(const Super& super) {
  std::vector<std::byte> fields;
  Writer out(fields);
  out.u64(kSuperMagic);
  out.u32(kChunkFormat);
  out.u32(0);  // the CRC
  out.u64(super.id.first);
  out.u64(super.id.second);
  out.u32(super.segment_pages);
  out.u32(super.segments);
  out.i64(super.created_s);
  std::array<std::byte, kSuperBytes> page = {};
  std::ranges::copy(fields, page.begin());
  store_le<uint32_t>(page.data() + kSuperCrcAt, crc32c::value(page));
  return page;
}

Result<Super> decode_super(Bytes page) {
  if (page.size() != kSuperBytes)
    return fail(Code::kCorrupt, fmt::format("super: {} bytes, not {}", page.size(), kSuperBytes));
  Reader in(page);
  if (in.u64() != kSuperMagic) return fail(Code::kCorrupt, "super: not of a chunk store");
  const uint32_t version = in.u32();
  std::vector<std::byte> copy(page.begin(), page.end());
  store_le<uint32_t>(copy.data() + kSuperCrcAt, 0);
  if (in.u32() != crc32c::value(copy)) return fail(Code::kCorrupt, "super: its checksum is wrong");
  if (version != kChunkFormat) {
    return fail(Code::kUnsupported,
                fmt::format("super: format {}; this program knows {}", version, kChunkFormat));
  }
  Super super;
  super.id = {in.u64(), in.u64()};
  super.segment_pages = in.u32();
  super.segments = in.u32();
  super.created_s = in.i64();
  const bool power = (super.segment_pages & (super.segment_pages - 1)) == 0;
  if (!power || super.segment_pages < kSegmentPagesMin || super.segment_pages > kSegmentPagesMax) {
    return fail(Code::kCorrupt, fmt::format("super: {} pages in a segment", super.segment_pages));
  }
  return super;
}

void append_record(std::vector<std::byte>& out, const Record& record) {
  std::vector<std::byte> body;
  Writer writer(body);
  std::visit(RecordWriter{writer}, record);
  Writer(out).prefixed(body);
}

Result<Record> take_record(Reader& in) {
  Reader body(in.prefixed());
  TRY(in.check("record"));
  Record record = take_body(body);
  TRY(body.finish("record"));
  return record;
}

}  // namespace hadal::fs
