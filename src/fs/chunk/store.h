// The chunk store: pieces of files on one disk, each changed whole or not at all.
//
//   TRY(ChunkStore::create(files, "disk0", {.capacity_bytes = 1 << 40}));
//   auto store = TRY(ChunkStore::open(files, "disk0", {}));
//   TRY(store->update(id, {.kind = UpdateKind::kWrite, .offset = 0, .data = bytes, .commit =
//   true})); ChunkReader reader = TRY(store->read(id));      // this version, whatever happens
//   later const size_t n = TRY(reader.read(0, buffer));
//
// What it promises
//   1. An update that returned is durable; one that did not happened whole or not at all.
//   2. Committed bytes are never overwritten: an update writes to free pages, and its record says
//      where they are. Readers keep the version with which they began.
//   3. Every page is checked against its CRC on every read; a page that fails is kCorrupt, and
//      never returned.
//   4. An update that its writer sends again is not made again, also after a crash.
//   5. Removed is removed.
//
// Versions. update() makes the next version of a chunk, pending: readers do not see it. commit()
// makes it the committed one. Replicas of a chain do these in two steps; with `commit` it is one.
// There is at most one pending version, and it is one above the committed one.
//
// How: docs/formats/chunks.md. In memory is the index of all chunks (some 250 bytes each); blocks
// of the data file are counted by the states that refer to them (allocator.h), so a reader keeps
// its pages, and a page is used again only after the record that let go of it is durable (log.h).
//
// Errors: kInvalidArgument for a request that can never be right, kNotFound, kConflict for versions
// that do not fit, kNoSpace, kCorrupt, kIo. After an error of the log the store takes no more
// updates until it is opened again, because what is durable is unknown; reads go on.
//
// Threads: fibers of one executor; every call that returns a Result may wait. Updates of one chunk
// take turns. Readers must go before the store.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/executor.h"
#include "fs/chunk/allocator.h"
#include "fs/chunk/format.h"
#include "fs/chunk/log.h"
#include "fs/chunk/sums.h"
#include "io/file_system.h"
#include "io/group_commit.h"

namespace hadal::fs {

/// Mistakes that tests plant, to show that they are found.
enum class ChunkMistake : uint8_t { kNone, kOverwriteInPlace, kFreeEarly, kForgetWriters };

struct ChunkStoreOptions {
  int64_t sums_cache_bytes = int64_t{64} << 20;       // of checksums that nobody uses just now
  int64_t checkpoint_log_bytes = int64_t{256} << 20;  // maintain() makes an index after so much log
  ChunkMistake mistake = ChunkMistake::kNone;
};

struct ChunkStoreShape {
  int64_t capacity_bytes = 0;      // rounded down to segments, of which there are at least 4
  uint32_t segment_pages = 16384;  // the largest chunk: 64 MiB
};

struct ChunkUpdate {
  UpdateKind kind = UpdateKind::kWrite;
  uint64_t offset = 0;         // of a write or punch
  Bytes data = {};             // of a write or replace
  uint64_t length = 0;         // of a punch, or the new one of a truncate or extend
  uint64_t chain_version = 0;  // not below the chunk's
  uint64_t version = 0;        // that it makes; 0: the next one
  WriterId writer = {};
  std::optional<uint32_t> checksum = {};  // CRC of `data`, checked before anything is written
  bool commit = false;                    // at once; a replace always does
};

struct ChunkUpdated {
  uint64_t version = 0, length = 0;
  bool committed = false;
  bool repeated = false;  // it had been made before
};

struct ChunkInfo {
  ChunkId id = {};
  std::optional<ChunkState> committed = {}, pending = {};
};

class ChunkStore;
class HeldState;

/// One version of a chunk.
class ChunkReader {
 public:
  const ChunkState& state() const;
  /// Bytes from `offset` on; fewer where the chunk ends. Memory and offset that are multiples of
  /// kPageBytes are read into without a copy.
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const;
  /// Of the content: equal for two chunks whose bytes are equal.
  Result<uint32_t> content_checksum() const;

 private:
  friend class ChunkStore;
  ChunkReader(ChunkStore& store, ChunkId id, std::shared_ptr<const HeldState> state)
      : store_(&store), id_(id), state_(std::move(state)) {}
  ChunkStore* store_;
  ChunkId id_;
  std::shared_ptr<const HeldState> state_;
};

class ChunkStore {
 public:
  /// A new store in an empty or missing folder. kAlreadyExists.
  static Result<> create(io::FileSystem& files, const std::string& folder,
                         const ChunkStoreShape& shape, StoreId id, int64_t now_s);
  /// `files` must outlive it. kNotFound if there is no store, kUnavailable if it is open elsewhere,
  /// kCorrupt.
  static Result<std::unique_ptr<ChunkStore>> open(io::FileSystem& files, const std::string& folder,
                                                  const ChunkStoreOptions& options);
  /// No call is running, no reader is left.
  ~ChunkStore();

  const Super& super() const { return super_; }

  Result<ChunkUpdated> update(const ChunkId& id, const ChunkUpdate& update);
  /// Makes the pending version the committed one.
  Result<ChunkUpdated> commit(const ChunkId& id, uint64_t version, uint64_t chain_version);
  /// The committed version, or the pending one.
  Result<ChunkReader> read(const ChunkId& id);
  Result<ChunkReader> read_pending(const ChunkId& id);

  std::optional<ChunkInfo> find(const ChunkId& id) const;
  /// Chunks from `from` on, in order, at most `limit`. Those of a file are together.
  std::vector<ChunkInfo> list(const ChunkId& from, size_t limit) const;
  /// Forgets the channels of a client whose session has ended.
  Result<> forget_client(uint64_t client);

  /// Writes the index and cuts the log.
  Result<> checkpoint();
  /// Moves the blocks of segments that are nearly empty, until `segments` more are free or nothing
  /// helps. Returns how many were freed.
  Result<uint32_t> compact(uint32_t segments);
  /// What is due of these; call it now and then.
  Result<> maintain();

  struct Scrubbed {
    uint64_t chunks = 0, pages = 0;
    std::vector<ChunkId> bad = {};
  };
  /// Reads and checks every page of every state. `repair` is told of bad chunks, and may replace
  /// them.
  Result<Scrubbed> scrub(const std::function<void(const ChunkId& id, const Error& error)>& repair);

  ChunkSpace space() const { return allocator_.space(); }
  uint64_t chunks() const { return chunks_.size(); }
  const Log& log() const { return *log_; }
  const Log::Replayed& replayed() const { return replayed_; }
  /// What is wrong with the books; empty: nothing.
  std::string check() const;

 private:
  friend class ChunkReader;
  using State = std::shared_ptr<const HeldState>;
  struct Chunk {
    State committed = {}, pending = {};
  };
  struct Lock;
  class Locked;
  class Builder;
  struct Done {
    uint64_t sequence = 0;
    ChunkId chunk = {};
    uint64_t version = 0, length = 0;
  };

  ChunkStore(io::FileSystem& files, std::string folder, const ChunkStoreOptions& options,
             const Super& super);
  Result<> open_files();
  Result<> load();
  Result<> load_record(const Record& record);
  Result<> claim_blocks();

  Result<> check_update(const ChunkUpdate& update) const;
  /// What the update had done, if it is one that was made before.
  Result<std::optional<ChunkUpdated>> repeated(const ChunkId& id, const WriterId& writer) const;
  Result<uint64_t> next_version(const ChunkId& id, const ChunkUpdate& update) const;
  /// Logs what a chunk becomes, and makes it that. Null: no such state.
  Result<> log_chunk(const ChunkId& id, const State& committed, const State& pending,
                     std::vector<PageRun> runs = {});
  void become(const ChunkId& id, State committed, State pending);
  void remember_writer(const ChunkId& id, const ChunkState& state);
  Result<> move_block(const Allocator::Resident& resident);
  Result<> punch_freed();
  Result<> read_pages(const ChunkId& id, const ChunkState& state, uint32_t first,
                      std::span<std::byte> to);
  Result<> check_pages(const ChunkId& id, const Extent& extent, Bytes bytes);
  const Chunk* chunk(const ChunkId& id) const;

  io::FileSystem& files_;
  const std::string folder_;
  const ChunkStoreOptions options_;
  const Super super_;
  Allocator allocator_;
  std::unique_ptr<io::FileLock> lock_;
  std::unique_ptr<io::File> data_;
  io::GroupCommit data_sync_{[this] { return data_->sync(); }};
  std::unique_ptr<SumTable> sums_;
  std::unique_ptr<Log> log_;
  Log::Replayed replayed_ = {};
  std::map<ChunkId, Chunk> chunks_;
  std::map<std::pair<uint64_t, uint32_t>, Done> writers_;  // by client and channel
  std::map<ChunkId, std::unique_ptr<Lock>> locks_;         // of chunks that are being changed
  FiberMutex checkpointing_, compacting_;
};

}  // namespace hadal::fs
