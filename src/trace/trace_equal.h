// Are two traces the same? For tests only.
#pragma once

#include <tuple>

#include <gtest/gtest.h>

#include "trace/trace.h"

namespace hadal::trace {

/// Everything that the order of the events in the file must not change.
inline void expect_same(const Trace& a, const Trace& b) {
  EXPECT_EQ(a.events.start_ns, b.events.start_ns);
  EXPECT_EQ(a.events.duration_ns, b.events.duration_ns);
  EXPECT_EQ(a.events.name, b.events.name);
  EXPECT_EQ(a.events.correlation, b.events.correlation);
  EXPECT_EQ(a.events.detail, b.events.detail);
  EXPECT_EQ(a.events.track, b.events.track);
  EXPECT_EQ(a.events.category, b.events.category);
  EXPECT_EQ(a.events.phase, b.events.phase);
  EXPECT_EQ(a.names, b.names);
  EXPECT_EQ(a.launches, b.launches);
  EXPECT_EQ(a.copies, b.copies);
  EXPECT_EQ(a.collective_infos, b.collective_infos);
  EXPECT_EQ(a.base_ns, b.base_ns);
  EXPECT_EQ(a.end_ns, b.end_ns);
  EXPECT_EQ(a.resolution_ns, b.resolution_ns);
  const auto flow = [](const Flow& f) {
    return std::tuple(f.id, f.time_ns, f.track, f.phase, f.forward_backward);
  };
  ASSERT_EQ(a.flows.size(), b.flows.size());
  for (size_t i = 0; i < a.flows.size(); ++i) ASSERT_EQ(flow(a.flows[i]), flow(b.flows[i]));
  const auto call = [](const CollectiveCall& c) { return std::tuple(c.row, c.info, c.sequence); };
  ASSERT_EQ(a.collectives.size(), b.collectives.size());
  for (size_t i = 0; i < a.collectives.size(); ++i) {
    ASSERT_EQ(call(a.collectives[i]), call(b.collectives[i]));
  }
  const auto track = [](const Track& t) {
    return std::tuple(t.kind, t.device, t.stream, t.process, t.thread, t.process_name,
                      t.thread_name, t.sort_index, t.begin, t.end);
  };
  ASSERT_EQ(a.tracks.size(), b.tracks.size());
  for (size_t i = 0; i < a.tracks.size(); ++i) EXPECT_EQ(track(a.tracks[i]), track(b.tracks[i]));
  EXPECT_EQ(a.health.lost_events, b.health.lost_events);
  EXPECT_EQ(a.health.overlapping_in_stream, b.health.overlapping_in_stream);
  EXPECT_EQ(a.health.replaced_bytes, b.health.replaced_bytes);
  EXPECT_EQ(a.health.clipped_durations, b.health.clipped_durations);
}

/// The same, and where every event stands.
inline void expect_identical(const Trace& a, const Trace& b) {
  expect_same(a, b);
  EXPECT_EQ(a.events.offset, b.events.offset);
  EXPECT_EQ(a.health.truncated, b.health.truncated);
  EXPECT_EQ(a.health.truncated_at, b.health.truncated_at);
  EXPECT_EQ(a.document_bytes, b.document_bytes);
  ASSERT_EQ(a.health.losses.size(), b.health.losses.size());
  for (size_t i = 0; i < a.health.losses.size(); ++i) {
    EXPECT_EQ(a.health.losses[i].offset, b.health.losses[i].offset);
    EXPECT_EQ(a.health.losses[i].reason, b.health.losses[i].reason);
  }
}

}  // namespace hadal::trace
