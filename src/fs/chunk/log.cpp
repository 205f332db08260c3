#include "fs/chunk/log.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/crc32c.h"

namespace hadal::fs {
namespace {

constexpr uint32_t kBatchMagic = 0x424c4348;  // "HCLB"

/// Whole pages at an address that direct access takes.
struct alignas(kPageBytes) Page {
  std::byte bytes[kPageBytes];
};
using Pages = std::vector<Page>;

std::span<std::byte> bytes_of_pages(Pages& pages) {
  return std::as_writable_bytes(std::span(pages));
}

std::string file_name(const std::string& folder, uint64_t sequence) {
  return fmt::format("{}/{:016x}", folder, sequence);
}

struct BatchHeader {
  uint32_t payload_bytes = 0;
  uint64_t sequence = 0;
  uint32_t payload_crc = 0;
};

/// The header, if one of this store begins the bytes.
std::optional<BatchHeader> take_header(Bytes bytes, StoreId store) {
  if (bytes.size() < kBatchHeaderBytes) return {};
  Reader in(bytes.first(kBatchHeaderBytes));
  BatchHeader header;
  const uint32_t magic = in.u32();
  header.payload_bytes = in.u32();
  header.sequence = in.u64();
  const uint64_t of_store = in.u64();
  header.payload_crc = in.u32();
  const bool whole = in.u32() == crc32c::value(bytes.first(kBatchHeaderBytes - sizeof(uint32_t)));
  if (!whole || magic != kBatchMagic || of_store != store.first) return {};
  if (header.payload_bytes > 2 * kBatchPayloadMax) return {};
  return header;
}

size_t padded(size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

/// The files of a log by their first sequence; what else lies there is ignored.
Result<std::vector<uint64_t>> list_files(io::FileSystem& files, const std::string& folder) {
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

/// Reads the batches of one file.
class FileReplay {
 public:
  FileReplay(std::string name, StoreId store, const Log::Visit& visit, Log::Replayed& replayed)
      : name_(std::move(name)), store_(store), visit_(visit), replayed_(replayed) {}

  /// Up to its end, or to a bad batch that no later one follows.
  Result<> run(io::File& file) {
    const auto size = static_cast<size_t>(TRY(file.size()));
    pages_.resize(padded(size) / kPageBytes);
    const size_t got = TRY(file.read(0, bytes_of_pages(pages_)));
    const Bytes all = bytes_of_pages(pages_).first(std::min(got, size));
    for (size_t at = 0; at < all.size();) {
      const std::optional<BatchHeader> header = take_header(all.subspan(at), store_);
      if (!header || !is_whole(*header, all.subspan(at))) {
        if (has_later_batch(all, at)) {
          return fail(Code::kCorrupt,
                      fmt::format("{}: batch {} at byte {} is damaged, and later ones follow",
                                  name_, replayed_.next_sequence, at));
        }
        replayed_.dropped_tail = true;
        return {};
      }
      TRY(in(name_, visit_batch(all.subspan(at + kBatchHeaderBytes, header->payload_bytes))));
      at += padded(kBatchHeaderBytes + header->payload_bytes);
    }
    return {};
  }

 private:
  bool is_whole(const BatchHeader& header, Bytes bytes) const {
    return header.sequence == replayed_.next_sequence &&
           bytes.size() >= kBatchHeaderBytes + header.payload_bytes &&
           crc32c::value(bytes.subspan(kBatchHeaderBytes, header.payload_bytes)) ==
               header.payload_crc;
  }

  bool has_later_batch(Bytes all, size_t at) const {
    for (; at < all.size(); at += kPageBytes) {
      const std::optional<BatchHeader> header = take_header(all.subspan(at), store_);
      if (header && header->sequence > replayed_.next_sequence) return true;
    }
    return false;
  }

  Result<> visit_batch(Bytes payload) {
    Reader in(payload);
    while (in.remaining() > 0) {
      const Record record = TRY(take_record(in));
      TRY(visit_(record));
      ++replayed_.records;
    }
    TRY(in.finish("batch"));
    ++replayed_.batches;
    ++replayed_.next_sequence;
    return {};
  }

  const std::string name_;
  const StoreId store_;
  const Log::Visit& visit_;
  Log::Replayed& replayed_;
  Pages pages_;
};

}  // namespace

struct Log::Waiting {
  std::vector<std::byte> record;
  std::function<void()> apply;
  std::optional<Error> failure = {};
  bool done = false;
  FiberEvent turn = {};  // it is done, or leads
};

Log::Log(io::FileSystem& files, std::string folder, StoreId store, uint64_t sequence)
    : files_(files), folder_(std::move(folder)), store_(store), sequence_(sequence) {}

Result<std::unique_ptr<Log>> Log::begin(io::FileSystem& files, const std::string& folder,
                                        StoreId store, uint64_t sequence) {
  std::unique_ptr<Log> log(new Log(files, folder, store, sequence));
  TRY(log->open_file());
  return log;
}

Result<> Log::open_file() {
  const std::string name = file_name(folder_, sequence_);
  // One of this name holds nothing but a batch that was never acknowledged.
  const Result<> removed = files_.remove(name);
  if (!removed && removed.error().code != Code::kNotFound) return removed;
  file_ = TRY(files_.open(name, io::Open::kCreateNew, io::Access::kDirect));
  TRY(files_.sync_folder(folder_));
  end_ = 0;
  return {};
}

Result<Log::Replayed> Log::replay(io::FileSystem& files, const std::string& folder, StoreId store,
                                  uint64_t sequence, const Visit& visit) {
  Replayed replayed{.next_sequence = sequence};
  const std::vector<uint64_t> names = TRY(list_files(files, folder));
  for (const uint64_t first : names) {
    if (first < sequence) continue;  // all of it is in the index
    const std::string name = file_name(folder, first);
    if (first != replayed.next_sequence) {
      return fail(Code::kCorrupt, fmt::format("{}: the log has no batch {} to {}", name,
                                              replayed.next_sequence, first - 1));
    }
    const auto file = TRY(files.open(name, io::Open::kExisting, io::Access::kDirect));
    // Where a crash cut it off, the store went on in a file that begins at that batch.
    TRY(FileReplay(name, store, visit, replayed).run(*file));
    // A process that was killed may have written a last batch that was never synced. What builds
    // on it must not become durable before it.
    TRY(file->sync());
  }
  return replayed;
}

Result<> Log::append(const Record& record, std::function<void()> apply) {
  if (failure_) return std::unexpected(*failure_);
  Waiting waiting{.record = {}, .apply = std::move(apply)};
  append_record(waiting.record, record);
  CHECK(waiting.record.size() <= kBatchPayloadMax, "a record that fits no batch");
  queue_.push_back(&waiting);
  // A fiber that is unwound leaves nothing behind.
  struct Place {
    Log& log;
    Waiting& waiting;
    ~Place() { std::erase(log.queue_, &waiting); }
  } const place{*this, waiting};
  if (leading_ || queue_.front() != &waiting) waiting.turn.wait();
  if (!waiting.done) lead_one_batch();
  if (waiting.failure) return std::unexpected(*waiting.failure);
  return {};
}

void Log::lead_one_batch() {
  leading_ = true;
  // However the fiber leaves, the next one leads.
  struct HandOver {
    Log& log;
    ~HandOver() {
      log.leading_ = false;
      log.hand_over();
    }
  } const hand_over{*this};
  // Those whose batch just became durable may have more: with them a flush carries twice as much.
  if (in_fiber()) yield_fiber();
  std::vector<Waiting*> batch;
  std::vector<std::byte> payload = take_batch(batch);
  if (!failure_) {
    Result<> written = write_batch(std::move(payload));
    if (!written) failure_ = std::move(written).error().in("the log takes nothing more");
  }
  for (Waiting* waiting : batch) {
    if (failure_) {
      waiting->failure = failure_;
    } else {
      waiting->apply();
    }
    waiting->done = true;
    waiting->turn.set();
  }
}

void Log::hand_over() {
  if (idle_.wake_one()) return;  // cut() comes first
  if (queue_.empty()) return;
  leading_ = true;  // until that fiber runs
  queue_.front()->turn.set();
}

std::vector<std::byte> Log::take_batch(std::vector<Waiting*>& batch) {
  std::vector<std::byte> payload;
  while (!queue_.empty() && payload.size() + queue_.front()->record.size() <= kBatchPayloadMax) {
    Waiting* const waiting = queue_.front();
    queue_.pop_front();
    payload.insert(payload.end(), waiting->record.begin(), waiting->record.end());
    batch.push_back(waiting);
  }
  counts_.records += batch.size();
  return payload;
}

Result<> Log::write_batch(std::vector<std::byte> payload) {
  std::vector<std::byte> header;
  Writer out(header);
  out.u32(kBatchMagic);
  out.u32(static_cast<uint32_t>(payload.size()));
  out.u64(sequence_);
  out.u64(store_.first);
  out.u32(crc32c::value(payload));
  out.u32(crc32c::value(header));
  Pages pages(padded(header.size() + payload.size()) / kPageBytes);
  const std::span<std::byte> bytes = bytes_of_pages(pages);
  std::ranges::copy(header, bytes.begin());
  std::ranges::copy(payload, bytes.begin() + static_cast<std::ptrdiff_t>(header.size()));
  TRY(file_->write(end_, bytes));
  TRY(file_->sync());
  end_ += static_cast<int64_t>(bytes.size());
  bytes_since_cut_ += static_cast<int64_t>(bytes.size());
  counts_.bytes += bytes.size();
  ++counts_.batches;
  ++sequence_;
  if (end_ >= kLogFileBytes) TRY(open_file());
  return {};
}

Result<uint64_t> Log::cut() {
  while (leading_) idle_.wait();
  leading_ = true;  // nobody writes meanwhile
  struct HandOver {
    Log& log;
    ~HandOver() {
      log.leading_ = false;
      log.hand_over();
    }
  } const hand_over{*this};
  if (failure_) return std::unexpected(*failure_);
  if (end_ > 0) {
    const Result<> opened = open_file();
    if (!opened) {
      failure_ = opened.error();
      return std::unexpected(*failure_);
    }
  }
  bytes_since_cut_ = 0;
  return sequence_;
}

Result<> Log::remove_before(uint64_t sequence) {
  const std::vector<uint64_t> names = TRY(list_files(files_, folder_));
  for (size_t i = 0; i + 1 < names.size() && names[i + 1] <= sequence; ++i)
    TRY(files_.remove(file_name(folder_, names[i])));
  return {};
}

}  // namespace hadal::fs
