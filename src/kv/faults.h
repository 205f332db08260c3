// A store that behaves badly around one that does not: for tests of code that uses stores, and of
// the tests of stores.
//
// The first group of options is what any store may do, so what is built on one must survive it. The
// second group breaks the contract: a test must notice.
//
// Threads: one executor.
#pragma once

#include <utility>

#include "base/rng.h"
#include "kv/kv.h"

namespace hadal::kv {

struct Faults {
  // Allowed: rates of commits that fail so.
  double conflict_rate = 0;    // kConflict, not committed
  double busy_rate = 0;        // kUnavailable, not committed
  double unknown_rate = 0;     // kTimeout, half of them committed
  int64_t latency_ns_max = 0;  // before each call, and after a commit

  // Not allowed.
  double missing_conflict_rate = 0;  // a commit forgets one of its conflicts
  double torn_rate = 0;              // a commit is done in two parts
};

class FaultyStore final : public Store {
 public:
  FaultyStore(Store& store, const Faults& given, Rng rng)
      : faults(given), store_(store), rng_(rng) {}

  /// May be changed while it is used.
  Faults faults;

  Executor& executor() override { return store_.executor(); }
  Result<Version> latest(Deadline deadline) override;
  Result<std::optional<std::string>> read(Version version, std::string_view key,
                                          Deadline deadline) override;
  Result<Rows> read_range(Version version, const KeyRange& range, const RangeOptions& options,
                          Deadline deadline) override;
  Result<Stamp> commit(Commit commit, Deadline deadline) override;

 private:
  void wait();
  Result<Stamp> torn(Commit commit, Deadline deadline);

  Store& store_;
  Rng rng_;
};

}  // namespace hadal::kv
