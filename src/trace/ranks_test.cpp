#include "trace/ranks.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/generate.h"
#include "trace/hand_trace.h"
#include "trace/report_ranks.h"
#include "trace/timeline_data.h"

namespace hadal::trace {
namespace {

std::vector<int> ranks_of(std::vector<RankSource> sources) {
  const Result<std::vector<int>> ranks = assign_ranks(sources);
  EXPECT_TRUE(ranks) << ranks.error().message;
  return ranks ? *ranks : std::vector<int>();
}

TEST(RankNames, FromTheTraceTheNameOrTheOrder) {
  using Ranks = std::vector<int>;
  EXPECT_EQ(ranks_of({{"a.json", 3}, {"b.json", 0}}), (Ranks{3, 0}));
  EXPECT_EQ(ranks_of({{"d/rank12.json"}, {"d/rank-3_x.json"}}), (Ranks{12, 3}));
  EXPECT_EQ(ranks_of({{"Rank_7.9.json"}}), (Ranks{7}));
  EXPECT_EQ(ranks_of({{"job8_r1.json"}, {"job8_r0.json"}}), (Ranks{1, 0}));
  EXPECT_EQ(ranks_of({{"node8.17.pt.json"}, {"node8.4.pt.json"}}), (Ranks{17, 4}));
  EXPECT_EQ(ranks_of({{"a1b1.json"}, {"a2b2.json"}}), (Ranks{0, 1}));  // two numbers differ
  EXPECT_EQ(ranks_of({{"x.json"}, {"y.json", 0}, {"z.json"}}), (Ranks{1, 0, 2}));
  EXPECT_EQ(ranks_of({{"rank99999999999999.json"}, {"."}, {""}}), (Ranks{0, 1, 2}));
  EXPECT_TRUE(ranks_of({}).empty());
}

TEST(RankNames, TwoOfOneRankAreAnError) {
  const std::vector<RankSource> sources = {{"a.json", 3}, {"b.json", 1}, {"c.json", 3}};
  const Result<std::vector<int>> ranks = assign_ranks(sources);
  ASSERT_FALSE(ranks);
  EXPECT_NE(ranks.error().message.find("a.json and c.json are both traces of rank 3"),
            std::string::npos);
}

/// Traces with their views.
struct Job {
  std::vector<std::unique_ptr<Trace>> traces;
  std::vector<GpuView> views;
  std::vector<int> ranks;

  void add(Trace trace) {
    traces.push_back(std::make_unique<Trace>(std::move(trace)));
    views.push_back(gpu_view(*traces.back(), Rules()));
    ranks.push_back(static_cast<int>(ranks.size()));
  }
  RanksUse compare() const { return compare_ranks(views, ranks); }
};

CollectiveInfo all_reduce(const std::string& group, uint32_t size) {
  return {.collective = "allreduce",
          .dtype = "Float",
          .group = group,
          .group_description = "",
          .group_ranks = "",
          .in_elements = 1000,
          .out_elements = 1000,
          .group_size = size};
}

TEST(Ranks, ClocksWaitsAndBandwidthOfThreeRanks) {
  Job job;
  // In true time all three end at 1000 k + 500; rank 2 starts last, 100 before the end.
  const int64_t offsets[] = {0, 7'000, -50'000};
  const int64_t lateness[] = {0, 100, 300};
  for (int r = 0; r < 3; ++r) {
    HandTrace t;
    for (int k = 0; k < 5; ++k) {
      const int64_t start = 1000 * k + 100 + lateness[r];
      t.kernel(20, "ncclDevKernel_AllReduce", 100'000 + offsets[r] + start, 1000 * k + 500 - start);
      t.collective(all_reduce("0", 3), k);
    }
    job.add(t.trace());
  }
  const RanksUse use = job.compare();
  ASSERT_EQ(use.collectives.size(), 5U);
  EXPECT_EQ(use.num_components, 1);
  EXPECT_EQ(use.ranks[1].offset_ns - use.ranks[0].offset_ns, 7'000);
  EXPECT_EQ(use.ranks[2].offset_ns - use.ranks[0].offset_ns, -50'000);
  EXPECT_EQ(use.ranks[0].residual_ns, 0);
  EXPECT_EQ(use.ranks[0].wait_ns, 5 * 300);
  EXPECT_EQ(use.ranks[1].wait_ns, 5 * 200);
  EXPECT_EQ(use.ranks[2].wait_ns, 0);
  EXPECT_EQ(use.straggler, 2U);
  EXPECT_TRUE(use.straggler_stands_out);
  EXPECT_EQ(use.straggler_lead_ns, 5 * 250);
  EXPECT_EQ(use.ranks[2].last, 5U);
  const CollectiveKind& kind = use.kinds[0];
  EXPECT_TRUE(kind.by_sequence);
  EXPECT_EQ(kind.start_skew.max_ns, 300);
  EXPECT_EQ(kind.end_skew.max_ns, 0);
  EXPECT_EQ(kind.latency.median_ns, 100);
  EXPECT_EQ(kind.bytes, 4000U);
  EXPECT_DOUBLE_EQ(kind.algbw_gb_s, 40);
  EXPECT_DOUBLE_EQ(kind.busbw_gb_s, 40 * 4.0 / 3);
}

TEST(Ranks, GroupsArePutTogetherOverSharedRanks) {
  // Two nodes of two ranks: {0,1}, {2,3} and {0,2}; clocks of node 1 are 5'000 ahead, that of rank
  // 3 another 10. Rank 4 has collectives with nobody.
  Job job;
  const int64_t offsets[] = {0, 0, 5'000, 5'010, 0};
  for (int r = 0; r < 5; ++r) {
    HandTrace t;
    for (int k = 0; k < 20; ++k) {
      const auto add = [&](const std::string& group, int64_t at) {
        t.kernel(20, "ncclDevKernel", offsets[r] + 1000 * k + at, 100);
        t.collective(all_reduce(group, 2), k);
      };
      if (r < 2) add("tp0", 0);
      if (r == 2 || r == 3) add("tp1", 0);
      if (r == 0 || r == 2) add("dp", 300);
      if (r == 4) add("alone", 600);
    }
    job.add(t.trace());
  }
  const RanksUse use = job.compare();
  EXPECT_EQ(use.num_components, 2);
  EXPECT_EQ(use.ranks[4].component, 1);
  for (int r = 0; r < 4; ++r) {
    EXPECT_EQ(use.ranks[r].component, 0);
    EXPECT_EQ(use.ranks[r].offset_ns - use.ranks[0].offset_ns, offsets[r]) << r;
    EXPECT_EQ(use.ranks[r].wait_ns, 0) << r;
  }
  EXPECT_FALSE(use.straggler_stands_out);
}

TEST(Ranks, DriftIsTakenOut) {
  Job job;
  for (int r = 0; r < 3; ++r) {
    HandTrace t;
    for (int64_t k = 0; k < 300; ++k) {
      const int64_t end = 10'000'000 * k + 500'000;                      // three seconds
      const int64_t shown = end + (r == 1 ? end / 10'000 + 77'000 : 0);  // 100 ppm
      t.kernel(20, "internode::notify_dispatch", shown - 100'000, 100'000);
    }
    job.add(t.trace());
  }
  const RanksUse use = job.compare();
  EXPECT_NEAR(use.ranks[1].drift_ppm, 100, 0.1);
  EXPECT_NEAR(use.ranks[0].drift_ppm, 0, 0.001);
  EXPECT_LT(use.ranks[1].residual_ns, 100);
  for (const Collective& c : use.collectives) EXPECT_LT(c.end_skew_ns, 1'000);
}

TEST(Ranks, SaysWhatIsMissingAndWeak) {
  Job job;
  for (int r = 0; r < 2; ++r) {
    HandTrace t;
    t.add(Category::kUserAnnotation, -1, r == 0 ? "ProfilerStep#3" : "ProfilerStep#4", 0, 10);
    t.kernel(20, "internode::dispatch", 100, 50 + r);
    Trace trace = t.trace();
    trace.world_size = 16;
    job.add(std::move(trace));
  }
  const RanksUse use = job.compare();
  EXPECT_EQ(use.missing.size(), 14U);
  std::string all;
  for (const std::string& note : use.notes) all += note + "\n";
  EXPECT_NE(all.find("14 of 16 ranks have no trace here (2, 3, 4, 5, 6, 7, 8, 9 and 6 more)"),
            std::string::npos);
  EXPECT_NE(all.find("not of the same steps"), std::string::npos);
  EXPECT_NE(all.find("matched by name and order"), std::string::npos);
  EXPECT_NE(all.find("which rank waited for which"), std::string::npos);
}

TEST(Ranks, OneOrNoTraceOrNoCollective) {
  EXPECT_EQ(compare_ranks({}, {}).straggler, kNone);
  Job job;
  job.add(HandTrace().kernel(7, "gemm", 0, 100).trace());
  EXPECT_EQ(job.compare().straggler, kNone);
  job.add(HandTrace().kernel(7, "gemm", 0, 150).trace());
  job.add(HandTrace().trace());
  const RanksUse use = job.compare();
  EXPECT_EQ(use.straggler, kNone);
  EXPECT_EQ(use.slowest_compute, 1U);
  EXPECT_DOUBLE_EQ(use.ranks[1].compute_ratio, 1.2);
  EXPECT_TRUE(to_json(use)["straggler"].is_null());
}

TEST(Ranks, AbsurdClocksDoNotOverflow) {
  Job job;
  for (const int64_t base : {INT64_MIN, INT64_MAX, int64_t{0}}) {
    HandTrace t;
    for (int k = 0; k < 30; ++k) {
      t.kernel(20, "internode::notify_dispatch", INT64_MAX / 40 * k, INT64_MAX / 40);
    }
    Trace trace = t.trace();
    trace.base_ns = base;
    job.add(std::move(trace));
  }
  const RanksUse use = job.compare();
  EXPECT_EQ(use.collectives.size(), 30U);
  EXPECT_EQ(to_json(ranks_tab(use))["id"], "ranks");
  EXPECT_EQ(clocks_json(use).size(), 3U);
  EXPECT_TRUE(rank_findings_json(use).is_array());
  std::vector<int64_t> offsets;
  for (const RankUse& rank : use.ranks) offsets.push_back(rank.offset_ns);
  EXPECT_EQ(encode_timeline(job.views, offsets, 1000).ranks.size(), 3U);
}

/// A generated job, read back.
Job generated(const gen::Scenario& scenario, gen::Answers& answers) {
  Job job;
  Result<gen::Generated> made = gen::generate(scenario);
  EXPECT_TRUE(made) << made.error().message;
  if (!made) return job;
  for (size_t r = 0; r < made->documents.size(); ++r) {
    Result<Trace> trace = parse(made->documents[r], "rank" + std::to_string(r) + ".json");
    EXPECT_TRUE(trace) << trace.error().message;
    if (trace) job.add(std::move(*trace));
  }
  answers = std::move(made->answers);
  return job;
}

TEST(Ranks, GeneratedJobsWithKnownClocksAndStragglers) {
  for (const gen::Schedule schedule :
       {gen::Schedule::kSequential, gen::Schedule::kDualPipe, gen::Schedule::kFsdp}) {
    gen::Scenario scenario;
    scenario.schedule = schedule;
    scenario.ranks = 8;
    scenario.faults = {{.kind = gen::FaultKind::kStraggler, .rank = 5, .amount = 30}};
    gen::spread_clocks(scenario, 3'000'000, 0);
    gen::Answers answers;
    const Job job = generated(scenario, answers);
    ASSERT_EQ(job.views.size(), 8U);
    const RanksUse use = job.compare();
    EXPECT_EQ(use.num_components, 1);
    EXPECT_EQ(use.collectives.size(), static_cast<size_t>(answers.num_collectives));
    ASSERT_NE(use.straggler, kNone);
    EXPECT_EQ(static_cast<int>(use.straggler), answers.straggler);
    EXPECT_TRUE(use.straggler_stands_out);
    EXPECT_EQ(use.slowest_compute, 5U);
    for (size_t r = 0; r < 8; ++r) {
      const int64_t offset = answers.ranks[r].clock_offset_ns - answers.ranks[0].clock_offset_ns;
      EXPECT_EQ(use.ranks[r].offset_ns - use.ranks[0].offset_ns, offset) << r;
      EXPECT_EQ(use.ranks[r].wait_ns, answers.ranks[r].collective_wait_ns) << r;
    }
  }
}

}  // namespace
}  // namespace hadal::trace
