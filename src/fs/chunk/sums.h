// The checksums of all pages of the data file: a table on disk, a bounded cache of it in memory.
//
// The table is written at checkpoints only; what has changed since is in the log's records. So what
// was set stays in memory until flush() has made it durable, and the rest may be read again.
//
//   SumRange sums = TRY(table.hold(page, pages));     // in memory from here on
//   if (crc32c::value(bytes) != sums[0]) ...
//   sums.set(0, crc);                                 // at once, cannot fail
//
// Threads: one executor; hold() and flush() wait for the disk.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/executor.h"
#include "fs/chunk/format.h"
#include "io/file_system.h"

namespace hadal::fs {

class SumTable {
 public:
  static constexpr uint32_t kSumsPerPage = kPageBytes / sizeof(uint32_t);

  /// `file` has direct access. `cache_bytes_max` bounds what is kept though nobody needs it.
  SumTable(std::unique_ptr<io::File> file, int64_t cache_bytes_max);

  class Range;
  /// The sums of these pages of data.
  Result<Range> hold(uint64_t page, uint64_t pages);

  /// Makes durable what was set before the call.
  Result<> flush();
  int64_t dirty_pages() const { return dirty_pages_; }
  int64_t cached_pages() const { return static_cast<int64_t>(pages_.size()); }

 private:
  struct alignas(kPageBytes) Sums {
    std::array<uint32_t, kSumsPerPage> values = {};
  };
  struct Page {
    uint64_t number = 0;
    std::unique_ptr<Sums> sums = std::make_unique<Sums>();
    int holders = 0;
    bool loaded = false, dirty = false;
    uint64_t used = 0;  // when, for eviction
    WaitList loading = {};
  };

  Result<> load(Page& page);
  void release(Page& page);
  void evict();

  const std::unique_ptr<io::File> file_;
  const int64_t cached_pages_max_;
  std::map<uint64_t, std::shared_ptr<Page>> pages_;
  std::map<uint64_t, uint64_t> idle_;  // by when it was used: a page that nobody holds, clean
  int64_t dirty_pages_ = 0;
  uint64_t uses_ = 0;
};

/// Sums that stay in memory as long as it lives. It must go before the table.
class SumTable::Range {
 public:
  Range() = default;
  Range(Range&& other) noexcept = default;
  Range& operator=(Range&& other) noexcept;
  ~Range();

  uint64_t size() const { return count_; }
  uint32_t operator[](uint64_t i) const;
  void set(uint64_t i, uint32_t sum);

 private:
  friend class SumTable;
  SumTable* table_ = nullptr;
  uint64_t first_ = 0, count_ = 0;
  std::vector<std::shared_ptr<Page>> pages_;
};

}  // namespace hadal::fs
