// What to change, in order of what it could gain.
//
// A finding is a claim with its evidence, an upper bound of what acting on it can gain, how sure
// the claim is, and an action. The bound (ceiling) is the length of a set of time, `recoverable`:
// time of the span that would go if the cause went. Sets of different findings may overlap, so
// ceilings do not add up; `additional` is what a finding holds beyond all findings before it in the
// list, and those do: their sum is the length of the union.
//
// Confidence: measured (read from times in the trace), derived (follows from fields of the trace by
// a formula), inferred (a plausible reading that the trace cannot prove).
#pragma once

#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/json.h"
#include "trace/model.h"
#include "trace/sheet.h"

namespace hadal::trace {

enum class Severity : uint8_t {
  kHigh,
  kMedium,
  kLow,
  kInfo
};  // of the ceiling: 1 %, 0.3 % of span
enum class Confidence : uint8_t { kMeasured, kDerived, kInferred };
std::string_view name(Severity severity);
std::string_view name(Confidence confidence);

struct Evidence {
  Interval time;
  std::string label;
};

struct Finding {
  std::string id;           // "exposed:dispatch(B)#3": stable for one trace
  std::string claim = {};   // one sentence, with its figures
  std::string action = {};  // one or two sentences
  Confidence confidence = Confidence::kMeasured;
  std::vector<Evidence> evidence = {};  // the largest first, at most kEvidenceMax
  IntervalSet recoverable = {};
  // Filled by rank_findings():
  Severity severity = Severity::kInfo;
  int64_t ceiling_ns = 0, additional_ns = 0;
};
inline constexpr size_t kEvidenceMax = 50;

struct Findings {
  int64_t span_ns = 0;
  int64_t ceiling_ns = 0;  // of all together: the length of the union
  std::vector<Finding> list = {};
  std::vector<std::string> cannot_tell = {};  // what this trace does not show
};

/// Runs all rules on a view; what `model` says of shapes and peaks goes before what the trace
/// suggests. Sorted by ceiling, then id.
Findings find(const GpuView& view, const Model& model = {});

/// The same for a caller that has Hardware(view, model) already.
struct Hardware;
Findings find(const GpuView& view, const Model& model, const Hardware& hardware);

/// Sorts, and fills ceilings and severities; for rules outside of find().
Findings rank_findings(int64_t span_ns, std::vector<Finding> list);

Json to_json(const Findings& findings);
Sheet findings_sheet(const Findings& findings);

}  // namespace hadal::trace
