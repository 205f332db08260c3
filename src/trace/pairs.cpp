#include "trace/pairs.h"

#include <algorithm>
#include <unordered_map>

#include "trace/chunk.h"

namespace hadal::trace {
namespace {

// The open B rows of one track.
class Open {
 public:
  void push(uint32_t row, uint32_t name) {
    by_name_[name].push_back(static_cast<uint32_t>(stack_.size()));
    stack_.push_back(row);
  }
  // The row that an E ends; kNone if there is none.
  uint32_t pop(uint32_t name, bool has_name) {
    if (!has_name) {
      drop_closed(stack_);
      if (stack_.empty()) return kNone;
      const uint32_t row = stack_.back();
      stack_.pop_back();
      return row;
    }
    std::vector<uint32_t>& places = by_name_[name];
    while (!places.empty()) {
      const uint32_t place = places.back();
      places.pop_back();
      if (place < stack_.size() && stack_[place] != kNone)
        return std::exchange(stack_[place], kNone);
    }
    return kNone;
  }
  const std::vector<uint32_t>& rows() const { return stack_; }  // kNone: closed

 private:
  static void drop_closed(std::vector<uint32_t>& stack) {
    while (!stack.empty() && stack.back() == kNone) stack.pop_back();
  }
  std::vector<uint32_t> stack_;
  std::unordered_map<uint32_t, std::vector<uint32_t>> by_name_;  // places on the stack
};

}  // namespace

void pair_begins(Trace& trace) {
  Events& e = trace.events;
  std::vector<uint32_t> rows;
  std::vector<int64_t> track_end(trace.tracks.size(), INT64_MIN);
  for (uint32_t row = 0; row < e.size(); ++row) {
    int64_t& end = track_end[e.track[row]];
    end = std::max(end, e.end_ns(row));
    if (e.phase[row] == kBegin || e.phase[row] == kEnd) rows.push_back(row);
  }
  std::ranges::sort(rows, {}, [&e](uint32_t row) {
    return std::tuple(e.track[row], e.start_ns[row], e.offset[row]);
  });
  for (size_t i = 0; i < rows.size();) {
    const uint16_t track = e.track[rows[i]];
    Open open;
    for (; i < rows.size() && e.track[rows[i]] == track; ++i) {
      const uint32_t row = rows[i];
      if (e.phase[row] == kBegin) {
        open.push(row, e.name[row]);
        continue;
      }
      const uint32_t begin = open.pop(e.name[row], !trace.names[e.name[row]].empty());
      if (begin == kNone) {
        ++trace.health.unmatched_ends;
      } else {
        e.duration_ns[begin] = e.start_ns[row] - e.start_ns[begin];
        e.phase[begin] = Phase::kComplete;
      }
    }
    for (const uint32_t row : open.rows()) {
      if (row == kNone) continue;
      ++trace.health.unmatched_begins;
      e.duration_ns[row] = track_end[track] - e.start_ns[row];
      e.phase[row] = Phase::kComplete;
    }
  }
}

}  // namespace hadal::trace
