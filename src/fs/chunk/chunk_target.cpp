#include "fs/chunk/chunk_target.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "base/check.h"
#include "base/executor.h"
#include "fs/chunk/store.h"
#include "io/sim_disk.h"
#include "sim/world.h"

namespace hadal::fs {
namespace {

constexpr uint32_t kSegmentPages = kSegmentPagesMin;  // 1 MiB
constexpr int64_t kSegments = 14;
constexpr int kWorkers = 4;
constexpr int kChunksPerWorker = 3;
constexpr uint64_t kWriteBytesMax = 300'000;
constexpr int64_t kFaultEveryNs = 200 * kMillisecond;
constexpr int64_t kRunMaxNs = 600 * kSecond;

using Content = std::vector<std::byte>;

/// What a chunk is known to be; it outlives the store's crashes.
struct Shadow {
  std::optional<Content> acked = {};  // none: not there
  bool in_flight = false;
  ChunkUpdate update = {};  // in flight, with its data
  Content data = {};
  std::optional<Content> after = {};    // if it happened
  bool happened = false;                // it is known to have
  std::optional<Content> between = {};  // of another's update, which may have come after it
};

ChunkMistake mistake_of(const std::string& broken) {
  if (broken == "overwrite-in-place") return ChunkMistake::kOverwriteInPlace;
  if (broken == "free-early") return ChunkMistake::kFreeEarly;
  if (broken == "forget-writers") return ChunkMistake::kForgetWriters;
  return ChunkMistake::kNone;
}

/// One run of a scenario.
class Run {
 public:
  explicit Run(const sim::Scenario& scenario)
      : scenario_(scenario),
        world_({.seed = scenario.seed}),
        disk_({.latency_ns_max = 300 * kMicrosecond,
               .sync_ns_max = 2 * kMillisecond,
               .skip_syncs = scenario.broken == "skipped-flush"},
              world_.rng().fork(1)),
        rng_(world_.rng().fork(2)),
        shadows_(kWorkers * kChunksPerWorker),
        sequences_(kWorkers + 1) {}

  sim::Outcome run() {
    sim::Process& process = world_.add_process("store", [this](sim::Process& self) { main(self); });
    const auto done = [this] { return finished_ || !failure_.empty(); };
    const int64_t end_ns = world_.now_ns() + kRunMaxNs;
    while (!done() && world_.now_ns() < end_ns) {
      world_.run_until(done, static_cast<int64_t>(rng_.below(kFaultEveryNs)));
      if (done()) break;
      if (process.alive() && crashes_left_ > 0) crash(process);
      if (!process.alive()) process.start();
    }
    if (failure_.empty() && !finished_) failure_ = "the workload does not end";
    sim::Outcome outcome{
        .failure = failure_, .fingerprint = world_.fingerprint(), .events = world_.events()};
    if (!failure_.empty()) outcome.log = world_.log_text();
    return outcome;
  }

 private:
  // --- faults ----------------------------------------------------------------------------------

  void crash(sim::Process& process) {
    --crashes_left_;
    if (scenario_.has("power") && rng_.below(2) == 0) {
      process.kill();
      disk_.lose_power();
      world_.log("world", "loses power");
    } else if (scenario_.has("kill")) {
      process.kill();
      world_.log("world", "kills the store");
    }
    const bool errors = scenario_.has("disk-error") && rng_.below(4) == 0;
    disk_.options.write_error_rate = errors ? 0.01 : 0;
  }

  void fail(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
  }

  // --- the store's process ---------------------------------------------------------------------

  Result<std::unique_ptr<ChunkStore>> open() {
    const ChunkStoreOptions options{.sums_cache_bytes = 2 * kPageBytes,
                                    .checkpoint_log_bytes = 200'000,
                                    .mistake = mistake_of(scenario_.broken)};
    auto store = ChunkStore::open(disk_, "disk", options);
    if (store || store.error().code != Code::kNotFound) return store;
    TRY(ChunkStore::create(
        disk_, "disk",
        {.capacity_bytes = kSegments * kSegmentPages * kPageBytes, .segment_pages = kSegmentPages},
        {.first = scenario_.seed, .second = 1}, 0));
    return ChunkStore::open(disk_, "disk", options);
  }

  void main(sim::Process& self) {
    restart_ = stop_upkeep_ = false;
    auto store = open();
    if (!store) return opening_failed(self, store.error());
    if (std::string wrong = (*store)->check(); !wrong.empty())
      return fail("after opening: " + wrong);
    if (rotten_) {
      finished_ = look_through_rot(**store);
      return end_soon(self);
    }
    FiberEvent workers_ended, upkeep_ended;
    int working = kWorkers;
    for (int worker = 0; worker < kWorkers; ++worker) {
      self.spawn(fmt::format("worker {}", worker), [&, worker] {
        work(self, **store, worker);
        if (--working == 0) workers_ended.set();
      });
    }
    self.spawn("upkeep", [&] {
      keep_up(**store);
      upkeep_ended.set();
    });
    workers_ended.wait();
    stop_upkeep_ = true;
    upkeep_ended.wait();
    if (!restart_ && failure_.empty()) finish(**store);
    end_soon(self);
  }

  /// The world starts it again.
  void end_soon(sim::Process& self) {
    if (finished_) return;
    world_.at(world_.now_ns() + kMillisecond, [&self] {
      if (self.alive()) self.kill();
    });
  }

  /// Errors of the disk may keep a store from opening, and rot may for good.
  void opening_failed(sim::Process& self, const Error& error) {
    self.log(fmt::format("does not open: {}", error.message));
    if (rotten_ && error.code == Code::kCorrupt) {
      finished_ = true;
      return;
    }
    if (error.code != Code::kIo) return fail("the store does not open: " + error.message);
    disk_.options.write_error_rate = 0;
    end_soon(self);
  }

  void keep_up(ChunkStore& store) {
    while (!stop_upkeep_) {
      sleep_fiber(static_cast<int64_t>(rng_.below(20 * kMillisecond)));
      const Result<> kept = rng_.below(4) == 0 ? store.checkpoint() : store.maintain();
      if (!kept && kept.error().code != Code::kIo && !rotten_)
        fail("upkeep: " + kept.error().message);
    }
  }

  // --- a worker --------------------------------------------------------------------------------

  void work(sim::Process& self, ChunkStore& store, int worker) {
    for (int i = 0; i < kChunksPerWorker; ++i) recover(store, worker * kChunksPerWorker + i);
    while (steps_ < scenario_.steps && failure_.empty() && !restart_) {
      ++steps_;
      const int chunk = worker * kChunksPerWorker + static_cast<int>(rng_.below(kChunksPerWorker));
      if (rng_.below(4) == 0) {
        look(store, chunk);
      } else {
        change(self, store, chunk, worker);
      }
    }
  }

  ChunkId id_of(int chunk) const {
    return {.target = 1,
            .file = static_cast<uint64_t>(chunk % 5),
            .index = static_cast<uint32_t>(chunk)};
  }

  /// After opening: a chunk is what was acknowledged, or what the update in flight makes of it.
  /// Sent again, even after somebody else's update, that one is not made twice.
  void recover(ChunkStore& store, int chunk) {
    Shadow& shadow = shadows_[static_cast<size_t>(chunk)];
    std::optional<Content> now;
    if (!content(store, chunk, now)) return;
    if (shadow.between && now == shadow.between) shadow.acked = shadow.between;
    const bool happened = shadow.in_flight && now == shadow.after;
    if (!happened && now != shadow.acked)
      return fail(
          fmt::format("chunk {} is not what was acknowledged, nor what was asked for", chunk));
    if (!shadow.in_flight) return;
    shadow.happened |= happened && shadow.after != shadow.acked;
    if (happened) shadow.acked = shadow.after;
    const auto info = store.find(id_of(chunk));
    const bool pending = info && info->pending;
    if (shadow.happened && !pending && rng_.below(2) == 0 && !change_by_another(store, chunk))
      return;
    send_again(store, chunk, pending);
  }

  bool change_by_another(ChunkStore& store, int chunk) {
    const Content other(5000, std::byte{0xaa});
    Shadow& shadow = shadows_[static_cast<size_t>(chunk)];
    shadow.between = other;
    const auto between = store.update(
        id_of(chunk),
        {.kind = UpdateKind::kReplace, .data = other, .writer = next_writer(kWorkers)});
    if (between) shadow.acked = other;
    if (!between) lost(between.error(), chunk);
    return between || between.error().code == Code::kNoSpace;
  }

  void send_again(ChunkStore& store, int chunk, bool pending) {
    Shadow& shadow = shadows_[static_cast<size_t>(chunk)];
    auto again = store.update(id_of(chunk), shadow.update);
    if (again && again->repeated != (shadow.happened || pending) && shadow.after != shadow.acked)
      return fail(fmt::format("chunk {}: an update that is sent again is {}", chunk,
                              again->repeated ? "not made" : "made again"));
    const bool was_made = again && again->repeated && again->committed;
    if (again && !again->committed) again = store.commit(id_of(chunk), again->version, 0);
    if (!again) {
      lost(again.error(), chunk);
      if (again.error().code == Code::kNoSpace) shadow.in_flight = false;
      return;
    }
    if (!was_made) shadow.acked = shadow.after;
    shadow.in_flight = false;
    look(store, chunk);
  }

  /// An error that leaves open what happened, or one that must not be.
  void lost(const Error& error, int chunk) {
    if (error.code == Code::kIo || (rotten_ && error.code == Code::kCorrupt)) {
      restart_ = true;  // by opening again it is known
    } else if (error.code != Code::kNoSpace) {
      fail(fmt::format("chunk {}: {}", chunk, error.message));
    }
  }

  /// What the store says; false: it cannot say.
  bool content(ChunkStore& store, int chunk, std::optional<Content>& to) {
    const auto reader = store.read(id_of(chunk));
    if (!reader && reader.error().code == Code::kNotFound) return true;
    to.emplace(reader ? reader->state().length : 0);
    const auto got = reader ? reader->read(0, *to) : std::unexpected(reader.error());
    if (got && *got == to->size()) return true;
    if (got) fail(fmt::format("chunk {} reads {} bytes of {}", chunk, *got, to->size()));
    if (!got) lost(got.error(), chunk);
    return false;
  }

  void look(ChunkStore& store, int chunk) {
    const Shadow& shadow = shadows_[static_cast<size_t>(chunk)];
    const auto reader = store.read(id_of(chunk));
    if (!reader) {
      if (reader.error().code != Code::kNotFound || shadow.acked)
        fail(fmt::format("chunk {} does not open: {}", chunk, reader.error().message));
      return;
    }
    if (!shadow.acked) return fail(fmt::format("chunk {} is there though it was removed", chunk));
    const Content expected = *shadow.acked;
    // Any range, some after a while: others change other chunks, and pages find new owners.
    for (int i = 0; i < 3; ++i) {
      const uint64_t offset = rng_.below(expected.size() + 1);
      Content bytes(rng_.below(expected.size() - offset + 1));
      const auto got = reader->read(offset, bytes);
      if (!got) return lost(got.error(), chunk);
      if (*got != bytes.size() ||
          !std::equal(bytes.begin(), bytes.end(),
                      expected.begin() + static_cast<std::ptrdiff_t>(offset)))
        return fail(fmt::format("chunk {} reads wrong at {}", chunk, offset));
      sleep_fiber(static_cast<int64_t>(rng_.below(5 * kMillisecond)));
    }
  }

  WriterId next_writer(int worker) {
    return {.client = static_cast<uint64_t>(worker) + 1,
            .channel = static_cast<uint32_t>(worker),
            .sequence = ++sequences_[static_cast<size_t>(worker)]};
  }

  // --- updates ---------------------------------------------------------------------------------

  /// Makes an update of this content, and says what follows from it.
  void plan(Shadow& shadow) {
    shadow.update = {};
    shadow.happened = false;
    shadow.between.reset();
    Content after = shadow.acked.value_or(Content());
    const uint64_t length = after.size();
    const uint64_t bytes_max = uint64_t{kSegmentPages} * kPageBytes;
    ChunkUpdate& update = shadow.update;
    const uint64_t roll = shadow.acked ? rng_.below(10) : 0;
    if (roll < 5) {
      update.kind = rng_.below(5) == 0 ? UpdateKind::kReplace : UpdateKind::kWrite;
      const uint64_t small = rng_.below(2) == 0 ? 20'000 : kWriteBytesMax;
      shadow.data.resize(1 + rng_.below(small));
      uint64_t seed = rng_.next();
      for (std::byte& byte : shadow.data)
        byte = static_cast<std::byte>((seed = seed * 6364136223846793005U + 1) >> 56);
      if (update.kind == UpdateKind::kReplace) {
        after = shadow.data;
      } else {
        const uint64_t room = std::min(bytes_max - shadow.data.size(), length + 10'000);
        update.offset = rng_.below(3) == 0 ? std::min(length, room) : rng_.below(room + 1);
        if (rng_.below(3) == 0) update.offset = update.offset / kPageBytes * kPageBytes;
        after.resize(std::max(length, update.offset + shadow.data.size()));
        std::ranges::copy(shadow.data, after.begin() + static_cast<std::ptrdiff_t>(update.offset));
      }
      update.data = shadow.data;
    } else if (roll == 5) {
      update.kind = UpdateKind::kTruncate;
      update.length = rng_.below(length + 1);
      after.resize(update.length);
    } else if (roll == 6) {
      update.kind = UpdateKind::kExtend;
      update.length = length + rng_.below(std::min<uint64_t>(bytes_max - length, 50'000) + 1);
      after.resize(update.length);
    } else if (roll == 7) {
      update.kind = UpdateKind::kRemove;
    } else {
      update.kind = UpdateKind::kPunch;
      update.offset = rng_.below(length + 1);
      update.length = rng_.below(std::min(length, bytes_max - update.offset) + 1);
      const uint64_t end = std::min(length, update.offset + update.length);
      std::fill(after.begin() + static_cast<std::ptrdiff_t>(update.offset),
                after.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
    }
    shadow.after = std::move(after);
    if (update.kind == UpdateKind::kRemove) shadow.after.reset();
    update.commit = rng_.below(2) == 0;
  }

  void change(sim::Process& self, ChunkStore& store, int chunk, int worker) {
    Shadow& shadow = shadows_[static_cast<size_t>(chunk)];
    const std::optional<ChunkInfo> info = store.find(id_of(chunk));
    if (info && info->pending) return fail(fmt::format("chunk {} is still pending", chunk));
    plan(shadow);
    shadow.update.writer = next_writer(worker);
    shadow.in_flight = true;
    self.log(fmt::format("chunk {}: kind {} of {} + {} bytes at {}", chunk,
                         static_cast<int>(shadow.update.kind), shadow.update.data.size(),
                         shadow.update.length, shadow.update.offset));
    const auto before = store.read(id_of(chunk));
    auto updated = store.update(id_of(chunk), shadow.update);
    if (updated && !updated->committed) updated = store.commit(id_of(chunk), updated->version, 0);
    if (!updated) {
      if (updated.error().code == Code::kNoSpace) shadow.in_flight = false;
      return lost(updated.error(), chunk);
    }
    const uint64_t length = shadow.after ? shadow.after->size() : 0;
    if (updated->length != length)
      fail(
          fmt::format("chunk {}: an update says {} bytes, not {}", chunk, updated->length, length));
    shadow.in_flight = false;
    const std::optional<Content> old = std::exchange(shadow.acked, shadow.after);
    if (before && rng_.below(3) == 0) keeps(*before, *old, chunk);
  }

  /// A reader goes on reading the version with which it began.
  void keeps(const ChunkReader& reader, const Content& old, int chunk) {
    sleep_fiber(static_cast<int64_t>(rng_.below(10 * kMillisecond)));
    Content bytes(old.size());
    const auto got = reader.read(0, bytes);
    if (!got) return lost(got.error(), chunk);
    if (bytes != old) fail(fmt::format("chunk {}: a reader sees a later version", chunk));
  }

  // --- the end ---------------------------------------------------------------------------------

  void finish(ChunkStore& store) {
    disk_.options.write_error_rate = 0;
    if (std::string wrong = store.check(); !wrong.empty()) return fail("at the end: " + wrong);
    for (int chunk = 0; chunk < kWorkers * kChunksPerWorker; ++chunk) look(store, chunk);
    const auto scrubbed = store.scrub({});
    if (!scrubbed) return fail("scrub: " + scrubbed.error().message);
    if (!scrubbed->bad.empty() && !rotten_)
      fail(fmt::format("scrub finds {} bad", to_string(scrubbed->bad[0])));
    if (!scenario_.has("rot")) {
      finished_ = true;
      return;
    }
    // Once more over a disk that has rotted. Not the log: a last batch that has rotted looks like
    // one that was torn.
    if (const Result<> made = store.checkpoint(); !made) return lost(made.error(), -1);
    rotten_ = true;
    for (uint64_t bits = 1 + rng_.below(20); bits > 0; --bits) disk_.rot();
  }

  /// Wrong bytes must not come out, and what is bad can be replaced. False: the disk fails.
  bool look_through_rot(ChunkStore& store) {
    const auto scrubbed = store.scrub({});
    if (!scrubbed) fail("scrub: " + scrubbed.error().message);
    for (int chunk = 0; chunk < kWorkers * kChunksPerWorker && failure_.empty(); ++chunk) {
      Shadow& shadow = shadows_[static_cast<size_t>(chunk)];
      if (std::ranges::find(scrubbed->bad, id_of(chunk)) != scrubbed->bad.end()) {
        const Content repaired(3000, std::byte{7});
        shadow.between = repaired;
        const auto replaced =
            store.update(id_of(chunk), {.kind = UpdateKind::kReplace, .data = repaired});
        if (!replaced && replaced.error().code == Code::kIo) return false;
        if (!replaced && replaced.error().code == Code::kNoSpace) continue;
        if (!replaced) fail("repair: " + replaced.error().message);
        shadow.acked = repaired;
      }
      std::optional<Content> now;
      if (content(store, chunk, now) && now != shadow.acked && now != shadow.between)
        fail(fmt::format("chunk {} reads wrong after rot", chunk));
    }
    return true;
  }

  const sim::Scenario scenario_;
  sim::World world_;
  io::SimDisk disk_;
  Rng rng_;
  std::vector<Shadow> shadows_;
  std::vector<uint64_t> sequences_;
  int64_t steps_ = 0;
  int64_t crashes_left_ = 6;
  bool stop_upkeep_ = false, restart_ = false, finished_ = false, rotten_ = false;
  std::string failure_;
};

sim::Outcome run(const sim::Scenario& scenario) {
  return Run(scenario).run();
}

}  // namespace

sim::Target chunks_target() {
  return {.name = "chunks",
          .what = "a chunk store over crashes, disk errors and rot, against a model",
          .steps = 120,
          .faults = {"power", "kill", "disk-error", "rot"},
          .broken = {"skipped-flush", "overwrite-in-place", "free-early", "forget-writers"},
          .run = run};
}

}  // namespace hadal::fs
