#include "sim/world.h"

#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/hash.h"

namespace hadal::sim {

constexpr int64_t kMillion = 1'000'000;

// --- a process ------------------------------------------------------------------------------

Process::Process(World& world, std::string name, Main main, uint64_t number)
    : world_(world), name_(std::move(name)), main_(std::move(main)), number_(number) {}

Process::~Process() {
  if (alive_) kill();
}

int64_t Process::local_ns(int64_t world_ns) const {
  return static_cast<int64_t>(static_cast<__int128>(world_ns) * (kMillion + drift_ppm_) / kMillion);
}

int64_t Process::world_ns(int64_t local) const {
  if (local == kNever) return kNever;
  auto time_ns =
      static_cast<int64_t>(static_cast<__int128>(local) * kMillion / (kMillion + drift_ppm_));
  while (local_ns(time_ns) < local) ++time_ns;
  return time_ns;
}

int64_t Process::LocalClock::now_ns() const {
  return process_.local_ns(process_.world_.now_ns());
}

int64_t Process::LocalClock::wall_ns() const {
  return process_.world_.options().wall_start_ns + now_ns() + process_.wall_offset_ns_;
}

void Process::LocalClock::sleep_until(int64_t time_ns) {
  sleep_fiber(time_ns - now_ns());
}

void Process::start() {
  CHECK(!alive_, "a process is started twice");
  CHECK(!in_fiber(), "processes are started by the world");
  alive_ = true;
  ++life_;
  rng_ = Rng(world_.seed()).fork(number_).fork(life_);
  const int64_t drift = world_.options().clock_drift_ppm_max;
  drift_ppm_ = static_cast<int64_t>(rng_.below(2 * drift + 1)) - drift;
  log("starts");
  spawn("main", [this] { main_(*this); });
}

void Process::kill() {
  CHECK(alive_, "a process that is dead is killed");
  CHECK(!in_fiber(), "processes are killed by the world");
  log("is killed");
  alive_ = false;
  forget_work();
  stop_fibers();
  forget_work();
  paused_ = false;
}

void Process::forget_work() {
  // Destructors of tasks may do anything but add others: a dead process takes none.
  for (const auto& [timer, task] : timers_) world_.cancel(timer);
  std::exchange(tasks_, {}).clear();
  std::exchange(timers_, {}).clear();
}

void Process::pause() {
  CHECK(alive_ && !paused_);
  log("is paused");
  paused_ = true;
}

void Process::resume() {
  CHECK(alive_ && paused_);
  log("is resumed");
  paused_ = false;
  schedule();
}

void Process::log(std::string_view text) {
  world_.log(name_, text);
}

void Process::post(Task task) {
  if (!alive_) return;
  tasks_.push_back(std::move(task));
  schedule();
}

void Process::schedule() {
  if (scheduled_ || paused_ || tasks_.empty()) return;
  scheduled_ = true;
  const auto cost = static_cast<int64_t>(world_.schedule_rng_.below(world_.options().task_ns_max));
  world_.at(add_ns(world_.now_ns(), cost), [this, life = life_] {
    scheduled_ = false;
    if (!alive_ || life != life_) return schedule();
    run_one();
  });
}

void Process::run_one() {
  if (!paused_ && !tasks_.empty()) {
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    world_.mix(number_);
    task();
  }
  schedule();
}

TimerId Process::start_timer(int64_t time_ns, Task task) {
  if (!alive_) return 0;
  // Two hops: when it fires, its process may have other work to do first, or be paused.
  const TimerId timer = world_.next_id_;
  timers_[timer] = std::move(task);
  const TimerId id = world_.at(world_ns(time_ns), [this, timer] {
    post([this, timer] {
      const auto it = timers_.find(timer);
      if (it == timers_.end()) return;
      const Task due = std::move(it->second);
      timers_.erase(it);
      const_cast<Task&>(due)();
    });
  });
  CHECK(id == timer);
  return timer;
}

void Process::stop_timer(TimerId timer) {
  if (timers_.erase(timer) != 0) world_.cancel(timer);
}

// --- the world ------------------------------------------------------------------------------

World::World(const WorldOptions& options)
    : options_(options), rng_(Rng(options.seed).fork(0)), schedule_rng_(Rng(options.seed).fork(1)) {
  CHECK(options.task_ns_max > 0 && options.clock_drift_ppm_max >= 0);
}

World::~World() {
  for (const auto& process : processes_) {
    if (process->alive()) process->kill();
  }
}

Process& World::add_process(std::string name, Process::Main main) {
  const uint64_t number = 2 + processes_.size();  // 0 and 1 are the world's streams
  processes_.push_back(
      std::unique_ptr<Process>(new Process(*this, std::move(name), std::move(main), number)));
  processes_.back()->start();
  return *processes_.back();
}

TimerId World::at(int64_t time_ns, Task task) {
  const TimerId id = next_id_++;
  tasks_.emplace(id, std::move(task));
  queue_.push({std::max(time_ns, now_ns_), schedule_rng_.next(), id});
  return id;
}

void World::cancel(TimerId timer) {
  tasks_.erase(timer);
}

bool World::step(int64_t end_ns) {
  while (!queue_.empty() && queue_.top().time_ns <= end_ns) {
    const Event event = queue_.top();
    queue_.pop();
    const auto it = tasks_.find(event.id);
    if (it == tasks_.end()) continue;  // cancelled
    Task task = std::move(it->second);
    tasks_.erase(it);
    now_ns_ = event.time_ns;
    ++events_;
    mix(static_cast<uint64_t>(event.time_ns));
    mix(event.id);
    task();
    return true;
  }
  return false;
}

void World::run_for(int64_t duration_ns) {
  const int64_t end_ns = add_ns(now_ns_, duration_ns);
  while (step(end_ns)) {
  }
  now_ns_ = end_ns;
}

bool World::run_until(const std::function<bool()>& done, int64_t duration_ns) {
  const int64_t end_ns = add_ns(now_ns_, duration_ns);
  while (!done()) {
    if (!step(end_ns)) return false;
  }
  return true;
}

void World::mix(uint64_t value) {
  fingerprint_ = hash_combine(fingerprint_, value);
}

void World::log(std::string_view who, std::string_view text) {
  std::string line =
      fmt::format("{:14.6f} {:10} {}\n", 1e-6 * static_cast<double>(now_ns_), who, text);
  mix(hash_text(line));
  if (lines_.size() >= options_.log_lines) lines_.pop_front();
  lines_.push_back(std::move(line));
}

std::string World::log_text() const {
  std::string text;
  for (const std::string& line : lines_) text += line;
  return text;
}

}  // namespace hadal::sim
