#include <algorithm>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "trace/copy_events.h"
#include "trace/cut.h"
#include "trace/number.h"
#include "trace/trace.h"

namespace hadal::trace {
namespace {

constexpr int64_t kPidsPerRank = 10'000'000;  // more than Linux gives out: 2^22

// How one rank's trace is moved.
struct Rank {
  std::string path;
  int rank = 0;
  int64_t base_ns = 0;        // baseTimeNanoseconds
  int64_t shift_ns = 0;       // added to every time of the text
  uint64_t correlations = 0;  // added to every correlation, and to ids of arrows that are one
  uint64_t flows = 0;         // added to every other id of an arrow
};

class MergePass : public EventPass {
 public:
  MergePass(Source& source, const Rank& rank, TraceWriter& writer)
      : EventPass(source, rank.path), rank_(rank), writer_(writer) {}

  Result<> run() { return read_document(); }
  const Members& members() const { return members_; }

  const char* take(const RawEvent& event, uint64_t, std::string_view text) override {
    Edits edits;
    move_time(event, edits);
    move_pid(event, edits);
    add(event, Field::kCorrelation, rank_.correlations, edits);
    add(event, Field::kWaitCorrelation, rank_.correlations, edits);
    move_id(event, edits);
    if (event.phase == 'M' && event[Field::kName] == "process_name" &&
        event.has(Field::kMetaName) && is_quoted(event[Field::kMetaName])) {
      edits.replace(event[Field::kMetaName],
                    fmt::format("rank {} {}", rank_.rank, event[Field::kMetaName]));
    }
    writer_.event(edits.apply(text));
    return nullptr;
  }

 private:
  void move_time(const RawEvent& event, Edits& edits) const {
    const std::optional<int64_t> time = parse_time(event[Field::kTs]);
    if (!time || *time == 0 || rank_.shift_ns == 0) return;  // 0 is no time
    int64_t moved = 0;
    if (__builtin_add_overflow(*time, rank_.shift_ns, &moved)) return;
    edits.replace(event[Field::kTs], time_text(moved));
  }

  void move_pid(const RawEvent& event, Edits& edits) const {
    const std::string_view pid = event[Field::kPid];
    if (!event.has(Field::kPid) || pid.empty()) return;
    const std::optional<uint64_t> number = parse_unsigned(pid);
    if (number && *number < kPidsPerRank) {
      edits.replace(pid,
                    fmt::format("{}", static_cast<int64_t>(*number) + kPidsPerRank * rank_.rank));
    } else if (is_quoted(pid)) {
      edits.replace(pid, fmt::format("rank {} {}", rank_.rank, pid));
    } else {
      edits.replace(pid, fmt::format("\"rank {} {}\"", rank_.rank, pid));
    }
  }

  static void add(const RawEvent& event, Field field, uint64_t offset, Edits& edits) {
    const std::optional<uint64_t> number = parse_unsigned(event[field]);
    if (!number || *number == 0 || offset == 0) return;
    edits.replace(event[field], fmt::format("{}", *number + offset));
  }

  void move_id(const RawEvent& event, Edits& edits) const {
    if (!event.has(Field::kId) || event[Field::kId].empty()) return;
    const std::string_view id = event[Field::kId];
    if (parse_unsigned(id)) {
      add(event, Field::kId, event.category.forward_backward ? rank_.flows : rank_.correlations,
          edits);
    } else if (is_quoted(id)) {
      edits.replace(id, fmt::format("rank {} {}", rank_.rank, id));
    }
  }

  const Rank& rank_;
  TraceWriter& writer_;
};

// The members without an own array of events and without this rank's number.
Members common_members(const Members& first, size_t num_ranks, int64_t base_ns) {
  Members members = first;
  members.erase("traceEvents");
  members["distributedInfo"] = fmt::format("{{\"world_size\": {}}}", num_ranks);
  members["traceName"] = "\"merged\"";
  members.erase("baseTimeNanoseconds");
  if (base_ns != 0) members["baseTimeNanoseconds"] = fmt::format("{}", base_ns);
  return members;
}

class MemberPass : public EventPass {
 public:
  using EventPass::EventPass;
  Result<Members> run() {
    TRY(read_document());
    return members_;
  }
  const char* take(const RawEvent&, uint64_t, std::string_view) override { return nullptr; }
};

Result<Members> members_of(const std::string& path) {
  const std::unique_ptr<Source> source = TRY(open_source(path));
  return MemberPass(*source, path).run();
}

int64_t base_of(const Members& members) {
  const auto found = members.find("baseTimeNanoseconds");
  if (found == members.end()) return 0;
  return std::clamp(parse_integer(found->second).value_or(0), -kTimeMaxNs, kTimeMaxNs);
}

// Ranks in the order of `paths`, with the room that their numbers need. Adds to the summary what
// the files hold and lack.
Result<std::vector<Rank>> plan(std::span<const std::string> paths,
                               std::span<const int64_t> offsets_ns, Members& first,
                               CutSummary& summary) {
  std::vector<Rank> ranks;
  std::set<int> named;
  uint64_t correlations = 0, flows = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    const Trace trace = TRY(load(paths[i]));
    const Members members = TRY(members_of(paths[i]));
    if (i == 0) first = members;
    Rank& rank = ranks.emplace_back();
    rank.path = paths[i];
    rank.rank = trace.rank;
    summary.rows += trace.events.size();
    summary.lost_events += trace.health.lost_events;
    if (trace.health.truncated) summary.truncated.push_back(trace.path);
    rank.base_ns = base_of(members);
    rank.shift_ns = offsets_ns.empty() ? 0 : offsets_ns[i];
    rank.correlations = correlations;
    rank.flows = flows;
    if (trace.rank >= 0) named.insert(trace.rank);
    uint64_t most = 0;
    for (const uint32_t c : trace.events.correlation) most = std::max<uint64_t>(most, c);
    for (const Flow& flow : trace.flows) {
      if (flow.forward_backward) {
        flows = std::max(flows, rank.flows + flow.id + 1);
      } else if (flow.id <= UINT32_MAX) {
        most = std::max(most, flow.id);
      }
    }
    correlations += most + 1;
    if (correlations > UINT32_MAX) {
      return fail(Code::kUnsupported,
                  fmt::format("{}: the correlations of all ranks together need more than 32 bits",
                              paths[i]));
    }
  }
  if (named.size() != paths.size()) {
    for (size_t i = 0; i < paths.size(); ++i) ranks[i].rank = static_cast<int>(i);
  }
  return ranks;
}

}  // namespace

Result<CutSummary> merge(std::span<const std::string> paths, std::span<const int64_t> offsets_ns,
                         const std::string& output) {
  if (paths.empty()) return fail(Code::kInvalidArgument, "no traces to merge");
  if (!offsets_ns.empty() && offsets_ns.size() != paths.size()) {
    return fail(Code::kInvalidArgument, fmt::format("{} clock offsets for {} traces; there must be "
                                                    "one for each or none",
                                                    offsets_ns.size(), paths.size()));
  }
  Members first;
  CutSummary summary;
  std::vector<Rank> ranks = TRY(plan(paths, offsets_ns, first, summary));
  const int64_t base = std::ranges::min(ranks, {}, &Rank::base_ns).base_ns;
  TraceWriter writer(TRY(Output::create(output)));
  writer.members(common_members(first, paths.size(), base));
  for (Rank& rank : ranks) {
    rank.shift_ns += rank.base_ns - base;
    const std::unique_ptr<Source> source = TRY(open_source(rank.path));
    TRY(MergePass(*source, rank, writer).run());
  }
  TRY(writer.finish({}));
  summary.events = writer.num_events();
  return summary;
}

}  // namespace hadal::trace
