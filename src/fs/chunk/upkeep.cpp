#include <mutex>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "fs/chunk/builder.h"
#include "fs/chunk/checkpoint.h"
#include "fs/chunk/lock.h"
#include "fs/chunk/store.h"

namespace hadal::fs {
namespace {

constexpr int64_t kScrubBytes = int64_t{1} << 20;             // read at once
constexpr uint32_t kFreeSegmentsLow = kReservedSegments + 2;  // then blocks are moved

}  // namespace

Result<> ChunkStore::checkpoint() {
  const std::lock_guard lock(checkpointing_);
  // All that the cut log says is in memory now, and nothing else is lost with it.
  const uint64_t sequence = TRY(log_->cut());
  TRY(sums_->flush());
  CheckpointWriter index = TRY(CheckpointWriter::begin(files_, folder_ + "/index"));
  // Adding waits at times, and chunks change meanwhile: what has changed is in the log.
  ChunkId next = {};
  for (auto it = chunks_.begin(); it != chunks_.end(); it = chunks_.upper_bound(next)) {
    next = it->first;
    ChunkRecord record{.id = next};
    if (it->second.committed) record.committed = it->second.committed->state;
    if (it->second.pending) record.pending = it->second.pending->state;
    TRY(index.add(record));
  }
  std::pair<uint64_t, uint32_t> channel = {};
  for (auto it = writers_.begin(); it != writers_.end(); it = writers_.upper_bound(channel)) {
    channel = it->first;
    const Done& done = it->second;
    TRY(index.add(WriterRecord{.writer = {channel.first, channel.second, done.sequence},
                               .id = done.chunk,
                               .version = done.version,
                               .length = done.length}));
  }
  TRY(index.finish(sequence));
  return log_->remove_before(sequence);
}

Result<> ChunkStore::move_block(const Allocator::Resident& resident) {
  const Locked lock(*this, resident.owner);
  const Chunk* const found = chunk(resident.owner);
  if (found == nullptr) return {};  // a reader has it
  const Chunk before = *found;
  std::vector<PageRun> runs;
  const auto moved = [&](const State& state) -> Result<State> {
    if (!state) return State();
    Builder builder(*this, resident.owner, state, Allocator::For::kUpkeep);
    TRY(builder.move(resident.block));
    if (builder.runs().empty()) return state;
    const ChunkState& old = state->state;
    State next = TRY(builder.finish(old.kind, old.chain_version, old.version, old.writer));
    runs.insert(runs.end(), builder.runs().begin(), builder.runs().end());
    return next;
  };
  const State committed = TRY(moved(before.committed));
  // What both states have in the block is there twice from now on, until the commit.
  const State pending = TRY(moved(before.pending));
  if (runs.empty()) return {};
  return log_chunk(resident.owner, committed, pending, std::move(runs));
}

Result<uint32_t> ChunkStore::compact(uint32_t segments) {
  const std::lock_guard lock(compacting_);
  const uint64_t before = allocator_.space().free_pages;
  const auto freed = [&] {
    const uint64_t now = allocator_.space().free_pages;
    return static_cast<uint32_t>((now - std::min(now, before)) / super_.segment_pages);
  };
  struct End {
    Allocator& allocator;
    ~End() { allocator.end_evacuation(); }
  } const end{allocator_};
  while (freed() < segments) {
    const uint32_t then = freed();
    const std::vector<Allocator::Resident> residents = allocator_.evacuate();
    for (const Allocator::Resident& resident : residents) {
      const Result<> moved = move_block(resident);
      if (moved) continue;
      if (moved.error().code != Code::kNoSpace) return std::unexpected(moved.error());
      return freed();
    }
    if (freed() == then) break;  // readers hold what is left, or there is nothing to move
  }
  return freed();
}

Result<> ChunkStore::punch_freed() {
  const int64_t segment_bytes = int64_t{super_.segment_pages} * kPageBytes;
  // After an error of the log, what is free here may be named by a record there.
  while (!log_->failure()) {
    const std::optional<uint32_t> segment = allocator_.take_freed();
    if (!segment) break;
    const Result<> punched = data_->punch_hole(*segment * segment_bytes, segment_bytes);
    allocator_.give_back(*segment);
    TRY(Result<>(punched));
  }
  return {};
}

Result<> ChunkStore::maintain() {
  if (log_->bytes_since_cut() >= options_.checkpoint_log_bytes) TRY(checkpoint());
  const uint64_t free = allocator_.space().free_pages / super_.segment_pages;
  if (free < kFreeSegmentsLow) TRY(compact(kFreeSegmentsLow - static_cast<uint32_t>(free)));
  return punch_freed();
}

Result<ChunkStore::Scrubbed> ChunkStore::scrub(
    const std::function<void(const ChunkId& id, const Error& error)>& repair) {
  Scrubbed scrubbed;
  Pages pages(kScrubBytes / kPageBytes);
  ChunkId next = {};
  for (auto it = chunks_.begin(); it != chunks_.end(); it = chunks_.upper_bound(next)) {
    next = it->first;
    ++scrubbed.chunks;
    for (const State& state : {State(it->second.committed), State(it->second.pending)}) {
      if (!state) continue;
      Result<> good = {};
      for (const Extent& extent : state->state.extents) {
        for (uint32_t at = 0; at < extent.pages && good;) {
          const auto count =
              std::min<uint32_t>(extent.pages - at, static_cast<uint32_t>(pages.size()));
          good = read_pages(next, state->state, extent.first + at,
                            bytes_of(pages).first(size_t{count} * kPageBytes));
          at += count;
          scrubbed.pages += count;
        }
      }
      if (good) continue;
      if (good.error().code != Code::kCorrupt && good.error().code != Code::kIo)
        return std::unexpected(good.error());
      if (scrubbed.bad.empty() || scrubbed.bad.back() != next) scrubbed.bad.push_back(next);
      if (repair) repair(next, good.error());
    }
  }
  return scrubbed;
}

std::string ChunkStore::check() const {
  if (std::string wrong = allocator_.check(); !wrong.empty()) return wrong;
  for (const auto& [id, chunk] : chunks_) {
    const auto* const committed = chunk.committed ? &chunk.committed->state : nullptr;
    const auto* const pending = chunk.pending ? &chunk.pending->state : nullptr;
    if (committed == nullptr && pending == nullptr)
      return fmt::format("chunk {} has no state", to_string(id));
    const uint64_t version = committed != nullptr ? committed->version : 0;
    if (pending != nullptr && pending->version != version + 1)
      return fmt::format("chunk {}: version {} is pending over {}", to_string(id), pending->version,
                         version);
    for (const ChunkState* state : {committed, pending}) {
      if (state != nullptr && state->extents.size() > extents_max(pages_for(state->length)))
        return fmt::format("chunk {} has {} extents", to_string(id), state->extents.size());
    }
  }
  return {};
}

}  // namespace hadal::fs
