#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "base/profiler.h"

namespace hadal {
namespace {

constexpr size_t kCacheLine = 64;
static_assert(sizeof(std::atomic<uint32_t>) == 4, "the kernel's futex is the atomic itself");

void futex_wait(std::atomic<uint32_t>& word, uint32_t while_value) {
  // Returns at a wake-up, at a signal, or at once if the word has changed: callers loop.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, while_value, nullptr,
          nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr,
          0);
}

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins while the word has the value, for at most spin_us. True if it changed.
bool spin_while(const std::atomic<uint32_t>& word, uint32_t value, int spin_us) {
  if (word.load(std::memory_order_acquire) != value) return true;
  if (spin_us == 0) return false;
  // The clock costs 25 ns and a pause 15 to 40: look at the word often, at the clock rarely.
  constexpr int kPauses = 32;
  // If that took so long, this thread was off its core: others want it, and spinning is theft.
  constexpr std::chrono::microseconds kPreempted(10);
  const auto begin = std::chrono::steady_clock::now();
  auto now = begin;
  auto last = begin;
  do {
    for (int i = 0; i < kPauses; ++i) {
      cpu_relax();
      if (word.load(std::memory_order_acquire) != value) return true;
    }
    last = std::exchange(now, std::chrono::steady_clock::now());
  } while (now - last < kPreempted && now - begin < std::chrono::microseconds(spin_us));
  return false;
}

// The region that this thread runs a share of. Set by the pool, read by nested calls.
struct Region {
  const void* pool = nullptr;
  int worker = 0;
};
constinit thread_local Region current_region;

std::string read_line_starting(const std::string& path, std::string_view prefix) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(prefix)) return line.substr(prefix.size());
  }
  return {};
}

// "200000 100000" is 2; "max 100000" and anything unreadable is 0.
int parse_cpu_max(const std::string& text) {
  int64_t quota = 0;
  int64_t period = 0;
  const char* const end = text.c_str() + text.size();
  const auto first = std::from_chars(text.c_str(), end, quota);
  if (first.ec != std::errc() || first.ptr == end) return 0;
  const auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<int64_t>((quota - 1) / period + 1, ThreadPool::kThreadsMax));
}

void bind_this_thread(int cpu) {
  // A cpu_set_t ends at 1024; the kernel takes any length. Failure leaves the thread unbound, which
  // costs speed only.
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> mask(static_cast<size_t>(cpu) / kBits + 1);
  mask.back() = 1UL << (static_cast<size_t>(cpu) % kBits);
  syscall(SYS_sched_setaffinity, 0, mask.size() * sizeof(mask[0]), mask.data());
}

// A worker's state word.
//
//   kIdle    -> kPosted   caller: here is a share
//   kIdle    -> kParked   worker: I sleep on this word         kParked -> kPosted, with a wake-up
//   kPosted  -> kRunning  worker: the share is mine
//   kPosted  -> kIdle     caller: you have not begun, so I run it myself
//   kRunning -> kIdle     worker: done
//   kRunning -> kAwaited  caller: I sleep on this word         kAwaited -> kIdle, with a wake-up
//   kIdle, kParked -> kStop   destructor
//
// Every step is one read-modify-write, so a sleeper is never missed: who changes the word learns
// from its old value whether to wake. The job is written before kPosted (release) and read after
// kRunning (acquire), and cannot change until the worker has left kRunning.
enum : uint32_t { kIdle, kParked, kPosted, kRunning, kAwaited, kStop };

}  // namespace

std::vector<int> allowed_cpus() {
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> mask(1024 / kBits);
  long bytes = 0;
  // EINVAL: the kernel was built for more CPUs than the mask holds.
  while ((bytes = syscall(SYS_sched_getaffinity, 0, mask.size() * sizeof(mask[0]), mask.data())) <
             0 &&
         errno == EINVAL && mask.size() < 4096) {
    mask.resize(mask.size() * 2);
  }
  std::vector<int> cpus;
  for (size_t i = 0; bytes > 0 && i < static_cast<size_t>(bytes) * 8; ++i) {
    if ((mask[i / kBits] >> (i % kBits) & 1) != 0) cpus.push_back(static_cast<int>(i));
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

int cgroup_cores(const std::string& self_cgroup, const std::string& mount) {
  std::string group = read_line_starting(self_cgroup, "0::");
  int cores = 0;
  // A group has at most its parents' share, and a parent may be tighter. The path of a process
  // outside this cgroup namespace begins with "/..": then only the mount's own root is visible.
  while (true) {
    const int here = parse_cpu_max(read_line_starting(mount + group + "/cpu.max", ""));
    if (here > 0 && (cores == 0 || here < cores)) cores = here;
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) break;
    group.resize(slash);
  }
  return cores;
}

int available_cores() {
  const int allowed = static_cast<int>(allowed_cpus().size());
  const int quota = cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup");
  return quota == 0 ? allowed : std::min(allowed, quota);
}

struct ThreadPool::Impl {
  struct Job {
    int64_t n = 0;
    int64_t grain = 0;  // 0: one range per share
    RangeFn fn;
    Profiler* profiler = nullptr;
    int shares = 0;
    int caller_cpu = -1;
  };

  // What the caller and one worker say to each other, in one cache line: a post is one transfer
  // between cores (100 to 200 ns each), and so is the answer.
  struct alignas(kCacheLine) Worker {
    std::atomic<uint32_t> state{kIdle};
    std::atomic<int> cpu{-1};  // where its last share began
    Job job;
  };
  static_assert(sizeof(Worker) == kCacheLine);

  explicit Impl(int threads) : workers(static_cast<size_t>(threads)) {}

  void run_share(const Job& job, int index);
  void work(int index);
  void call(const Job& job);
  bool take_back(int index);
  void wait_for(int index, int caller_cpu);

  std::vector<Worker> workers;  // [0] is the caller's and stays kIdle
  std::vector<std::thread> threads;
  int spin_us = 0;
  std::mutex callers;  // held for the length of a call
  alignas(kCacheLine) std::atomic<int64_t> next_chunk{0};
};

// Runs share `index` of the job on this thread.
void ThreadPool::Impl::run_share(const Job& job, int index) {
  const Region outer = std::exchange(current_region, Region{this, index});
  if (job.grain == 0) {
    const Range range = split(job.n, job.shares, index);
    job.fn(range.begin, range.end, index);
  } else {
    const int64_t chunks = (job.n - 1) / job.grain + 1;
    for (int64_t chunk = 0;
         (chunk = next_chunk.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      const int64_t begin = chunk * job.grain;
      job.fn(begin, begin + std::min(job.grain, job.n - begin), index);
    }
  }
  current_region = outer;
}

// The life of a worker thread. It does not spin on the caller's core: on a busy machine the kernel
// wakes a worker there, and the caller would then wait for it to stop.
void ThreadPool::Impl::work(int index) {
  Worker& self = workers[static_cast<size_t>(index)];
  int caller_cpu = -1;
  while (true) {
    uint32_t seen = self.state.load(std::memory_order_acquire);
    if (seen == kStop) return;
    if (seen == kPosted) {
      if (!self.state.compare_exchange_strong(seen, kRunning, std::memory_order_acquire)) continue;
      self.cpu.store(sched_getcpu(), std::memory_order_relaxed);
      caller_cpu = self.job.caller_cpu;
      {
        const Profiler::Attach attach(self.job.profiler);
        run_share(self.job, index);
      }
      if (self.state.exchange(kIdle, std::memory_order_acq_rel) == kAwaited) futex_wake(self.state);
    } else if (!spin_while(self.state, kIdle, sched_getcpu() == caller_cpu ? 0 : spin_us)) {
      uint32_t idle = kIdle;
      if (self.state.compare_exchange_strong(idle, kParked, std::memory_order_acquire)) {
        while (self.state.load(std::memory_order_acquire) == kParked) {
          futex_wait(self.state, kParked);
        }
      }
    }
  }
}

// Takes a share from a worker that has not begun it. Looks before it claims: an exchange that fails
// would pull the line from a worker that is about to write it.
bool ThreadPool::Impl::take_back(int index) {
  std::atomic<uint32_t>& state = workers[static_cast<size_t>(index)].state;
  uint32_t posted = kPosted;
  return state.load(std::memory_order_relaxed) == kPosted &&
         state.compare_exchange_strong(posted, kIdle, std::memory_order_acq_rel,
                                       std::memory_order_relaxed);
}

// Returns when a worker that has begun its share is done.
void ThreadPool::Impl::wait_for(int index, int caller_cpu) {
  Worker& worker = workers[static_cast<size_t>(index)];
  const bool same_core = worker.cpu.load(std::memory_order_relaxed) == caller_cpu;
  if (spin_while(worker.state, kRunning, same_core ? 0 : spin_us)) return;
  uint32_t running = kRunning;
  if (worker.state.compare_exchange_strong(running, kAwaited, std::memory_order_acq_rel,
                                           std::memory_order_acquire)) {
    while (worker.state.load(std::memory_order_acquire) == kAwaited) {
      futex_wait(worker.state, kAwaited);
    }
  }
}

void ThreadPool::Impl::call(const Job& job) {
  const std::scoped_lock lock(callers);
  next_chunk.store(0, std::memory_order_relaxed);
  for (int i = 1; i < job.shares; ++i) {
    Worker& worker = workers[static_cast<size_t>(i)];
    worker.job = job;
    if (worker.state.exchange(kPosted, std::memory_order_acq_rel) == kParked) {
      futex_wake(worker.state);
    }
  }
  run_share(job, 0);
  for (int i = 1; i < job.shares; ++i) {
    if (take_back(i)) run_share(job, i);
  }
  for (int i = 1; i < job.shares; ++i) wait_for(i, job.caller_cpu);
}

ThreadPool::ThreadPool() : ThreadPool(Options{}) {}

ThreadPool::ThreadPool(const Options& options) {
  CHECK(options.threads >= 0 && options.threads <= kThreadsMax, "ThreadPool: threads");
  const int cores = available_cores();
  const int threads = options.threads == 0 ? std::min(cores, kThreadsMax) : options.threads;
  if (threads == 1) return;
  const std::vector<int> cpus = allowed_cpus();
  const bool pin = options.pin && threads == cores && cpus.size() == static_cast<size_t>(cores);

  impl_ = std::make_unique<Impl>(threads);
  impl_->spin_us = threads <= cores ? kSpinUs : 0;
  impl_->threads.reserve(static_cast<size_t>(threads));
  for (; size_ < threads; ++size_) {
    const int worker = size_;
    const int cpu = pin ? cpus[static_cast<size_t>(worker)] : -1;
    const std::string name = fmt::format("{:.10}-{}", options.name, worker);
    try {
      impl_->threads.emplace_back([impl = impl_.get(), worker, cpu, name] {
        pthread_setname_np(pthread_self(), name.c_str());
        if (cpu >= 0) bind_this_thread(cpu);
        impl->work(worker);
      });
    } catch (const std::system_error&) {
      break;  // a limit on threads: the pool is what there is
    }
  }
}

ThreadPool::~ThreadPool() {
  for (int i = 1; i < size_; ++i) {
    std::atomic<uint32_t>& word = impl_->workers[static_cast<size_t>(i)].state;
    const uint32_t state = word.exchange(kStop, std::memory_order_acq_rel);
    CHECK(state == kIdle || state == kParked, "ThreadPool destroyed during a call");
    if (state == kParked) futex_wake(word);
  }
  if (impl_ == nullptr) return;
  for (std::thread& thread : impl_->threads) thread.join();
}

void ThreadPool::run(int64_t n, int64_t grain, RangeFn fn) {
  if (current_region.pool != nullptr) {
    fn(0, n, current_region.pool == impl_.get() ? current_region.worker : 0);
    return;
  }
  const int64_t parts = grain == 0 ? n : (n - 1) / grain + 1;
  const int shares = static_cast<int>(std::min<int64_t>(parts, size_));
  impl_->call({n, grain, fn, Profiler::current(), shares, sched_getcpu()});
}

}  // namespace hadal
