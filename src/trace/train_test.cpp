// DeepSeek's published training trace. The figures were derived from the file by other means, with
// the definitions of the headers.
#include <algorithm>

#include <gtest/gtest.h>

#include "trace/comm.h"
#include "trace/findings.h"
#include "trace/gates.h"
#include "trace/launch.h"
#include "trace/regions.h"
#include "trace/streams.h"
#include "trace/summary.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

class TrainTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!train_.ok()) GTEST_SKIP() << train_.why();
  }
  static constexpr int64_t kUs = 1000;
  Train train_;
};

TEST_F(TrainTest, Summary) {
  const Summary s = summarize(train_.view());
  EXPECT_EQ(s.num_activities, 983U);
  EXPECT_EQ(s.span_ns, 129'012 * kUs);
  EXPECT_EQ(s.idle_ns, 497 * kUs);
  EXPECT_EQ(s.communication_ns, 113'030 * kUs);
  EXPECT_EQ(s.compute_ns, 124'338 * kUs);
  EXPECT_EQ(s.exposed_communication_ns, 4'162 * kUs);
  EXPECT_NEAR(s.overlap_percent(), 96.32, 0.005);
  EXPECT_EQ(s.structural_exposed.size(), 13U);
  EXPECT_EQ(s.structural_exposed_ns, 2'825 * kUs);
  EXPECT_EQ(s.exposed.size() - s.structural_exposed.size(), 647U);
}

TEST_F(TrainTest, EveryActivityHasALaunchAndARegion) {
  EXPECT_EQ(train_.view().unlinked, 0U);
  EXPECT_EQ(train_.view().outside_regions, 0U);
  EXPECT_EQ(train_.view().regions.size(), 40U);
}

TEST_F(TrainTest, BarriersGrow) {
  const CommUse use = comm_use(train_.view());
  EXPECT_EQ(use.roles[1].sum_ns, 32'578 * kUs);
  const auto growth = std::ranges::find_if(use.by_region, [](const RoleInRegions& row) {
    return row.region == "combine(F)" && row.role == Role::kBarrier;
  });
  ASSERT_NE(growth, use.by_region.end());
  EXPECT_EQ(growth->sum_ns,
            (std::vector<int64_t>{1'323 * kUs, 2'186 * kUs, 3'674 * kUs, 3'578 * kUs}));
}

TEST_F(TrainTest, HostRunsAhead) {
  const auto streams = stream_use(train_.view());
  const LaunchUse use = launch_use(train_.view(), streams);
  EXPECT_EQ(use.delay.median_ns, 15'494 * kUs);
  EXPECT_EQ(use.negative_delays, 1U);
  EXPECT_FALSE(use.launch_bound);
  EXPECT_EQ(streams[0].kernel_wait_ns, 1'797 * kUs);
}

TEST_F(TrainTest, TheTwoWaitsThatCostMost) {
  const auto all = gates(train_.view());
  ASSERT_GE(all.size(), 2U);
  EXPECT_EQ(region_label(train_.view(), all[0].region), "attn(B)#3");
  EXPECT_EQ(all[0].stall_ns, 1'761 * kUs);
  EXPECT_EQ(region_label(train_.view(), train_.view().activities[all[0].released_by].region),
            "dispatch(B)#3");
  EXPECT_EQ(region_label(train_.view(), all[1].region), "mlp(B)#3");
  EXPECT_EQ(all[1].stall_ns, 274 * kUs);
  const Findings findings = find(train_.view());
  const auto wait = std::ranges::find(findings.list, "exposed:dispatch(B)#3", &Finding::id);
  ASSERT_NE(wait, findings.list.end());
  EXPECT_EQ(wait->ceiling_ns, 1'758 * kUs);
}

}  // namespace
}  // namespace hadal::trace
