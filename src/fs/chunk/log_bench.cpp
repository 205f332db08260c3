// Where the chunk store's records go: its own log, against the key-value store over RocksDB. Many
// fibers make a record durable each; what counts is the CPU time of one and how many share a flush,
// because flushes cost both the same.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include "base/check.h"
#include "fs/chunk/log.h"
#include "io/event_loop.h"
#include "io/native_files.h"
#include "kv/embedded.h"

namespace hadal::fs {
namespace {

constexpr int kWriters = 64;
constexpr int kRecordsEach = 200;

/// A folder on a real disk, not on a file system in memory.
class Folder {
 public:
  Folder() {
    std::string name = "/var/tmp/hadal-log-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path;
};

double cpu_seconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// A chunk of 1 MiB after some small writes.
ChunkRecord record_of(uint32_t index) {
  ChunkState state{.version = 7, .length = 1 << 20, .writer = {.client = 5, .sequence = index}};
  for (uint32_t i = 0; i < 32; ++i)
    state.extents.push_back(
        {.first = 8 * i, .pages = 8, .block = {.page = 1'000'000 + 64 * i, .order = 3}});
  return {.id = {.target = 1, .file = index / 64, .index = index % 64},
          .committed = state,
          .runs = {{.page = 1'000'000, .sums = {index}}}};
}

/// All writers at once; `write` makes one record durable.
template <typename Write>
void write_all(Executor& executor, const Write& write) {
  FiberEvent ended;
  int running = kWriters;
  for (uint32_t writer = 0; writer < kWriters; ++writer) {
    executor.spawn("writer", [&, writer] {
      for (uint32_t i = 0; i < kRecordsEach; ++i) write(record_of(writer * kRecordsEach + i));
      if (--running == 0) ended.set();
    });
  }
  ended.wait();
}

void report(benchmark::State& state, double cpu, uint64_t records, uint64_t batches) {
  state.SetItemsProcessed(static_cast<int64_t>(records));
  state.counters["cpu_us_each"] = cpu / static_cast<double>(records) * 1e6;
  state.counters["records_per_flush"] = static_cast<double>(records) / static_cast<double>(batches);
}

void own_log(benchmark::State& state) {
  const Folder folder;
  io::EventLoop loop;
  uint64_t records = 0, batches = 0, applied = 0;
  double cpu = 0;
  loop.run([&] {
    const auto files = io::NativeFiles::open(loop, folder.path);
    CHECK(files && (*files)->make_folder("log"));
    const auto log = Log::begin(**files, "log", {1, 2}, 1);
    CHECK(log);
    for (auto _ : state) {
      const double before = cpu_seconds();
      write_all(loop, [&](const ChunkRecord& record) {
        CHECK((*log)->append(record, [&] { ++applied; }));
      });
      cpu += cpu_seconds() - before;
    }
    records = (*log)->counts().records;
    batches = (*log)->counts().batches;
    uint64_t found = 0;
    CHECK(Log::replay(**files, "log", {1, 2}, 1, [&](const Record&) -> Result<> {
      ++found;
      return {};
    }));
    CHECK(found == records && applied == records);
  });
  report(state, cpu, records, batches);
}

void key_value_store(benchmark::State& state) {
  const Folder folder;
  io::EventLoop loop;
  uint64_t records = 0, batches = 0;
  double cpu = 0;
  loop.run([&] {
    auto store = kv::EmbeddedStore::open(loop, {.path = folder.path + "/kv"});
    CHECK(store);
    const uint64_t batches_before = (*store)->counts().batches;
    for (auto _ : state) {
      const double before = cpu_seconds();
      write_all(loop, [&](const ChunkRecord& record) {
        std::vector<std::byte> bytes;
        append_record(bytes, record);
        kv::Transaction transaction(**store, Deadline::never());
        transaction.set(to_string(record.id), text_of(bytes));
        CHECK(transaction.commit());
        ++records;
      });
      cpu += cpu_seconds() - before;
    }
    batches = (*store)->counts().batches - batches_before;
    (*store)->close();
  });
  report(state, cpu, records, batches);
}

BENCHMARK(own_log)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(key_value_store)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace hadal::fs
