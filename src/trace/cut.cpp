#include "trace/cut.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "trace/copy_events.h"
#include "trace/number.h"
#include "trace/trace.h"

namespace hadal::trace {
namespace {

struct Selection {
  std::vector<uint32_t> rows;          // kept, by offset
  std::vector<uint32_t> correlations;  // of kept rows, ascending
};

bool touches(const Events& e, size_t row, int64_t start, int64_t end) {
  if (e.start_ns[row] < 0 || e.start_ns[row] >= end) return false;
  return e.start_ns[row] >= start || e.end_ns(row) > start;
}

Selection select(const Trace& trace, int64_t start, int64_t end) {
  const Events& e = trace.events;
  Selection s;
  std::vector<bool> keep(e.size());
  for (size_t row = 0; row < e.size(); ++row) {
    keep[row] = touches(e, row, start, end);
    if (keep[row] && e.correlation[row] != 0) s.correlations.push_back(e.correlation[row]);
  }
  std::ranges::sort(s.correlations);
  const auto repeated = std::ranges::unique(s.correlations);
  s.correlations.erase(repeated.begin(), repeated.end());
  for (uint32_t row = 0; row < e.size(); ++row) {
    const bool launches = is_runtime_call(e.category[row]) && e.correlation[row] != 0 &&
                          std::ranges::binary_search(s.correlations, e.correlation[row]);
    if (keep[row] || launches) s.rows.push_back(row);
  }
  std::ranges::sort(s.rows, {}, [&e](uint32_t row) { return e.offset[row]; });
  return s;
}

class CutPass : public EventPass {
 public:
  CutPass(Source& source, const Trace& trace, int64_t start, int64_t end, int64_t origin,
          TraceWriter& writer)
      : EventPass(source, trace.path),
        trace_(trace),
        start_(start),
        end_(end),
        origin_(origin),
        selection_(select(trace, start, end)),
        writer_(writer) {}

  Result<CutSummary> run() {
    TRY(read_document());
    TRY(writer_.finish(members_));
    CutSummary summary{.events = writer_.num_events(),
                       .rows = selection_.rows.size(),
                       .lost_events = trace_.health.lost_events};
    if (trace_.health.truncated) summary.truncated.push_back(trace_.path);
    return summary;
  }

  const char* take(const RawEvent& event, uint64_t offset, std::string_view text) override {
    if (writer_.num_events() == 0) writer_.members(members_);
    switch (event.phase) {
      case 'M': writer_.event(text); break;
      case 'E': break;
      case 's':
      case 't':
      case 'f':
        if (is_inside(event) || is_arrow_of_kept(event)) writer_.event(text);
        break;
      case 'X':
      case 'B':
      case 'C':
      case 'i':
      case 'I':
      case 'R': row(event, offset, text); break;
      default:
        if (is_inside(event)) writer_.event(text);
    }
    return nullptr;
  }

 private:
  void row(const RawEvent& event, uint64_t offset, std::string_view text) {
    const std::vector<uint64_t>& offsets = trace_.events.offset;
    while (next_ < selection_.rows.size() && offsets[selection_.rows[next_]] < offset) ++next_;
    if (next_ == selection_.rows.size() || offsets[selection_.rows[next_]] != offset) return;
    writer_.event(text);
    if (event.phase == 'B') writer_.event(end_of(event, selection_.rows[next_]));
  }

  // The E of a B.
  std::string end_of(const RawEvent& event, uint32_t row) const {
    const auto as_written = [&](Field field) {
      if (!event.has(field) || event[field].empty()) return std::string("\"\"");
      return is_quoted(event[field]) ? fmt::format("\"{}\"", event[field])
                                     : std::string(event[field]);
    };
    return fmt::format(R"({{"ph": "E", "ts": {}, "pid": {}, "tid": {}, "name": {}, "cat": {}}})",
                       time_text(trace_.events.end_ns(row) + origin_), as_written(Field::kPid),
                       as_written(Field::kTid), as_written(Field::kName),
                       as_written(Field::kCategory));
  }

  bool is_inside(const RawEvent& event) const {
    const std::optional<int64_t> time = parse_time(event[Field::kTs]);
    return time && *time - origin_ >= start_ && *time - origin_ < end_;
  }

  bool is_arrow_of_kept(const RawEvent& event) const {
    if (event.category.forward_backward) return false;
    const std::optional<uint64_t> id = parse_unsigned(event[Field::kId]);
    return id && *id <= UINT32_MAX &&
           std::ranges::binary_search(selection_.correlations, static_cast<uint32_t>(*id));
  }

  const Trace& trace_;
  const int64_t start_, end_;
  const int64_t origin_;  // what time 0 of the trace is in the document
  Selection selection_;
  size_t next_ = 0;
  TraceWriter& writer_;
};

// The time in the document that is time 0 of the trace.
Result<int64_t> origin_of(const Trace& trace) {
  if (trace.events.size() == 0) return 0;
  const uint32_t first = 0;
  const std::vector<std::string> texts = TRY(read_events(trace, std::span(&first, 1)));
  const std::string padded = texts[0] + std::string(64, '\xff');
  RawEvent event;
  EventParser::parse_alone(padded.data(), padded.data() + texts[0].size(), event);
  return parse_time(event[Field::kTs]).value_or(0) - trace.events.start_ns[first];
}

}  // namespace

Result<CutSummary> cut(const std::string& path, int64_t start_ns, int64_t end_ns,
                       const std::string& output) {
  if (start_ns >= end_ns) {
    return fail(Code::kInvalidArgument,
                fmt::format("the window from {} ns to {} ns is empty", start_ns, end_ns));
  }
  const Trace trace = TRY(load(path));
  const int64_t origin = TRY(origin_of(trace));
  const std::unique_ptr<Source> source = TRY(open_source(path));
  TraceWriter writer(TRY(Output::create(output)));
  return CutPass(*source, trace, start_ns, end_ns, origin, writer).run();
}

}  // namespace hadal::trace
