// Whether what clients saw could have happened in some serial order that respects real time.
//
// A history is a set of transactions: what each read and wrote, when it began and ended, whether it
// committed. Values are unique, so that a value tells who wrote it; versionstamps give the order of
// the writes of a key. From both follows who must stand before whom (after Kingsbury and Alvaro,
// "Elle: inferring isolation anomalies from experimental observations", 2020):
//
//   wr   T1 wrote what T2 read
//   ww   T2 wrote the next value of a key that T1 wrote
//   rw   T1 read a value, and T2 wrote the next one
//   rt   T1 had ended before T2 began
//
// The history is strictly serializable exactly if this graph has no cycle, and no read saw a value
// that nobody committed. A cycle is told as a sentence per edge. Time and memory grow with the
// number of reads and writes, not with its square.
//
// A range that was read is a read of every key in it that occurs anywhere in the history: keys that
// were not returned were read as absent, which finds phantoms. Absent is the one value that is not
// unique; it is taken for the newest absence before the reader's own place, the choice that accuses
// nobody falsely.
//
// Snapshot reads take part in nobody's order: record them as a transaction of their own that only
// reads, with the same times.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kv/kv.h"

namespace hadal::kv {

enum class Outcome : uint8_t { kCommitted, kAborted, kUnknown };

struct RecordedRange {
  KeyRange range;  // the part that the rows cover
  std::vector<Row> rows;
};

struct RecordedTransaction {
  std::string client = {};
  int64_t begin_ns = 0, end_ns = 0;  // of the world; an unknown one may happen after its end
  Outcome outcome = Outcome::kAborted;
  /// Of a committed one its stamp; that of one that only read has its version, and order kReader.
  /// Of an unknown one, if it was found out later.
  std::optional<Stamp> stamp = {};
  std::vector<std::pair<std::string, std::optional<std::string>>> reads = {};  // not of own writes
  std::vector<RecordedRange> ranges = {};
  std::vector<KeyRange> clears = {};  // before the writes
  std::vector<std::pair<std::string, std::optional<std::string>>> writes = {};
};

/// The order of a transaction that only read: behind all commits of its version.
inline constexpr uint16_t kReader = 0xffff;

class History {
 public:
  /// Its number, from 0.
  size_t add(RecordedTransaction transaction);
  std::vector<RecordedTransaction>& transactions() { return transactions_; }
  const std::vector<RecordedTransaction>& transactions() const { return transactions_; }

  /// Nothing if the history is strictly serializable; else what is wrong, in lines for people.
  std::optional<std::string> anomaly() const;

 private:
  std::vector<RecordedTransaction> transactions_;
};

}  // namespace hadal::kv
