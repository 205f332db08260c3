// RocksDB on files of hadal's own, in one thread: what makes the embedded store run in the
// simulator.
//
// An environment gives RocksDB its files, its clock and its threads. Here files are an
// io::FileSystem, whose operations must not wait (SimDisk with latencies of zero): RocksDB holds
// locks while it reads and writes. The clock is the executor's. There are no threads: a job that
// RocksDB wants to have run in the background is queued, and run_jobs() runs it between two calls.
//
// Threads: one. (RocksDB has a timer thread of its own, which flushes the text log, of which there
// is none here.)
#pragma once

#include <memory>

#include "base/clock.h"
#include "io/file_system.h"

namespace rocksdb {  // NOLINT(readability-identifier-naming): RocksDB's own
class Env;
}  // namespace rocksdb

namespace hadal::kv {

class RocksEnv {
 public:
  RocksEnv(io::FileSystem& files, const Clock& clock);
  ~RocksEnv();

  rocksdb::Env& env();
  /// Runs jobs until there is none. Not from inside of RocksDB.
  void run_jobs();
  /// From now on every operation fails: a process that ends writes nothing any more.
  void die();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::kv
