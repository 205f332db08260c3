#include "sim/search.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"

namespace hadal::sim {
namespace {

constexpr int kProcessesMax = 256;
constexpr int kProgressMs = 200;
constexpr uint64_t kNoSeed = ~uint64_t{0};

/// What the children of a search share.
struct Board {
  std::atomic<uint64_t> next;  // seeds given out, from first_seed on
  std::atomic<uint64_t> runs, events;
  std::atomic<uint64_t> lowest_failure;
  std::array<std::atomic<uint64_t>, kProcessesMax> running;  // the seed of each child
};

void note_failure(Board& board, uint64_t seed) {
  uint64_t lowest = board.lowest_failure;
  while (seed < lowest && !board.lowest_failure.compare_exchange_weak(lowest, seed)) {
  }
}

/// A child: takes seeds until none is left or a lower one has failed.
void run_seeds(const Target& target, const Search& wanted, Board& board, size_t child) {
  const uint64_t count = wanted.last_seed - wanted.first_seed;  // of seeds, less one
  while (true) {
    const uint64_t index = board.next++;
    const uint64_t seed = wanted.first_seed + index;
    if (index > count || seed > board.lowest_failure) return;
    board.running[child] = seed;
    Scenario scenario = wanted.scenario;
    scenario.seed = seed;
    const Outcome outcome = target.run(scenario);
    board.running[child] = kNoSeed;
    ++board.runs;
    board.events += outcome.events;
    if (outcome.failure.empty()) continue;
    note_failure(board, seed);
    return;
  }
}

/// Memory that children share with their parent.
class SharedBoard {
 public:
  SharedBoard() {
    void* const memory =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory for a page");
    board_ = new (memory) Board();
    board_->lowest_failure = kNoSeed;
    for (auto& seed : board_->running) seed = kNoSeed;
  }
  ~SharedBoard() { ::munmap(board_, sizeof(Board)); }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  Board& operator*() const { return *board_; }

 private:
  Board* board_;
};

/// Forks; the child calls the function and ends.
template <typename Function>
Result<pid_t> fork_child(const Function& function) {
  const pid_t child = ::fork();
  if (child < 0)
    return fail(Code::kInternal, fmt::format("no child process: {}", std::strerror(errno)));
  if (child != 0) return child;
  function();
  // Neither destructors nor exit handlers: they are the parent's.
  std::_Exit(0);
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("the process was killed by signal {} ({})", WTERMSIG(status),
                       ::strsignal(WTERMSIG(status)));
  return fmt::format("the process ended with status {}", WEXITSTATUS(status));
}

bool ended_well(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Waits for the children, and notes the seeds of those that die.
void wait_for(std::vector<pid_t> children, const Search& wanted, Board& board) {
  while (std::ranges::any_of(children, [](pid_t child) { return child != 0; })) {
    for (size_t i = 0; i < children.size(); ++i) {
      int status = 0;
      if (children[i] == 0 || ::waitpid(children[i], &status, WNOHANG) != children[i]) continue;
      children[i] = 0;
      if (!ended_well(status)) note_failure(board, board.running[i]);
    }
    if (wanted.progress) wanted.progress(board.runs, board.events);
    ::poll(nullptr, 0, board.runs < 100 ? 2 : kProgressMs / 10);
  }
}

// --- an outcome through a pipe -----------------------------------------------------------------

void send(int fd, const Outcome& outcome) {
  std::vector<std::byte> bytes;
  Writer out(bytes);
  out.u64(outcome.fingerprint);
  out.u64(outcome.events);
  out.text(outcome.failure);
  out.text(outcome.log);
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::write(fd, bytes.data() + sent, bytes.size() - sent);
    if (n < 0) return;  // the parent sees that it ends too early
    sent += static_cast<size_t>(n);
  }
}

std::vector<std::byte> read_all(int fd) {
  std::vector<std::byte> bytes;
  std::array<std::byte, 65536> piece;
  for (ssize_t n = 0; (n = ::read(fd, piece.data(), piece.size())) > 0;)
    bytes.insert(bytes.end(), piece.begin(), piece.begin() + n);
  return bytes;
}

/// False: the child died before it had said everything.
bool decode(Bytes bytes, Outcome& outcome) {
  Reader in(bytes);
  outcome.fingerprint = in.u64();
  outcome.events = in.u64();
  outcome.failure = in.text();
  outcome.log = in.text();
  return in.ok();
}

// --- a shorter story ---------------------------------------------------------------------------

/// Tries shorter scenarios, and keeps those that fail.
class Minimizer {
 public:
  Minimizer(const Target& target, const Failure& failure) : target_(target), best_(failure) {}

  Result<Failure> run() {
    for (const std::string& fault : std::vector<std::string>(best_.scenario.faults)) {
      Scenario shorter = best_.scenario;
      std::erase(shorter.faults, fault);
      TRY(attempt(shorter));
    }
    for (int64_t cut = best_.scenario.steps / 2; cut >= 1;) {
      Scenario shorter = best_.scenario;
      shorter.steps -= cut;
      if (shorter.steps < 1 || !TRY(attempt(shorter))) cut /= 2;
    }
    return best_;
  }

 private:
  Result<bool> attempt(const Scenario& scenario) {
    if (++runs_ > kMinimizeRunsMax) return false;
    Outcome outcome = TRY(run_apart(target_, scenario));
    if (outcome.failure.empty()) return false;
    best_ = {scenario, std::move(outcome)};
    return true;
  }

  const Target& target_;
  Failure best_;
  int runs_ = 0;
};

}  // namespace

bool Scenario::has(std::string_view fault) const {
  return std::ranges::find(faults, fault) != faults.end();
}

Scenario Target::scenario(uint64_t seed, std::string_view broken_variant) const {
  return {.seed = seed,
          .steps = steps,
          .faults = {faults.begin(), faults.end()},
          .broken = std::string(broken_variant)};
}

Result<Found> search(const Target& target, const Search& wanted) {
  CHECK(wanted.first_seed <= wanted.last_seed && wanted.processes >= 1);
  const SharedBoard shared;
  Board& board = *shared;
  std::vector<pid_t> children;
  const auto count = static_cast<size_t>(std::min(wanted.processes, kProcessesMax));
  for (size_t i = 0; i < count; ++i) {
    const Result<pid_t> child = fork_child([&] { run_seeds(target, wanted, board, i); });
    if (!child && children.empty()) return std::unexpected(child.error());
    if (child) children.push_back(*child);
  }
  wait_for(std::move(children), wanted, board);
  Found found{.runs = board.runs, .events = board.events};
  if (board.lowest_failure == kNoSeed) return found;
  Scenario scenario = wanted.scenario;
  scenario.seed = board.lowest_failure;
  Outcome outcome = TRY(run_apart(target, scenario));
  if (outcome.failure.empty())
    outcome.failure =
        "it failed among other seeds and passes alone: the target is not deterministic";
  found.failed = true;
  found.first = {std::move(scenario), std::move(outcome)};
  return found;
}

Result<Outcome> run_apart(const Target& target, const Scenario& scenario) {
  std::array<int, 2> ends = {};
  if (::pipe(ends.data()) != 0) return std::unexpected(os_error(errno, "pipe"));
  const Result<pid_t> child = fork_child([&] { send(ends[1], target.run(scenario)); });
  ::close(ends[1]);
  const std::vector<std::byte> bytes = child ? read_all(ends[0]) : std::vector<std::byte>();
  ::close(ends[0]);
  if (!child) return std::unexpected(child.error());
  int status = 0;
  CHECK(::waitpid(*child, &status, 0) == *child);
  Outcome outcome;
  const bool whole = decode(bytes, outcome);
  if (!ended_well(status) || !whole) outcome = {.failure = how_it_ended(status)};
  return outcome;
}

Result<Failure> minimize(const Target& target, const Failure& failure) {
  return Minimizer(target, failure).run();
}

std::string replay_command(const Target& target, const Scenario& scenario) {
  std::string command = fmt::format("hadal sim run {} --seeds {} --steps {}", target.name,
                                    scenario.seed, scenario.steps);
  if (scenario.faults.size() != target.faults.size()) {
    command += fmt::format(
        " --faults {}",
        scenario.faults.empty() ? "none" : fmt::format("{}", fmt::join(scenario.faults, ",")));
  }
  if (!scenario.broken.empty()) command += " --broken " + scenario.broken;
  return command;
}

}  // namespace hadal::sim
