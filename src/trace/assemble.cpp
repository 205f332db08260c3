#include "trace/assemble.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <tuple>
#include <utility>

#include <malloc.h>

#include "trace/number.h"
#include "trace/numbering.h"
#include "trace/order.h"
#include "trace/pairs.h"
#include "trace/repair.h"
#include "trace/text.h"

namespace hadal::trace {
namespace {

// One column of all chunks behind each other, value by value through `convert`; the chunks' own are
// freed.
template <typename T, typename Convert>
void concatenate(std::vector<Chunk>& chunks, std::span<const size_t> firsts, ThreadPool& pool,
                 std::vector<T> Events::* column, Convert convert, Events& out) {
  std::vector<T>& to = out.*column;
  to.resize(firsts.back());
  const auto n = static_cast<int64_t>(chunks.size());
  pool.parallel_for_dynamic(n, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      Chunk& chunk = chunks[static_cast<size_t>(c)];
      std::vector<T>& from = chunk.rows.*column;
      T* at = to.data() + firsts[static_cast<size_t>(c)];
      for (size_t row = 0; row < from.size(); ++row) at[row] = convert(chunk, row, from[row]);
      std::vector<T>().swap(from);
    }
  });
}

uint32_t joined_detail(const Joined& joined, const Chunk& chunk, size_t row, uint32_t detail) {
  const auto w = static_cast<size_t>(chunk.worker);
  switch (chunk.rows.category[row]) {
    case Category::kKernel: return joined.launches[w][detail];
    case Category::kMemcpy:
    case Category::kMemset: return joined.copies[w][detail];
    default: return detail;
  }
}

void concatenate_all(std::vector<Chunk>& chunks, std::span<const size_t> firsts,
                     const Joined& joined, ThreadPool& pool, Events& out) {
  const auto same = [](const Chunk&, size_t, auto value) { return value; };
  const auto column = [&](auto member, auto convert) {
    concatenate(chunks, firsts, pool, member, convert, out);
  };
  column(&Events::start_ns, same);
  malloc_trim(0);  // the freed pieces are smaller than what malloc gives back by itself
  column(&Events::duration_ns, same);
  malloc_trim(0);
  column(&Events::offset, same);
  malloc_trim(0);
  column(&Events::name, [&](const Chunk& chunk, size_t, uint32_t name) {
    return joined.names[static_cast<size_t>(chunk.worker)][name];
  });
  column(&Events::correlation, same);
  column(&Events::detail, [&](const Chunk& chunk, size_t row, uint32_t detail) {
    return joined_detail(joined, chunk, row, detail);
  });
  column(&Events::track, [&](const Chunk& chunk, size_t, uint16_t track) {
    return static_cast<uint16_t>(joined.tracks[static_cast<size_t>(chunk.worker)][track]);
  });
  column(&Events::category, same);
  column(&Events::phase, same);
  malloc_trim(0);
}

// Calls and arrows of the chunks, in the numbers of the trace; calls by concatenated row.
void collect_side_tables(std::vector<Chunk>& chunks, std::span<const size_t> firsts,
                         const Joined& joined, Trace& trace) {
  size_t flows = 0, calls = 0;
  for (const Chunk& chunk : chunks) flows += chunk.flows.size(), calls += chunk.collectives.size();
  trace.flows.reserve(flows);
  trace.collectives.reserve(calls);
  for (size_t c = 0; c < chunks.size(); ++c) {
    Chunk& chunk = chunks[c];
    const auto w = static_cast<size_t>(chunk.worker);
    for (Flow flow : chunk.flows) {
      flow.track = static_cast<uint16_t>(joined.tracks[w][flow.track]);
      trace.flows.push_back(flow);
    }
    for (CollectiveCall call : chunk.collectives) {
      call.row += static_cast<uint32_t>(firsts[c]);
      call.info = joined.infos[w][call.info];
      trace.collectives.push_back(call);
    }
    std::vector<Flow>().swap(chunk.flows);
  }
}

// The calls' concatenated rows become sorted rows.
void move_calls(std::span<const uint32_t> order, std::vector<CollectiveCall>& calls) {
  if (calls.empty()) return;
  const uint32_t last = std::ranges::max(calls, {}, &CollectiveCall::row).row;
  std::vector<bool> has_call(size_t{last} + 1);
  for (const CollectiveCall& call : calls) has_call[call.row] = true;
  std::vector<CollectiveCall> moved;
  moved.reserve(calls.size());
  for (uint32_t row = 0; row < order.size(); ++row) {
    if (order[row] > last || !has_call[order[row]]) continue;
    CollectiveCall call = *std::ranges::lower_bound(calls, order[row], {}, &CollectiveCall::row);
    call.row = row;
    moved.push_back(call);
  }
  calls.swap(moved);
}

void sort_flows(std::vector<Flow>& flows) {
  std::ranges::sort(flows, {}, [](const Flow& f) {
    return std::tuple(f.id, f.time_ns, f.track, f.phase, f.forward_backward);
  });
}

std::string trimmed(std::string_view raw) {
  uint64_t replaced = 0;
  std::string text = clean_text(raw, replaced);
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

// Of several names for one track the last in byte order counts, whatever their order in the file.
void apply_metadata(std::span<const Chunk> chunks, std::vector<Track>& tracks) {
  using Key = std::pair<std::string, std::string>;
  std::map<std::string, std::string> process_names;
  std::map<Key, std::string> thread_names;
  std::map<Key, int64_t> sort_indices;
  for (const Chunk& chunk : chunks) {
    for (const MetaEvent& m : chunk.metadata) {
      const Key key(trimmed(m.process), trimmed(m.thread));
      if (m.what == "process_name") {
        std::string& name = process_names[key.first];
        name = std::max(name, trimmed(m.value));
      } else if (m.what == "thread_name") {
        std::string& name = thread_names[key];
        name = std::max(name, trimmed(m.value));
      } else if (const std::optional<int64_t> index = parse_integer(m.value)) {
        const auto [at, is_new] = sort_indices.emplace(key, *index);
        if (!is_new) at->second = std::max(at->second, *index);
      }
    }
  }
  for (Track& track : tracks) {
    const Key key(track.process, track.thread);
    if (const auto f = process_names.find(key.first); f != process_names.end()) {
      track.process_name = f->second;
    }
    if (const auto f = thread_names.find(key); f != thread_names.end())
      track.thread_name = f->second;
    if (const auto f = sort_indices.find(key); f != sort_indices.end())
      track.sort_index = f->second;
  }
}

void add_counts(std::span<const Chunk> chunks, Health& health) {
  for (const Chunk& chunk : chunks) {
    health.lost_events += chunk.lost_events;
    health.ignored_phases += chunk.ignored_phases;
    health.clipped_durations += chunk.bad_durations;
    for (const Loss& loss : chunk.losses) {
      if (health.losses.size() < Health::kLossesListedMax) health.losses.push_back(loss);
    }
  }
}

}  // namespace

Result<> assemble(std::vector<Chunk>& chunks, std::span<Tables> tables, ThreadPool& pool,
                  Trace& trace) {
  std::vector<size_t> firsts{0};
  bool has_begins = false;
  for (const Chunk& chunk : chunks) {
    firsts.push_back(firsts.back() + chunk.rows.size());
    has_begins = has_begins || chunk.has_begins;
  }
  if (firsts.back() >= kNone) {
    return fail(Code::kUnsupported, "the trace has more than 4294967294 events");
  }
  const Joined joined = TRY(join_tables(chunks, tables, trace));
  add_counts(chunks, trace.health);
  collect_side_tables(chunks, firsts, joined, trace);
  concatenate_all(chunks, firsts, joined, pool, trace.events);
  apply_metadata(chunks, trace.tracks);
  if (has_begins) pair_begins(trace);
  set_base(trace);
  std::vector<uint32_t> order = order_rows(trace, pool);
  permute(order, pool, trace.events);
  move_calls(order, trace.collectives);
  std::vector<uint32_t>().swap(order);
  sort_flows(trace.flows);
  repair_streams(trace);
  return {};
}

}  // namespace hadal::trace
