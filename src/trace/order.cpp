#include "trace/order.h"

#include <algorithm>

#include "trace/chunk.h"

namespace hadal::trace {
namespace {

// Sorts `rows` by `less`, a total order; `spare` is as long.
template <typename Less>
void sort_runs(std::span<uint32_t> rows, std::span<uint32_t> spare, Less less) {
  std::vector<size_t> ends;  // of the sorted runs
  for (size_t i = 0; i < rows.size();) {
    size_t end = i + 1;
    if (end < rows.size() && less(rows[end], rows[i])) {
      while (end < rows.size() && less(rows[end], rows[end - 1])) ++end;
      std::ranges::reverse(rows.subspan(i, end - i));
    }
    while (end < rows.size() && !less(rows[end], rows[end - 1])) ++end;
    ends.push_back(end);
    i = end;
  }
  std::span<uint32_t> from = rows, to = spare;
  while (ends.size() > 1) {
    std::vector<size_t> merged;
    size_t begin = 0;
    for (size_t run = 0; run < ends.size(); run += 2) {
      const size_t middle = ends[run];
      const size_t end = run + 1 < ends.size() ? ends[run + 1] : middle;
      std::merge(
          from.begin() + static_cast<int64_t>(begin), from.begin() + static_cast<int64_t>(middle),
          from.begin() + static_cast<int64_t>(middle), from.begin() + static_cast<int64_t>(end),
          to.begin() + static_cast<int64_t>(begin), less);
      merged.push_back(end);
      begin = end;
    }
    std::swap(from, to);
    ends.swap(merged);
  }
  if (from.data() != rows.data()) std::ranges::copy(from, rows.begin());
}

template <typename T>
void permute(std::span<const uint32_t> order, ThreadPool& pool, std::vector<T>& column) {
  std::vector<T> sorted(order.size());
  pool.parallel_for(static_cast<int64_t>(order.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      sorted[static_cast<size_t>(i)] = column[order[static_cast<size_t>(i)]];
    }
  });
  column.swap(sorted);
}

}  // namespace

std::vector<uint32_t> order_rows(Trace& trace, ThreadPool& pool) {
  const Events& e = trace.events;
  std::vector<uint32_t> next(trace.tracks.size() + 1);
  for (size_t row = 0; row < e.size(); ++row)
    next[e.track[row] + size_t{1}] += e.phase[row] != kEnd;
  for (size_t t = 0; t < trace.tracks.size(); ++t) {
    next[t + 1] += next[t];
    trace.tracks[t].begin = next[t];
    trace.tracks[t].end = next[t + 1];
  }
  std::vector<uint32_t> order(next.back());
  for (uint32_t row = 0; row < e.size(); ++row) {
    if (e.phase[row] != kEnd) order[next[e.track[row]]++] = row;
  }
  const auto less = [&e](uint32_t a, uint32_t b) {
    if (e.start_ns[a] != e.start_ns[b]) return e.start_ns[a] < e.start_ns[b];
    if (e.duration_ns[a] != e.duration_ns[b]) return e.duration_ns[a] > e.duration_ns[b];
    if (e.name[a] != e.name[b]) return e.name[a] < e.name[b];
    if (e.correlation[a] != e.correlation[b]) return e.correlation[a] < e.correlation[b];
    // Equal but for what an order of their own gives them: so that the order in the file makes no
    // difference, the offset decides only between rows that are equal in all else.
    const auto rest = [&e](uint32_t row) {
      return std::tuple(e.category[row], e.phase[row], e.detail[row], e.offset[row]);
    };
    return rest(a) < rest(b);
  };
  std::vector<uint32_t> spare(order.size());
  pool.parallel_for_dynamic(static_cast<int64_t>(trace.tracks.size()), 1,
                            [&](int64_t begin, int64_t end, int) {
                              for (int64_t t = begin; t < end; ++t) {
                                const Track& track = trace.tracks[static_cast<size_t>(t)];
                                const size_t n = track.end - track.begin;
                                sort_runs(std::span(order).subspan(track.begin, n),
                                          std::span(spare).subspan(track.begin, n), less);
                              }
                            });
  return order;
}

void permute(std::span<const uint32_t> order, ThreadPool& pool, Events& events) {
  permute(order, pool, events.start_ns);
  permute(order, pool, events.duration_ns);
  permute(order, pool, events.offset);
  permute(order, pool, events.name);
  permute(order, pool, events.correlation);
  permute(order, pool, events.detail);
  permute(order, pool, events.track);
  permute(order, pool, events.category);
  permute(order, pool, events.phase);
}

}  // namespace hadal::trace
