#include "kv/memory.h"

#include <algorithm>

#include <fmt/core.h>

namespace hadal::kv {

/// The value in force at a version.
const std::optional<std::string>& MemoryStore::at(const std::vector<Value>& values,
                                                  Version version) {
  static const std::optional<std::string> kNone;
  for (auto it = values.rbegin(); it != values.rend(); ++it) {
    if (it->version <= version) return it->value;
  }
  return kNone;
}

/// Lets go of versions that are too old, and of what only they could see.
void MemoryStore::forget() {
  while (!past_.empty() && add_ns(past_.front().until_ns, kReadAgeNs) <= executor_.now_ns()) {
    const Past past = std::move(past_.front());
    past_.pop_front();
    for (const std::string& key : past.keys) {
      const auto it = values_.find(key);
      if (it == values_.end()) continue;
      std::vector<Value>& values = it->second;
      while (values.size() > 1 && values[1].version <= past.version + 1)
        values.erase(values.begin());
      if (values.size() == 1 && !values[0].value && values[0].version <= past.version + 1) {
        values_.erase(it);
      }
    }
    while (!clears_.empty() && clears_.front().version <= past.version + 1) clears_.pop_front();
  }
}

Result<> MemoryStore::check_version(Version version) {
  forget();
  const Version oldest = past_.empty() ? version_ : past_.front().version;
  if (version < oldest) {
    return fail(Code::kConflict,
                fmt::format("read version {} is too old; the oldest kept is {}", version, oldest));
  }
  if (version <= version_) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("read version {} is not there yet; the latest is {}", version, version_));
}

Result<std::optional<std::string>> MemoryStore::read(Version version, std::string_view key,
                                                     Deadline) {
  TRY(check_version(version));
  const auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  return at(it->second, version);
}

Result<Rows> MemoryStore::read_range(Version version, const KeyRange& range,
                                     const RangeOptions& options, Deadline) {
  TRY(check_version(version));
  Rows out;
  size_t bytes = 0;
  const auto first = values_.lower_bound(range.begin), last = values_.lower_bound(range.end);
  /// False: the range goes on, and the limits are reached.
  const auto take = [&](const Values::value_type& entry) {
    const std::optional<std::string>& value = at(entry.second, version);
    if (!value) return true;
    if (out.rows.size() == options.rows_max || bytes >= options.bytes_max) {
      out.has_more = true;
      return false;
    }
    bytes += entry.first.size() + value->size();
    out.rows.push_back({entry.first, *value});
    return true;
  };
  if (options.reverse) {
    for (auto it = last; it != first && take(*std::prev(it)); --it) {
    }
  } else {
    for (auto it = first; it != last && take(*it); ++it) {
    }
  }
  return out;
}

bool MemoryStore::written_since(const KeyRange& range, Version version) const {
  const auto last = values_.lower_bound(range.end);
  for (auto it = values_.lower_bound(range.begin); it != last; ++it) {
    if (it->second.back().version > version) return true;
  }
  return std::ranges::any_of(clears_, [&](const Clear& clear) {
    return clear.version > version && clear.range.begin < range.end &&
           range.begin < clear.range.end;
  });
}

void MemoryStore::put(const std::string& key, std::optional<std::string> value) {
  std::vector<Value>& values = values_[key];
  if (!values.empty() && values.back().version == version_) values.pop_back();
  values.push_back({version_, std::move(value)});
  past_.back().keys.push_back(key);
}

Result<Stamp> MemoryStore::commit(Commit commit, Deadline) {
  if (!commit.conflicts.empty()) TRY(check_version(commit.read_version));
  for (const KeyRange& range : commit.conflicts) {
    if (!written_since(range, commit.read_version)) continue;
    return fail(Code::kConflict, fmt::format("somebody wrote between {} and {}", shown(range.begin),
                                             shown(range.end)));
  }
  past_.push_back({version_, executor_.now_ns(), {}});
  ++version_;
  for (KeyRange& range : commit.clears) {
    for (auto it = values_.lower_bound(range.begin); it != values_.lower_bound(range.end); ++it) {
      put(it->first, std::nullopt);
    }
    clears_.push_back({version_, std::move(range)});
  }
  const Stamp stamp{version_, 0};
  apply_stamp(commit.writes, stamp);
  for (Write& write : commit.writes) put(write.key, std::move(write.value));
  forget();
  return stamp;
}

}  // namespace hadal::kv
