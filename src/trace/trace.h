// A trace of the PyTorch profiler (or of anything that writes Chrome's trace format) as columns.
//
// load() reads a file of any size and any generation of the format into a Trace: one row per event,
// one array per field. Everything else of this folder is a pure function of Traces.
//
// Why columns. A trace of one training step has millions of events of 200 to 900 bytes each, of
// which an analysis needs five numbers. A row takes 40 bytes, about a fifth of its text; the rest
// (arguments, shapes, call stacks) stays in the file and is read for the few events that somebody
// asks about (read_events).
//
// Invariants
//   1. Times are int64 nanoseconds since the earliest event, parsed from the decimal digits:
//   16-digit
//      epoch microseconds never pass through a double.
//   2. The rows are sorted by (track, start, longer first, name, correlation, offset); tracks and
//      names are sorted too. So the rows of a track are contiguous, a parent comes before its
//      children, and the order of the events in the file and the number of threads that read it
//      make no difference to anything but `offset`.
//   3. What could not be read is counted and listed in Health; nothing is dropped in silence.
//
// Threads: a Trace does not change after load(); any number of threads may read it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "trace/saturate.h"

namespace hadal::trace {

inline constexpr uint32_t kNone = UINT32_MAX;  // no row, no detail, no launch

enum class Phase : uint8_t {
  kComplete,  // X, and B/E pairs, which become one row
  kInstant,   // i, I, R
  kCounter,   // C
};

/// What an event is, whatever its generation of the format calls it ("Kernel", "kernel", ...).
enum class Category : uint8_t {
  kOther,           // no `cat`, or one that is not in this list
  kCpuOp,           // cpu_op, Operator
  kUserAnnotation,  // user_annotation: record_function ranges on the host
  kGpuAnnotation,   // gpu_user_annotation: the same, projected by the profiler to the GPU
  kKernel,
  kMemcpy,   // gpu_memcpy
  kMemset,   // gpu_memset
  kRuntime,  // cuda_runtime, hip_runtime, ...: calls of the host that launch or wait
  kDriver,   // cuda_driver
  kSync,     // cuda_sync
  kCudaEvent,
  kPythonFunction,
  kInstantEvent,  // cpu_instant_event, among them "[memory]"
  kOverhead,
  kCollective,  // collective_comm
  kHardwareCounter,
  kTrace,  // the profiler's own "Trace" spans
};
inline constexpr int kNumCategories = 17;

/// The name that today's format gives to a category: "kernel", "cpu_op", ...
std::string_view name(Category category);

/// Kernels, copies and memsets: what occupies a GPU. Not synchronisation, not annotations.
constexpr bool is_gpu_activity(Category c) {
  return c == Category::kKernel || c == Category::kMemcpy || c == Category::kMemset;
}
/// Calls of the CUDA, HIP or driver API on the host.
constexpr bool is_runtime_call(Category c) {
  return c == Category::kRuntime || c == Category::kDriver;
}

/// The rows, sorted as the invariants say. All columns have the same length. 40 bytes a row.
struct Events {
  std::vector<int64_t> start_ns;      // since Trace::base_ns
  std::vector<int64_t> duration_ns;   // 0 for instants and counters; never negative
  std::vector<uint64_t> offset;       // of the event's '{' in the document, uncompressed
  std::vector<uint32_t> name;         // index into Trace::names
  std::vector<uint32_t> correlation;  // joins a GPU activity with its runtime call; 0: none
  std::vector<uint32_t> detail;       // see below; kNone: none
  std::vector<uint16_t> track;        // index into Trace::tracks
  std::vector<Category> category;
  std::vector<Phase> phase;
  // `detail` is, by category:
  //   kKernel                    index into Trace::launches
  //   kMemcpy, kMemset           index into Trace::copies
  //   kCpuOp                     "Sequence number", the same in forward and backward
  //   kSync                      correlation of the cudaEventRecord waited on
  size_t size() const { return start_ns.size(); }
  int64_t end_ns(size_t row) const { return add_saturated(start_ns[row], duration_ns[row]); }
};

/// How a kernel was launched. Equal launches are stored once.
struct Launch {
  std::array<uint32_t, 3> grid{};
  std::array<uint32_t, 3> block{};
  uint32_t registers_per_thread = 0;
  uint32_t shared_memory_bytes = 0;  // static and dynamic, per block
  float reported_occupancy = -1;     // percent as the profiler says, which may be wrong; -1: absent
  uint64_t num_blocks() const { return uint64_t{grid[0]} * grid[1] * grid[2]; }
  uint64_t num_threads() const { return uint64_t{block[0]} * block[1] * block[2]; }  // per block
  auto operator<=>(const Launch&) const = default;
};

/// A copy or a memset. Equal ones are stored once.
struct Copy {
  uint64_t bytes = 0;
  double bandwidth_gb_s = 0;  // as reported; 0: absent
  /// The duration behind the bandwidth, exact where the trace has only whole microseconds; 0:
  /// unknown.
  double exact_ns() const { return bandwidth_gb_s > 0 ? double(bytes) / bandwidth_gb_s : 0; }
  auto operator<=>(const Copy&) const = default;
};

/// The arguments of a collective, from NCCL kernels or record_param_comms. Equal ones stored once.
struct CollectiveInfo {
  std::string collective;  // "allreduce", "_allgather_base", ...
  std::string dtype;       // "BFloat16", "Float", ...
  std::string group;       // "Process Group Name"
  std::string group_description;
  std::string group_ranks;  // as written: "[0, 1, 2, 3]" or "[0, 1, ..., 63]"
  uint64_t in_elements = 0, out_elements = 0;
  uint32_t group_size = 0;
  auto operator<=>(const CollectiveInfo&) const = default;
};
/// One row that has such arguments; sorted by row.
struct CollectiveCall {
  uint32_t row = 0;
  uint32_t info = 0;      // index into Trace::collective_infos
  int64_t sequence = -1;  // "Seq": counts the collectives of the group; -1: absent
};

/// An arrow of the format ('s', 't', 'f'). Arrows need not come in pairs; where events have a
/// correlation, that is the better link. Sorted by (id, time, track, phase).
struct Flow {
  uint64_t id = 0;
  int64_t time_ns = 0;
  uint16_t track = 0;
  char phase = 's';
  bool forward_backward = false;  // category fwdbwd
};

enum class TrackKind : uint8_t {
  kHost,           // a thread
  kGpu,            // kernels, copies and memsets of one stream
  kGpuAnnotation,  // gpu_user_annotation of one stream
  kGpuSync,        // synchronisation shown with one stream
  kCounter,
  kOther,  // the profiler's own rows
};

/// What runs in order: a thread of the host, a stream of a GPU. Sorted by (kind, device, stream,
/// process, thread).
struct Track {
  TrackKind kind = TrackKind::kHost;
  int device = -1;                        // GPU tracks
  int64_t stream = -1;                    // GPU tracks
  std::string process;                    // `pid` as written: "1166", "Spans"
  std::string thread;                     // `tid` as written
  std::string process_name, thread_name;  // from metadata; trailing blanks removed; may be empty
  int64_t sort_index = 0;                 // of the thread
  uint32_t begin = 0, end = 0;            // its rows
};

struct Device {
  int id = 0;
  std::string name;
  int compute_major = 0, compute_minor = 0;
  int num_sms = 0, warp_size = 32;
  int threads_per_block_max = 0, threads_per_sm_max = 0;
  int64_t registers_per_sm = 0;
  int64_t shared_memory_per_block = 0;        // without opting in: 48 KiB
  int64_t shared_memory_per_block_optin = 0;  // what a kernel can ask for
  int64_t shared_memory_per_sm = 0;
  int64_t memory_bytes = 0;
};

/// A number in the trace's name: "ep64" is {"ep", 64}.
struct Hint {
  std::string name;
  int64_t value = 0;
};

/// What was wrong with the file, in numbers, and where.
struct Loss {
  uint64_t offset = 0;  // in the uncompressed document
  std::string reason;
};
struct Health {
  static constexpr int kLossesListedMax = 20;
  uint64_t lost_events = 0;       // could not be parsed; reading went on at the next event
  std::vector<Loss> losses;       // the first ones
  bool truncated = false;         // the document ends in the middle
  uint64_t truncated_at = 0;      // the offset where it does
  uint64_t ignored_phases = 0;    // async and object events (b, e, n, N, O, D, ...)
  uint64_t unmatched_begins = 0;  // B without E: extends to the end of its track
  uint64_t unmatched_ends = 0;    // E without B: dropped
  uint64_t zero_timestamps = 0;   // ts 0 in a trace of absolute times: outside of the span
  uint64_t clipped_durations =
      0;  // negative, absurd (over 7 days), or over-running completion stamps
  uint64_t overlapping_in_stream = 0;  // genuine overlaps (programmatic dependent launch), kept
  uint64_t replaced_bytes = 0;         // invalid UTF-8 and raw control characters in names
  bool clean() const;                  // nothing lost, nothing repaired
};

enum class Generation : uint8_t {
  kUnknown,  // not of the PyTorch profiler
  kG1,       // 2020-21: cat "Kernel", "Operator"
  kG2,       // 2022 - 2024-03: integer microseconds since the epoch
  kG3,       // 2024-03 on: relative microseconds with three decimals, baseTimeNanoseconds
  kG4,       // 2026: G3 with occupancy{}, "(sync)" rows, hardware counters
};
std::string_view name(Generation generation);

enum class Compression : uint8_t { kNone, kGzip, kZstd };

struct Trace {
  std::string path;
  Compression compression = Compression::kNone;
  uint64_t file_bytes = 0, document_bytes = 0;  // on disk; uncompressed
  Generation generation = Generation::kUnknown;

  int64_t base_ns = 0;        // unix time of time 0, or its offset from an unknown epoch
  int64_t resolution_ns = 1;  // 1000 where all times are whole microseconds
  int64_t end_ns = 0;         // end of the last event; the first starts at 0

  int rank = -1, world_size = -1;  // -1: the trace does not say
  std::string backend;             // "nccl"
  std::string trace_name;
  std::vector<Hint> hints;
  std::vector<Device> devices;

  Events events;
  std::vector<std::string> names;  // sorted, valid UTF-8 without control characters
  std::vector<Track> tracks;
  std::vector<Launch> launches;  // sorted, as are the next two
  std::vector<Copy> copies;
  std::vector<CollectiveInfo> collective_infos;
  std::vector<CollectiveCall> collectives;
  std::vector<Flow> flows;
  Health health;

  std::string_view name_of(size_t row) const { return names[events.name[row]]; }
  const Device* device(int id) const;  // null: the trace does not describe it
};

struct LoadOptions {
  int threads = 0;               // 0: all available cores
  bool python_functions = true;  // false: leave out python_function events, often most of a file
  /// Called now and then with bytes of the file done and its size, from the thread that loads.
  void (*progress)(uint64_t done, uint64_t total) = nullptr;
};

/// Reads a trace: an object with traceEvents or a bare array; plain, gzip (also of several members)
/// or zstd; of any generation. Malformed events are skipped and reported in Health. kNotFound,
/// kPermissionDenied and kIo as of the file; kCorrupt if it is not a trace at all (no event, and no
/// sign that it wants to be one) or its compression is broken at the start. A Trace without events
/// is no error. Memory: about 40 bytes an event and never more than a quarter of a plain file of
/// usual events (150 bytes or more each).
Result<Trace> load(const std::string& path, const LoadOptions& options = {});

/// The same for text in memory (tests, pipes). `path` is only a name.
Result<Trace> parse(std::string_view document, const std::string& path,
                    const LoadOptions& options = {});

/// The JSON text of events, by row, as it stands in the file. Reads the file again: by offset where
/// it is plain, as a whole where it is compressed. kNotFound or kCorrupt if it has changed since.
Result<std::vector<std::string>> read_events(const Trace& trace, std::span<const uint32_t> rows);

/// How to look at a trace; `hadal trace` has the same options.
struct View {
  std::string window = {};      // "START:END" or "ann:NAME" (activity.h); empty: all of it
  int device = -1;              // -1: all devices
  std::string rules_path = {};  // a rules file (rules.h); empty: the built-in rules
};

/// An analysis by name as a JSON document, as `hadal trace NAME --json` prints it (docs/trace.md).
/// kInvalidArgument for another name or a wrong window; errors of the rules file.
Result<std::string> analyse(const Trace& trace, std::string_view name, const View& view = {});
/// "summary", "streams", "kernels", "comm", ...
std::span<const std::string_view> analysis_names();

/// Kernels, copies and memsets by start, as columns of equal length.
struct ActivityColumns {
  std::vector<int64_t> start_ns, end_ns;
  std::vector<uint32_t> row;         // in Trace::events
  std::vector<uint32_t> launch_row;  // kNone: not found
  std::vector<uint32_t> region_row;  // the annotation it was launched in; kNone: none
  std::vector<uint8_t> kind;         // 0 compute, 1 communication, 2 memory
  std::vector<uint8_t> role;         // 0 none, 1 transfer, 2 barrier, 3 layout
};
Result<ActivityColumns> activities(const Trace& trace, const View& view = {});

}  // namespace hadal::trace
