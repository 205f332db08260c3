#include "kv/faults.h"

namespace hadal::kv {

void FaultyStore::wait() {
  if (faults.latency_ns_max > 0) {
    sleep_fiber(static_cast<int64_t>(rng_.below(faults.latency_ns_max)));
  }
}

Result<Version> FaultyStore::latest(Deadline deadline) {
  wait();
  return store_.latest(deadline);
}

Result<std::optional<std::string>> FaultyStore::read(Version version, std::string_view key,
                                                     Deadline deadline) {
  wait();
  return store_.read(version, key, deadline);
}

Result<Rows> FaultyStore::read_range(Version version, const KeyRange& range,
                                     const RangeOptions& options, Deadline deadline) {
  wait();
  return store_.read_range(version, range, options, deadline);
}

/// The first half of the writes, then the rest.
Result<Stamp> FaultyStore::torn(Commit commit, Deadline deadline) {
  Commit rest;
  const auto half = commit.writes.begin() + static_cast<std::ptrdiff_t>(commit.writes.size() / 2);
  rest.writes.assign(half, commit.writes.end());
  commit.writes.erase(half, commit.writes.end());
  const auto first = store_.commit(std::move(commit), deadline);
  if (!first) return first;
  yield_fiber();
  return store_.commit(std::move(rest), deadline);
}

Result<Stamp> FaultyStore::commit(Commit commit, Deadline deadline) {
  wait();
  if (rng_.chance(faults.conflict_rate)) return fail(Code::kConflict, "injected: a conflict");
  if (rng_.chance(faults.busy_rate)) return fail(Code::kUnavailable, "injected: busy");
  const bool unknown = rng_.chance(faults.unknown_rate);
  if (unknown && rng_.below(2) == 0) return fail(Code::kTimeout, "injected: outcome unknown");
  if (!commit.conflicts.empty() && rng_.chance(faults.missing_conflict_rate)) {
    commit.conflicts.erase(commit.conflicts.begin() +
                           static_cast<std::ptrdiff_t>(rng_.below(commit.conflicts.size())));
  }
  const bool tear = commit.writes.size() > 1 && rng_.chance(faults.torn_rate);
  auto stamp =
      tear ? torn(std::move(commit), deadline) : store_.commit(std::move(commit), deadline);
  wait();
  if (unknown && stamp) return fail(Code::kTimeout, "injected: outcome unknown");
  return stamp;
}

}  // namespace hadal::kv
