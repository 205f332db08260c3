#include "fs/chunk/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/core.h>

#include "base/crc32c.h"

namespace hadal::fs {
namespace {

constexpr size_t kFrameFull = kFramePayloadMax - (size_t{64} << 10);

std::string unfinished(const std::string& folder) {
  return folder + "/new";
}

std::string file_name(const std::string& folder, uint64_t sequence) {
  return fmt::format("{}/{:016x}", folder, sequence);
}

Result<std::vector<uint64_t>> list_checkpoints(io::FileSystem& files, const std::string& folder) {
  std::vector<uint64_t> found;
  for (const std::string& name : TRY(files.list(folder))) {
    uint64_t sequence = 0;
    const auto end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data(), end, sequence, 16);
    if (name.size() == 16 && parsed.ec == std::errc() && parsed.ptr == end)
      found.push_back(sequence);
  }
  std::ranges::sort(found);
  return found;
}

/// Reads frames, and counts what is in them.
class CheckpointReader {
 public:
  CheckpointReader(io::File& file, const std::function<Result<>(const Record& record)>& visit)
      : file_(file), visit_(visit) {}

  Result<> run() {
    const int64_t size = TRY(file_.size());
    int64_t at = 0;
    while (at < size && !ended_) at += TRY(read_frame(at, size));
    if (!ended_ || at != size)
      return fail(Code::kCorrupt, fmt::format("its end is not at byte {} of {}", at, size));
    return {};
  }

 private:
  Result<int64_t> read_frame(int64_t at, int64_t size) {
    std::array<std::byte, kFrameHeaderBytes> header;
    TRY(read_all(at, header));
    const auto bytes = load_le<uint32_t>(header.data());
    const auto crc = load_le<uint32_t>(header.data() + 4);
    const int64_t left = size - at - static_cast<int64_t>(kFrameHeaderBytes);
    if (bytes > kFramePayloadMax || bytes > left)
      return fail(Code::kCorrupt, fmt::format("the frame at byte {} has {} bytes", at, bytes));
    payload_.resize(bytes);
    TRY(read_all(at + static_cast<int64_t>(kFrameHeaderBytes), payload_));
    if (crc32c::value(payload_) != crc)
      return fail(Code::kCorrupt, fmt::format("the frame at byte {} fails its checksum", at));
    TRY(visit_frame());
    return static_cast<int64_t>(kFrameHeaderBytes + bytes);
  }

  Result<> read_all(int64_t at, std::span<std::byte> to) {
    if (TRY(file_.read(at, to)) == to.size()) return {};
    return fail(Code::kCorrupt, fmt::format("it ends within {} bytes at byte {}", to.size(), at));
  }

  Result<> visit_frame() {
    Reader in(payload_);
    while (in.remaining() > 0) {
      const Record record = TRY(take_record(in));
      if (const auto* const end = std::get_if<EndRecord>(&record)) {
        if (*end != counts_ || in.remaining() > 0)
          return fail(Code::kCorrupt, "its end counts other records than it has");
        ended_ = true;
        return {};
      }
      if (std::holds_alternative<ChunkRecord>(record)) ++counts_.chunks;
      if (std::holds_alternative<WriterRecord>(record)) ++counts_.writers;
      TRY(visit_(record));
    }
    return in.finish("frame");
  }

  io::File& file_;
  const std::function<Result<>(const Record& record)>& visit_;
  std::vector<std::byte> payload_;
  EndRecord counts_ = {};
  bool ended_ = false;
};

}  // namespace

Result<CheckpointWriter> CheckpointWriter::begin(io::FileSystem& files, const std::string& folder) {
  const std::string name = unfinished(folder);
  const Result<> removed = files.remove(name);
  if (!removed && removed.error().code != Code::kNotFound) return std::unexpected(removed.error());
  return CheckpointWriter(files, folder, TRY(files.open(name, io::Open::kCreateNew)));
}

Result<> CheckpointWriter::add(const Record& record) {
  if (std::holds_alternative<ChunkRecord>(record)) ++counts_.chunks;
  if (std::holds_alternative<WriterRecord>(record)) ++counts_.writers;
  append_record(frame_, record);
  if (frame_.size() < kFrameFull) return {};
  return write_frame();
}

Result<> CheckpointWriter::write_frame() {
  if (frame_.empty()) return {};
  std::vector<std::byte> bytes;
  Writer out(bytes);
  out.u32(static_cast<uint32_t>(frame_.size()));
  out.u32(crc32c::value(frame_));
  out.bytes(frame_);
  TRY(file_->write(end_, bytes));
  end_ += static_cast<int64_t>(bytes.size());
  frame_.clear();
  return {};
}

Result<> CheckpointWriter::finish(uint64_t sequence) {
  TRY(write_frame());
  append_record(frame_, counts_);
  TRY(write_frame());
  TRY(file_->sync());
  TRY(files_->rename(unfinished(folder_), file_name(folder_, sequence)));
  TRY(files_->sync_folder(folder_));
  for (const uint64_t older : TRY(list_checkpoints(*files_, folder_))) {
    if (older < sequence) TRY(files_->remove(file_name(folder_, older)));
  }
  return {};
}

Result<std::optional<uint64_t>> newest_checkpoint(io::FileSystem& files,
                                                  const std::string& folder) {
  const std::vector<uint64_t> found = TRY(list_checkpoints(files, folder));
  if (found.empty()) return std::nullopt;
  return found.back();
}

Result<> read_checkpoint(io::FileSystem& files, const std::string& folder, uint64_t sequence,
                         const std::function<Result<>(const Record& record)>& visit) {
  const std::string name = file_name(folder, sequence);
  const auto file = TRY(files.open(name, io::Open::kExisting));
  return in(name, CheckpointReader(*file, visit).run());
}

}  // namespace hadal::fs
