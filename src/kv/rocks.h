// The few things that the embedded store wants of RocksDB. No other file sees RocksDB's headers
// but rocks_env.cpp, which gives it files.
//
// On files of the operating system RocksDB has its own threads for flushes and compactions, and any
// thread may call. On an io::FileSystem (rocks_env.h) everything happens inside the calls. Calls
// made on a fiber run on a stack of RocksDB's own, because it is not known for small frames.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/fiber.h"
#include "io/file_system.h"
#include "kv/kv.h"
#include "kv/rocks_env.h"

namespace hadal::kv {

struct RocksOptions {
  std::string path;
  bool create = false;
  int64_t cache_bytes = 0;
  int64_t memtable_bytes = 0;
  io::FileSystem* files = nullptr;  // in place of the operating system's
  const Clock* clock = nullptr;     // with `files`
};

class Rocks {
 public:
  /// The store as it was at some time, until it is released.
  using Snapshot = const void*;

  /// Writes that happen together, in order.
  class Batch {
   public:
    void put(std::string key, std::string_view value);
    void erase(std::string key);
    /// Erases what is there when the batch is written, row by row: range tombstones of RocksDB
    /// before 8.5 make iterators forget errors of the disk and return rows that are gone.
    void erase_range(std::string begin, std::string end);
    size_t bytes() const { return bytes_; }

   private:
    friend class Rocks;
    enum class Kind : uint8_t { kPut, kErase, kEraseRange };
    struct Write {
      Kind kind;
      std::string key, value;  // or begin and end
    };
    void add(Kind kind, std::string key, std::string value);
    std::vector<Write> writes_;
    size_t bytes_ = 0;
    bool has_ranges_ = false;
  };

  /// kNotFound: nothing is there and `create` is off.
  static Result<std::unique_ptr<Rocks>> open(const RocksOptions& given);
  /// Not while a call runs.
  ~Rocks();

  /// Without a snapshot: now.
  Result<std::optional<std::string>> get(Snapshot snapshot, std::string_view key);
  /// Keys come without their first byte. Nothing: more than `skips_max` deleted keys are in the
  /// way; 0: no limit.
  Result<std::optional<Rows>> range(Snapshot snapshot, const KeyRange& range,
                                    const RangeOptions& limits, uint64_t skips_max);
  /// Durable when it returns.
  Result<> write(const Batch& batch);
  Snapshot snapshot();
  void release(Snapshot snapshot);

  /// Writes what is in memory to tables, as RocksDB does when memory is full.
  Result<> flush();
  /// Reads every block of every table and compares its checksum.
  Result<> verify_checksums();
  /// Every row, with its whole key, in order, until the function fails.
  Result<> for_each(const std::function<Result<>(std::string_view, std::string_view)>& function);

 private:
  struct Db;
  Rocks();
  void on_own_stack(const std::function<void()>& function);

  std::unique_ptr<RocksEnv> env_;  // outlives the database
  std::unique_ptr<Db> db_;
  std::unique_ptr<Fiber> stack_;
  const std::function<void()>* to_call_ = nullptr;
};

}  // namespace hadal::kv
