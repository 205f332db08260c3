#include "kv/sim_target.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "io/sim_disk.h"
#include "kv/embedded.h"
#include "kv/faults.h"
#include "kv/workload.h"
#include "sim/world.h"

namespace hadal::kv {
namespace {

constexpr int kClients = 8;

/// A disk whose power can be cut between any two operations, and whose syncs can be swallowed.
class CutDisk final : public io::FileSystem {
 public:
  explicit CutDisk(io::FileSystem& disk) : disk_(disk) {}

  int64_t changes_left = INT64_MAX;  // until the power goes; then everything fails
  bool swallow_syncs = false;        // of RocksDB's logs: a mistake

  bool cut() const { return changes_left < 0; }

  Result<std::unique_ptr<io::File>> open(std::string_view path, io::Open how,
                                         io::Access access) override {
    TRY(change(how != io::Open::kExisting));
    return std::make_unique<CutFile>(*this, TRY(disk_.open(path, how, access)),
                                     path.ends_with(".log"));
  }
  Result<> remove(std::string_view path) override {
    TRY(change());
    return disk_.remove(path);
  }
  Result<> rename(std::string_view from, std::string_view to) override {
    TRY(change());
    return disk_.rename(from, to);
  }
  Result<> make_folder(std::string_view path) override {
    TRY(change());
    return disk_.make_folder(path);
  }
  Result<> sync_folder(std::string_view path) override {
    TRY(change());
    return disk_.sync_folder(path);
  }
  Result<std::vector<std::string>> list(std::string_view path) override {
    TRY(change(false));
    return disk_.list(path);
  }
  Result<io::Space> space() override { return disk_.space(); }
  Result<std::unique_ptr<io::FileLock>> lock(std::string_view path) override {
    return disk_.lock(path);
  }

 private:
  class CutFile final : public io::File {
   public:
    CutFile(CutDisk& disk, std::unique_ptr<io::File> file, bool is_log)
        : disk_(disk), file_(std::move(file)), is_log_(is_log) {}
    Result<size_t> read(int64_t offset, std::span<std::byte> to) override {
      TRY(disk_.change(false));
      return file_->read(offset, to);
    }
    Result<> write(int64_t offset, std::span<const std::byte> from) override {
      TRY(disk_.change());
      return file_->write(offset, from);
    }
    Result<> sync() override {
      TRY(disk_.change());
      if (is_log_ && disk_.swallow_syncs) return {};
      return file_->sync();
    }
    Result<int64_t> size() override { return file_->size(); }
    Result<> resize(int64_t bytes) override {
      TRY(disk_.change());
      return file_->resize(bytes);
    }
    Result<> punch_hole(int64_t offset, int64_t bytes) override {
      TRY(disk_.change());
      return file_->punch_hole(offset, bytes);
    }

   private:
    CutDisk& disk_;
    std::unique_ptr<io::File> file_;
    const bool is_log_;
  };

  Result<> change(bool counts = true) {
    if (counts && !cut()) --changes_left;
    if (!cut()) return {};
    return fail(Code::kIo, "the power is gone");
  }

  io::FileSystem& disk_;
};

class Run {
 public:
  explicit Run(const sim::Scenario& scenario)
      : scenario_(scenario),
        world_({.seed = scenario.seed}),
        disk_({.ordered_appends = true}, world_.rng().fork(1)),
        cut_(disk_),
        workload_([this] { return world_.now_ns(); }) {
    cut_.swallow_syncs = scenario.broken == "skipped-flush";
    if (scenario.broken == "missing-conflict") faults_.missing_conflict_rate = 0.3;
    if (scenario.broken == "torn-batch") faults_.torn_rate = 0.3;
    faults_.latency_ns_max = 200 * kMicrosecond;
  }

  sim::Outcome outcome() {
    server_ = &world_.add_process("server", [this](sim::Process& self) { serve(self); });
    const auto steps_done = [this] { return steps_ >= scenario_.steps; };
    // Each bout of trouble ends, so that the server must make progress in between.
    for (int bout = 0; bout < 1000 && !steps_done(); ++bout) {
      world_.run_until(steps_done, 5 * kMillisecond + range(60 * kMillisecond));
      if (!steps_done()) trouble();
      restart_if_stopped();
    }
    heal();
    sim::Outcome outcome{.fingerprint = world_.fingerprint(), .events = world_.events()};
    if (!steps_done()) {
      failure_ = fmt::format("{} of {} steps were done", steps_, scenario_.steps);
    } else if (!finished_ && failure_.empty()) {
      failure_ = "the store did not come back after the last fault";
    }
    if (failure_.empty()) failure_ = workload_.history().anomaly().value_or("");
    outcome.failure = failure_;
    outcome.log = world_.log_text();
    return outcome;
  }

 private:
  int64_t range(int64_t ns) { return static_cast<int64_t>(world_.rng().below(ns)); }

  /// The server's main(): opens the store, and serves clients or reads everything.
  void serve(sim::Process& self) {
    auto opened = EmbeddedStore::open(self, {.path = "kv"}, {cut_, self.rng().fork(1)});
    if (!opened) {
      self.log(fmt::format("open: {}", opened.error().message));
      // Bytes that were lost are no excuse: only the faults of this moment are.
      if (opened.error().code != Code::kIo) failure_ = opened.error().message;
      stopped_ = true;
      return;
    }
    EmbeddedStore& store = **opened;
    FaultyStore faulty(store, faults_, self.rng().fork(2));
    self.log(fmt::format("opened at version {}", *store.latest(Deadline::never())));
    if (finishing_) {
      const auto result = workload_.finish(store);
      const auto check = store.check();
      if (!result) failure_ = result.error().message;
      if (!check) failure_ = check.error().message;
      store.close();
      finished_ = true;
      return;
    }
    for (int i = 0; i < kClients; ++i) {
      self.spawn("client", [this, i, &self, &faulty] { be_client(self, faulty, i); });
    }
    while (true) {
      sleep_fiber(static_cast<int64_t>(self.rng().below(30 * kMillisecond)));
      const auto flushed = store.flush();
      if (flushed) continue;
      self.log(fmt::format("flush: {}", flushed.error().message));
      stopped_ = true;
    }
  }

  void be_client(sim::Process& self, Store& store, int number) {
    Rng rng = self.rng().fork(100 + number);
    while (steps_ < scenario_.steps) {
      const auto result = workload_.step(store, rng, fmt::format("client {}", number));
      ++steps_;
      if (!result) self.log(fmt::format("client {}: {}", number, result.error().message));
      if (!result && result.error().code == Code::kIo) stopped_ = true;
      sleep_fiber(static_cast<int64_t>(rng.below(10 * kMillisecond)));
    }
  }

  void trouble() {
    if (scenario_.faults.empty()) return;
    const std::string& fault = scenario_.faults[world_.rng().below(scenario_.faults.size())];
    world_.log("world", fault);
    if (fault == "kill") {
      server_->kill();
    } else if (fault == "power") {
      lose_power();
    } else if (fault == "cut") {
      cut_.changes_left = range(40);
      world_.run_until([this] { return cut_.cut(); }, 2 * kSecond);
      lose_power();
    } else if (fault == "disk-error") {
      disk_.options.write_error_rate = 0.05;
      disk_.options.read_error_rate = 0.05;
      world_.run_until([this] { return stopped_; }, range(100 * kMillisecond) + 1);
      disk_.options.write_error_rate = disk_.options.read_error_rate = 0;
    }
  }

  void lose_power() {
    server_->kill();
    disk_.lose_power();
    cut_.changes_left = INT64_MAX;
  }

  void restart_if_stopped() {
    if (stopped_ && server_->alive()) server_->kill();
    stopped_ = false;
    if (!server_->alive()) server_->start();
  }

  /// One last crash, and everything is read.
  void heal() {
    if (scenario_.has("power")) {
      lose_power();
    } else {
      server_->kill();
    }
    finishing_ = true;
    restart_if_stopped();
    world_.run_until([this] { return finished_ || stopped_; }, 100 * kSecond);
  }

  const sim::Scenario& scenario_;
  sim::World world_;
  io::SimDisk disk_;
  CutDisk cut_;
  Workload workload_;
  Faults faults_;
  sim::Process* server_ = nullptr;
  int64_t steps_ = 0;
  bool stopped_ = false;  // the store: it must be opened again
  bool finishing_ = false, finished_ = false;
  std::string failure_;
};

sim::Outcome run_scenario(const sim::Scenario& scenario) {
  return Run(scenario).outcome();
}

}  // namespace

const sim::Target& sim_target() {
  static const sim::Target kTarget = {
      .name = "kv",
      .what = "the key-value store: random transactions over crashes and bad disks",
      .steps = 300,
      .faults = {"cut", "disk-error", "kill", "power"},
      .broken = {"missing-conflict", "skipped-flush", "torn-batch"},
      .run = run_scenario};
  return kTarget;
}

}  // namespace hadal::kv
