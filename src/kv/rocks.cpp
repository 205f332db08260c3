#include "kv/rocks.h"

#include <utility>

#include <fmt/core.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/write_batch_with_index.h>
#include <rocksdb/write_batch.h>

#include "base/check.h"
#include "base/executor.h"

namespace hadal::kv {
namespace {

constexpr size_t kStackBytes = 1 << 20;

rocksdb::Slice slice(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

Error error_of(const rocksdb::Status& status) {
  Code code = Code::kIo;
  if (status.IsCorruption()) code = Code::kCorrupt;
  if (status.IsNoSpace()) code = Code::kNoSpace;
  if (status.IsNotFound() || status.IsPathNotFound()) code = Code::kNotFound;
  return {code, status.ToString()};
}

Result<> result_of(const rocksdb::Status& status) {
  if (status.ok()) return {};
  return std::unexpected(error_of(status));
}

class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

/// Settings that matter, and why; the rest are RocksDB's.
rocksdb::Options settings(const RocksOptions& given) {
  rocksdb::Options o;
  o.create_if_missing = given.create;
  o.info_log = std::make_shared<NoLog>();  // errors come back as such
  // A crash may leave the last, unacknowledged record of the log half written.
  o.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  o.write_buffer_size = static_cast<size_t>(given.memtable_bytes);
  o.max_write_buffer_number = 4;
  o.allow_concurrent_memtable_write = false;  // there is one writer
  o.compression = rocksdb::kLZ4Compression;
  o.level_compaction_dynamic_level_bytes = true;
  o.max_bgerror_resume_count = 0;  // after an error of the device nobody writes any more
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  o.max_file_opening_threads = 1;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = rocksdb::NewLRUCache(static_cast<size_t>(given.cache_bytes));
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (given.files == nullptr) return o;
  // One thread: nothing may wait for a job that runs after the call.
  o.level0_slowdown_writes_trigger = o.level0_stop_writes_trigger = 1 << 20;
  o.soft_pending_compaction_bytes_limit = o.hard_pending_compaction_bytes_limit = 0;
  return o;
}

}  // namespace

struct Rocks::Db {
  std::unique_ptr<rocksdb::DB> db;
};

void Rocks::Batch::add(Kind kind, std::string key, std::string value) {
  bytes_ += key.size() + value.size();
  has_ranges_ = has_ranges_ || kind == Kind::kEraseRange;
  writes_.push_back({kind, std::move(key), std::move(value)});
}
void Rocks::Batch::put(std::string key, std::string_view value) {
  add(Kind::kPut, std::move(key), std::string(value));
}
void Rocks::Batch::erase(std::string key) {
  add(Kind::kErase, std::move(key), {});
}
void Rocks::Batch::erase_range(std::string begin, std::string end) {
  add(Kind::kEraseRange, std::move(begin), std::move(end));
}

Rocks::Rocks() : db_(std::make_unique<Db>()), stack_(std::make_unique<Fiber>(kStackBytes)) {}

/// On a fiber: on the large stack; elsewhere (a thread's) as it is. The function does not wait.
void Rocks::on_own_stack(const std::function<void()>& function) {
  if (!in_fiber()) return function();
  to_call_ = &function;
  stack_->start([](void* self) { (*static_cast<Rocks*>(self)->to_call_)(); }, this);
  stack_->resume();
}

Result<std::unique_ptr<Rocks>> Rocks::open(const RocksOptions& given) {
  std::unique_ptr<Rocks> rocks(new Rocks);
  rocksdb::Options options = settings(given);
  if (given.files != nullptr) {
    rocks->env_ = std::make_unique<RocksEnv>(*given.files, *given.clock);
    options.env = &rocks->env_->env();
  }
  rocksdb::Status status;
  bool there = false;
  rocks->on_own_stack([&] {
    there = options.env->FileExists(given.path + "/CURRENT").ok();
    if (!there && !given.create) return;
    rocksdb::DB* db = nullptr;
    status = rocksdb::DB::Open(options, given.path, &db);
    rocks->db_->db.reset(db);
    if (status.ok() && rocks->env_) rocks->env_->run_jobs();
  });
  if (!there && !given.create) {
    return fail(Code::kNotFound, fmt::format("{}: there is no store", given.path));
  }
  if (!status.ok()) return std::unexpected(error_of(status).in(given.path));
  return rocks;
}

Rocks::~Rocks() {
  if (env_) env_->die();
  on_own_stack([this] { db_->db.reset(); });
}

Result<std::optional<std::string>> Rocks::get(Snapshot snapshot, std::string_view key) {
  rocksdb::ReadOptions options;
  options.snapshot = static_cast<const rocksdb::Snapshot*>(snapshot);
  std::string value;
  rocksdb::Status status;
  on_own_stack([&] { status = db_->db->Get(options, slice(key), &value); });
  if (status.ok()) return value;
  if (status.IsNotFound()) return std::nullopt;
  return std::unexpected(error_of(status));
}

Result<std::optional<Rows>> Rocks::range(Snapshot snapshot, const KeyRange& range,
                                         const RangeOptions& limits, uint64_t skips_max) {
  const rocksdb::Slice begin = slice(range.begin), end = slice(range.end);
  rocksdb::ReadOptions options;
  options.snapshot = static_cast<const rocksdb::Snapshot*>(snapshot);
  options.iterate_lower_bound = &begin;
  options.iterate_upper_bound = &end;
  options.max_skippable_internal_keys = skips_max;
  Rows out;
  size_t bytes = 0;
  rocksdb::Status status;
  on_own_stack([&] {
    const std::unique_ptr<rocksdb::Iterator> it(db_->db->NewIterator(options));
    limits.reverse ? it->SeekToLast() : it->Seek(begin);
    for (; it->Valid(); limits.reverse ? it->Prev() : it->Next()) {
      out.has_more = out.rows.size() == limits.rows_max || bytes >= limits.bytes_max;
      if (out.has_more) break;
      std::string_view key(it->key().data(), it->key().size());
      key.remove_prefix(1);
      out.rows.push_back({std::string(key), it->value().ToString()});
      bytes += key.size() + it->value().size();
    }
    status = it->status();
  });
  if (status.IsIncomplete()) return std::nullopt;
  TRY(result_of(status));
  return out;
}

namespace {

/// Erases the rows that a range has, those of the batch included.
rocksdb::Status erase_rows(rocksdb::DB& db, rocksdb::WriteBatchWithIndex& batch,
                           const std::string& begin, const std::string& end) {
  const rocksdb::Slice upper = slice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  std::vector<std::string> keys;
  const std::unique_ptr<rocksdb::Iterator> it(
      batch.NewIteratorWithBase(db.DefaultColumnFamily(), db.NewIterator(options), &options));
  for (it->Seek(slice(begin)); it->Valid() && it->key().compare(upper) < 0; it->Next()) {
    keys.push_back(it->key().ToString());
  }
  for (const std::string& key : keys) CHECK(batch.Delete(slice(key)).ok());
  return it->status();
}

}  // namespace

Result<> Rocks::write(const Batch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  rocksdb::DB& db = *db_->db;
  // To erase a range takes an index of the batch; without one a batch is cheaper.
  rocksdb::WriteBatch plain(batch.bytes_ + 16 * batch.writes_.size());
  rocksdb::WriteBatchWithIndex indexed(rocksdb::BytewiseComparator(), 0, true);
  rocksdb::WriteBatchBase* to = &plain;
  if (batch.has_ranges_) to = &indexed;
  rocksdb::Status status;
  on_own_stack([&] {
    for (const Batch::Write& write : batch.writes_) {
      switch (write.kind) {
        case Batch::Kind::kPut: status = to->Put(slice(write.key), slice(write.value)); break;
        case Batch::Kind::kErase: status = to->Delete(slice(write.key)); break;
        case Batch::Kind::kEraseRange: status = erase_rows(db, indexed, write.key, write.value);
      }
      if (!status.ok()) return;
    }
    status = db.Write(options, to->GetWriteBatch());
    if (env_) env_->run_jobs();
  });
  return result_of(status);
}

Rocks::Snapshot Rocks::snapshot() {
  return db_->db->GetSnapshot();
}
void Rocks::release(Snapshot snapshot) {
  db_->db->ReleaseSnapshot(static_cast<const rocksdb::Snapshot*>(snapshot));
}

Result<> Rocks::flush() {
  rocksdb::FlushOptions options;
  options.wait = env_ == nullptr;  // else a job does it below
  options.allow_write_stall = true;
  rocksdb::Status status;
  on_own_stack([&] {
    status = db_->db->Flush(options);
    if (env_) env_->run_jobs();
  });
  return result_of(status);
}

Result<> Rocks::verify_checksums() {
  rocksdb::Status status;
  on_own_stack([&] { status = db_->db->VerifyChecksum(); });
  return result_of(status);
}

Result<> Rocks::for_each(
    const std::function<Result<>(std::string_view, std::string_view)>& function) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  Result<> result;
  on_own_stack([&] {
    const std::unique_ptr<rocksdb::Iterator> it(db_->db->NewIterator(options));
    for (it->SeekToFirst(); it->Valid() && result; it->Next()) {
      result =
          function({it->key().data(), it->key().size()}, {it->value().data(), it->value().size()});
    }
    if (result) result = result_of(it->status());
  });
  return result;
}

}  // namespace hadal::kv
