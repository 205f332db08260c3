#include "trace/numbering.h"

#include <optional>
#include <tuple>

#include "trace/number.h"
#include "trace/row.h"
#include "trace/text.h"

namespace hadal::trace {
namespace {

// Sorts the used values of all tables into `out` and says where each went.
template <typename T, typename TableOf>
Numbers join(std::span<Tables> tables, TableOf table_of, const Used& used, std::vector<T>& out) {
  struct Entry {
    T value;
    uint32_t worker, id;
  };
  std::vector<Entry> entries;
  Numbers numbers(tables.size());
  for (uint32_t worker = 0; worker < tables.size(); ++worker) {
    std::vector<T>& items = table_of(tables[worker]).items();
    numbers[worker].assign(items.size(), kNone);
    for (uint32_t id = 0; id < items.size(); ++id) {
      if (used[worker][id]) entries.push_back({std::move(items[id]), worker, id});
    }
  }
  std::ranges::sort(entries, {}, [](const Entry& e) -> const T& { return e.value; });
  for (Entry& e : entries) {
    if (out.empty() || out.back() != e.value) out.push_back(std::move(e.value));
    numbers[e.worker][e.id] = static_cast<uint32_t>(out.size() - 1);
  }
  return numbers;
}

template <typename TableOf>
Used nothing(std::span<Tables> tables, TableOf table_of) {
  Used used;
  for (Tables& t : tables) used.emplace_back(table_of(t).items().size(), false);
  return used;
}

auto& names_of(Tables& t) {
  return t.names;
}
auto& tracks_of(Tables& t) {
  return t.tracks;
}
auto& launches_of(Tables& t) {
  return t.launches;
}
auto& copies_of(Tables& t) {
  return t.copies;
}
auto& infos_of(Tables& t) {
  return t.infos;
}

struct AllUsed {
  Used names, tracks, launches, copies, infos;
};

AllUsed find_used(std::span<const Chunk> chunks, std::span<Tables> tables) {
  AllUsed used{nothing(tables, names_of), nothing(tables, tracks_of), nothing(tables, launches_of),
               nothing(tables, copies_of), nothing(tables, infos_of)};
  for (const Chunk& chunk : chunks) {
    const Events& rows = chunk.rows;
    const auto w = static_cast<size_t>(chunk.worker);
    for (size_t row = 0; row < rows.size(); ++row) {
      used.names[w][rows.name[row]] = true;
      used.tracks[w][rows.track[row]] = true;
      const Category category = rows.category[row];
      if (category == Category::kKernel) used.launches[w][rows.detail[row]] = true;
      if (category == Category::kMemcpy || category == Category::kMemset) {
        used.copies[w][rows.detail[row]] = true;
      }
    }
    for (const Flow& flow : chunk.flows) used.tracks[w][flow.track] = true;
    for (const CollectiveCall& call : chunk.collectives) used.infos[w][call.info] = true;
  }
  return used;
}

// Names that were written differently ("\u0041" and "A") may be one when they are clean.
void clean_names(Trace& trace, Numbers& numbers) {
  std::vector<std::pair<std::string, uint32_t>> clean;
  clean.reserve(trace.names.size());
  for (uint32_t id = 0; id < trace.names.size(); ++id) {
    clean.emplace_back(clean_text(trace.names[id], trace.health.replaced_bytes), id);
  }
  std::ranges::sort(clean);
  std::vector<uint32_t> number_of(clean.size());
  trace.names.clear();
  for (auto& [text, id] : clean) {
    if (trace.names.empty() || trace.names.back() != text) trace.names.push_back(std::move(text));
    number_of[id] = static_cast<uint32_t>(trace.names.size() - 1);
  }
  for (std::vector<uint32_t>& of_worker : numbers) {
    for (uint32_t& n : of_worker) n = n == kNone ? kNone : number_of[n];
  }
}

using TrackKey = std::tuple<TrackKind, std::string, std::string>;  // kind, process, thread
struct Place {
  int64_t device = -1, stream = -1;
  uint32_t number = 0;
};
using Places = std::map<TrackKey, Place>;

TrackKey key_of(const LocalTrack& track) {
  uint64_t replaced = 0;
  return {track.kind, clean_text(track.process, replaced), clean_text(track.thread, replaced)};
}

int64_t least(int64_t a, int64_t b) {
  return a < 0 ? b : b < 0 ? a : std::min(a, b);
}

// The existing track that an arrow at (process, thread) belongs to: GPU work first, then a host's.
const TrackKey* place_of_flow(const Places& places, const std::string& process,
                              const std::string& thread) {
  constexpr TrackKind kOrder[] = {TrackKind::kGpu,     TrackKind::kHost,  TrackKind::kGpuAnnotation,
                                  TrackKind::kGpuSync, TrackKind::kOther, TrackKind::kCounter};
  for (const TrackKind kind : kOrder) {
    const auto found = places.find({kind, process, thread});
    if (found != places.end()) return &found->first;
  }
  return nullptr;
}

Track track_at(const TrackKey& key, const Place& place) {
  Track track;
  std::tie(track.kind, track.process, track.thread) = key;
  const bool gpu = track.kind == TrackKind::kGpu || track.kind == TrackKind::kGpuAnnotation ||
                   track.kind == TrackKind::kGpuSync;
  if (!gpu) return track;
  const int64_t device =
      place.device >= 0 ? place.device : trailing_number(track.process).value_or(-1);
  track.device = static_cast<int>(std::min<int64_t>(device, INT32_MAX));
  track.stream = place.stream >= 0 ? place.stream : trailing_number(track.thread).value_or(-1);
  // Since 2026 the waits for stream 7 are shown as thread 1000007.
  constexpr int64_t kSyncThread = 1'000'000;
  if (track.kind == TrackKind::kGpuSync && track.stream >= kSyncThread) track.stream -= kSyncThread;
  return track;
}

bool track_before(const Track& a, const Track& b) {
  // Threads that are numbers sort as numbers.
  const auto order = [](const Track& t) {
    return std::tuple(t.kind, t.device, t.stream, t.process.size(), std::string_view(t.process),
                      t.thread.size(), std::string_view(t.thread));
  };
  return order(a) < order(b);
}

Result<Numbers> join_tracks(std::span<Tables> tables, const Used& used, Trace& trace) {
  Places places;
  for (const bool flows : {false, true}) {
    for (size_t w = 0; w < tables.size(); ++w) {
      const std::vector<LocalTrack>& items = tables[w].tracks.items();
      for (size_t id = 0; id < items.size(); ++id) {
        if (!used[w][id] || (items[id].kind == kFlowPlace) != flows) continue;
        TrackKey key = key_of(items[id]);
        if (flows) {
          if (place_of_flow(places, std::get<1>(key), std::get<2>(key)) != nullptr) continue;
          std::get<0>(key) = TrackKind::kHost;
        }
        Place& place = places[std::move(key)];
        place.device = least(place.device, items[id].device);
        place.stream = least(place.stream, items[id].stream);
      }
    }
  }
  if (places.size() > UINT16_MAX + size_t{1}) {
    return fail(Code::kUnsupported, "the trace has more than 65536 tracks (threads and streams)");
  }
  std::vector<std::pair<Track, Place*>> sorted;
  for (auto& [key, place] : places) sorted.emplace_back(track_at(key, place), &place);
  std::ranges::sort(sorted, track_before, [](const auto& p) -> const Track& { return p.first; });
  for (auto& [track, place] : sorted) {
    place->number = static_cast<uint32_t>(trace.tracks.size());
    trace.tracks.push_back(std::move(track));
  }
  Numbers numbers(tables.size());
  for (size_t w = 0; w < tables.size(); ++w) {
    const std::vector<LocalTrack>& items = tables[w].tracks.items();
    numbers[w].assign(items.size(), kNone);
    for (size_t id = 0; id < items.size(); ++id) {
      if (!used[w][id]) continue;
      TrackKey key = key_of(items[id]);
      if (items[id].kind == kFlowPlace) {
        key = *place_of_flow(places, std::get<1>(key), std::get<2>(key));
      }
      numbers[w][id] = places.at(key).number;
    }
  }
  return numbers;
}

}  // namespace

Result<Joined> join_tables(std::span<const Chunk> chunks, std::span<Tables> tables, Trace& trace) {
  for (const Tables& t : tables) {
    if (t.too_many_tracks) {
      return fail(Code::kUnsupported, "the trace has more than 65536 tracks (threads and streams)");
    }
  }
  const AllUsed used = find_used(chunks, tables);
  Joined joined;
  joined.names = join(tables, names_of, used.names, trace.names);
  clean_names(trace, joined.names);
  joined.tracks = TRY(join_tracks(tables, used.tracks, trace));
  joined.launches = join(tables, launches_of, used.launches, trace.launches);
  joined.copies = join(tables, copies_of, used.copies, trace.copies);
  joined.infos = join(tables, infos_of, used.infos, trace.collective_infos);
  return joined;
}

}  // namespace hadal::trace
