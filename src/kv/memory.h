// A store in memory, nothing of which is durable: the model that other engines are compared with,
// and the store of other people's tests.
//
// It is written to be obviously right: every key keeps the values of every version that can still
// be read, and a commit looks at every key of its conflicts. A commit is done when commit() is
// called and waits for nothing; FaultyStore (kv/faults.h) adds latency, conflicts and unknown
// outcomes.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kv/kv.h"

namespace hadal::kv {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(Executor& executor) : executor_(executor) {}

  Executor& executor() override { return executor_; }
  Result<Version> latest(Deadline) override { return version_; }
  Result<std::optional<std::string>> read(Version version, std::string_view key,
                                          Deadline deadline) override;
  Result<Rows> read_range(Version version, const KeyRange& range, const RangeOptions& options,
                          Deadline deadline) override;
  Result<Stamp> commit(Commit commit, Deadline deadline) override;

 private:
  struct Value {
    Version version;
    std::optional<std::string> value;
  };
  struct Past {
    Version version;
    int64_t until_ns;               // when the next version came
    std::vector<std::string> keys;  // that the next version wrote
  };
  struct Clear {
    Version version;
    KeyRange range;
  };
  using Values = std::map<std::string, std::vector<Value>, std::less<>>;

  static const std::optional<std::string>& at(const std::vector<Value>& values, Version version);
  Result<> check_version(Version version);
  bool written_since(const KeyRange& range, Version version) const;
  void put(const std::string& key, std::optional<std::string> value);
  void forget();

  Executor& executor_;
  Version version_ = 1;
  Values values_;
  std::deque<Past> past_;     // versions before the latest that can be read, ascending
  std::deque<Clear> clears_;  // of those versions and the latest
};

}  // namespace hadal::kv
