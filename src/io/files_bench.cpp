// NativeFiles on a disk, beside fio on the same file, one after the other: operations per second,
// and CPU time for each. Run it where a real disk is: the file lies in the current folder.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/statfs.h>

#include "base/rng.h"
#include "io/buffer.h"
#include "io/event_loop.h"
#include "io/group_commit.h"
#include "io/native_files.h"

namespace hadal::io {
namespace {

constexpr int64_t kFileBytes = int64_t{512} << 20;
constexpr int64_t kRunNs = kSecond / 2;
constexpr int kTurns = 5;
constexpr const char* kName = "data";

struct Figures {
  double per_second = 0;
  double cpu_us = 0;  // of user and system, per operation
};

/// A folder with a file of kFileBytes, whose blocks begin with their own number.
class Disk {
 public:
  Disk() {
    std::string name = (std::filesystem::current_path() / "io-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~Disk() {
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Why it cannot be measured on; empty: it can.
  std::string fill() const {
    struct statfs status = {};
    if (path_.empty() || ::statfs(path_.c_str(), &status) != 0) return "no folder can be made here";
    if (status.f_type == TMPFS_MAGIC) return "the current folder is in memory, not on a disk";
    Result<> filled;
    EventLoop loop;
    loop.run([&] { filled = write_all(loop); });
    return filled ? "" : filled.error().message;
  }

 private:
  Result<> write_all(EventLoop& loop) const {
    const auto files = TRY(NativeFiles::open(loop, path_.string()));
    const auto file = TRY(files->open(kName, Open::kCreate, Access::kDirect));
    AlignedBuffer buffer(1 << 20);
    for (int64_t at = 0; at < kFileBytes; at += static_cast<int64_t>(buffer.size())) {
      for (size_t i = 0; i < buffer.size(); i += kBlockBytes) {
        const int64_t block = (at + static_cast<int64_t>(i)) / kBlockBytes;
        std::memcpy(buffer.bytes().data() + i, &block, sizeof(block));
      }
      TRY(file->write(at, buffer.bytes()));
    }
    return file->sync();
  }

  std::filesystem::path path_;
};

double cpu_seconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// One operation of a fiber; false: it failed, or gave the wrong bytes.
using Operation = std::function<bool(Rng& rng)>;
using Make = std::function<Operation(File& file)>;

/// Runs `depth` fibers, each with an operation of its own, again and again for kRunNs.
Result<Figures> measure(const Disk& disk, Engine engine, int depth, const Make& make) {
  Result<Figures> figures;
  EventLoop loop;
  loop.run([&] {
    figures = [&]() -> Result<Figures> {
      const auto files = TRY(NativeFiles::open(loop, disk.path().string(), {.engine = engine}));
      const auto file = TRY(files->open(kName, Open::kExisting, Access::kDirect));
      const double cpu = cpu_seconds();
      const int64_t start = loop.now_ns();
      int64_t done = 0, running = depth;
      bool right = true;
      FiberEvent end;
      for (int fiber = 0; fiber < depth; ++fiber) {
        loop.spawn("worker", [&, fiber] {
          Rng rng(static_cast<uint64_t>(fiber));
          const Operation operation = make(*file);
          for (; loop.now_ns() - start < kRunNs; ++done) right = operation(rng) && right;
          if (--running == 0) end.set();
        });
      }
      end.wait();
      if (!right) return fail(Code::kCorrupt, "an operation fails or gives the wrong bytes");
      const double seconds = 1e-9 * static_cast<double>(loop.now_ns() - start);
      return Figures{static_cast<double>(done) / seconds,
                     (cpu_seconds() - cpu) * 1e6 / static_cast<double>(done)};
    }();
  });
  return figures;
}

/// fio's figures with these options, or zeros where it is not installed.
Figures fio(const Disk& disk, const std::string& options) {
  const std::string command = fmt::format(
      "fio --name=x --filename='{}/{}' --size={} --direct=1 --norandommap --runtime={}ms "
      "--time_based "
      "--output-format=json {} 2>/dev/null",
      disk.path().string(), kName, kFileBytes, kRunNs / kMillisecond, options);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "re"), ::pclose);
  std::string text;
  std::array<char, 4096> piece;
  while (pipe != nullptr && std::fgets(piece.data(), piece.size(), pipe.get()) != nullptr)
    text += piece.data();
  const auto parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_discarded() || !parsed.contains("jobs")) return {};
  const auto& job = parsed["jobs"][0];
  const double count =
      job["read"]["total_ios"].get<double>() + job["write"]["total_ios"].get<double>();
  const double seconds = job["job_runtime"].get<double>() / 1e3;
  const double cpu = (job["usr_cpu"].get<double>() + job["sys_cpu"].get<double>()) / 100 * seconds;
  return {count / seconds, cpu * 1e6 / count};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// In turns with fio, as the disk is shared with others; the medians.
void report(benchmark::State& state, const Make& make, int depth, size_t bytes,
            const std::string& fio_options) {
  const Engine engine = state.range(0) == 0 ? Engine::kIoUring : Engine::kThreads;
  const Disk disk;
  const std::string why_not = disk.fill();
  if (!why_not.empty()) return state.SkipWithError(why_not.c_str());
  std::vector<double> own, own_cpu, others, others_cpu, ratios;
  for ([[maybe_unused]] auto _ : state) {
    for (int turn = 0; turn < kTurns; ++turn) {
      const Figures seen = fio(disk, fio_options);
      const Result<Figures> measured = measure(disk, engine, depth, make);
      if (!measured) return state.SkipWithError(measured.error().message.c_str());
      own.push_back(measured->per_second);
      own_cpu.push_back(measured->cpu_us);
      if (seen.per_second == 0) continue;
      others.push_back(seen.per_second);
      others_cpu.push_back(seen.cpu_us);
      ratios.push_back(measured->per_second / seen.per_second);
    }
    state.SetIterationTime(1 / median(own));
  }
  state.counters["per_s"] = median(own);
  state.counters["MB/s"] = median(own) * static_cast<double>(bytes) / 1e6;
  state.counters["cpu_us"] = median(own_cpu);
  if (others.empty()) return state.SetLabel("fio is not installed");
  state.counters["fio_baseline_per_s"] = median(others);
  state.counters["fio_baseline_cpu_us"] = median(others_cpu);
  state.counters["of_fio"] = median(ratios);
}

Operation random_read(File& file) {
  const auto buffer = std::make_shared<AlignedBuffer>(kBlockBytes);
  return [&file, buffer](Rng& rng) {
    const auto block = static_cast<int64_t>(rng.below(kFileBytes / kBlockBytes));
    if (file.read(block * kBlockBytes, buffer->bytes()).value_or(0) != kBlockBytes) return false;
    return std::memcmp(buffer->bytes().data(), &block, sizeof(block)) == 0;
  };
}

void random_read_4k(benchmark::State& state) {
  const auto depth = static_cast<int>(state.range(1));
  report(state, random_read, depth, kBlockBytes,
         fmt::format("--rw=randread --bs=4k --ioengine=io_uring --iodepth={}", depth));
}

constexpr size_t kLargeBytes = 1 << 20;
constexpr int kLargeDepth = 4;

void large(benchmark::State& state, bool writes) {
  const Make make = [writes](File& file) -> Operation {
    const auto buffer = std::make_shared<AlignedBuffer>(kLargeBytes);
    return [&file, buffer, writes](Rng& rng) {
      const auto at = static_cast<int64_t>(rng.below(kFileBytes / kLargeBytes) * kLargeBytes);
      const int64_t block = at / kBlockBytes;
      if (writes) {
        std::memcpy(buffer->bytes().data(), &block, sizeof(block));
        return file.write(at, buffer->bytes()).has_value();
      }
      return file.read(at, buffer->bytes()).value_or(0) == kLargeBytes &&
             std::memcmp(buffer->bytes().data(), &block, sizeof(block)) == 0;
    };
  };
  report(state, make, kLargeDepth, kLargeBytes,
         fmt::format("--rw={} --bs=1m --ioengine=io_uring --iodepth={}",
                     writes ? "randwrite" : "randread", kLargeDepth));
}

void read_1m(benchmark::State& state) {
  large(state, false);
}
void write_1m(benchmark::State& state) {
  large(state, true);
}

/// A write of 4 KiB and a sync by `depth` fibers that share syncs, beside fio that syncs after
/// each.
void durable_write_4k(benchmark::State& state) {
  std::weak_ptr<GroupCommit> shared;  // of all fibers of a measurement
  const Make make = [&shared](File& file) -> Operation {
    const auto buffer = std::make_shared<AlignedBuffer>(kBlockBytes);
    auto commits = shared.lock();
    if (!commits) shared = commits = std::make_shared<GroupCommit>([&file] { return file.sync(); });
    return [&file, buffer, commits](Rng& rng) {
      const auto block = static_cast<int64_t>(rng.below(kFileBytes / kBlockBytes));
      return file.write(block * kBlockBytes, buffer->bytes()) && commits->commit();
    };
  };
  report(state, make, static_cast<int>(state.range(1)), kBlockBytes,
         "--rw=randwrite --bs=4k --ioengine=io_uring --iodepth=1 --fdatasync=1");
}

void shape(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Iterations(1)->Repetitions(1);
}

BENCHMARK(random_read_4k)
    ->Name("files/random_read_4k")
    ->ArgNames({"threads", "depth"})
    ->ArgsProduct({{0, 1}, {1, 32}})
    ->Apply(shape);
BENCHMARK(read_1m)->Name("files/read_1m")->ArgNames({"threads"})->Arg(0)->Arg(1)->Apply(shape);
BENCHMARK(write_1m)->Name("files/write_1m")->ArgNames({"threads"})->Arg(0)->Arg(1)->Apply(shape);
BENCHMARK(durable_write_4k)
    ->Name("files/durable_write_4k")
    ->ArgNames({"threads", "depth"})
    ->ArgsProduct({{0, 1}, {1, 64}})
    ->Apply(shape);

}  // namespace
}  // namespace hadal::io
