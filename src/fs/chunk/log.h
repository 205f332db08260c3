// The log of a chunk store: changes, durable in batches, in order.
//
//   log.append(record, [&] { ... });   // waits; then the change is durable and applied
//
// Many fibers append at once. The first of those who wait leads: it takes what has gathered as one
// batch, writes and syncs it, applies the changes in the order of append(), wakes the others of the
// batch, and hands over to the first of the next one. So a flush of the disk is shared by all who
// came while the last one ran, and there is one batch at a time. What a record names in the data
// file must be durable before it is appended.
//
// What is applied is durable: memory never runs ahead of the disk. After an error of the disk
// nothing is appended any more, because what is durable is unknown: every later append() says so.
//
// Threads: one executor; what waits is said.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/executor.h"
#include "fs/chunk/format.h"
#include "io/file_system.h"

namespace hadal::fs {

inline constexpr size_t kBatchPayloadMax = size_t{4} << 20;
inline constexpr int64_t kLogFileBytes = int64_t{64} << 20;  // then the next one begins

class Log {
 public:
  /// Appends from batch `sequence` on, in a new file.
  static Result<std::unique_ptr<Log>> begin(io::FileSystem& files, const std::string& folder,
                                            StoreId store, uint64_t sequence);

  struct Replayed {
    uint64_t next_sequence = 0;
    uint64_t batches = 0, records = 0;
    bool dropped_tail = false;  // a batch that was never acknowledged
  };
  using Visit = std::function<Result<>(const Record& record)>;
  /// Calls `visit` with every record from batch `sequence` on. Waits. kCorrupt if a batch is
  /// missing or damaged though later ones are there.
  static Result<Replayed> replay(io::FileSystem& files, const std::string& folder, StoreId store,
                                 uint64_t sequence, const Visit& visit);

  /// Waits until the record is durable and `apply` has been called, which must not wait. An error
  /// means that the record may be durable or not, and was not applied.
  Result<> append(const Record& record, std::function<void()> apply);

  /// Ends the file: from the returned sequence on batches go to a new one. Waits.
  Result<uint64_t> cut();
  /// Removes files whose batches all come before that sequence. Waits.
  Result<> remove_before(uint64_t sequence);

  /// The next batch's.
  uint64_t sequence() const { return sequence_; }
  /// Written since begin() or the last cut().
  int64_t bytes_since_cut() const { return bytes_since_cut_; }
  /// Why nothing is appended any more; none: it is.
  const std::optional<Error>& failure() const { return failure_; }

  struct Counts {
    uint64_t batches = 0, records = 0, bytes = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Waiting;
  Log(io::FileSystem& files, std::string folder, StoreId store, uint64_t sequence);
  Result<> open_file();
  std::vector<std::byte> take_batch(std::vector<Waiting*>& batch);
  Result<> write_batch(std::vector<std::byte> payload);
  void lead_one_batch();
  void hand_over();

  io::FileSystem& files_;
  const std::string folder_;
  const StoreId store_;
  uint64_t sequence_;
  std::unique_ptr<io::File> file_;
  int64_t end_ = 0;  // of the file
  int64_t bytes_since_cut_ = 0;
  std::deque<Waiting*> queue_;
  bool leading_ = false;
  WaitList idle_;  // who cuts
  std::optional<Error> failure_ = {};
  Counts counts_ = {};
};

}  // namespace hadal::fs
