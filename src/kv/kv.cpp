#include "kv/kv.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/hash.h"

namespace hadal::kv {

std::array<char, Stamp::kBytes> Stamp::bytes() const {
  std::array<char, kBytes> out{};
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(version >> (56 - 8 * i));
  out[8] = static_cast<char>(order >> 8);
  out[9] = static_cast<char>(order);
  return out;
}

Stamp Stamp::from(std::string_view bytes) {
  CHECK(bytes.size() == kBytes, "a stamp has ten bytes");
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  Stamp stamp;
  for (size_t i = 0; i < 8; ++i) stamp.version = stamp.version << 8 | byte(i);
  stamp.order = static_cast<uint16_t>(byte(8) << 8 | byte(9));
  return stamp;
}

KeyRange only(std::string_view key) {
  KeyRange range{std::string(key), std::string(key)};
  range.end.push_back('\0');
  return range;
}

KeyRange prefix_range(std::string_view prefix) {
  KeyRange range{std::string(prefix), std::string(prefix)};
  while (!range.end.empty() && range.end.back() == '\xff') range.end.pop_back();
  if (range.end.empty()) return {range.begin, std::string(kKeyEnd)};
  ++range.end.back();
  return range;
}

std::string shown(std::string_view bytes) {
  constexpr size_t kShownMax = 64;
  std::string text;
  for (const char c : bytes.substr(0, kShownMax)) {
    if (c >= ' ' && c <= '~') {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
  if (bytes.size() > kShownMax) text += fmt::format("... ({} bytes)", bytes.size());
  return text;
}

void apply_stamp(std::vector<Write>& writes, const Stamp& stamp) {
  const auto bytes = stamp.bytes();
  for (Write& write : writes) {
    if (write.stamp_in == StampIn::kNothing) continue;
    std::string& target = write.stamp_in == StampIn::kKey ? write.key : *write.value;
    target.replace(write.stamp_offset, Stamp::kBytes, bytes.data(), bytes.size());
    write.stamp_in = StampIn::kNothing;
  }
}

// --- rules --------------------------------------------------------------------------------------

Result<> Transaction::usable() const {
  if (broken_) return std::unexpected(*broken_);
  if (ended_) return fail(Code::kInvalidArgument, "the transaction has ended");
  return {};
}

void Transaction::break_rule(Code code, std::string message) {
  if (!broken_) broken_ = Error{code, std::move(message)};
}

bool Transaction::key_fits(std::string_view key) {
  if (key.size() > kKeyBytesMax) {
    break_rule(Code::kInvalidArgument, fmt::format("key {} has {} bytes; at most {} are allowed",
                                                   shown(key), key.size(), kKeyBytesMax));
  } else if (key >= kKeyEnd) {
    break_rule(Code::kInvalidArgument,
               fmt::format("key {} begins with 0xff, which is reserved", shown(key)));
  }
  return !broken_;
}

bool Transaction::range_fits(std::string_view begin, std::string_view end) {
  const size_t longest = std::max(begin.size(), end.size());
  if (longest > kKeyBytesMax + 1) {
    break_rule(Code::kInvalidArgument, fmt::format("a bound has {} bytes; at most {} are allowed",
                                                   longest, kKeyBytesMax + 1));
  } else if (begin > end || end > kKeyEnd) {
    break_rule(Code::kInvalidArgument,
               fmt::format("from {} to {} is no range; bounds must ascend and end at \\xff",
                           shown(begin), shown(end)));
  }
  return !broken_;
}

bool Transaction::value_fits(std::string_view key, std::string_view value) {
  if (value.size() > kValueBytesMax) {
    break_rule(Code::kInvalidArgument,
               fmt::format("{}: its value has {} bytes; at most {} are allowed", shown(key),
                           value.size(), kValueBytesMax));
  }
  return !broken_;
}

void Transaction::count_bytes(size_t bytes) {
  bytes_ += bytes;
  if (bytes_ <= kTransactionBytesMax) return;
  break_rule(Code::kNoSpace,
             fmt::format("the transaction has more than {} bytes of writes and conflicts",
                         kTransactionBytesMax));
}

// --- reads --------------------------------------------------------------------------------------

void Transaction::set_read_version(Version version) {
  if (version_) break_rule(Code::kInvalidArgument, "the transaction has a read version already");
  version_ = version;
}

Result<Version> Transaction::read_version() {
  TRY(usable());
  if (!version_) version_ = TRY(store_->latest(deadline_));
  return *version_;
}

bool Transaction::cleared(std::string_view key) const {
  auto it = clears_.upper_bound(key);
  return it != clears_.begin() && (--it)->second > key;
}

Result<std::optional<std::string>> Transaction::read(std::string_view key, bool conflict) {
  key_fits(key);
  TRY(usable());
  if (const auto it = changes_.find(key); it != changes_.end()) {
    if (!it->second.stamped) return it->second.value;
    return fail(Code::kInvalidArgument, fmt::format("{}: its value waits for a stamp", shown(key)));
  }
  if (cleared(key)) return std::nullopt;
  const Version version = TRY(read_version());
  auto value = TRY(store_->read(version, key, deadline_));
  if (conflict) add_conflict(only(key));
  return value;
}

Result<std::optional<std::string>> Transaction::get(std::string_view key) {
  return read(key, true);
}

Result<std::optional<std::string>> Transaction::snapshot_get(std::string_view key) {
  return read(key, false);
}

Result<> Transaction::merge_own(Rows& chunk, const KeyRange& covered, bool reverse) const {
  const auto first = changes_.lower_bound(covered.begin);
  const auto last = changes_.lower_bound(covered.end);
  if (first == last && clears_.empty()) return {};
  std::erase_if(chunk.rows,
                [&](const Row& row) { return changes_.contains(row.key) || cleared(row.key); });
  for (auto it = first; it != last; ++it) {
    if (it->second.stamped) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{}: its value waits for a stamp", shown(it->first)));
    }
    if (it->second.value) chunk.rows.push_back({it->first, *it->second.value});
  }
  std::ranges::sort(chunk.rows, [&](const Row& a, const Row& b) {
    return reverse ? a.key > b.key : a.key < b.key;
  });
  return {};
}

Result<Rows> Transaction::read_range(KeyRange range, const RangeOptions& options, bool conflict) {
  if (options.rows_max < 1 || options.rows_max > kRangeRowsMax || options.bytes_max < 1 ||
      options.bytes_max > kRangeBytesMax) {
    break_rule(Code::kInvalidArgument,
               fmt::format("a range of {} rows and {} bytes; 1 to {} rows and 1 to {} bytes are "
                           "allowed",
                           options.rows_max, options.bytes_max, kRangeRowsMax, kRangeBytesMax));
  }
  range_fits(range.begin, range.end);
  const Version version = TRY(read_version());
  Rows out;
  size_t bytes = 0;
  KeyRange left = range;
  for (bool full = false; !full && left.begin < left.end;) {
    RangeOptions rest = options;
    rest.rows_max -= out.rows.size();
    rest.bytes_max -= bytes;
    Rows chunk = TRY(store_->read_range(version, left, rest, deadline_));
    KeyRange covered = left;
    if (chunk.has_more) {
      CHECK(!chunk.rows.empty(), "a store returned no row of a range that has some");
      const std::string& at = chunk.rows.back().key;
      (options.reverse ? covered.begin : covered.end) = options.reverse ? at : only(at).end;
    }
    TRY(merge_own(chunk, covered, options.reverse));
    for (size_t i = 0; i < chunk.rows.size() && !full; ++i) {
      bytes += chunk.rows[i].key.size() + chunk.rows[i].value.size();
      out.rows.push_back(std::move(chunk.rows[i]));
      full = out.rows.size() == options.rows_max || bytes >= options.bytes_max;
      out.has_more = full && (i + 1 < chunk.rows.size() || chunk.has_more);
    }
    if (options.reverse) {
      left.end = covered.begin;
    } else {
      left.begin = covered.end;
    }
  }
  if (conflict) {
    if (out.has_more && options.reverse) range.begin = out.rows.back().key;
    if (out.has_more && !options.reverse) range.end = only(out.rows.back().key).end;
    add_conflict_without_own(range.begin, range.end);
  }
  return out;
}

Result<Rows> Transaction::get_range(std::string_view begin, std::string_view end,
                                    const RangeOptions& options) {
  return read_range({std::string(begin), std::string(end)}, options, true);
}

Result<Rows> Transaction::snapshot_get_range(std::string_view begin, std::string_view end,
                                             const RangeOptions& options) {
  return read_range({std::string(begin), std::string(end)}, options, false);
}

// --- conflicts ----------------------------------------------------------------------------------

void Transaction::add_conflict(KeyRange range) {
  if (range.begin >= range.end) return;
  count_bytes(range.begin.size() + range.end.size());
  conflicts_.push_back(std::move(range));
}

/// What the transaction itself wrote was not read from the store.
void Transaction::add_conflict_without_own(std::string_view begin, std::string_view end) {
  std::vector<KeyRange> own;
  for (auto it = changes_.lower_bound(begin); it != changes_.lower_bound(end); ++it) {
    own.push_back(only(it->first));
  }
  for (const auto& [from, to] : clears_) {
    if (from < end && to > begin) own.push_back({from, to});
  }
  std::ranges::sort(own, {}, &KeyRange::begin);
  std::string at(begin);
  for (const KeyRange& range : own) {
    if (at < range.begin) add_conflict({at, range.begin});
    at = std::max(at, range.end);
  }
  if (at < end) add_conflict({at, std::string(end)});
}

void Transaction::add_read_conflict(std::string_view key) {
  if (key_fits(key)) add_conflict(only(key));
}

void Transaction::add_read_conflict_range(std::string_view begin, std::string_view end) {
  if (range_fits(begin, end)) add_conflict({std::string(begin), std::string(end)});
}

// --- writes -------------------------------------------------------------------------------------

void Transaction::set(std::string_view key, std::string_view value) {
  if (!key_fits(key) || !value_fits(key, value)) return;
  count_bytes(key.size() + value.size());
  changes_[std::string(key)] = {std::string(value)};
}

void Transaction::clear(std::string_view key) {
  if (!key_fits(key)) return;
  count_bytes(key.size());
  changes_[std::string(key)] = {};
}

void Transaction::clear_range(std::string_view begin, std::string_view end) {
  if (!range_fits(begin, end) || begin == end) return;
  count_bytes(begin.size() + end.size());
  changes_.erase(changes_.lower_bound(begin), changes_.lower_bound(end));
  KeyRange range{std::string(begin), std::string(end)};
  auto it = clears_.upper_bound(range.begin);
  if (it != clears_.begin() && std::prev(it)->second >= range.begin) --it;
  while (it != clears_.end() && it->first <= range.end) {
    range.begin = std::min(range.begin, it->first);
    range.end = std::max(range.end, it->second);
    it = clears_.erase(it);
  }
  clears_.emplace(std::move(range.begin), std::move(range.end));
}

void Transaction::set_versionstamped_key(std::string_view key, size_t offset,
                                         std::string_view value) {
  if (!key_fits(key) || !value_fits(key, value)) return;
  // A stamp of a version below 2^56 begins with a zero, so that the key is not a reserved one.
  if (key.size() < Stamp::kBytes || offset > key.size() - Stamp::kBytes) {
    return break_rule(Code::kInvalidArgument,
                      fmt::format("a stamp at {} of a key of {} bytes", offset, key.size()));
  }
  count_bytes(key.size() + value.size());
  stamped_keys_.push_back({std::string(key), std::string(value), StampIn::kKey, offset});
}

void Transaction::set_versionstamped_value(std::string_view key, std::string_view value,
                                           size_t offset) {
  if (!key_fits(key) || !value_fits(key, value)) return;
  if (value.size() < Stamp::kBytes || offset > value.size() - Stamp::kBytes) {
    return break_rule(
        Code::kInvalidArgument,
        fmt::format("{}: a stamp at {} of a value of {} bytes", shown(key), offset, value.size()));
  }
  count_bytes(key.size() + value.size());
  changes_[std::string(key)] = {std::string(value), true, offset};
}

// --- the end ------------------------------------------------------------------------------------

Commit Transaction::make_commit() {
  Commit commit;
  std::ranges::sort(conflicts_, {}, &KeyRange::begin);
  for (KeyRange& range : conflicts_) {
    if (!commit.conflicts.empty() && range.begin <= commit.conflicts.back().end) {
      std::string& end = commit.conflicts.back().end;
      end = std::max(end, range.end);
    } else {
      commit.conflicts.push_back(std::move(range));
    }
  }
  for (const auto& [begin, end] : clears_) commit.clears.push_back({begin, end});
  for (auto& [key, change] : changes_) {
    commit.writes.push_back({key, std::move(change.value),
                             change.stamped ? StampIn::kValue : StampIn::kNothing,
                             change.stamp_offset});
  }
  for (Write& write : stamped_keys_) commit.writes.push_back(std::move(write));
  return commit;
}

Result<> Transaction::commit() {
  TRY(usable());
  Commit commit = make_commit();
  if (commit.writes.empty() && commit.clears.empty()) {
    committed_ = {TRY(read_version()), 0};
    ended_ = true;
    return {};
  }
  if (!commit.conflicts.empty()) commit.read_version = TRY(read_version());
  ended_ = true;
  committed_ = TRY(store_->commit(std::move(commit), deadline_));
  return {};
}

bool Retry::after(const Error& error, bool committing) {
  const bool again = error.code == Code::kConflict || error.code == Code::kUnavailable ||
                     (committing && maybe_committed(error) && again_ == Again::kIdempotent);
  if (!again || tries_ >= kTriesMax) return false;
  const int64_t longest_ns = std::min(kBackoffNsMax, kBackoffNsMin << std::min(tries_ - 1, 20));
  const Clock& clock = store_.executor().clock();
  const uint64_t random = hash_combine(clock.now_ns(), ++store_.retries_);
  const int64_t wait_ns = longest_ns / 2 + static_cast<int64_t>(random % (longest_ns / 2));
  if (deadline_.left_ns(clock) <= wait_ns) return false;
  sleep_fiber(wait_ns);
  ++tries_;
  return true;
}

}  // namespace hadal::kv
