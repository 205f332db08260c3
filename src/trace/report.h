// `hadal trace report`: one HTML file that shows a trace offline, however it is opened.
//
// The page is web/trace/*, built into the program, and three things put into it: a JSON document
// (what the analyses say, below), and the timeline (trace/timeline_data.h) as deflated,
// base64-coded text in script elements that no browser runs. The page fetches nothing: its content
// security policy forbids it, so a report can be mailed and opened from a disk. Equal inputs give
// equal bytes.
//
// Names come from files of strangers. They reach the page only inside of JSON whose '<' is written
// \u003c and inside of the deflated payload, and the page puts them on the screen only as text.
//
// `analyses`, an ordered object, all of whose members may be missing:
//
//   "summary"   {"gpu": {"span_us", "busy_us", "idle_us", "compute_us", "communication_us",
//                "memory_us", "overlap_us", "exposed_communication_us", "exposed_memory_us",
//                "structural_exposed_us", "structural_exposed_pieces", "overlap_percent"}}
//               of the first rank; the five numbers of the top bar. For several ranks "ranks" may
//               be an array of such objects with one "gpu" each, in the order of
//               ReportInput::ranks.
//   "findings"  [{"id", "severity": "high"|"medium"|"low"|"info", "claim", "action",
//                "confidence": "measured"|"derived"|"inferred", "ceiling_us", "ceiling_percent",
//                "evidence": [{"start_us", "end_us", "label", "track"?, "rank"?}],
//                "rank"?, "all_ranks"?}]
//               in the order to show. `track` is a label or a number of a stream, `rank` an index
//               into ReportInput::ranks (default 0). Clicking zooms to the evidence; with
//               "all_ranks" in all ranks.
//   "clocks"    by rank {"offset_us", "residual_us", "drift_ppm", "component", "collectives"}: what
//               the timeline did to its clock, trace/ranks.h.
//   "tabs"      [{"id", "title", "rank"?, "notes"?: ["text", ...], "parts": [table or grid]}]
//               With "rank" a tab is about that rank, is there while that rank is shown, and its
//               intervals are on that rank's clock; without, it is about all, on the first one's.
//     table     {"id"?, "title"?, "columns": [{"key", "title", "unit"?, "align"?: "left"|"right"}],
//                "rows": [[cell, ...]], "intervals_us"?: [[start, end] or null], "notes"?,
//                "rows_total"?}
//               A cell is null, a string or a number. A click on a row zooms to its interval.
//               `rows_total` says how many there are where not all are given. The column of the
//               title "full name" is the tip of the first cell, and what a click searches for.
//     grid      {"title"?, "rows": ["label"], "columns": ["label"], "unit"?, "neutral"?,
//                "cells": [[number or null, or {"value", "start_us", "end_us"}]],
//                "rows_total"?, "columns_total"?}
//               drawn as a heat map of what is above `neutral`; a cell with an interval can be
//               clicked.
//
// All times are microseconds since the first event of their rank.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"
#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

struct ReportInput {
  std::span<const GpuView> ranks;  // at least one; each points to its Trace
  std::string title;
  const Json* analyses = nullptr;  // as above; null: no figures, findings or tabs
  /// What the clock of rank i shows too much (RankUse::offset_ns). Empty: clocks agree.
  std::span<const int64_t> clock_offsets_ns;
  /// Host events that the file holds one by one. Of more, the shortest are merged with their
  /// neighbours, and the page says so. GPU events are never merged.
  uint64_t host_events_max = 2'000'000;
};

/// The page. kInvalidArgument without ranks; kInternal if compression fails.
Result<std::string> render_report(const ReportInput& input);

/// render_report() into a file, which is replaced as a whole or not at all (base/files.h).
Result<> write_report(const ReportInput& input, const std::string& path);

}  // namespace hadal::trace
