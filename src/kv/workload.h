// Random transactions whose every read and write is written down, for History to judge.
//
// Keys are few, so that transactions meet; values are unique. Every transaction that writes also
// sets a key that is its commit's stamp, under "s/", from which finish() learns what became of
// those whose outcome was unknown, and that nothing that was acknowledged is gone.
//
// Threads: one executor, or processes of one world.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/rng.h"
#include "kv/history.h"
#include "kv/kv.h"

namespace hadal::kv {

class Workload {
 public:
  static constexpr uint64_t kKeys = 16;

  /// `now_ns` is one clock for all clients: the world's.
  explicit Workload(std::function<int64_t()> now_ns) : now_ns_(std::move(now_ns)) {}

  /// One transaction. The client may be killed in it. The error is the store's.
  Result<> step(Store& store, Rng& rng, const std::string& client);
  /// Reads everything, once all clients have ended.
  Result<> finish(Store& store);

  const History& history() const { return history_; }
  uint64_t committed() const { return committed_; }

 private:
  Result<> read(Transaction& t, Rng& rng, RecordedTransaction& strict,
                RecordedTransaction& snapshot);
  Result<> read_range(Transaction& t, Rng& rng, RecordedTransaction& strict,
                      RecordedTransaction& snapshot);
  void write(Transaction& t, Rng& rng, RecordedTransaction& record);
  void add_reader(RecordedTransaction record, Version version);

  std::function<int64_t()> now_ns_;
  History history_;
  uint64_t committed_ = 0;
  uint64_t next_value_ = 1;
  std::map<std::string, size_t> marks_;  // the value under "s/", and which transaction's it is
};

}  // namespace hadal::kv
