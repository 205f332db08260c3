// A world of processes that runs in one thread, from a seed: the same seed gives the same run, byte
// for byte.
//
//   World world({.seed = 7});
//   Process& server = world.add_process("server", [](Process& self) { ... });   // its main()
//   world.run_for(10 * kSecond);
//   server.kill();                // whatever it has in memory is gone
//   server.start();               // main() again
//
// A process is an Executor (base/executor.h), so production code runs in it as it is. Time is
// virtual: it moves to the next event when nobody has work left, so an hour of timeouts costs
// nothing. What an operating system leaves open the seed decides: which process runs next, how long
// a task takes, how clocks drift apart. Disks and networks that fail are made of processes and
// events in the same way (io/sim_disk.h, net/sim_network.h).
//
// What happened is told in a log of lines, "time process text"; fingerprint() covers every line and
// every scheduling decision, so two runs that differ anywhere differ there.
//
// Threads: one; a World and all that is in it belong to the thread that made it. Many worlds may
// run in many threads.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/executor.h"
#include "base/rng.h"

namespace hadal::sim {

struct WorldOptions {
  uint64_t seed = 0;
  int64_t task_ns_max = 2 * kMicrosecond;  // a task takes 0 to so long
  int64_t clock_drift_ppm_max = 100;       // of each process's clock, either way
  int64_t wall_start_ns = 1'700'000'000 * kSecond;
  size_t log_lines = 4096;  // the last ones are kept
};

class World;

class Process final : public Executor {
 public:
  using Main = std::function<void(Process&)>;

  ~Process() override;

  const std::string& name() const { return name_; }
  World& world() { return world_; }
  /// This process's own stream of random numbers; a new one after each start.
  Rng& rng() { return rng_; }

  /// Runs main() in a fiber. Not while it is alive, nor from a fiber.
  void start();
  /// Ends it as SIGKILL does: nothing of it runs any more but destructors. Not from a fiber: faults
  /// are tasks of the world.
  void kill();
  bool alive() const { return alive_; }
  /// How often it was started: what holds on to an earlier life compares.
  uint64_t life() const { return life_; }
  /// Like SIGSTOP and SIGCONT: time goes on, its tasks wait.
  void pause();
  void resume();

  /// Moves its wall clock, as an administrator or NTP does. The monotonic clock goes on.
  void jump_wall_clock(int64_t by_ns) { wall_offset_ns_ += by_ns; }

  /// A line of the world's log.
  void log(std::string_view text);

  // As an Executor.
  const Clock& clock() const override { return clock_; }
  void post(Task task) override;
  TimerId start_timer(int64_t time_ns, Task task) override;
  void stop_timer(TimerId timer) override;

 private:
  friend class World;

  /// The world's time as this process sees it, drifted.
  class LocalClock final : public Clock {
   public:
    explicit LocalClock(const Process& process) : process_(process) {}
    int64_t now_ns() const override;
    int64_t wall_ns() const override;
    void sleep_until(int64_t time_ns) override;  // of the fiber

   private:
    const Process& process_;
  };

  Process(World& world, std::string name, Main main, uint64_t number);
  void schedule();
  void run_one();
  void forget_work();
  int64_t local_ns(int64_t world_ns) const;
  /// When the local clock first shows that time.
  int64_t world_ns(int64_t local_ns) const;

  World& world_;
  const std::string name_;
  const Main main_;
  const uint64_t number_;
  LocalClock clock_{*this};
  Rng rng_{0};
  int64_t drift_ppm_ = 0;
  int64_t wall_offset_ns_ = 0;
  bool alive_ = false, paused_ = false, scheduled_ = false;
  uint64_t life_ = 0;
  std::deque<Task> tasks_;
  std::unordered_map<TimerId, Task> timers_;
};

class World {
 public:
  explicit World(const WorldOptions& options);
  /// Kills every process.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Makes a process and starts it. It lives as long as the world.
  Process& add_process(std::string name, Process::Main main);

  /// Runs until that much time has passed.
  void run_for(int64_t duration_ns);
  /// Runs until `done` holds, which is asked after every event; false: so much time has passed, or
  /// nothing is left that could happen.
  bool run_until(const std::function<bool()>& done, int64_t duration_ns);

  int64_t now_ns() const { return now_ns_; }
  /// For faults and workloads; processes have their own.
  Rng& rng() { return rng_; }
  uint64_t seed() const { return options_.seed; }
  const WorldOptions& options() const { return options_; }

  /// Runs the task at that time of the world, in no process: how disks and networks do things.
  TimerId at(int64_t time_ns, Task task);
  void cancel(TimerId timer);

  void log(std::string_view who, std::string_view text);
  /// The last lines of the log.
  std::string log_text() const;
  /// Of every line and every event so far.
  uint64_t fingerprint() const { return fingerprint_; }
  uint64_t events() const { return events_; }

 private:
  friend class Process;

  struct Event {
    int64_t time_ns;
    uint64_t tie;  // random: the order of what happens at the same time
    TimerId id;
    friend auto operator<=>(const Event&, const Event&) = default;
  };

  bool step(int64_t end_ns);
  void mix(uint64_t value);

  const WorldOptions options_;
  Rng rng_, schedule_rng_;
  int64_t now_ns_ = 0;
  TimerId next_id_ = 1;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> queue_;  // also of cancelled ones
  std::unordered_map<TimerId, Task> tasks_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::deque<std::string> lines_;
  uint64_t fingerprint_ = 0, events_ = 0;
};

}  // namespace hadal::sim
