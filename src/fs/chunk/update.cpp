#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "fs/chunk/builder.h"
#include "fs/chunk/lock.h"
#include "fs/chunk/store.h"

namespace hadal::fs {

Result<> ChunkStore::check_update(const ChunkUpdate& update) const {
  const uint64_t bytes_max = uint64_t{super_.segment_pages} * kPageBytes;
  const bool has_data = update.kind == UpdateKind::kWrite || update.kind == UpdateKind::kReplace;
  const uint64_t length = has_data ? update.data.size() : update.length;
  if (update.offset > bytes_max || length > bytes_max - update.offset) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} bytes at {} of a chunk; this store's chunks have at most {}",
                            length, update.offset, bytes_max));
  }
  if (!has_data && !update.data.empty())
    return fail(Code::kInvalidArgument, "data is given to an update that has none");
  if (update.checksum && crc32c::value(update.data) != *update.checksum)
    return fail(Code::kCorrupt, "the update's data fails its checksum");
  return {};
}

Result<std::optional<ChunkUpdated>> ChunkStore::repeated(const ChunkId& id,
                                                         const WriterId& writer) const {
  if (writer.client == 0) return std::nullopt;
  const Chunk* const found = chunk(id);
  if (found != nullptr && found->pending && found->pending->state.writer == writer) {
    const ChunkState& state = found->pending->state;
    return ChunkUpdated{.version = state.version, .length = state.length, .repeated = true};
  }
  const auto last = writers_.find({writer.client, writer.channel});
  if (last == writers_.end() || last->second.sequence < writer.sequence) return std::nullopt;
  const Done& done = last->second;
  if (done.sequence > writer.sequence || done.chunk != id) {
    return fail(Code::kConflict,
                fmt::format("update {} of channel {} of client {:x} on chunk {} comes after its "
                            "update {} on chunk {}",
                            writer.sequence, writer.channel, writer.client, to_string(id),
                            done.sequence, to_string(done.chunk)));
  }
  return ChunkUpdated{
      .version = done.version, .length = done.length, .committed = true, .repeated = true};
}

Result<uint64_t> ChunkStore::next_version(const ChunkId& id, const ChunkUpdate& update) const {
  const Chunk* const found = chunk(id);
  const ChunkState* const committed =
      found != nullptr && found->committed ? &found->committed->state : nullptr;
  const uint64_t version = committed != nullptr ? committed->version : 0;
  if (committed != nullptr && update.chain_version < committed->chain_version) {
    return fail(Code::kConflict,
                fmt::format("chunk {}: an update of chain version {}; it is at {}", to_string(id),
                            update.chain_version, committed->chain_version));
  }
  if (update.kind == UpdateKind::kReplace)
    return update.version != 0 ? update.version : version + 1;
  if (found != nullptr && found->pending) {
    return fail(Code::kConflict, fmt::format("chunk {}: version {} is pending", to_string(id),
                                             found->pending->state.version));
  }
  if (update.version != 0 && update.version != version + 1) {
    return fail(Code::kConflict, fmt::format("chunk {}: an update to version {}; it is at {}",
                                             to_string(id), update.version, version));
  }
  const bool needs_chunk = update.kind == UpdateKind::kTruncate ||
                           update.kind == UpdateKind::kRemove || update.kind == UpdateKind::kPunch;
  if (needs_chunk && committed == nullptr)
    return fail(Code::kNotFound, fmt::format("chunk {}: not there", to_string(id)));
  const uint64_t length = committed != nullptr ? committed->length : 0;
  if ((update.kind == UpdateKind::kTruncate && update.length > length) ||
      (update.kind == UpdateKind::kExtend && update.length < length)) {
    return fail(Code::kInvalidArgument,
                fmt::format("chunk {}: {} to {} bytes; it has {}", to_string(id),
                            update.kind == UpdateKind::kExtend ? "extend" : "truncate",
                            update.length, length));
  }
  return version + 1;
}

Result<ChunkUpdated> ChunkStore::update(const ChunkId& id, const ChunkUpdate& update) {
  TRY(check_update(update));
  const Locked lock(*this, id);
  if (const auto before = TRY(repeated(id, update.writer))) return *before;
  const uint64_t version = TRY(next_version(id, update));
  const Chunk* const found = chunk(id);
  const State committed = found != nullptr ? found->committed : State();
  Builder builder(*this, id, committed, Allocator::For::kUpdate);
  switch (update.kind) {
    case UpdateKind::kWrite: TRY(builder.write(update.offset, update.data)); break;
    case UpdateKind::kTruncate: TRY(builder.truncate(update.length)); break;
    case UpdateKind::kExtend: builder.extend(update.length); break;
    case UpdateKind::kRemove: builder.clear(); break;
    case UpdateKind::kPunch: TRY(builder.punch(update.offset, update.length)); break;
    case UpdateKind::kReplace: TRY(builder.replace(update.data)); break;
  }
  const State next = TRY(builder.finish(update.kind, update.chain_version, version, update.writer));
  const bool commits = update.commit || update.kind == UpdateKind::kReplace;
  TRY(log_chunk(id, commits ? next : committed, commits ? State() : next,
                std::move(builder.runs())));
  return ChunkUpdated{
      .version = version, .length = next->state.length, .committed = commits, .repeated = false};
}

Result<ChunkUpdated> ChunkStore::commit(const ChunkId& id, uint64_t version,
                                        uint64_t chain_version) {
  const Locked lock(*this, id);
  const Chunk* const found = chunk(id);
  if (found == nullptr)
    return fail(Code::kNotFound, fmt::format("chunk {}: not there", to_string(id)));
  if (found->committed && version <= found->committed->state.version) {
    const ChunkState& state = found->committed->state;
    return ChunkUpdated{
        .version = state.version, .length = state.length, .committed = true, .repeated = true};
  }
  if (!found->pending || found->pending->state.version != version) {
    return fail(Code::kConflict,
                fmt::format("chunk {}: a commit of version {}; {} is pending", to_string(id),
                            version, found->pending ? found->pending->state.version : 0));
  }
  const State pending = found->pending;
  if (chain_version < pending->state.chain_version) {
    return fail(Code::kConflict,
                fmt::format("chunk {}: a commit of chain version {}; the update's is {}",
                            to_string(id), chain_version, pending->state.chain_version));
  }
  Builder builder(*this, id, pending, Allocator::For::kUpkeep);
  const State next =
      TRY(builder.finish(pending->state.kind, chain_version, version, pending->state.writer));
  TRY(log_chunk(id, next, nullptr, std::move(builder.runs())));
  return ChunkUpdated{.version = version, .length = next->state.length, .committed = true};
}

Result<> ChunkStore::log_chunk(const ChunkId& id, const State& committed, const State& pending,
                               std::vector<PageRun> runs) {
  ChunkRecord record{.id = id};
  if (committed) record.committed = committed->state;
  if (pending) record.pending = pending->state;
  const bool wrote_data = !runs.empty();
  record.runs = std::move(runs);
  if (options_.mistake == ChunkMistake::kFreeEarly) {
    const Chunk* const before = chunk(id);
    if (before != nullptr && before->committed && before->committed != committed)
      std::const_pointer_cast<HeldState>(before->committed)->let_go();
  }
  if (wrote_data) TRY(data_sync_.commit());
  return log_->append(record, [this, id, committed, pending] { become(id, committed, pending); });
}

Result<> ChunkStore::forget_client(uint64_t client) {
  return log_->append(ForgetRecord{client}, [this, client] {
    std::erase_if(writers_, [&](const auto& each) { return each.first.first == client; });
  });
}

}  // namespace hadal::fs
