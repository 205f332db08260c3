#include "kv/measure.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/rng.h"
#include "io/event_loop.h"
#include "kv/embedded.h"

namespace hadal::kv {
namespace {

constexpr size_t kRowBytes = 100;
constexpr int64_t kFlushes = 100;
constexpr int64_t kFillRows = 2000;  // of a transaction

std::string row_key(int64_t i) {
  return fmt::format("bench/{:016x}", hash_u64(static_cast<uint64_t>(i)));
}

std::string row_value(uint64_t count) {
  std::string value(kRowBytes, '.');
  store_le<uint64_t>(value.data(), count);
  return value;
}

Result<uint64_t> count_in(std::string_view value) {
  if (value.size() == kRowBytes) return load_le<uint64_t>(value.data());
  return fail(Code::kCorrupt,
              fmt::format("a row of {} bytes; it must have {}", value.size(), kRowBytes));
}

/// Seconds per flush of what a batch of 32 transactions appends.
Result<double> measure_flush(const Clock& clock, const std::string& folder) {
  const std::string path = folder + "/flush.tmp";
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return std::unexpected(os_error(errno, path));
  const std::string block(8192, 'x');
  const int64_t start_ns = clock.now_ns();
  bool ok = true;
  for (int64_t i = 0; i < kFlushes && ok; ++i) {
    ok = ::write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size()) &&
         ::fdatasync(fd) == 0;
  }
  const double seconds = static_cast<double>(clock.now_ns() - start_ns) / 1e9;
  const Error error = os_error(errno, path);
  ::close(fd);
  ::unlink(path.c_str());
  if (!ok) return std::unexpected(error);
  return seconds / kFlushes;
}

class Measurement {
 public:
  Measurement(io::EventLoop& loop, const MeasureOptions& options)
      : loop_(loop), options_(options) {}

  Result<Measured> run() {
    store_ = TRY(
        EmbeddedStore::open(loop_, {.path = options_.path, .cache_bytes = options_.cache_bytes}));
    const Result<> result = all();
    store_->close();
    if (!result) return std::unexpected(result.error());
    return measured_;
  }

 private:
  double since(int64_t start_ns) const {
    return std::max(1e-9, static_cast<double>(loop_.now_ns() - start_ns) / 1e9);
  }

  void progress(std::string_view what, int64_t done, int64_t of) {
    if (!options_.progress || loop_.now_ns() < next_progress_ns_) return;
    next_progress_ns_ = loop_.now_ns() + kSecond / 5;
    options_.progress(what, static_cast<double>(done) / static_cast<double>(of));
  }

  Result<> all() {
    if (!TRY(store_->begin().snapshot_get(row_key(0)))) TRY(fill());
    const uint64_t before = TRY(sum());
    measured_.flush_s = TRY(measure_flush(loop_.clock(), options_.path));
    TRY(measure_transactions());
    // The disk's speed changes with time: what held during the transactions is between the two.
    measured_.flush_s = (measured_.flush_s + TRY(measure_flush(loop_.clock(), options_.path))) / 2;
    TRY(measure_reads());
    const uint64_t added = TRY(sum()) - before;
    if (added == 2 * static_cast<uint64_t>(options_.transactions)) return {};
    return fail(Code::kCorrupt, fmt::format("{} transactions added {}; it must be twice as much",
                                            options_.transactions, added));
  }

  Result<> fill() {
    const int64_t start_ns = loop_.now_ns();
    for (int64_t i = 0; i < options_.rows;) {
      Transaction t = store_->begin();
      // The first row is written last, so that a fill that ended early is done again.
      const int64_t end = std::min(options_.rows, i + kFillRows);
      for (; i < end; ++i) t.set(row_key(options_.rows - 1 - i), row_value(0));
      TRY(t.commit());
      progress("fill", i, options_.rows);
    }
    measured_.fill_rows_per_s = static_cast<double>(options_.rows) / since(start_ns);
    return {};
  }

  Result<> increment_two(Rng& rng) {
    const int64_t a = static_cast<int64_t>(rng.below(options_.rows));
    const int64_t step = 1 + static_cast<int64_t>(rng.below(options_.rows - 1));
    const int64_t b = (a + step) % options_.rows;
    return kv::run(*store_, Deadline::never(), [&](Transaction& t) -> Result<> {
      for (const int64_t row : {a, b}) {
        const std::string key = row_key(row);
        const auto value = TRY(t.get(key));
        if (!value) return fail(Code::kCorrupt, fmt::format("{}: the row is missing", key));
        t.set(key, row_value(TRY(count_in(*value)) + 1));
      }
      return {};
    });
  }

  Result<> measure_transactions() {
    const EmbeddedStore::Counts before = store_->counts();
    const int64_t start_ns = loop_.now_ns();
    int64_t begun = 0;
    int clients = options_.clients;
    Result<> result;
    FiberEvent done;
    for (int client = 0; client < options_.clients; ++client) {
      loop_.spawn("client", [&, client] {
        Rng rng(client);
        while (result && begun < options_.transactions) {
          progress("transactions", ++begun, options_.transactions);
          const Result<> one = increment_two(rng);
          if (!one) result = one;
        }
        if (--clients == 0) done.set();
      });
    }
    done.wait();
    TRY(Result<>(result));
    const EmbeddedStore::Counts& after = store_->counts();
    const auto count = static_cast<double>(options_.transactions);
    measured_.transactions_per_s = count / since(start_ns);
    measured_.transactions_per_flush =
        count / static_cast<double>(std::max<uint64_t>(1, after.batches - before.batches));
    measured_.conflicts_per_transaction =
        static_cast<double>(after.conflicts - before.conflicts) / count;
    return {};
  }

  Result<> measure_reads() {
    Rng rng(1);
    const int64_t start_ns = loop_.now_ns();
    for (int64_t i = 0; i < options_.reads; ++i) {
      const std::string key = row_key(static_cast<int64_t>(rng.below(options_.rows)));
      const auto value = TRY(store_->begin().get(key));
      if (!value) return fail(Code::kCorrupt, fmt::format("{}: the row is missing", key));
      TRY(count_in(*value));
      progress("point reads", i, options_.reads);
    }
    measured_.reads_per_s = static_cast<double>(options_.reads) / since(start_ns);
    return {};
  }

  /// Of all counters. Kept short of the age limit by a transaction per range.
  Result<uint64_t> sum() {
    const int64_t start_ns = loop_.now_ns();
    KeyRange left = prefix_range("bench/");
    uint64_t total = 0;
    int64_t rows = 0;
    for (bool more = true; more;) {
      const Rows page = TRY(store_->begin().snapshot_get_range(left.begin, left.end));
      for (const Row& row : page.rows) total += TRY(count_in(row.value));
      rows += static_cast<int64_t>(page.rows.size());
      more = page.has_more;
      if (more) left.begin = only(page.rows.back().key).end;
      progress("scan", rows, options_.rows);
    }
    measured_.scanned_rows_per_s = static_cast<double>(rows) / since(start_ns);
    if (rows == options_.rows) return total;
    return fail(Code::kCorrupt,
                fmt::format("the store has {} rows; {} were expected", rows, options_.rows));
  }

  io::EventLoop& loop_;
  const MeasureOptions& options_;
  std::unique_ptr<EmbeddedStore> store_;
  Measured measured_;
  int64_t next_progress_ns_ = 0;
};

}  // namespace

Result<Measured> measure(const MeasureOptions& options) {
  if (options.rows < 2 || options.clients < 1 || options.transactions < 1 || options.reads < 1) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} rows, {} clients, {} transactions and {} reads; at least 2, 1, 1 "
                            "and 1 are needed",
                            options.rows, options.clients, options.transactions, options.reads));
  }
  io::EventLoop loop;
  std::optional<Result<Measured>> result;
  loop.run([&] { result = Measurement(loop, options).run(); });
  return *result;
}

}  // namespace hadal::kv
