// Where the time goes: spans, instants and counters of a run, written as a trace file.
//
//   Profiler profiler;
//   {
//     Profiler::Attach attach(&profiler);          // this thread records from here on
//     Profiler::Span span("gemm", {"rows", m});    // until the end of the scope
//     Profiler::counter("queue", depth);
//   }
//   TRY(profiler.write("run.trace.json"));         // chrome://tracing, Perfetto, `hadal trace`
//
// Why this design. Spans sit deep in library code, which must not carry a profiler through every
// signature and must cost nothing when nobody looks. So a thread has one current profiler, set for
// a scope by Attach, and ThreadPool hands the caller's on to its workers. Without one, a span is a
// load and a branch. With one, it reads the time stamp counter twice and appends 32 bytes to a log
// that only its thread writes: no lock, no allocation, no formatting. Everything else is done by
// write().
//
// Bounds. A thread's log holds events_per_thread_max slots, in memory that is reserved at once and
// touched as it fills. When it is full, or more than threads_max threads have attached, events are
// dropped and counted; nothing waits. The trace says how many were dropped and where.
//
// Names are string literals (checked at compile time) or text that the profiler keeps (intern), so
// that recording copies a pointer. Arguments are at most two named integers per event.
//
// Time. Time stamps are ticks of the processor's invariant time stamp counter, else of
// CLOCK_MONOTONIC. Both clocks are read together when the profiler is made and when it writes, and
// ticks become nanoseconds by integer interpolation between the two readings: an event is off by
// the uncertainty of a reading (well under a microsecond), however long the run. A span's time
// stamps are not fences: the processor may move about a hundred instructions across them.
//
// Threads. Spans, instants and counters record into the current profiler of the thread that calls;
// other members may be called from any thread at any time. A trace written while threads record has
// the events that ended by then. The profiler must outlive every Attach, Span and interned Name.
//
// docs/formats/trace.md specifies the file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/error.h"

namespace hadal {

class Profiler;

namespace profiler_detail {

enum class Kind : uint32_t { kSpan, kInstant, kCounter };

struct Event {
  const char* name;
  uint64_t begin;  // ticks
  uint64_t end;    // ticks; of a counter its value; of an instant 0
  Kind kind;
  uint32_t has_args;  // 1: the next slot is Args
};
struct Args {
  const char* key[2];  // a null key is no argument
  int64_t value[2];
};
union Slot {
  Event event;
  Args args;
};
static_assert(sizeof(Slot) == 32, "a span costs one 32-byte store, two to a cache line");

// The events of one thread, which alone appends. Readers see the slots below size.
struct alignas(64) ThreadLog {
  Slot* slots = nullptr;
  uint32_t capacity = 0;
  bool tsc = false;
  std::atomic<uint32_t> size{0};
  std::atomic<int64_t> dropped{0};
  std::atomic<int> attached{0};
  Profiler* owner = nullptr;
  int tid = 0;
  std::string name;  // under the profiler's lock

  ThreadLog() = default;
  ~ThreadLog();
  ThreadLog(const ThreadLog&) = delete;
  ThreadLog& operator=(const ThreadLog&) = delete;

  uint64_t now() const {
#if defined(__x86_64__)
    if (tsc) [[likely]]
      return __builtin_ia32_rdtsc();
#endif
    return monotonic_ns();
  }

  void append(const Event& event, const Args& args) {
    const uint32_t used = size.load(std::memory_order_relaxed);
    if (used + event.has_args >= capacity) [[unlikely]] {
      dropped.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    slots[used].event = event;
    if (event.has_args != 0) slots[used + 1].args = args;
    size.store(used + 1 + event.has_args, std::memory_order_release);
  }

 private:
  static uint64_t monotonic_ns();
};

// Where this thread records now; null: nowhere. Initial-exec, so that reading it is one load also
// in the Python module, where the default would call into the dynamic linker.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadLog* current_log;

}  // namespace profiler_detail

class Profiler {
 public:
  struct Options {
    /// Slots per thread; a span takes 32 bytes, with arguments 64. 2^20 slots are 32 MiB, of which
    /// only those that are used become resident.
    uint32_t events_per_thread_max = 1u << 20;
    int threads_max = 1024;
    std::string process_name = "hadal";
    /// False: CLOCK_MONOTONIC even where the processor has an invariant time stamp counter, for
    /// machines whose counters differ between sockets.
    bool use_tsc = true;
  };

  /// A name that lives long enough: a string literal, or what intern() returns.
  class Name {
   public:
    constexpr Name() : text_(nullptr) {}
    template <size_t kSize>
    consteval Name(const char (&literal)[kSize]) : text_(literal) {}  // NOLINT: implicit on purpose
    constexpr const char* text() const { return text_; }

   private:
    friend class Profiler;
    const char* text_;
  };

  /// {"bytes", n}. One without a key is none.
  struct Arg {
    Name key;
    int64_t value;
  };

  Profiler();
  explicit Profiler(const Options& options);
  /// No Attach to this profiler may be alive.
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Makes `profiler` the calling thread's current one, until the end of the scope; null: none.
  /// Scopes nest. The first time a thread attaches it takes a lock and reserves its log; later it
  /// is some ns.
  class Attach {
   public:
    explicit Attach(Profiler* profiler);
    ~Attach();
    Attach(const Attach&) = delete;
    Attach& operator=(const Attach&) = delete;

   private:
    profiler_detail::ThreadLog* const previous_;
  };

  /// The calling thread's current profiler, or null.
  static Profiler* current() {
    const profiler_detail::ThreadLog* log = profiler_detail::current_log;
    return log == nullptr ? nullptr : log->owner;
  }

  /// The time from construction to destruction, on one thread. Spans of a thread nest as scopes do.
  class Span {
   public:
    explicit Span(Name name, Arg first = {}, Arg second = {})
        : log_(profiler_detail::current_log), name_(name.text()), args_{first, second} {
      if (log_ != nullptr) [[unlikely]]
        begin_ = log_->now();
    }
    ~Span() {
      if (log_ == nullptr) [[likely]]
        return;
      record(log_, profiler_detail::Kind::kSpan, name_, begin_, log_->now(), args_[0], args_[1]);
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

    /// Adds an argument that is known only later, in the first free place of two.
    void arg(Name key, int64_t value) {
      const int place = args_[0].key.text() == nullptr ? 0 : 1;
      DCHECK(args_[place].key.text() == nullptr, "a span has two arguments at most");
      args_[place] = {key, value};
    }

   private:
    profiler_detail::ThreadLog* const log_;
    const char* const name_;
    uint64_t begin_ = 0;
    Arg args_[2];
  };

  /// A moment on the calling thread.
  static void instant(Name name, Arg first = {}, Arg second = {}) {
    profiler_detail::ThreadLog* const log = profiler_detail::current_log;
    if (log == nullptr) [[likely]]
      return;
    record(log, profiler_detail::Kind::kInstant, name.text(), log->now(), 0, first, second);
  }

  /// The value of a counter of the process from now on. Counters of one name are one series.
  static void counter(Name name, int64_t value) {
    profiler_detail::ThreadLog* const log = profiler_detail::current_log;
    if (log == nullptr) [[likely]]
      return;
    record(log, profiler_detail::Kind::kCounter, name.text(), log->now(),
           static_cast<uint64_t>(value), {}, {});
  }

  /// Names the calling thread in the traces of its current profiler. Without it a thread has the
  /// name that the operating system knew when it first attached ("worker-1" in a ThreadPool).
  static void name_thread(std::string_view name);

  /// A Name for text that is made at run time. Equal texts give equal names. Takes a lock: not for
  /// hot loops. Memory: one copy of each text, up to the end of the profiler.
  Name intern(std::string_view text);

  /// Events that did not fit, so far.
  int64_t dropped() const;

  /// The trace so far, as docs/formats/trace.md describes it.
  std::string to_json() const;

  /// Writes the trace so far to `path`, whole or not at all: a temporary file beside it is renamed.
  /// An older file is replaced. Errors: those of the file system.
  Result<> write(const std::string& path) const;

 private:
  struct Impl;

  static void record(profiler_detail::ThreadLog* log, profiler_detail::Kind kind, const char* name,
                     uint64_t begin, uint64_t end, Arg first, Arg second) {
    const char* const first_key = first.key.text();
    const char* const second_key = second.key.text();
    const uint32_t has_args = first_key != nullptr || second_key != nullptr ? 1 : 0;
    log->append({name, begin, end, kind, has_args},
                {{first_key, second_key}, {first.value, second.value}});
  }

  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal
