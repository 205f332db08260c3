#include "fs/chunk/store.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "fs/chunk/checkpoint.h"
#include "fs/chunk/held_state.h"
#include "fs/chunk/lock.h"

namespace hadal::fs {
namespace {

constexpr uint64_t kFirstSequence = 1;
constexpr int64_t kBounceBytes = int64_t{1} << 20;  // of a read into memory that is not aligned
constexpr uint32_t kSegmentsMin = 4;

std::string path_of(const std::string& folder, std::string_view name) {
  return fmt::format("{}/{}", folder, name);
}

Result<Super> read_super(io::FileSystem& files, const std::string& folder) {
  const std::string name = path_of(folder, "super");
  const auto file = TRY(files.open(name, io::Open::kExisting));
  std::vector<std::byte> page(kSuperBytes);
  page.resize(TRY(file->read(0, page)));
  return in(folder, decode_super(page));
}

Result<> write_super(io::FileSystem& files, const std::string& folder, const Super& super) {
  const std::string name = path_of(folder, "super.new");
  const auto file = TRY(files.open(name, io::Open::kCreate));
  TRY(file->write(0, encode_super(super)));
  TRY(file->sync());
  TRY(files.rename(name, path_of(folder, "super")));
  return files.sync_folder(folder);
}

bool is_aligned(uint64_t offset, std::span<const std::byte> memory) {
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return (offset | memory.size() | address) % kPageBytes == 0;
}

}  // namespace

// --- making and opening ------------------------------------------------------------------------

Result<> ChunkStore::create(io::FileSystem& files, const std::string& folder,
                            const ChunkStoreShape& shape, StoreId id, int64_t now_s) {
  const int64_t segment_bytes = int64_t{shape.segment_pages} * kPageBytes;
  const bool power = (shape.segment_pages & (shape.segment_pages - 1)) == 0;
  if (!power || shape.segment_pages < kSegmentPagesMin || shape.segment_pages > kSegmentPagesMax) {
    return fail(Code::kInvalidArgument,
                fmt::format("segment_pages is {}; a power of two from {} to {} is allowed",
                            shape.segment_pages, kSegmentPagesMin, kSegmentPagesMax));
  }
  const int64_t segments = shape.capacity_bytes / segment_bytes;
  if (segments < kSegmentsMin || segments > INT32_MAX) {
    return fail(Code::kInvalidArgument,
                fmt::format("capacity_bytes is {}; at least {} segments of {} bytes are needed",
                            shape.capacity_bytes, kSegmentsMin, segment_bytes));
  }
  TRY(files.make_folder(folder));
  if (const Result<Super> there = read_super(files, folder);
      there || there.error().code != Code::kNotFound) {
    return fail(Code::kAlreadyExists, fmt::format("{}: there is a chunk store already", folder));
  }
  for (const char* sub : {"log", "index"}) TRY(files.make_folder(path_of(folder, sub)));
  for (const char* name : {"data", "sums"}) {
    const auto file = TRY(files.open(path_of(folder, name), io::Open::kCreate));
    TRY(file->sync());
  }
  CheckpointWriter index = TRY(CheckpointWriter::begin(files, path_of(folder, "index")));
  TRY(index.finish(kFirstSequence));
  // Last: with it the store exists.
  const Super super{.id = id,
                    .segment_pages = shape.segment_pages,
                    .segments = static_cast<uint32_t>(segments),
                    .created_s = now_s};
  return write_super(files, folder, super);
}

ChunkStore::ChunkStore(io::FileSystem& files, std::string folder, const ChunkStoreOptions& options,
                       const Super& super)
    : files_(files),
      folder_(std::move(folder)),
      options_(options),
      super_(super),
      allocator_(super.segment_pages, super.segments) {}

ChunkStore::~ChunkStore() = default;

Result<std::unique_ptr<ChunkStore>> ChunkStore::open(io::FileSystem& files,
                                                     const std::string& folder,
                                                     const ChunkStoreOptions& options) {
  const Super super = TRY(read_super(files, folder));
  std::unique_ptr<ChunkStore> store(new ChunkStore(files, folder, options, super));
  TRY(in(folder, store->open_files()));
  TRY(in(folder, store->load()));
  return store;
}

Result<> ChunkStore::open_files() {
  lock_ = TRY(files_.lock(path_of(folder_, "lock")));
  data_ = TRY(files_.open(path_of(folder_, "data"), io::Open::kExisting, io::Access::kDirect));
  auto sums = TRY(files_.open(path_of(folder_, "sums"), io::Open::kExisting, io::Access::kDirect));
  sums_ = std::make_unique<SumTable>(std::move(sums), options_.sums_cache_bytes);
  return {};
}

Result<> ChunkStore::load() {
  const std::string index = path_of(folder_, "index"), log = path_of(folder_, "log");
  const std::optional<uint64_t> sequence = TRY(newest_checkpoint(files_, index));
  if (!sequence) return fail(Code::kCorrupt, "there is no index");
  for (const std::string& sub : {index, log}) TRY(files_.sync_folder(sub));
  const auto visit = [this](const Record& record) { return load_record(record); };
  TRY(read_checkpoint(files_, index, *sequence, visit));
  replayed_ = TRY(Log::replay(files_, log, super_.id, *sequence, visit));
  TRY(claim_blocks());
  log_ = TRY(Log::begin(files_, log, super_.id, replayed_.next_sequence));
  return {};
}

Result<> ChunkStore::load_record(const Record& record) {
  if (const auto* const chunk = std::get_if<ChunkRecord>(&record)) {
    const uint64_t pages = uint64_t{super_.segment_pages} * super_.segments;
    for (const PageRun& run : chunk->runs) {
      if (run.page + run.sums.size() > pages)
        return fail(Code::kCorrupt, fmt::format("chunk {}: page {} is behind the data's end",
                                                to_string(chunk->id), run.page));
      SumTable::Range sums = TRY(sums_->hold(run.page, run.sums.size()));
      for (size_t i = 0; i < run.sums.size(); ++i) sums.set(i, run.sums[i]);
    }
    const auto hold = [](const std::optional<ChunkState>& state) {
      return state ? std::make_shared<HeldState>(*state) : State();
    };
    become(chunk->id, hold(chunk->committed), hold(chunk->pending));
  } else if (const auto* const writer = std::get_if<WriterRecord>(&record)) {
    writers_[{writer->writer.client, writer->writer.channel}] = {
        .sequence = writer->writer.sequence,
        .chunk = writer->id,
        .version = writer->version,
        .length = writer->length};
  } else if (const auto* const forget = std::get_if<ForgetRecord>(&record)) {
    std::erase_if(writers_, [&](const auto& each) { return each.first.first == forget->client; });
  }
  return {};
}

Result<> ChunkStore::claim_blocks() {
  const uint64_t bytes_max = uint64_t{super_.segment_pages} * kPageBytes;
  for (auto& [id, chunk] : chunks_) {
    for (const State& state : {chunk.committed, chunk.pending}) {
      if (!state) continue;
      if (state->state.length > bytes_max)
        return fail(Code::kCorrupt, fmt::format("chunk {}: {} bytes long, over {}", to_string(id),
                                                state->state.length, bytes_max));
      // The index alone has it until here.
      TRY(std::const_pointer_cast<HeldState>(state)->claim(allocator_, id));
    }
  }
  allocator_.end_claims();
  return {};
}

// --- what is there -----------------------------------------------------------------------------

const ChunkStore::Chunk* ChunkStore::chunk(const ChunkId& id) const {
  const auto found = chunks_.find(id);
  return found == chunks_.end() ? nullptr : &found->second;
}

void ChunkStore::become(const ChunkId& id, State committed, State pending) {
  if (committed && committed->state.kind == UpdateKind::kRemove) {
    remember_writer(id, committed->state);
    committed.reset();
  }
  if (!committed && !pending) {
    chunks_.erase(id);
    return;
  }
  Chunk& chunk = chunks_[id];
  chunk.committed = std::move(committed);
  chunk.pending = std::move(pending);
  if (chunk.committed) remember_writer(id, chunk.committed->state);
}

void ChunkStore::remember_writer(const ChunkId& id, const ChunkState& state) {
  if (state.writer.client == 0 || options_.mistake == ChunkMistake::kForgetWriters) return;
  Done& done = writers_[{state.writer.client, state.writer.channel}];
  if (done.sequence > state.writer.sequence) return;
  done = {.sequence = state.writer.sequence,
          .chunk = id,
          .version = state.version,
          .length = state.length};
}

std::optional<ChunkInfo> ChunkStore::find(const ChunkId& id) const {
  const Chunk* const found = chunk(id);
  if (found == nullptr) return {};
  ChunkInfo info{.id = id};
  if (found->committed) info.committed = found->committed->state;
  if (found->pending) info.pending = found->pending->state;
  return info;
}

std::vector<ChunkInfo> ChunkStore::list(const ChunkId& from, size_t limit) const {
  std::vector<ChunkInfo> infos;
  for (auto it = chunks_.lower_bound(from); it != chunks_.end() && infos.size() < limit; ++it)
    infos.push_back(*find(it->first));
  return infos;
}

// --- reading -----------------------------------------------------------------------------------

Result<ChunkReader> ChunkStore::read(const ChunkId& id) {
  const Chunk* const found = chunk(id);
  if (found == nullptr || !found->committed)
    return fail(Code::kNotFound, fmt::format("chunk {}: not there", to_string(id)));
  return ChunkReader(*this, id, found->committed);
}

Result<ChunkReader> ChunkStore::read_pending(const ChunkId& id) {
  const Chunk* const found = chunk(id);
  if (found == nullptr || !found->pending)
    return fail(Code::kNotFound, fmt::format("chunk {}: has no pending version", to_string(id)));
  return ChunkReader(*this, id, found->pending);
}

namespace {

/// The part of an extent that lies in the pages from `first` to `end`; it has some.
Extent clip(Extent extent, uint32_t first, uint32_t end) {
  const uint32_t from = std::max(extent.first, first);
  extent.offset += from - extent.first;
  extent.pages = std::min(extent.end(), end) - from;
  extent.first = from;
  return extent;
}

/// Whether two extents are parts of one that others have cut: one read gives both, and what is
/// between them.
bool same_run(const Extent& a, const Extent& b) {
  return a.block == b.block && a.first - a.offset == b.first - b.offset;
}

/// The extents, and of the run with most parts the first and the last one.
struct ReadPlan {
  std::vector<Extent> extents;
  size_t run_first = 0, run_last = 0;
};

ReadPlan plan_read(const ChunkState& state, uint32_t first, uint32_t end) {
  ReadPlan plan;
  auto at = std::ranges::partition_point(state.extents,
                                         [&](const Extent& each) { return each.end() <= first; });
  for (; at != state.extents.end() && at->first < end; ++at)
    plan.extents.push_back(clip(*at, first, end));
  // The largest block is the one that small writes have cut, if any was.
  size_t largest = 0;
  for (size_t i = 1; i < plan.extents.size(); ++i) {
    if (plan.extents[i].block.order > plan.extents[largest].block.order) largest = i;
  }
  plan.run_first = plan.run_last = largest;
  for (size_t i = largest; i < plan.extents.size(); ++i) {
    if (same_run(plan.extents[i], plan.extents[largest])) plan.run_last = i;
  }
  return plan;
}

/// Loads all, at once where there are several; the first error.
Result<> load_all(const std::vector<Extent>& extents,
                  const std::function<Result<>(const Extent&)>& load) {
  if (extents.size() == 1) return load(extents[0]);
  Result<> result = {};
  run_at_once("read", extents.size(), [&](size_t i) {
    Result<> loaded = load(extents[i]);
    if (!loaded) result = std::move(loaded);
  });
  return result;
}

}  // namespace

Result<> ChunkStore::read_pages(const ChunkId& id, const ChunkState& state, uint32_t first,
                                std::span<std::byte> to) {
  const auto end = first + static_cast<uint32_t>(to.size() / kPageBytes);
  const ReadPlan plan = plan_read(state, first, end);
  const auto memory = [&](uint32_t page, uint32_t pages) {
    return to.subspan(size_t{page - first} * kPageBytes, size_t{pages} * kPageBytes);
  };
  const auto load = [&](const Extent& extent) -> Result<> {
    const std::span<std::byte> bytes = memory(extent.first, extent.pages);
    const size_t got =
        TRY(data_->read(static_cast<int64_t>(extent.data_page()) * kPageBytes, bytes));
    std::ranges::fill(bytes.subspan(got), std::byte{0});  // behind the file's end
    return {};
  };
  std::vector<Extent> others = plan.extents;
  if (plan.run_first != plan.run_last) {
    Extent run = plan.extents[plan.run_first];
    std::erase_if(others, [&](const Extent& each) { return same_run(each, run); });
    run.pages = plan.extents[plan.run_last].end() - run.first;
    TRY(load(run));
  }
  TRY(load_all(others, load));
  uint32_t done = first;
  for (const Extent& extent : plan.extents) {
    std::ranges::fill(memory(done, extent.first - done), std::byte{0});  // a hole
    done = extent.end();
    TRY(check_pages(id, extent, memory(extent.first, extent.pages)));
  }
  std::ranges::fill(memory(done, end - done), std::byte{0});
  return {};
}

Result<> ChunkStore::check_pages(const ChunkId& id, const Extent& extent, Bytes bytes) {
  const SumTable::Range sums = TRY(sums_->hold(extent.data_page(), extent.pages));
  for (uint32_t i = 0; i < extent.pages; ++i) {
    if (crc32c::value(bytes.subspan(size_t{i} * kPageBytes, kPageBytes)) == sums[i]) continue;
    return fail(Code::kCorrupt,
                fmt::format("chunk {}: page {} fails its checksum (page {} of data)", to_string(id),
                            extent.first + i, extent.data_page() + i));
  }
  return {};
}

const ChunkState& ChunkReader::state() const {
  return state_->state;
}

Result<size_t> ChunkReader::read(uint64_t offset, std::span<std::byte> to) const {
  const uint64_t length = state().length;
  if (offset >= length) return size_t{0};
  const size_t wanted = std::min<uint64_t>(to.size(), length - offset);
  if (is_aligned(offset, to)) {
    const size_t whole = size_t{pages_for(wanted)} * kPageBytes;
    TRY(store_->read_pages(id_, state(), static_cast<uint32_t>(offset / kPageBytes),
                           to.first(whole)));
    return wanted;
  }
  for (size_t done = 0; done < wanted;) {
    const uint64_t at = offset + done;
    const uint64_t first = at / kPageBytes;
    const uint64_t in_page = at % kPageBytes;
    const size_t bytes = std::min<size_t>(wanted - done, kBounceBytes - in_page);
    Pages pages(pages_for(in_page + bytes));
    TRY(store_->read_pages(id_, state(), static_cast<uint32_t>(first), bytes_of(pages)));
    std::ranges::copy(bytes_of(pages).subspan(in_page, bytes),
                      to.begin() + static_cast<std::ptrdiff_t>(done));
    done += bytes;
  }
  return wanted;
}

Result<uint32_t> ChunkReader::content_checksum() const {
  const Page zeros = {};
  const uint32_t zero_sum = crc32c::value(zeros.bytes);
  std::vector<uint32_t> all(pages_for(state().length), zero_sum);
  for (const Extent& extent : state().extents) {
    const SumTable::Range sums = TRY(store_->sums_->hold(extent.data_page(), extent.pages));
    for (uint32_t i = 0; i < extent.pages && extent.first + i < all.size(); ++i)
      all[extent.first + i] = sums[i];
  }
  const uint32_t of_length = crc32c::value(std::as_bytes(std::span(&state().length, 1)));
  return crc32c::extend(of_length, std::as_bytes(std::span(all)));
}

}  // namespace hadal::fs
