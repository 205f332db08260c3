// Finding events: a small language over the columns of a trace.
//
//   cat=kernel stream=7 dur>1ms name~gemm
//   (class=communication or name~memcpy) and not region~attn(B)
//
// A condition is FIELD OPERATOR VALUE. Conditions side by side must all hold ("and" may be
// written); "or" binds weaker; "not" negates the condition or the parentheses after it. A value
// ends at a blank or at a parenthesis that it did not open; 'quotes' or "quotes" hold any text.
//
//   text     name cat track thread process class role region
//   numbers  stream device corr id rank blocks regs
//   sizes    smem bytes                      KB MB GB, KiB MiB GiB
//   times    start end dur delay             ns us ms s; us where there is no unit
//
// Operators: = != for all, < <= > >= for numbers, ~ !~ for text: a glob of rules.h, which ignores
// case and matches anywhere unless anchored by ^ and $. = on text is exact; for a region it may
// leave out the index ("attn(B)" or "attn(B)#3").
//
// An event that has no such field (the stream of an operator, the bytes of a kernel) meets no
// condition on it, != and !~ included; "not" turns that around.
//
// `class`, `role`, `region` and `delay` (from the end of the launch call to the start, at least 0)
// are of GPU activities inside the view; `id` is the row of the event, `track` the name of its
// thread or stream as the trace writes it.
//
// Conditions are evaluated column by column, text once per distinct name. Pure; a Query may be used
// from any number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

enum class QueryField : uint8_t {
  kName,
  kCategory,
  kTrack,
  kThread,
  kProcess,
  kClass,
  kRole,
  kRegion,
  kStream,
  kDevice,
  kCorrelation,
  kId,
  kRank,
  kBlocks,
  kRegisters,
  kSharedMemory,
  kBytes,
  kStart,
  kEnd,
  kDuration,
  kDelay,
};
enum class QueryOperator : uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kMore,
  kMoreEqual,
  kLike,
  kNotLike
};

/// A parsed query: nodes in postfix order (children before their parent), the last is the root; no
/// node at all finds everything.
struct Query {
  enum class Kind : uint8_t { kCondition, kAnd, kOr, kNot };
  struct Node {
    Kind kind = Kind::kCondition;
    QueryField field = QueryField::kName;
    QueryOperator op = QueryOperator::kEqual;
    std::string text;   // of text fields
    double number = 0;  // of the others; times in ns
  };
  std::vector<Node> nodes;
};

/// kInvalidArgument: what is wrong, at which character (counted from 1), and what is allowed there.
Result<Query> parse_query(std::string_view text);

/// The rows that match and reach into the view's window, ascending; those of the host whatever the
/// view's device is. `rank` is what `rank=` compares.
std::vector<uint32_t> find_events(const GpuView& view, int rank, const Query& query);

enum class QueryOrder : uint8_t { kStart, kDuration, kDelay, kBytes, kName };

/// An event that a query found, as tables and JSON show it.
struct FoundEvent {
  const GpuView* view = nullptr;
  int rank = 0;
  uint32_t row = 0;           // in Trace::events
  uint32_t activity = kNone;  // in GpuView::activities
  int64_t delay_ns = -1;      // of a launched activity
  std::string id;             // "rank:row", stable for a file; rank 0 where none is known
  std::string region;         // "attn(B)#3"; empty outside of all
};
struct Found {
  uint64_t matched = 0;            // in all
  std::vector<FoundEvent> events;  // the first `limit` of them
};

/// Runs the query over traces and their ranks, and sorts what it finds over all of them: by start
/// or by name, or the longest or largest first; events without the field come last, ties by start,
/// trace and row. The views must outlive the result.
Found find_events(std::span<const GpuView> views, std::span<const int> ranks, const Query& query,
                  QueryOrder order, size_t limit);

/// What a track is called: the name of its thread or stream, or its `tid`.
std::string_view track_name(const Track& track);

/// {id, category, name, start_us, duration_us, track, process, device, stream, correlation, class,
/// role, region, delay_us, grid, block, ...}; without what the event lacks.
Json to_json(const FoundEvent& found);

}  // namespace hadal::trace
