// The store in a folder of this machine: transactions checked in memory, kept by RocksDB.
//
//   auto store = TRY(kv::EmbeddedStore::open(loop, {.path = "/data/meta"}));
//   ...
//   store->close();          // waits for commits under way; then it may be destroyed
//
// Group commit. Commits queue up while the disk flushes; then all of them are checked, in order,
// against what was written since they read, and those that pass become one batch: one version, one
// record of RocksDB's log, one flush. So a thousand flushes a second carry tens of thousands of
// transactions. Fibers wait; the executor never does, because a thread of the store's writes and
// flushes. A batch also carries the new version, so that versions and stamps never repeat.
//
// Reads happen at a version: the store keeps a snapshot of RocksDB for each batch of the last
// kReadAgeNs, at most kVersionsMax. Point reads and short ranges are done on the executor; long
// ranges, and those with many deleted rows in the way, by a thread.
//
// Conflicts. Who wrote which key or range last is remembered for those versions (ConflictWindow),
// with at most kWindowEntriesMax intervals; where there would be more, the older half of the
// versions becomes too old to read.
//
// After an error of the disk while it writes, nobody can know what is there: the store stops. The
// commits of the batch are reported as unknown, everything else fails with kIo, until it is opened
// again. Errors of reads are reported and stop nothing.
//
// In the simulator the same code runs in one thread on an io::FileSystem (kv/rocks_env.h). A
// process that ends there writes nothing in its destructors.
//
// What is on the disk: docs/formats/kv.md. Threads: one executor.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "io/file_system.h"
#include "io/offload.h"
#include "kv/conflict_window.h"
#include "kv/format.h"
#include "kv/kv.h"
#include "kv/rocks.h"

namespace hadal::kv {

struct EmbeddedOptions {
  std::string path;  // a folder; its parent exists
  bool create = true;
  int64_t cache_bytes = int64_t{256} << 20;    // of blocks that were read
  int64_t memtable_bytes = int64_t{64} << 20;  // of writes, before they become a table
};

/// Where a simulated store lives.
struct SimulatedFiles {
  io::FileSystem& files;  // whose operations do not wait
  Rng rng;
  int64_t flush_ns_max = 5 * kMillisecond;  // how long a batch takes at most
};

struct StoreCheck {
  uint64_t rows = 0, bytes = 0;  // of users
  State state;
};

class EmbeddedStore final : public Store {
 public:
  static constexpr size_t kQueueMax = 8192;                   // commits that wait
  static constexpr size_t kQueueBytesMax = size_t{64} << 20;  // of theirs; more is kUnavailable
  static constexpr size_t kBatchTransactionsMax = 4096;
  static constexpr size_t kBatchBytesMax = size_t{16} << 20;  // reached by the last one
  static constexpr size_t kVersionsMax = 8192;
  static constexpr size_t kWindowEntriesMax = size_t{1} << 19;
  static constexpr size_t kInlineRowsMax = 512;
  static constexpr uint64_t kInlineSkipsMax = 1024;

  /// kNotFound, kCorrupt, kUnsupported (another format), kIo (among others: another process has it
  /// open). Blocks while RocksDB reads its log.
  static Result<std::unique_ptr<EmbeddedStore>> open(Executor& executor,
                                                     const EmbeddedOptions& options);
  static Result<std::unique_ptr<EmbeddedStore>> open(Executor& executor,
                                                     const EmbeddedOptions& options,
                                                     const SimulatedFiles& simulated);
  /// No call is under way, unless the executor stops.
  ~EmbeddedStore() override;

  /// Waits until no commit is under way. Every call after this fails.
  void close();

  Executor& executor() override { return executor_; }
  Result<Version> latest(Deadline deadline) override;
  Result<std::optional<std::string>> read(Version version, std::string_view key,
                                          Deadline deadline) override;
  Result<Rows> read_range(Version version, const KeyRange& range, const RangeOptions& options,
                          Deadline deadline) override;
  Result<Stamp> commit(Commit commit, Deadline deadline) override;

  struct Counts {
    uint64_t batches = 0, transactions = 0, conflicts = 0;
  };
  const Counts& counts() const { return counts_; }
  /// Writes what is in memory to tables; RocksDB does it by itself when memory is full.
  Result<> flush();
  /// Verifies everything that is on the disk: checksums of tables, the form of every row, the
  /// records of the store. Blocks. kCorrupt says what is wrong. `progress` is called with the
  /// number of rows, every 64 Ki rows; may be empty.
  Result<StoreCheck> check(const std::function<void(uint64_t)>& progress = {});

 private:
  struct Pending;
  struct Batch {
    std::vector<std::shared_ptr<Pending>> members;
    Rocks::Batch writes;
    State state;
  };
  /// A version that can be read.
  struct Kept {
    Rocks::Snapshot snapshot;
    int64_t until_ns = kNever;  // when the next one came
    int pins = 0;               // reads by threads
  };

  EmbeddedStore(Executor& executor, std::unique_ptr<Rocks> rocks);
  static Result<std::unique_ptr<EmbeddedStore>> open_with(Executor& executor,
                                                          const RocksOptions& options);
  Result<> start(bool create);
  Result<> running() const;
  Version oldest() const { return state_.version + 1 - kept_.size(); }
  Result<Kept*> kept(Version version);
  void commit_queue();
  Batch next_batch();
  Result<> check_conflicts(const Commit& commit, Version next);
  void apply(Commit& commit, const Stamp& stamp, Rocks::Batch& writes);
  Result<> write(const Rocks::Batch& writes);
  void finish(const Batch& batch, const Result<>& written);
  void forget_old();
  void stop(const Error& error);

  Executor& executor_;
  std::unique_ptr<Rocks> rocks_;
  std::optional<io::Offload> threads_;  // unless simulated
  std::optional<SimulatedFiles> simulated_;

  State state_;            // durable
  std::deque<Kept> kept_;  // ascending, up to state_.version
  ConflictWindow window_;
  std::deque<std::shared_ptr<Pending>> queue_;
  size_t queued_bytes_ = 0;
  bool committing_ = false;  // the fiber runs
  WaitList idle_;
  std::optional<Error> stopped_;
  Counts counts_;
};

}  // namespace hadal::kv
