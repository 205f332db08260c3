#include "io/group_commit_target.h"

#include <array>
#include <cstring>
#include <memory>
#include <string>

#include <fmt/core.h>

#include "base/executor.h"
#include "io/group_commit.h"
#include "io/sim_disk.h"
#include "sim/world.h"

namespace hadal::io {
namespace {

constexpr uint64_t kClients = 6;
constexpr int64_t kFaultNsMax = 30 * kMillisecond;
constexpr int64_t kRunNsMax = 1000 * kSecond;

using Record = std::array<uint64_t, kSectorBytes / sizeof(uint64_t)>;

class Run {
 public:
  explicit Run(const sim::Scenario& scenario)
      : scenario_(scenario),
        world_({.seed = scenario.seed}),
        disk_({.latency_ns_max = kMillisecond, .sync_ns_max = 5 * kMillisecond},
              world_.rng().fork(1)),
        server_(world_.add_process("server", [this](sim::Process&) { serve(); })) {}

  sim::Outcome run() {
    if (scenario_.has("disk-error")) disk_.options.write_error_rate = 0.01;
    if (scenario_.has("crash")) fault_later(false);
    if (scenario_.has("power")) fault_later(true);
    const auto enough = [this] { return !failure_.empty() || commits_ >= scenario_.steps; };
    if (!world_.run_until(enough, kRunNsMax)) fail_with("commits do not end");
    // The world heals, the power goes once more, and everything must still be there.
    healed_ = true;
    disk_.options.write_error_rate = 0;
    const uint64_t starts = checked_starts_;
    restart(true);
    const auto checked = [&] { return !failure_.empty() || checked_starts_ > starts; };
    if (!world_.run_until(checked, kRunNsMax)) fail_with("the server does not start");
    return {.failure = failure_,
            .fingerprint = world_.fingerprint(),
            .events = world_.events(),
            .log = world_.log_text()};
  }

 private:
  // --- the server and its clients, which are fibers of it ---------------------------------------

  void serve() {
    auto opened = disk_.open("records", Open::kCreate);
    if (!opened || !disk_.sync_folder("")) return restart_soon();
    const auto file = *std::move(opened);
    check(*file);
    GroupCommit commits([&] { return flush(*file); });
    for (uint64_t client = 0; client < kClients; ++client) {
      server_.spawn("client", [&, client] { write_records(*file, commits, client); });
    }
    FiberEvent().wait();
  }

  void write_records(File& file, GroupCommit& commits, uint64_t client) {
    while (true) {
      const uint64_t value = ++written_[client];
      Record record;
      record.fill(value);
      const auto offset = static_cast<int64_t>(client) * kSectorBytes;
      if (!file.write(offset, std::as_bytes(std::span(record)))) continue;
      const uint64_t ticket = ++tickets_;
      if (scenario_.broken == "early-reply" && flushing_) {
        flushed_->wait();  // of a flush that began too early
      } else if (!commits.commit()) {
        return restart_soon();
      } else if (ticket < last_ticket_) {
        fail_with("commits return in another order than they were called in");
      } else {
        last_ticket_ = ticket;
      }
      acknowledged_[client] = value;
      ++commits_;
      server_.log(fmt::format("client {} has {}", client, value));
      if (server_.rng().below(3) == 0)
        sleep_fiber(static_cast<int64_t>(server_.rng().below(10 * kMillisecond)));
    }
  }

  Result<> flush(File& file) {
    if (scenario_.broken == "skipped-flush" && server_.rng().below(4) == 0) return {};
    flushing_ = true;
    Result<> synced = file.sync();
    flushing_ = false;
    flushed_->wake_all();
    return synced;
  }

  /// Of each client the last record that was acknowledged is there, or a later one.
  void check(File& file) {
    for (uint64_t client = 0; client < kClients; ++client) {
      Record record = {};
      const auto offset = static_cast<int64_t>(client) * kSectorBytes;
      const auto count = file.read(offset, std::as_writable_bytes(std::span(record)));
      if (!count) return restart_soon();
      if (record[0] < acknowledged_[client] || record[0] > written_[client]) {
        fail_with(fmt::format("client {} wrote {} and has the word for {}; the disk has {}", client,
                              written_[client], acknowledged_[client], record[0]));
      }
    }
    ++checked_starts_;
  }

  // --- faults, which are tasks of the world -----------------------------------------------------

  void fault_later(bool power) {
    const auto wait = static_cast<int64_t>(world_.rng().below(kFaultNsMax));
    world_.at(world_.now_ns() + wait, [this, power] {
      if (healed_) return;
      restart(power);
      fault_later(power);
    });
  }

  /// A server that cannot go on starts anew.
  void restart_soon() {
    world_.at(world_.now_ns() + kMillisecond, [this, life = server_.life()] {
      if (server_.life() == life) restart(false);
    });
  }

  void restart(bool power) {
    world_.log("world", power ? "the power goes" : "the server is killed");
    server_.kill();
    if (power) disk_.lose_power();
    flushing_ = false;
    flushed_ = std::make_unique<WaitList>();
    server_.start();
  }

  void fail_with(std::string failure) {
    if (failure_.empty()) failure_ = std::move(failure);
  }

  const sim::Scenario scenario_;
  // What the world remembers, whatever happens to the server.
  std::array<uint64_t, kClients> written_ = {}, acknowledged_ = {};
  uint64_t tickets_ = 0, last_ticket_ = 0, checked_starts_ = 0;
  int64_t commits_ = 0;
  std::string failure_;
  bool healed_ = false;
  // Of the planted mistakes.
  bool flushing_ = false;
  std::unique_ptr<WaitList> flushed_ = std::make_unique<WaitList>();

  sim::World world_;
  SimDisk disk_;
  sim::Process& server_;
};

sim::Outcome run(const sim::Scenario& scenario) {
  return Run(scenario).run();
}

}  // namespace

sim::Target group_commit_target() {
  return {.name = "group-commit",
          .what = "many writers share flushes of a file; what commit() acknowledged stays",
          .steps = 200,
          .faults = {"crash", "disk-error", "power"},
          .broken = {"skipped-flush", "early-reply"},
          .run = run};
}

}  // namespace hadal::io
