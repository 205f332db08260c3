// A transactional key-value store: ordered keys, strictly serializable transactions. The contract
// is FoundationDB's, so that a file system's metadata can live in one process or in a database.
//
//   auto name = kv::run(store, deadline, [&](kv::Transaction& t) -> Result<std::string> {
//     const auto old = TRY(t.get("name"));      // a conflict if somebody changes it before commit
//     t.set("name", "new");
//     return old.value_or("");
//   });                                          // commits; begins again after a conflict
//
// How it works. A transaction reads the store as it was at one version, its read version, and keeps
// its writes to itself. commit() hands the store the writes and the ranges that were read; the
// store gives the transaction a higher version and applies it whole, if nobody wrote to those
// ranges in between. So there are no locks and no deadlocks; who loses begins again.
//
// Where concurrency comes from: read with snapshot_get(), which conflicts with nobody, and then
// add_read_conflict() for what the decision depends on.
//
// Keys and values are bytes; keys are ordered as unsigned bytes. Keys that begin with 0xff are
// reserved, so kKeyEnd is behind every key. Limits are the named constants below; to break one is
// an error of the caller (kInvalidArgument, kNoSpace), never cut off silently.
//
// Errors of a store, and what they say of a transaction's outcome:
//   kConflict     somebody changed what was read, or the read version is older than the store
//                 keeps (kReadAgeNs): not committed; begin again
//   kUnavailable  the store is busy or not there: not committed; begin again later
//   kTimeout      of commit(): maybe committed, now or even later. Elsewhere: nothing happened.
//   others        not committed, and trying again will not help: a limit, a broken disk
//
// Threads: one executor; what waits is a fiber.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/executor.h"

namespace hadal::kv {

inline constexpr size_t kKeyBytesMax = 8 << 10;
inline constexpr size_t kValueBytesMax = 128 << 10;
/// Keys and values of all writes, and bounds of all conflicts.
inline constexpr size_t kTransactionBytesMax = 8 << 20;
/// What one call for a range returns at most; has_more says that there is more.
inline constexpr size_t kRangeRowsMax = 4096;
inline constexpr size_t kRangeBytesMax = 1 << 20;
/// For so long a version can be read after the next one is there.
inline constexpr int64_t kReadAgeNs = 5 * kSecond;
/// Of run(): waits double from the first to the last, and there are so many tries.
inline constexpr int64_t kBackoffNsMin = 10 * kMillisecond, kBackoffNsMax = kSecond;
inline constexpr int kTriesMax = 100;
/// Behind every key.
inline constexpr std::string_view kKeyEnd = "\xff";

/// Counts commits; a later one has a higher version, several may share one.
using Version = uint64_t;

/// The place of a commit among all commits. A versionstamp is its ten bytes, big-endian, so that
/// stamps are ordered as the commits are.
struct Stamp {
  static constexpr size_t kBytes = 10;
  Version version = 0;
  uint16_t order = 0;  // among those of one version
  std::array<char, kBytes> bytes() const;
  /// Of exactly kBytes.
  static Stamp from(std::string_view bytes);
  friend auto operator<=>(const Stamp&, const Stamp&) = default;
};

/// Keys from `begin` on and before `end`.
struct KeyRange {
  std::string begin, end;
  friend bool operator==(const KeyRange&, const KeyRange&) = default;
};
/// The range that has this key alone.
KeyRange only(std::string_view key);
/// The range of all keys that begin with these bytes, the first of which is not 0xff.
KeyRange prefix_range(std::string_view prefix);

/// The bytes with what cannot be printed as \x00, and cut where it is long: for messages.
std::string shown(std::string_view bytes);

struct Row {
  std::string key, value;
  friend bool operator==(const Row&, const Row&) = default;
};

struct RangeOptions {
  size_t rows_max = kRangeRowsMax;    // 1 to kRangeRowsMax
  size_t bytes_max = kRangeBytesMax;  // 1 to kRangeBytesMax; the row that reaches it is the last
  bool reverse = false;               // from the end of the range down
};

struct Rows {
  std::vector<Row> rows;
  /// A limit ended it before the range did: go on behind the last row. There may be no row there.
  bool has_more = false;
};

/// Where a stamp is put into a write.
enum class StampIn : uint8_t { kNothing, kKey, kValue };

struct Write {
  std::string key;
  std::optional<std::string> value;  // nothing: the key is cleared
  StampIn stamp_in = StampIn::kNothing;
  size_t stamp_offset = 0;
};

/// What a transaction hands to its store.
struct Commit {
  Version read_version = 0;
  std::vector<KeyRange> conflicts;  // ascending, apart from one another
  std::vector<KeyRange> clears;     // ascending, apart from one another; before the writes
  std::vector<Write> writes;        // in order
};

/// Puts the stamp where the writes want it.
void apply_stamp(std::vector<Write>& writes, const Stamp& stamp);

class Transaction;

/// What an engine is. Users call begin() and run(); the rest is for Transaction and for stores that
/// wrap another one.
class Store {
 public:
  Store() = default;
  virtual ~Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// Every call of the transaction waits until the deadline at most. The store must outlive it.
  Transaction begin(Deadline deadline = Deadline::never());
  virtual Executor& executor() = 0;

  /// A version with everything in it whose commit had returned before this call.
  virtual Result<Version> latest(Deadline deadline) = 0;
  virtual Result<std::optional<std::string>> read(Version version, std::string_view key,
                                                  Deadline deadline) = 0;
  virtual Result<Rows> read_range(Version version, const KeyRange& range,
                                  const RangeOptions& options, Deadline deadline) = 0;
  virtual Result<Stamp> commit(Commit commit, Deadline deadline) = 0;

 private:
  friend class Retry;
  uint64_t retries_ = 0;
};

class Transaction {
 public:
  Transaction(Store& store, Deadline deadline) : store_(&store), deadline_(deadline) {}

  // Reads. They see the transaction's own writes, except versionstamped ones: to read a value that
  // waits for its stamp is kInvalidArgument, and a key that waits for one is not there yet.

  /// Conflicts with whoever writes the key.
  Result<std::optional<std::string>> get(std::string_view key);
  Result<std::optional<std::string>> snapshot_get(std::string_view key);
  /// Conflicts with whoever writes within the part of the range that the rows cover: all of it, or
  /// up to and with the last row where has_more is set.
  Result<Rows> get_range(std::string_view begin, std::string_view end,
                         const RangeOptions& options = {});
  Result<Rows> snapshot_get_range(std::string_view begin, std::string_view end,
                                  const RangeOptions& options = {});

  // Conflicts and writes. A limit that they break is reported by the next read or by commit().

  /// As if the key had been read from the store.
  void add_read_conflict(std::string_view key);
  void add_read_conflict_range(std::string_view begin, std::string_view end);
  void set(std::string_view key, std::string_view value);
  void clear(std::string_view key);
  void clear_range(std::string_view begin, std::string_view end);
  /// The ten bytes at `offset`, which must be there, become the commit's stamp. Such keys are set
  /// after everything else that the transaction writes.
  void set_versionstamped_key(std::string_view key, size_t offset, std::string_view value);
  void set_versionstamped_value(std::string_view key, std::string_view value, size_t offset);

  /// Reads at a version that the store still keeps, of another transaction. Before the first read.
  void set_read_version(Version version);
  /// Of the first read, else of now.
  Result<Version> read_version();

  /// Ends the transaction. One that writes nothing always succeeds, at its read version. No other
  /// call may follow but committed().
  Result<> commit();
  /// Where it is among all commits; version alone, if it wrote nothing. After commit() succeeded.
  Stamp committed() const { return committed_; }
  Version committed_version() const { return committed_.version; }

  Deadline deadline() const { return deadline_; }

 private:
  struct Change {
    std::optional<std::string> value;
    bool stamped = false;
    size_t stamp_offset = 0;
  };
  using Changes = std::map<std::string, Change, std::less<>>;

  Result<> usable() const;
  void break_rule(Code code, std::string message);
  bool key_fits(std::string_view key);
  bool range_fits(std::string_view begin, std::string_view end);
  bool value_fits(std::string_view key, std::string_view value);
  void count_bytes(size_t bytes);
  bool cleared(std::string_view key) const;
  void add_conflict(KeyRange range);
  void add_conflict_without_own(std::string_view begin, std::string_view end);
  Result<std::optional<std::string>> read(std::string_view key, bool conflict);
  Result<Rows> read_range(KeyRange range, const RangeOptions& options, bool conflict);
  Result<> merge_own(Rows& chunk, const KeyRange& covered, bool reverse) const;
  Commit make_commit();

  Store* store_;
  Deadline deadline_;
  std::optional<Version> version_;
  bool ended_ = false;
  std::optional<Error> broken_;  // the first rule that was broken
  size_t bytes_ = 0;
  Changes changes_;
  std::map<std::string, std::string, std::less<>> clears_;  // begin to end, apart
  std::vector<Write> stamped_keys_;
  std::vector<KeyRange> conflicts_;
  Stamp committed_;
};

inline Transaction Store::begin(Deadline deadline) {
  return {*this, deadline};
}

/// Whether this error of commit() leaves open whether the transaction is committed.
inline bool maybe_committed(const Error& error) {
  return error.code == Code::kTimeout;
}

/// Whether an operation may be run again after an unknown outcome.
enum class Again : uint8_t { kIfNotCommitted, kIdempotent };

/// The back-off of run(), for loops that cannot use it.
class Retry {
 public:
  Retry(Store& store, Deadline deadline, Again again)
      : store_(store), deadline_(deadline), again_(again) {}
  /// Waits; true: try again. False: the error is final. `committing`: it is commit()'s.
  bool after(const Error& error, bool committing);
  int tries() const { return tries_; }

 private:
  Store& store_;
  Deadline deadline_;
  Again again_;
  int tries_ = 1;
};

/// body(transaction), then commit(); both again after a conflict or while the store is not there,
/// and after an unknown outcome if the operation is idempotent, until the deadline. `body` returns
/// a Result and must have no effect but on the transaction. The error is the last one: kTimeout
/// only where the outcome is unknown.
template <typename Body>
auto run(Store& store, Deadline deadline, Body&& body, Again again = Again::kIfNotCommitted)
    -> std::invoke_result_t<Body&, Transaction&> {
  bool unknown = false;  // of an earlier try
  for (Retry retry(store, deadline, again);;) {
    Transaction transaction = store.begin(deadline);
    auto result = body(transaction);
    const bool committing = result.has_value();
    if (committing) {
      const Result<> committed = transaction.commit();
      if (committed) return result;
      result = std::unexpected(committed.error());
      unknown = unknown || maybe_committed(committed.error());
    }
    if (retry.after(result.error(), committing)) continue;
    if (unknown && result.error().code != Code::kTimeout) {
      result.error().code = Code::kTimeout;
      result.error().message.insert(0, "maybe committed by an earlier try: ");
    }
    return result;
  }
}

}  // namespace hadal::kv
