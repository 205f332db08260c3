// How fast the embedded store is on a disk, and how fast the disk is: what `hadal kv bench` and
// kv_bench print.
//
// Rows are counters. A transaction of the measurement reads two random ones and writes both, one
// higher; in the end the sum over all rows must be twice the number of transactions that
// committed, or something was lost or done twice.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace hadal::kv {

struct MeasureOptions {
  std::string path;  // a folder for the store: new, or of an earlier measurement with as many rows
  int64_t rows = 100'000;
  int clients = 32;  // fibers that have one transaction under way each
  int64_t transactions = 50'000;
  int64_t reads = 500'000;
  int64_t cache_bytes = int64_t{1} << 30;
  /// Called some times a second: what is done, and which share of it; may be empty.
  std::function<void(std::string_view, double)> progress = {};
};

struct Measured {
  double fill_rows_per_s = 0;         // 0: they were there
  double flush_s = 0;                 // one fdatasync() of 8 KiB appended to a file beside
  double transactions_per_s = 0;      // durable: 2 reads and 2 writes
  double transactions_per_flush = 0;  // as they were grouped
  double conflicts_per_transaction = 0;
  double reads_per_s = 0;         // transactions of one point read each
  double scanned_rows_per_s = 0;  // by ranges of kRangeRowsMax

  /// What there can be at most where each client waits for a flush per transaction.
  double transactions_per_s_limit(int clients) const { return clients / flush_s; }
};

/// Runs an event loop of its own. kCorrupt: the counters do not add up.
Result<Measured> measure(const MeasureOptions& options);

}  // namespace hadal::kv
