#include "trace/row.h"

#include <algorithm>
#include <limits>

#include "base/hash.h"
#include "trace/number.h"
#include "trace/text.h"

namespace hadal::trace {
namespace {

// Longer ones are counters that ran away: HTA draws the line here, too.
constexpr int64_t kDurationMaxNs = int64_t{7} * 24 * 3600 * 1'000'000'000;

uint32_t to_u32(std::string_view text, uint32_t otherwise) {
  const std::optional<uint64_t> value = parse_unsigned(text);
  if (!value) return otherwise;
  return static_cast<uint32_t>(std::min<uint64_t>(*value, UINT32_MAX));
}

// Joins two events, so a number beyond 32 bits must not become the same as another: it is folded.
uint32_t to_correlation(std::string_view text) {
  const std::optional<uint64_t> value = parse_unsigned(text);
  if (!value) return 0;
  return static_cast<uint32_t>(*value ^ *value >> 32);
}

// What may stand around a number in an array: blanks, and quotes if it is text.
bool is_margin(char c) {
  return static_cast<unsigned char>(c) <= ' ' || c == '"';
}

// "[4096, 1, 1]"; what is missing is 1, and 0 if there is no array.
std::array<uint32_t, 3> to_dims(std::string_view text) {
  std::array<uint32_t, 3> dims{};
  if (text.size() < 2 || text.front() != '[') return dims;
  dims = {1, 1, 1};
  text = text.substr(1, text.size() - 2);
  for (uint32_t& dim : dims) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && is_margin(item.front())) item.remove_prefix(1);
    while (!item.empty() && is_margin(item.back())) item.remove_suffix(1);
    if (item.empty()) break;
    dim = to_u32(item, 0);
    if (comma == text.size()) break;
    text.remove_prefix(comma + 1);
  }
  return dims;
}

uint32_t launch_of(const RawEvent& event, Tables& tables) {
  Launch launch;
  launch.grid = to_dims(event[Field::kGrid]);
  launch.block = to_dims(event[Field::kBlock]);
  launch.registers_per_thread = to_u32(event[Field::kRegisters], 0);
  launch.shared_memory_bytes = to_u32(event[Field::kSharedMemory], 0);
  const double occupancy = parse_real(event[Field::kOccupancy]).value_or(-1);
  if (occupancy >= 0 && occupancy <= 1e6) launch.reported_occupancy = static_cast<float>(occupancy);
  static_assert(sizeof(Launch) == 36, "hashed as bytes");
  return tables.launches.id_of(launch, hash_bytes(std::as_bytes(std::span(&launch, 1))));
}

uint32_t copy_of(const RawEvent& event, Tables& tables) {
  Copy copy;
  copy.bytes = parse_unsigned(event[Field::kBytes]).value_or(0);
  const double bandwidth = parse_real(event[Field::kBandwidth]).value_or(0);
  // Neither inf, nan nor -0, which would not equal themselves or not sort.
  if (bandwidth > 0 && bandwidth <= std::numeric_limits<double>::max()) {
    copy.bandwidth_gb_s = bandwidth;
  }
  return tables.copies.id_of(copy, hash_bytes(std::as_bytes(std::span(&copy, 1))));
}

bool has_collective(const RawEvent& event) {
  constexpr uint64_t kBits = uint64_t{1} << static_cast<int>(Field::kCollective) |
                             uint64_t{1} << static_cast<int>(Field::kInElements) |
                             uint64_t{1} << static_cast<int>(Field::kGroupName);
  return (event.seen & kBits) != 0;
}

void add_collective(const RawEvent& event, uint32_t row, Tables& tables, Chunk& chunk) {
  uint64_t replaced = 0;
  const auto text = [&](Field field) { return clean_text(event[field], replaced); };
  CollectiveInfo info;
  info.collective = text(Field::kCollective);
  info.dtype = text(Field::kDtype);
  info.group = text(Field::kGroupName);
  info.group_description = text(Field::kGroupDescription);
  info.group_ranks = text(Field::kGroupRanks);
  info.in_elements = parse_unsigned(event[Field::kInElements]).value_or(0);
  info.out_elements = parse_unsigned(event[Field::kOutElements]).value_or(0);
  info.group_size = to_u32(event[Field::kGroupSize], 0);
  uint64_t hash = hash_combine(hash_combine(info.in_elements, info.out_elements), info.group_size);
  for (const std::string* part :
       {&info.collective, &info.dtype, &info.group, &info.group_description, &info.group_ranks}) {
    hash = hash_combine(hash, hash_text(*part));
  }
  const int64_t sequence = parse_integer(event[Field::kCollectiveSequence]).value_or(-1);
  chunk.collectives.push_back(
      {.row = row, .info = tables.infos.id_of(info, hash), .sequence = sequence});
}

TrackKind kind_of(Category category, Phase phase, std::string_view process) {
  if (is_gpu_activity(category)) return TrackKind::kGpu;
  if (category == Category::kGpuAnnotation) return TrackKind::kGpuAnnotation;
  if (category == Category::kSync || category == Category::kCudaEvent) return TrackKind::kGpuSync;
  if (phase == Phase::kCounter || category == Category::kHardwareCounter)
    return TrackKind::kCounter;
  if (category == Category::kTrace) return TrackKind::kOther;
  // "Spans", "Traces", "": rows of the profiler itself. Host processes are numbers.
  if (category == Category::kOther && !parse_integer(process)) return TrackKind::kOther;
  return TrackKind::kHost;
}

uint16_t track_of(const RawEvent& event, Category category, Phase phase, Tables& tables) {
  const TrackView view{kind_of(category, phase, event[Field::kPid]), event[Field::kPid],
                       event[Field::kTid]};
  const uint16_t id = track_of(view, tables);
  if (view.kind == TrackKind::kHost || view.kind == TrackKind::kOther) return id;
  LocalTrack& track = tables.tracks.items()[id];
  const auto least = [&](int64_t& value, Field field) {
    const std::optional<int64_t> said = parse_integer(event[field]);
    if (said && *said >= 0 && (value < 0 || *said < value)) value = *said;
  };
  least(track.device, Field::kDevice);
  least(track.stream, Field::kStream);
  return id;
}

uint32_t detail_of(const RawEvent& event, Category category, Tables& tables) {
  switch (category) {
    case Category::kKernel: return launch_of(event, tables);
    case Category::kMemcpy:
    case Category::kMemset: return copy_of(event, tables);
    case Category::kCpuOp:
      return event.has(Field::kSequence) ? to_u32(event[Field::kSequence], kNone) : kNone;
    case Category::kSync:
      return event.has(Field::kWaitCorrelation) ? to_correlation(event[Field::kWaitCorrelation])
                                                : kNone;
    default: return kNone;
  }
}

const char* add_row(const RawEvent& event, uint64_t offset, Phase phase, const LoadOptions& options,
                    Tables& tables, Events& rows, Chunk& chunk) {
  const CategoryOf cat = event.category;
  const std::optional<int64_t> start = parse_time(event[Field::kTs]);
  if (!start) return event.has(Field::kTs) ? "ts is no time" : "no ts";
  chunk.marks |= cat.marks | (event.has(Field::kOccupancyDetail) ? kMarkNewest : 0);
  if (cat.category == Category::kPythonFunction && !options.python_functions) return nullptr;
  int64_t duration = 0;
  if (phase == Phase::kComplete) {
    const std::optional<int64_t> said = parse_time(event[Field::kDur]);
    duration = said.value_or(0);
    if (event.has(Field::kDur) && (!said || duration < 0 || duration > kDurationMaxNs)) {
      ++chunk.bad_durations;
      duration = 0;
    }
  }
  const std::string_view name = event[Field::kName];
  if (has_collective(event)) {
    add_collective(event, static_cast<uint32_t>(rows.size()), tables, chunk);
  }
  rows.start_ns.push_back(*start);
  rows.duration_ns.push_back(duration);
  rows.offset.push_back(offset);
  rows.name.push_back(tables.names.id_of(name, hash_text(name)));
  rows.correlation.push_back(to_correlation(event[Field::kCorrelation]));
  rows.detail.push_back(detail_of(event, cat.category, tables));
  rows.track.push_back(track_of(event, cat.category, phase, tables));
  rows.category.push_back(cat.category);
  rows.phase.push_back(phase);
  return nullptr;
}

const char* add_flow(const RawEvent& event, char phase, Tables& tables, Chunk& chunk) {
  const std::optional<int64_t> time = parse_time(event[Field::kTs]);
  if (!time) return event.has(Field::kTs) ? "ts is no time" : "no ts";
  const std::string_view id = event[Field::kId];
  chunk.marks |= event.category.marks;
  const std::optional<uint64_t> number = parse_unsigned(id);
  chunk.flows.push_back(
      {.id = number ? *number : hash_text(id),
       .time_ns = *time,
       .track = track_of({kFlowPlace, event[Field::kPid], event[Field::kTid]}, tables),
       .phase = phase,
       .forward_backward = event.category.forward_backward});
  return nullptr;
}

void add_metadata(const RawEvent& event, Chunk& chunk) {
  const std::string_view what = event[Field::kName];
  const Field value = what == "thread_sort_index" ? Field::kSortIndex : Field::kMetaName;
  if (what != "process_name" && what != "thread_name" && what != "thread_sort_index") return;
  chunk.metadata.push_back({.what = std::string(what),
                            .process = std::string(event[Field::kPid]),
                            .thread = std::string(event[Field::kTid]),
                            .value = std::string(event[value])});
}

}  // namespace

uint16_t track_of(const TrackView& view, Tables& tables) {
  if (const auto known = tables.recent_tracks.find(view)) return *known;
  const uint64_t hash = hash_combine(hash_text(view.process, static_cast<uint64_t>(view.kind)),
                                     hash_text(view.thread));
  const uint32_t id = tables.tracks.id_of(view, hash);
  if (id <= UINT16_MAX) {
    tables.recent_tracks.keep(view, static_cast<uint16_t>(id));
    return static_cast<uint16_t>(id);
  }
  tables.too_many_tracks = true;
  return 0;
}

std::optional<int64_t> trailing_number(std::string_view text) {
  while (text.ends_with(' ')) text.remove_suffix(1);
  size_t begin = text.size();
  while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') --begin;
  return parse_integer(text.substr(begin));
}

const char* add_event(const RawEvent& event, uint64_t offset, const LoadOptions& options,
                      Tables& tables, Events& rows, Chunk& chunk) {
  switch (event.phase) {
    case '\0': return event.has(Field::kPhase) ? "ph is no phase" : "no ph";
    case 'X': return add_row(event, offset, Phase::kComplete, options, tables, rows, chunk);
    case 'i':
    case 'I':
    case 'R': return add_row(event, offset, Phase::kInstant, options, tables, rows, chunk);
    case 'C': return add_row(event, offset, Phase::kCounter, options, tables, rows, chunk);
    case 'B':
      chunk.has_begins = true;
      return add_row(event, offset, kBegin, options, tables, rows, chunk);
    case 'E':
      chunk.has_begins = true;
      return add_row(event, offset, kEnd, options, tables, rows, chunk);
    case 's':
    case 't':
    case 'f': return add_flow(event, event.phase, tables, chunk);
    case 'M': add_metadata(event, chunk); return nullptr;
    default: ++chunk.ignored_phases; return nullptr;
  }
}

}  // namespace hadal::trace
