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

TEST(Query, SortsAndDescribes) {
  const Trace trace = small();
  const GpuView view = gpu_view(trace, Rules());
  std::vector<uint32_t> rows = find_events(view, 3, *parse_query("cat=kernel or cat=gpu_memset"));
  const auto names = [&] {
    std::string text;
    for (const uint32_t row : rows) text += std::string(trace.name_of(row)) + " ";
    return text;
  };
  sort_events(view, QueryOrder::kDuration, rows);
  EXPECT_EQ(names(), "gemm_a gemm_b ncclKernel Memset (Device) ");
  sort_events(view, QueryOrder::kDelay, rows);
  EXPECT_EQ(names(), "gemm_b gemm_a ncclKernel Memset (Device) ");
  sort_events(view, QueryOrder::kName, rows);
  EXPECT_EQ(names(), "Memset (Device) gemm_a gemm_b ncclKernel ");
  const Json json = to_json(view, 3, describe_events(view, rows));
  EXPECT_EQ(json[1]["id"], "3:" + std::to_string(rows[1]));
  EXPECT_EQ(json[1]["region"], "attn(B)#0");
  EXPECT_FALSE(json[0].contains("region"));
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
