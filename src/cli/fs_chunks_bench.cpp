// hadal fs chunks bench: a chunk store on a real disk, beside what the disk itself does.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "cli/fs_bench.h"
#include "cli/terminal.h"
#include "fs/chunk/store.h"
#include "io/buffer.h"
#include "io/event_loop.h"
#include "io/native_files.h"

namespace hadal::cli {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;
constexpr uint64_t kPagesPerChunk = kChunkBytes / fs::kPageBytes;

struct BenchArgs {
  std::string folder;
  int64_t bytes = int64_t{1} << 30;
  int seconds = 3;
  bool json = false;
};

/// One line of the result.
struct Figure {
  std::string name;
  double per_second = 0;  // operations
  int64_t bytes_each = 0;
  double cpu_us = 0;                // of an operation, all threads
  std::optional<double> disk = {};  // the disk's own operations a second
  double target = 0;                // of the disk's; or of operations a second, if > 1
};

double cpu_seconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Each page begins with its place and how often it was written, so that a wrong one is seen.
void stamp(std::span<std::byte> page, uint64_t chunk, uint64_t index, uint64_t generation) {
  store_le<uint64_t>(page.data(), chunk * kPagesPerChunk + index);
  store_le<uint64_t>(page.data() + 8, generation);
}

/// Loads with many fibers at once for some seconds.
class ChunkBench {
 public:
  ChunkBench(io::EventLoop& loop, fs::ChunkStore& store, const BenchArgs& args)
      : loop_(loop),
        store_(store),
        args_(args),
        chunks_(static_cast<uint64_t>(args.bytes) / kChunkBytes),
        generations_(chunks_ * kPagesPerChunk) {}

  Result<Figure> fill() {
    next_ = 0;
    return run("write 1 MiB", 8, kChunkBytes, [this](std::span<std::byte> buffer) -> Result<bool> {
      if (next_ >= chunks_ && over()) return false;
      const uint64_t chunk = next_++ % chunks_;
      uint64_t& first = generations_[chunk * kPagesPerChunk];
      const uint64_t generation = first + 1;
      for (uint64_t i = 0; i < kPagesPerChunk; ++i) {
        stamp(buffer.subspan(i * fs::kPageBytes, fs::kPageBytes), chunk, i, generation);
        generations_[chunk * kPagesPerChunk + i] = generation;
      }
      TRY(store_.update(id(chunk), {.kind = fs::UpdateKind::kReplace, .data = buffer}));
      return true;
    });
  }

  Result<Figure> read(const std::string& name, int depth, uint64_t bytes) {
    return run(name, depth, bytes, [this, bytes](std::span<std::byte> buffer) -> Result<bool> {
      if (over()) return false;
      const uint64_t chunk = rng_.below(chunks_);
      const uint64_t offset = rng_.below(kChunkBytes / bytes) * bytes;
      const fs::ChunkReader reader = TRY(store_.read(id(chunk)));
      const size_t got = TRY(reader.read(offset, buffer));
      CHECK(got == bytes, "a short read");
      for (uint64_t at = 0; at < bytes; at += fs::kPageBytes) {
        const uint64_t page = chunk * kPagesPerChunk + (offset + at) / fs::kPageBytes;
        CHECK(load_le<uint64_t>(buffer.data() + at) == page, "another page was read");
        CHECK(load_le<uint64_t>(buffer.data() + at + 8) <= generations_[page],
              "a page of the future");
      }
      return true;
    });
  }

  Result<Figure> write_pages(int writers) {
    return run(fmt::format("write 4 KiB durably, {} writers", writers), writers, fs::kPageBytes,
               [this](std::span<std::byte> buffer) -> Result<bool> {
                 if (over()) return false;
                 const uint64_t page = rng_.below(chunks_ * kPagesPerChunk);
                 const uint64_t chunk = page / kPagesPerChunk;
                 stamp(buffer, chunk, page % kPagesPerChunk, ++generations_[page]);
                 TRY(store_.update(id(chunk), {.offset = page % kPagesPerChunk * fs::kPageBytes,
                                               .data = buffer,
                                               .commit = true}));
                 return true;
               });
  }

 private:
  static fs::ChunkId id(uint64_t chunk) {
    return {.file = chunk / 64, .index = static_cast<uint32_t>(chunk % 64)};
  }
  bool over() const { return loop_.now_ns() >= end_ns_; }

  template <typename Operation>
  Result<Figure> run(std::string name, int depth, uint64_t bytes, const Operation& operation) {
    const int64_t start_ns = loop_.now_ns();
    const double cpu = cpu_seconds();
    end_ns_ = start_ns + args_.seconds * kSecond;
    int64_t done = 0;
    int running = depth;
    std::optional<Error> failure;
    FiberEvent ended;
    for (int i = 0; i < depth; ++i) {
      loop_.spawn("load", [&] {
        io::AlignedBuffer buffer(bytes);
        std::ranges::fill(buffer.bytes(), std::byte{0x5a});
        while (!failure) {
          const Result<bool> more = operation(buffer.bytes());
          if (!more) failure = more.error();
          if (!more || !*more) break;
          ++done;
        }
        if (--running == 0) ended.set();
      });
    }
    ended.wait();
    if (failure) return std::unexpected(*failure);
    const double seconds = static_cast<double>(loop_.now_ns() - start_ns) / kSecond;
    return Figure{.name = std::move(name),
                  .per_second = static_cast<double>(done) / seconds,
                  .bytes_each = static_cast<int64_t>(bytes),
                  .cpu_us = (cpu_seconds() - cpu) / static_cast<double>(done) * 1e6};
  }

  io::EventLoop& loop_;
  fs::ChunkStore& store_;
  const BenchArgs& args_;
  const uint64_t chunks_;
  std::vector<uint64_t> generations_;  // of pages
  uint64_t next_ = 0;
  int64_t end_ns_ = 0;
  Rng rng_{1};
};

/// What a server does beside its calls.
class Upkeep {
 public:
  Upkeep(io::EventLoop& loop, fs::ChunkStore& store) {
    loop.spawn("upkeep", [this, &store] {
      while (!stop_ && result_) {
        sleep_fiber(50 * kMillisecond);
        result_ = store.maintain();
      }
      ended_.set();
    });
  }

  Result<> stop() {
    stop_ = true;
    ended_.wait();
    return result_;
  }

 private:
  bool stop_ = false;
  Result<> result_ = {};
  FiberEvent ended_;
};

Result<std::vector<Figure>> measure(io::EventLoop& loop, const std::string& folder,
                                    const BenchArgs& args) {
  std::vector<Figure> figures;
  const auto disk = [&](const DiskLoad& load) -> std::optional<double> {
    const auto rate = fio_rate(folder, load, args.bytes, args.seconds);
    if (!rate) return {};
    return *rate;
  };
  const auto files = TRY(io::NativeFiles::open(loop, folder));
  TRY(fs::ChunkStore::create(*files, "store", {.capacity_bytes = 4 * args.bytes}, {1, 2}, 0));
  auto store = TRY(fs::ChunkStore::open(*files, "store", {}));
  ChunkBench bench(loop, *store, args);
  Upkeep upkeep(loop, *store);
  const auto add = [&](Figure figure, const DiskLoad& load, double target) {
    figure.disk = disk(load);
    figure.target = target;
    figures.push_back(std::move(figure));
  };
  add(TRY(bench.fill()), {"write", kChunkBytes, 8}, 0.8);
  add(TRY(bench.read("read 1 MiB", 8, kChunkBytes)), {"read", kChunkBytes, 8}, 0.9);
  add(TRY(bench.read("read 4 KiB", 32, fs::kPageBytes)), {"randread", 4096, 32}, 0.85);
  add(TRY(bench.write_pages(64)), {"randwrite", 4096, 1, true}, 15000);
  TRY(upkeep.stop());
  const auto scrubbed = TRY(store->scrub({}));
  CHECK(scrubbed.bad.empty(), "the store is bad after the benchmark");
  CHECK(store->check().empty(), "the store's books are wrong after the benchmark");
  return figures;
}

double crc_seconds_per_page() {
  std::vector<std::byte> page(fs::kPageBytes, std::byte{1});
  const double start = cpu_seconds();
  uint32_t crc = 0;
  constexpr int kPages = 200'000;
  for (int i = 0; i < kPages; ++i) crc = crc32c::extend(crc, page);
  CHECK(crc != 1);
  return (cpu_seconds() - start) / kPages;
}

void print_json(const std::vector<Figure>& figures, Terminal& terminal) {
  nlohmann::ordered_json out = {{"loads", nlohmann::ordered_json::array()}};
  for (const Figure& figure : figures) {
    nlohmann::ordered_json load = {{"name", figure.name},
                                   {"per_second", figure.per_second},
                                   {"bytes_each", figure.bytes_each},
                                   {"cpu_us", figure.cpu_us},
                                   {"disk_per_second", nullptr},
                                   {"target", figure.target}};
    if (figure.disk) load["disk_per_second"] = *figure.disk;
    out["loads"].push_back(std::move(load));
  }
  terminal.print(out.dump(2) + "\n");
}

Result<ExitCode> bench_command(const BenchArgs& args, Terminal& terminal) {
  const std::string folder = fmt::format("{}/hadal-chunks-{}", args.folder, ::getpid());
  std::error_code error;
  if (!std::filesystem::create_directory(folder, error))
    return fail(Code::kNotFound, fmt::format("{}: cannot be made: {}", folder, error.message()));
  io::EventLoop loop;
  Result<std::vector<Figure>> figures;
  loop.run([&] { figures = measure(loop, folder, args); });
  std::filesystem::remove_all(folder, error);
  if (!figures) return std::unexpected(figures.error());
  if (args.json) {
    print_json(*figures, terminal);
    return 0;
  }
  Table table;
  table.add({"", "a second", "MiB/s", "CPU us", "of it CRC", "disk (fio)", "ratio", "target"});
  const double crc = crc_seconds_per_page();
  for (const Figure& figure : *figures) {
    const double pages = static_cast<double>(figure.bytes_each) / fs::kPageBytes;
    table.add({figure.name, fmt::format("{:.0f}", figure.per_second),
               fmt::format("{:.0f}",
                           figure.per_second * static_cast<double>(figure.bytes_each) / (1 << 20)),
               fmt::format("{:.1f}", figure.cpu_us), fmt::format("{:.1f}", crc * pages * 1e6),
               figure.disk ? fmt::format("{:.0f}", *figure.disk) : "-",
               figure.disk ? fmt::format("{:.2f}", figure.per_second / *figure.disk) : "-",
               figure.target > 1 ? fmt::format("{:.0f}/s", figure.target)
                                 : fmt::format("{:.2f}", figure.target)});
  }
  terminal.print(table.text());
  return 0;
}

}  // namespace

void add_fs_chunks_bench(Command& chunks) {
  const auto args = std::make_shared<BenchArgs>();
  Command command = chunks.add("bench", "Measure a new store in a folder, beside the disk itself");
  command.file("folder", args->folder, "A folder on the disk; what is made there is removed again")
      .required();
  command.integer64("--bytes", args->bytes, "Size of the store's data", int64_t{64} << 20);
  command.integer("--seconds", args->seconds, "How long each load runs", 1, 600);
  command.flag("--json", args->json, "Print JSON");
  command.run([args](Terminal& terminal) { return bench_command(*args, terminal); });
}

}  // namespace hadal::cli
