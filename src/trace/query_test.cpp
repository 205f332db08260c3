#include "trace/query.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/hand_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

/// Names of what a query finds, in order of the rows.
std::string found(const GpuView& view, std::string_view text) {
  const Result<Query> query = parse_query(text);
  if (!query) return query.error().message;
  std::string names;
  for (const uint32_t row : find_events(view, 3, *query)) {
    names += std::string(names.empty() ? "" : " ") + std::string(view.trace->name_of(row));
  }
  return names;
}

std::string error(std::string_view text) {
  const Result<Query> query = parse_query(text);
  return query ? "parsed" : query.error().message;
}

Trace small() {
  HandTrace t;
  t.add(Category::kUserAnnotation, -1, "attn(B)", 0, 1000);
  t.add(Category::kCpuOp, -1, "aten::mm", 10, 5);
  t.launched(7, "gemm_a", 100'000, 2'000'000, 20);
  t.launched(7, "gemm_b", 2'100'000, 1'000, 5'000);
  t.launched(20, "ncclKernel", 100'000, 500, 30);
  t.add(Category::kMemset, 20, "Memset (Device)", 200'000, 100, 77);
  return t.trace();
}

TEST(Query, FindsByEveryKindOfField) {
  const Trace trace = small();
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_EQ(found(view, "cat=kernel"), "gemm_a gemm_b ncclKernel");
  EXPECT_EQ(found(view, "cat=kernel stream=7 dur>1ms name~gemm"), "gemm_a");
  EXPECT_EQ(found(view, "name=gemm_b"), "gemm_b");
  EXPECT_EQ(found(view, "name~^GEMM"), "gemm_a gemm_b");
  EXPECT_EQ(found(view, "class=communication or class=memory"), "ncclKernel Memset (Device)");
  EXPECT_EQ(found(view, "role=transfer"), "ncclKernel");
  EXPECT_EQ(found(view, "region=attn(B)"), "gemm_a ncclKernel");
  EXPECT_EQ(found(view, "region=attn(B)#0 (stream=7)"), "gemm_a");
  EXPECT_EQ(found(view, "region~attn(B)#1"), "");
  EXPECT_EQ(found(view, "corr=77"), "Memset (Device)");
  EXPECT_EQ(found(view, "start>=200us end<1000us"), "Memset (Device)");
  EXPECT_EQ(found(view, "start = 2.1ms"), "gemm_b");
  EXPECT_EQ(found(view, "delay>2ms"), "gemm_b");
  EXPECT_EQ(found(view, "rank=3 cat=cpu_op"), "aten::mm");
  EXPECT_EQ(found(view, "rank=2"), "");
  EXPECT_EQ(found(view, "id=0"), std::string(trace.name_of(0)));
  EXPECT_EQ(found(view, "name='Memset (Device)'"), "Memset (Device)");
  EXPECT_EQ(found(view, "").empty(), false);
}

TEST(Query, OrBindsWeakerThanAndAndNotBindsMost) {
  const Trace trace = small();
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_EQ(found(view, "stream=20 cat=kernel or name=gemm_b"), "gemm_b ncclKernel");
  EXPECT_EQ(found(view, "stream=20 and (cat=kernel or name=gemm_b)"), "ncclKernel");
  EXPECT_EQ(found(view, "cat=kernel not name~gemm"), "ncclKernel");
  EXPECT_EQ(found(view, "cat=kernel not (name~gemm or dur<1us)"), "");
  EXPECT_EQ(found(view, "not not name=gemm_b"), "gemm_b");
}

TEST(Query, WhatIsAbsentMeetsNoCondition) {
  const Trace trace = small();
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_EQ(found(view, "stream!=7"), "ncclKernel Memset (Device)");  // not the host's events
  EXPECT_EQ(found(view, "class!=compute cat=cpu_op"), "");
  EXPECT_EQ(found(view, "cat=cpu_op not stream=7"), "aten::mm");
  EXPECT_EQ(found(view, "region!~mlp"), "gemm_a ncclKernel");
  EXPECT_EQ(found(view, "bytes!=3"), "");
}

TEST(Query, ErrorsPointAtTheCharacter) {
  const auto says = [](std::string_view query, std::string_view text) {
    EXPECT_NE(error(query).find(text), std::string::npos) << error(query);
  };
  says("cat=kernel streem=7", "character 12: \"streem\" is no field; fields are name, cat");
  says("dur", "character 4: \"dur\" needs an operator: = != < <= > >=");
  says("name>3", "character 5: \"name\" cannot be compared by >");
  says("dur~3", "character 4: \"dur\" cannot be compared by ~");
  says("dur>3 parsecs", "character 7: \"parsecs\" is no field");
  says("dur>3parsecs", "character 5: \"3parsecs\" is no time");
  says("blocks>many", "character 8: \"many\" is no number");
  says("cat=kernels", "character 5: \"kernels\" is no cat; it must be one of");
  says("role=", "character 6: a value is missing");
  says("(cat=kernel", "character 1: this ( is not closed");
  says("cat=kernel)", "character 11: this ) closes nothing");
  says("name='x", "character 6: this quote is not closed");
  says("cat=kernel or", "character 14: a condition is missing");
  says("()", "character 2: a condition must begin with a field");
  says("not", "character 4: a condition is missing");
  says(std::string(5000, '('), "more than 100 levels");
  std::string nots;
  for (int i = 0; i < 5000; ++i) nots += "not ";
  says(nots, "more than 100 levels");
}

TEST(Query, SortsOverAllTraces) {
  const Trace trace = small();
  const Trace other = HandTrace().kernel(7, "gemm_z", 0, 1'000'000).trace();
  const std::vector<GpuView> views = {gpu_view(trace, Rules()), gpu_view(other, Rules())};
  const std::vector<int> ranks = {3, 4};
  const auto names = [&](QueryOrder order, size_t limit) {
    const Query query = *parse_query("cat=kernel or cat=gpu_memset");
    const Found found = find_events(views, ranks, query, order, limit);
    EXPECT_EQ(found.matched, 5U);
    std::string text;
    for (const FoundEvent& f : found.events) {
      text += std::string(f.view->trace->name_of(f.row)) + " ";
    }
    return text;
  };
  EXPECT_EQ(names(QueryOrder::kStart, 2), "gemm_z gemm_a ");
  EXPECT_EQ(names(QueryOrder::kDuration, 9), "gemm_a gemm_z gemm_b ncclKernel Memset (Device) ");
  EXPECT_EQ(names(QueryOrder::kDelay, 3), "gemm_b gemm_a ncclKernel ");
  EXPECT_EQ(names(QueryOrder::kName, 9), "Memset (Device) gemm_a gemm_b gemm_z ncclKernel ");
  EXPECT_EQ(names(QueryOrder::kName, 0), "");
}

TEST(Query, DescribesWhatAnEventHas) {
  const Trace trace = small();
  const std::vector<GpuView> views = {gpu_view(trace, Rules())};
  const std::vector<int> ranks = {3};
  const Found found = find_events(views, ranks, *parse_query("name=gemm_a or cat=gpu_memset"),
                                  QueryOrder::kStart, 9);
  ASSERT_EQ(found.events.size(), 2U);
  const Json gemm = to_json(found.events[0]), memset = to_json(found.events[1]);
  EXPECT_EQ(gemm["id"], "3:" + std::to_string(found.events[0].row));
  EXPECT_EQ(gemm["region"], "attn(B)#0");
  EXPECT_EQ(gemm["stream"], 7);
  EXPECT_EQ(memset["class"], "memory");
  EXPECT_FALSE(memset.contains("region"));
  EXPECT_FALSE(memset.contains("delay_us"));
}

TEST(Query, TrainTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const auto count = [&](std::string_view text) {
    const Result<Query> query = parse_query(text);
    EXPECT_TRUE(query) << query.error().message;
    return query ? find_events(train.view(), 0, *query).size() : 0;
  };
  EXPECT_EQ(count("cat=kernel"), 963U);
  EXPECT_EQ(count("class=communication"), 32U);
  EXPECT_EQ(count("role=barrier"), 16U);
  EXPECT_EQ(count("cat=kernel stream=23"), 16U);
  EXPECT_EQ(count("smem>48KiB"), 228U);
  EXPECT_EQ(count("cat=kernel smem<=48KiB"), 963U - 228U);
  EXPECT_EQ(count("bytes>=128KiB or bytes<128KiB"), 20U);
}

}  // namespace
}  // namespace hadal::trace
