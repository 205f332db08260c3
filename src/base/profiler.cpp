#include "base/profiler.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace hadal {
namespace profiler_detail {

constinit thread_local ThreadLog* current_log = nullptr;

}  // namespace profiler_detail

namespace {

using profiler_detail::Args;
using profiler_detail::Event;
using profiler_detail::Kind;
using profiler_detail::Slot;
using profiler_detail::ThreadLog;

constexpr int kFormatVersion = 1;  // of the "hadal" object in docs/formats/trace.md

// The log that this thread used last, so that a pool worker which attaches for every parallel_for
// finds it without a lock. `made` tells a profiler from an earlier one at the same address.
struct LastLog {
  const Profiler* owner = nullptr;
  uint64_t made = 0;
  ThreadLog* log = nullptr;
};
constinit thread_local LastLog last_log;

int64_t clock_ns(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

bool has_invariant_tsc() {
#if defined(__x86_64__)
  // Advanced power management: EDX bit 8, the counter runs at one rate in every state.
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 8 & 1) != 0;
#else
  return false;
#endif
}

// The same moment on both clocks.
struct Anchor {
  uint64_t ticks = 0;
  int64_t ns = 0;
};

// Reads `ns` between two readings of `ticks`; of a few tries the one that was interrupted least.
template <typename Ticks, typename Ns>
Anchor take_anchor(Ticks ticks, Ns ns) {
  Anchor best;
  uint64_t best_width = UINT64_MAX;
  for (int i = 0; i < 16; ++i) {
    const uint64_t before = ticks();
    const int64_t between = ns();
    const uint64_t width = ticks() - before;
    if (width < best_width) {
      best_width = width;
      best = {before + width / 2, between};
    }
  }
  return best;
}

// The straight line through two anchors; strictly in integers and never decreasing, so that spans
// which nest in ticks nest in nanoseconds.
int64_t interpolate(const Anchor& from, const Anchor& to, uint64_t ticks) {
  __extension__ using Wide = __int128;
  const auto span = static_cast<int64_t>(to.ticks - from.ticks);
  if (span <= 0) return from.ns;
  const auto offset = static_cast<int64_t>(ticks - from.ticks);
  return from.ns + static_cast<int64_t>(Wide{offset} * (to.ns - from.ns) / span);
}

// A growing text that flushes to a file, if there is one, before it becomes large.
class Output {
 public:
  explicit Output(int fd = -1) : fd_(fd) {}

  Output& operator<<(std::string_view text) {
    text_ += text;
    if (fd_ >= 0 && text_.size() >= kFlushBytes) flush();
    return *this;
  }
  Output& operator<<(int64_t value) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
    text_.append(digits, end);
    return *this;
  }
  // Microseconds with three decimals, exactly: the number never is a double.
  Output& microseconds(int64_t ns) {
    *this << ns / 1000;
    const int fraction = static_cast<int>(ns % 1000);
    const char decimals[4] = {'.', static_cast<char>('0' + fraction / 100),
                              static_cast<char>('0' + fraction / 10 % 10),
                              static_cast<char>('0' + fraction % 10)};
    text_.append(decimals, sizeof(decimals));
    return *this;
  }

  void flush() {
    size_t done = 0;
    while (error_ == 0 && done < text_.size()) {
      const ssize_t written = ::write(fd_, text_.data() + done, text_.size() - done);
      if (written >= 0) {
        done += static_cast<size_t>(written);
      } else if (errno != EINTR) {
        error_ = errno;
      }
    }
    text_.clear();
  }
  int error() const { return error_; }
  std::string take() { return std::move(text_); }

 private:
  static constexpr size_t kFlushBytes = 1 << 20;
  std::string text_;
  int fd_;
  int error_ = 0;
};

// JSON strings, quotes included. Invalid UTF-8 becomes U+FFFD. Names recur, so each pointer is
// escaped once.
class Quoter {
 public:
  static std::string quote(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  const std::string& operator()(const char* name) {
    const auto [place, is_new] = quoted_.try_emplace(name);
    if (is_new) place->second = quote(name == nullptr ? "" : name);
    return place->second;
  }

 private:
  std::unordered_map<const char*, std::string> quoted_;
};

// Where an event stands in its thread's log, and what it is sorted by.
struct Ref {
  uint64_t begin;
  uint64_t end;
  uint32_t slot;
  bool is_span;
};

// By begin; of spans that begin together the outer first. The inner one ends first and so is
// recorded first: where both ends tie, the later slot is the outer. Instants and counters keep
// their order.
bool comes_before(const Ref& a, const Ref& b) {
  if (a.begin != b.begin) return a.begin < b.begin;
  if (a.end != b.end) return a.end > b.end;
  if (a.is_span != b.is_span) return a.is_span;
  return a.is_span ? a.slot > b.slot : a.slot < b.slot;
}

std::vector<Ref> sorted_events(const ThreadLog& log) {
  std::vector<Ref> refs;
  const uint32_t size = log.size.load(std::memory_order_acquire);
  refs.reserve(size);
  for (uint32_t slot = 0; slot < size;) {
    const Event& event = log.slots[slot].event;
    const bool is_span = event.kind == Kind::kSpan;
    // A counter that ran backwards between two processors must not give a negative duration.
    refs.push_back(
        {event.begin, is_span ? std::max(event.begin, event.end) : event.begin, slot, is_span});
    slot += 1 + event.has_args;
  }
  std::sort(refs.begin(), refs.end(), comes_before);
  return refs;
}

}  // namespace

namespace profiler_detail {

uint64_t ThreadLog::monotonic_ns() {
  return static_cast<uint64_t>(clock_ns(CLOCK_MONOTONIC));
}

ThreadLog::~ThreadLog() {
  if (slots != nullptr) munmap(slots, size_t{capacity} * sizeof(Slot));
}

}  // namespace profiler_detail

struct Profiler::Impl {
  explicit Impl(const Options& options_in)
      : options(options_in), tsc(options_in.use_tsc && has_invariant_tsc()) {
    start = anchor();
    const Anchor wall = take_anchor([] { return static_cast<uint64_t>(clock_ns(CLOCK_MONOTONIC)); },
                                    [] { return clock_ns(CLOCK_REALTIME); });
    // Kineto's base: the same for all processes of about three months, so that their traces can be
    // laid side by side, and late enough that nanoseconds since then fit a double.
    const int64_t now_unix_ns = wall.ns + (start.ns - static_cast<int64_t>(wall.ticks));
    constexpr int64_t kBasePeriodNs = int64_t{7'889'238} * 1'000'000'000;
    base_unix_ns = now_unix_ns / kBasePeriodNs * kBasePeriodNs;
    monotonic_to_trace_ns = now_unix_ns - base_unix_ns - start.ns;
    spare.name = "threads over the limit";
  }

  Anchor anchor() const {
    ThreadLog clock;
    clock.tsc = tsc;
    return take_anchor([&] { return clock.now(); }, [] { return clock_ns(CLOCK_MONOTONIC); });
  }

  ThreadLog* log_of_this_thread(Profiler* owner);
  void render(Output& out);
  void render_thread(Output& out, Quoter& quoted, const ThreadLog& log, const Anchor& end) const;
  int64_t dropped() const;

  const Options options;
  const bool tsc;
  Anchor start;
  int64_t base_unix_ns = 0;
  int64_t monotonic_to_trace_ns = 0;  // added to CLOCK_MONOTONIC gives ns since base_unix_ns

  std::mutex mutex;  // guards what follows and ThreadLog::name
  std::vector<std::unique_ptr<ThreadLog>> logs;
  ThreadLog spare;  // has no slots: counts what threads over the limit drop
  std::unordered_set<std::string> names;
};

Profiler::Profiler() : Profiler(Options{}) {}

Profiler::Profiler(const Options& options) : impl_(std::make_unique<Impl>(options)) {
  CHECK(options.threads_max >= 0, "Profiler: threads_max");
  impl_->spare.owner = this;
}

Profiler::~Profiler() {
  int attached = impl_->spare.attached.load(std::memory_order_acquire);
  for (const auto& log : impl_->logs) attached += log->attached.load(std::memory_order_acquire);
  CHECK(attached == 0, "Profiler destroyed while threads are attached to it");
}

// Finds or makes the log of the calling thread. A thread whose id was used before by one that has
// ended continues its log: in the trace they are one row in any case.
ThreadLog* Profiler::Impl::log_of_this_thread(Profiler* owner) {
  const int tid = gettid();
  const std::scoped_lock lock(mutex);
  for (const auto& log : logs) {
    if (log->tid == tid) return log.get();
  }
  if (logs.size() >= static_cast<size_t>(options.threads_max)) return &spare;
  auto log = std::make_unique<ThreadLog>();
  log->owner = owner;
  log->tid = tid;
  log->tsc = tsc;
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof(name));
  log->name = name;
  // Untouched pages cost nothing; if even the addresses are refused, the log drops everything.
  const size_t bytes = size_t{options.events_per_thread_max} * sizeof(Slot);
  void* memory = bytes == 0 ? MAP_FAILED
                            : mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory != MAP_FAILED) {
    log->slots = static_cast<Slot*>(memory);
    log->capacity = options.events_per_thread_max;
  }
  return logs.emplace_back(std::move(log)).get();
}

Profiler::Attach::Attach(Profiler* profiler) : previous_(profiler_detail::current_log) {
  ThreadLog* log = nullptr;
  if (profiler != nullptr) {
    const uint64_t made = profiler->impl_->start.ticks;
    if (last_log.owner != profiler || last_log.made != made) {
      last_log = {profiler, made, profiler->impl_->log_of_this_thread(profiler)};
    }
    log = last_log.log;
    log->attached.fetch_add(1, std::memory_order_relaxed);
  }
  profiler_detail::current_log = log;
}

Profiler::Attach::~Attach() {
  if (ThreadLog* log = profiler_detail::current_log; log != nullptr) {
    log->attached.fetch_sub(1, std::memory_order_release);
  }
  profiler_detail::current_log = previous_;
}

void Profiler::name_thread(std::string_view name) {
  ThreadLog* log = profiler_detail::current_log;
  if (log == nullptr) return;
  Impl& impl = *log->owner->impl_;
  const std::scoped_lock lock(impl.mutex);
  if (log != &impl.spare) log->name = name;
}

Profiler::Name Profiler::intern(std::string_view text) {
  const std::scoped_lock lock(impl_->mutex);
  Name name;
  name.text_ = impl_->names.emplace(text).first->c_str();
  return name;
}

int64_t Profiler::Impl::dropped() const {
  int64_t total = spare.dropped.load(std::memory_order_relaxed);
  for (const auto& log : logs) total += log->dropped.load(std::memory_order_relaxed);
  return total;
}

int64_t Profiler::dropped() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->dropped();
}

std::string Profiler::to_json() const {
  Output out;
  impl_->render(out);
  return out.take();
}

// Head, names of process and threads, then each thread's events by time. The lock is held for a
// copy of the list only: a thread that attaches for the first time must not wait for a disk.
void Profiler::Impl::render(Output& out) {
  struct Thread {
    const ThreadLog* log;
    std::string name;
  };
  std::vector<Thread> threads;
  int64_t total_dropped = 0;
  {
    const std::scoped_lock lock(mutex);
    for (const auto& log : logs) threads.push_back({log.get(), log->name});
    total_dropped = dropped();
  }
  const Anchor end = anchor();
  const int64_t pid = getpid();
  out << "{\"schemaVersion\":1,\"deviceProperties\":[],\"displayTimeUnit\":\"ms\","
      << "\"baseTimeNanoseconds\":" << base_unix_ns
      << ",\n\"hadal\":{\"formatVersion\":" << int64_t{kFormatVersion}
      << ",\"clock\":" << (tsc ? "\"tsc\"" : "\"monotonic\"")
      << ",\"droppedEvents\":" << total_dropped
      << "},\n\"traceEvents\":[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":" << pid
      << ",\"tid\":0,\"args\":{\"name\":" << Quoter::quote(options.process_name) << "}}";
  int64_t index = 0;
  for (const Thread& thread : threads) {
    const auto metadata = [&](std::string_view kind) -> Output& {
      return out << ",\n{\"ph\":\"M\",\"name\":\"" << kind << "\",\"pid\":" << pid
                 << ",\"tid\":" << int64_t{thread.log->tid} << ",\"args\":{";
    };
    metadata("thread_name") << "\"name\":" << Quoter::quote(thread.name) << "}}";
    metadata("thread_sort_index") << "\"sort_index\":" << index++ << "}}";
  }
  Quoter quoted;
  for (const Thread& thread : threads) render_thread(out, quoted, *thread.log, end);
  out << "\n]}\n";
}

void Profiler::Impl::render_thread(Output& out, Quoter& quoted, const ThreadLog& log,
                                   const Anchor& end) const {
  const auto to_ns = [&](uint64_t ticks) {
    return monotonic_to_trace_ns + interpolate(start, end, ticks);
  };
  const int64_t pid = getpid();
  const auto open = [&](std::string_view head, std::string_view quoted_name,
                        int64_t ns) -> Output& {
    out << ",\n{" << head << ",\"name\":" << quoted_name << ",\"pid\":" << pid
        << ",\"tid\":" << int64_t{log.tid} << ",\"ts\":";
    return out.microseconds(ns);
  };
  int64_t last_ns = to_ns(start.ticks);
  for (const Ref& ref : sorted_events(log)) {
    const Event& event = log.slots[ref.slot].event;
    const std::string& name = quoted(event.name);
    const int64_t ns = last_ns = to_ns(ref.begin);
    if (event.kind == Kind::kCounter) {
      open("\"ph\":\"C\"", name, ns)
          << ",\"args\":{\"value\":" << static_cast<int64_t>(event.end) << "}}";
      continue;
    }
    if (event.kind == Kind::kSpan) {
      open("\"ph\":\"X\",\"cat\":\"cpu_op\"", name, ns) << ",\"dur\":";
      out.microseconds(to_ns(ref.end) - ns);
    } else {
      open("\"ph\":\"i\",\"s\":\"t\",\"cat\":\"cpu_instant_event\"", name, ns);
    }
    out << ",\"args\":{";
    if (event.has_args != 0) {
      const Args& args = log.slots[ref.slot + 1].args;
      std::string_view comma;
      for (int i = 0; i < 2; ++i) {
        if (args.key[i] == nullptr) continue;
        out << std::exchange(comma, ",") << quoted(args.key[i]) << ":" << args.value[i];
      }
    }
    out << "}}";
  }
  if (const int64_t count = log.dropped.load(std::memory_order_relaxed); count > 0) {
    open("\"ph\":\"i\",\"s\":\"t\",\"cat\":\"overhead\"", "\"profiler log full\"", last_ns)
        << ",\"args\":{\"dropped\":" << count << "}}";
  }
}

Result<> Profiler::write(const std::string& path) const {
  const std::string temporary = fmt::format("{}.{}.{}.tmp", path, getpid(), gettid());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return std::unexpected(os_error(errno, path));
  Output out(fd);
  impl_->render(out);
  out.flush();
  int error = out.error();
  if (close(fd) != 0 && error == 0) error = errno;
  // No fsync: a trace that the machine's crash loses is not missed, and a slow disk must not stall.
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  unlink(temporary.c_str());
  return std::unexpected(os_error(error, path));
}

}  // namespace hadal
