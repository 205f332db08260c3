#include "kv/embedded.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::kv {

struct EmbeddedStore::Pending {
  Commit commit;
  size_t bytes = 0;
  Result<Stamp> result = {};
  FiberEvent done = {};

  void finish(Result<Stamp> with) {
    result = std::move(with);
    done.set();
  }
};

namespace {

size_t bytes_in(const Commit& commit) {
  size_t bytes = 0;
  for (const KeyRange& range : commit.conflicts) bytes += range.begin.size() + range.end.size();
  for (const KeyRange& range : commit.clears) bytes += range.begin.size() + range.end.size();
  for (const Write& write : commit.writes) {
    bytes += write.key.size() + (write.value ? write.value->size() : 0);
  }
  return bytes;
}

}  // namespace

// --- opening and closing ------------------------------------------------------------------------

EmbeddedStore::EmbeddedStore(Executor& executor, std::unique_ptr<Rocks> rocks)
    : executor_(executor), rocks_(std::move(rocks)) {}

Result<std::unique_ptr<EmbeddedStore>> EmbeddedStore::open_with(Executor& executor,
                                                                const RocksOptions& options) {
  auto rocks = TRY(Rocks::open(options));
  std::unique_ptr<EmbeddedStore> store(new EmbeddedStore(executor, std::move(rocks)));
  TRY(in(options.path, store->start(options.create)));
  return store;
}

Result<std::unique_ptr<EmbeddedStore>> EmbeddedStore::open(Executor& executor,
                                                           const EmbeddedOptions& options) {
  auto store = TRY(open_with(
      executor, {options.path, options.create, options.cache_bytes, options.memtable_bytes}));
  // One for the batch, one for long reads.
  store->threads_.emplace(executor, io::OffloadOptions{.threads = 2, .name = "kv"});
  return store;
}

Result<std::unique_ptr<EmbeddedStore>> EmbeddedStore::open(Executor& executor,
                                                           const EmbeddedOptions& options,
                                                           const SimulatedFiles& simulated) {
  auto store =
      TRY(open_with(executor, {options.path, options.create, options.cache_bytes,
                               options.memtable_bytes, &simulated.files, &executor.clock()}));
  store->simulated_.emplace(simulated);
  return store;
}

/// Reads the store's records, or writes them where the store is new.
Result<> EmbeddedStore::start(bool create) {
  const auto format = TRY(rocks_->get(nullptr, kFormatKey));
  if (format) {
    TRY(decode_format(*format));
    const auto state = TRY(rocks_->get(nullptr, kStateKey));
    if (!state) return fail(Code::kCorrupt, "the state record is missing");
    state_ = TRY(decode_state(*state));
  } else {
    // Both records are in one batch, so either a store is whole or nobody has ever used it.
    const Rows rows = TRY(rocks_->range(nullptr, {"", "\xff\xff"}, {.rows_max = 1}, 0)).value();
    if (!rows.rows.empty()) return fail(Code::kCorrupt, "rows, but no format record");
    if (!create) return fail(Code::kNotFound, "there is no store");
    state_.version = 1;
    Rocks::Batch batch;
    batch.put(std::string(kFormatKey), encode_format());
    batch.put(std::string(kStateKey), encode_state(state_));
    TRY(rocks_->write(batch));
  }
  kept_.push_back({rocks_->snapshot()});
  return {};
}

EmbeddedStore::~EmbeddedStore() {
  threads_.reset();
  for (const Kept& kept : kept_) rocks_->release(kept.snapshot);
}

void EmbeddedStore::close() {
  while (committing_) idle_.wait();
  if (!stopped_) stopped_ = Error{Code::kUnavailable, "the store is closed"};
}

Result<> EmbeddedStore::running() const {
  if (stopped_) return std::unexpected(*stopped_);
  return {};
}

/// After an error nobody knows what is on the disk.
void EmbeddedStore::stop(const Error& error) {
  stopped_ = Error{Code::kIo, fmt::format("the store has stopped, because a write failed ({}); it "
                                          "must be opened again",
                                          error.message)};
  for (const auto& pending : std::exchange(queue_, {})) {
    pending->finish(std::unexpected(*stopped_));
  }
  queued_bytes_ = 0;
}

// --- reads --------------------------------------------------------------------------------------

Result<Version> EmbeddedStore::latest(Deadline) {
  TRY(running());
  return state_.version;
}

Result<EmbeddedStore::Kept*> EmbeddedStore::kept(Version version) {
  TRY(running());
  forget_old();
  if (version < oldest()) {
    return fail(Code::kConflict, fmt::format("read version {} is too old; the oldest kept is {}",
                                             version, oldest()));
  }
  if (version <= state_.version) return &kept_[version - oldest()];
  return fail(
      Code::kInvalidArgument,
      fmt::format("read version {} is not there yet; the latest is {}", version, state_.version));
}

Result<std::optional<std::string>> EmbeddedStore::read(Version version, std::string_view key,
                                                       Deadline) {
  const Kept* const at = TRY(kept(version));
  return rocks_->get(at->snapshot, stored_key(key));
}

Result<Rows> EmbeddedStore::read_range(Version version, const KeyRange& range,
                                       const RangeOptions& options, Deadline) {
  Kept* const at = TRY(kept(version));
  const KeyRange stored{stored_key(range.begin), stored_key(range.end)};
  if (!threads_) return *TRY(rocks_->range(at->snapshot, stored, options, 0));
  if (options.rows_max <= kInlineRowsMax) {
    auto rows = TRY(rocks_->range(at->snapshot, stored, options, kInlineSkipsMax));
    if (rows) return *std::move(rows);
  }
  struct Pin {  // the snapshot stays while the thread may use it; a deque's elements stay in place
    Kept& kept;
    explicit Pin(Kept& k) : kept(k) { ++kept.pins; }
    ~Pin() { --kept.pins; }
  } const pin(*at);
  const Rocks::Snapshot snapshot = at->snapshot;
  return *TRY(threads_->run([&] { return rocks_->range(snapshot, stored, options, 0); }));
}

/// Versions that nobody may read any more.
void EmbeddedStore::forget_old() {
  const int64_t now_ns = executor_.now_ns();
  const size_t least = window_.entries() > kWindowEntriesMax ? kept_.size() / 2 : 0;
  for (size_t gone = 0; kept_.size() > 1; ++gone) {
    const Kept& oldest = kept_.front();
    const bool old = add_ns(oldest.until_ns, kReadAgeNs) <= now_ns || kept_.size() > kVersionsMax ||
                     gone < least;
    if (!old || oldest.pins > 0) break;
    rocks_->release(oldest.snapshot);
    kept_.pop_front();
  }
}

// --- commits ------------------------------------------------------------------------------------

Result<Stamp> EmbeddedStore::commit(Commit commit, Deadline deadline) {
  TRY(running());
  const size_t bytes = bytes_in(commit);
  if (queue_.size() >= kQueueMax || queued_bytes_ + bytes > kQueueBytesMax) {
    return fail(Code::kUnavailable, fmt::format("the store is busy: {} commits of {} bytes wait",
                                                queue_.size(), queued_bytes_));
  }
  const auto pending = std::make_shared<Pending>(std::move(commit), bytes);
  queue_.push_back(pending);
  queued_bytes_ += bytes;
  if (!committing_) {
    committing_ = true;
    executor_.spawn("kv commit", [this] { commit_queue(); });
  }
  if (pending->done.wait(deadline)) return pending->result;
  if (std::erase(queue_, pending) > 0) {
    queued_bytes_ -= bytes;
    return fail(Code::kUnavailable, "the deadline passed before the commit's turn; not committed");
  }
  return fail(Code::kTimeout, "the deadline passed while the commit was being written");
}

void EmbeddedStore::commit_queue() {
  while (!queue_.empty()) {
    const Batch batch = next_batch();
    if (!batch.members.empty()) finish(batch, write(batch.writes));
    // Who was woken may commit again: all of them share the next flush.
    if (!queue_.empty()) yield_fiber();
  }
  committing_ = false;
  idle_.wake_all();
}

/// Somebody wrote to what was read, before this batch or in it.
Result<> EmbeddedStore::check_conflicts(const Commit& commit, Version next) {
  if (commit.conflicts.empty()) return {};
  if (commit.read_version < oldest()) {
    return fail(Code::kConflict, fmt::format("read version {} is too old; the oldest kept is {}",
                                             commit.read_version, oldest()));
  }
  CHECK(commit.read_version < next, "a transaction read the future");
  for (const KeyRange& range : commit.conflicts) {
    if (!window_.written_since(range, commit.read_version)) continue;
    return fail(Code::kConflict, fmt::format("somebody wrote between {} and {}", shown(range.begin),
                                             shown(range.end)));
  }
  return {};
}

void EmbeddedStore::apply(Commit& commit, const Stamp& stamp, Rocks::Batch& writes) {
  apply_stamp(commit.writes, stamp);
  for (const KeyRange& range : commit.clears) {
    writes.erase_range(stored_key(range.begin), stored_key(range.end));
    window_.add(range, stamp.version);
  }
  for (const Write& write : commit.writes) {
    if (write.value) {
      writes.put(stored_key(write.key), *write.value);
    } else {
      writes.erase(stored_key(write.key));
    }
    window_.add(only(write.key), stamp.version);
  }
}

EmbeddedStore::Batch EmbeddedStore::next_batch() {
  Batch batch;
  batch.state = {state_.version + 1, state_.transactions};
  forget_old();
  while (!queue_.empty() && batch.members.size() < kBatchTransactionsMax &&
         batch.writes.bytes() < kBatchBytesMax) {
    std::shared_ptr<Pending> pending = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= pending->bytes;
    const Result<> passed = check_conflicts(pending->commit, batch.state.version);
    if (!passed) {
      ++counts_.conflicts;
      pending->finish(std::unexpected(passed.error()));
      continue;
    }
    const Stamp stamp{batch.state.version, static_cast<uint16_t>(batch.members.size())};
    apply(pending->commit, stamp, batch.writes);
    pending->result = stamp;
    batch.members.push_back(std::move(pending));
  }
  batch.state.transactions += batch.members.size();
  batch.writes.put(std::string(kStateKey), encode_state(batch.state));
  // As many blocks as were touched, at least, so that the sweep is faster than the growth.
  window_.forget(oldest(), 4 + batch.members.size() / 8);
  if (window_.entries() > kWindowEntriesMax) window_.forget(oldest(), window_.blocks());
  return batch;
}

Result<> EmbeddedStore::write(const Rocks::Batch& writes) {
  if (threads_) return threads_->run([&] { return rocks_->write(writes); });
  // What a flush takes passes before and after it, so that a process may end at either side.
  const auto wait_ns = static_cast<int64_t>(simulated_->rng.below(simulated_->flush_ns_max + 1));
  const auto before_ns = static_cast<int64_t>(simulated_->rng.below(wait_ns + 1));
  sleep_fiber(before_ns);
  Result<> written = rocks_->write(writes);
  sleep_fiber(wait_ns - before_ns);
  return written;
}

void EmbeddedStore::finish(const Batch& batch, const Result<>& written) {
  if (!written) {
    for (const auto& pending : batch.members) {
      pending->finish(fail(Code::kTimeout, fmt::format("the outcome of the commit is unknown: {}",
                                                       written.error().message)));
    }
    return stop(written.error());
  }
  kept_.back().until_ns = executor_.now_ns();
  kept_.push_back({rocks_->snapshot()});
  state_ = batch.state;
  ++counts_.batches;
  counts_.transactions += batch.members.size();
  for (const auto& pending : batch.members) pending->done.set();
}

Result<> EmbeddedStore::flush() {
  TRY(running());
  const Result<> result = rocks_->flush();
  if (!result) stop(result.error());
  return result;
}

Result<StoreCheck> EmbeddedStore::check(const std::function<void(uint64_t)>& progress) {
  TRY(running());
  TRY(rocks_->verify_checksums());
  StoreCheck found{.state = state_};
  TRY(rocks_->for_each([&](std::string_view key, std::string_view value) -> Result<> {
    TRY(check_row(key, value));
    if (key[0] != kUserPrefix) return {};
    if (++found.rows % 65536 == 0 && progress) progress(found.rows);
    found.bytes += key.size() - 1 + value.size();
    return {};
  }));
  return found;
}

}  // namespace hadal::kv
