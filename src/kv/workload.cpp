#include "kv/workload.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

namespace hadal::kv {
namespace {

constexpr std::string_view kMarks = "s/";

std::string random_key(Rng& rng) {
  return fmt::format("k/{:02}", rng.below(Workload::kKeys));
}

KeyRange random_range(Rng& rng) {
  KeyRange range{random_key(rng), random_key(rng)};
  if (range.begin > range.end) std::swap(range.begin, range.end);
  return range;
}

std::string mark_key(const Stamp& stamp) {
  const auto bytes = stamp.bytes();
  return std::string(kMarks).append(bytes.data(), bytes.size());
}

}  // namespace

void Workload::add_reader(RecordedTransaction record, Version version) {
  if (record.reads.empty() && record.ranges.empty()) return;
  record.end_ns = now_ns_();
  record.outcome = Outcome::kCommitted;
  record.stamp = Stamp{version, kReader};
  history_.add(std::move(record));
}

Result<> Workload::read(Transaction& t, Rng& rng, RecordedTransaction& strict,
                        RecordedTransaction& snapshot) {
  const std::string key = random_key(rng);
  const uint64_t how = rng.below(4);
  if (how < 2) {
    strict.reads.emplace_back(key, TRY(t.get(key)));
    return {};
  }
  auto value = TRY(t.snapshot_get(key));
  if (how == 2) t.add_read_conflict(key);
  (how == 2 ? strict : snapshot).reads.emplace_back(key, std::move(value));
  return {};
}

Result<> Workload::read_range(Transaction& t, Rng& rng, RecordedTransaction& strict,
                              RecordedTransaction& snapshot) {
  RecordedRange seen{random_range(rng), {}};
  const RangeOptions options{.rows_max = 1 + rng.below(Workload::kKeys),
                             .reverse = rng.below(2) == 0};
  const auto& [begin, end] = seen.range;
  const uint64_t how = rng.below(3);
  Rows rows =
      TRY(how == 0 ? t.get_range(begin, end, options) : t.snapshot_get_range(begin, end, options));
  if (how == 1) t.add_read_conflict_range(begin, end);
  if (rows.has_more && options.reverse) seen.range.begin = rows.rows.back().key;
  if (rows.has_more && !options.reverse) seen.range.end = only(rows.rows.back().key).end;
  if (options.reverse) std::ranges::reverse(rows.rows);
  seen.rows = std::move(rows.rows);
  (how == 2 ? snapshot : strict).ranges.push_back(std::move(seen));
  return {};
}

void Workload::write(Transaction& t, Rng& rng, RecordedTransaction& record) {
  if (rng.below(8) == 0) {
    record.clears.push_back(random_range(rng));
    t.clear_range(record.clears[0].begin, record.clears[0].end);
  }
  std::map<std::string, std::optional<std::string>> writes;
  for (uint64_t i = 0, count = 1 + rng.below(3); i < count; ++i) {
    const std::string key = random_key(rng);
    if (rng.below(5) == 0) {
      t.clear(key);
      writes[key] = std::nullopt;
    } else {
      writes[key] = fmt::format("v{}", next_value_++);
      t.set(key, *writes[key]);
    }
  }
  record.writes.assign(writes.begin(), writes.end());
}

Result<> Workload::step(Store& store, Rng& rng, const std::string& client) {
  RecordedTransaction record{.client = client, .begin_ns = now_ns_()};
  RecordedTransaction snapshot = record;
  snapshot.client += " snapshot";
  Transaction t = store.begin();
  for (uint64_t i = 0, count = rng.below(4); i < count; ++i) TRY(read(t, rng, record, snapshot));
  if (rng.below(2) == 0) TRY(read_range(t, rng, record, snapshot));
  const bool writes = rng.below(5) != 0;
  const Version version = TRY(t.read_version());
  add_reader(std::move(snapshot), version);
  if (!writes) {
    TRY(t.commit());
    add_reader(std::move(record), version);
    return {};
  }
  write(t, rng, record);
  const std::string mark = fmt::format("m{}", next_value_++);
  t.set_versionstamped_key(mark_key({}), kMarks.size(), mark);
  // Unknown until it is known: the process may end while it waits.
  record.outcome = Outcome::kUnknown;
  const size_t number = history_.add(std::move(record));
  marks_[mark] = number;
  const Result<> result = t.commit();
  RecordedTransaction& done = history_.transactions()[number];
  done.end_ns = now_ns_();
  if (!result) {
    if (!maybe_committed(result.error())) done.outcome = Outcome::kAborted;
    return result;
  }
  ++committed_;
  done.outcome = Outcome::kCommitted;
  done.stamp = t.committed();
  done.writes.emplace_back(mark_key(t.committed()), mark);
  return {};
}

Result<> Workload::finish(Store& store) {
  RecordedTransaction record{.client = "finish", .begin_ns = now_ns_()};
  Transaction t = store.begin();
  KeyRange left{"", std::string(kKeyEnd)};
  for (bool more = true; more;) {
    const KeyRange asked = left;
    Rows rows = TRY(t.snapshot_get_range(left.begin, left.end));
    more = rows.has_more;
    if (more) left.begin = only(rows.rows.back().key).end;
    record.ranges.push_back({{asked.begin, more ? left.begin : left.end}, std::move(rows.rows)});
  }
  for (const RecordedRange& range : record.ranges) {
    for (const Row& row : range.rows) {
      if (!row.key.starts_with(kMarks)) continue;
      const auto found = marks_.find(row.value);
      if (found == marks_.end()) continue;  // the history says so
      RecordedTransaction& its = history_.transactions()[found->second];
      if (its.outcome != Outcome::kUnknown) continue;
      its.stamp = Stamp::from(std::string_view(row.key).substr(kMarks.size()));
      its.writes.emplace_back(row.key, row.value);
    }
  }
  add_reader(std::move(record), TRY(t.read_version()));
  return {};
}

}  // namespace hadal::kv
