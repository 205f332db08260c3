#include "trace/memory.h"

#include <cstdio>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trace/test_trace.h"
#include "trace/test_train.h"

namespace hadal::trace {
namespace {

TEST(Memory, CopiesAgainstTheirLimits) {
  TestTrace t;
  t.copy("Memcpy DtoD (Device -> Device)", 7, 0, 10, {.bytes = 8'000'000});
  t.copy("Memcpy DtoD (Device -> Device)", 7, 20, 1, {.bytes = 100});
  t.copy("Memcpy HtoD (Pageable -> Device)", 7, 40, 100, {.bytes = 1'000'000});
  t.copy("Memset (Device)", 7, 200, 1, {.bytes = 3'000'000}, Category::kMemset);
  t.copy("Memset (Device)", 7, 210, 0, {.bytes = 8}, Category::kMemset);
  t.host("cudaMalloc", Category::kRuntime, 500, 300);
  t.host("cudaMalloc", Category::kRuntime, 900, 100);
  t.host("cudaFree", Category::kRuntime, 1500, 50);
  const Trace trace = t.build();
  const GpuView view = gpu_view(trace, Rules());
  const MemoryUse use = memory_use(view);
  ASSERT_EQ(use.copies.size(), 3U);
  const CopyRow& host = use.copies[0];
  EXPECT_TRUE(host.pageable);
  EXPECT_DOUBLE_EQ(host.gb_s(), 10);
  EXPECT_EQ(host.percent(), 0);  // PCIe is not in the trace
  const CopyRow& device = use.copies[1];
  EXPECT_EQ(device.count, 2U);
  EXPECT_EQ(device.bytes, 8'000'100U);
  EXPECT_DOUBLE_EQ(device.largest_gb_s, 800);
  EXPECT_NEAR(device.percent(), 100 * 800 / 1675.0, 1e-9);
  EXPECT_NEAR(use.copies[2].percent(), 100 * 3000 / 3350.0, 1e-9);
  ASSERT_EQ(use.calls.size(), 2U);
  EXPECT_EQ(use.calls[0].name, "cudaMalloc");
  EXPECT_EQ(use.calls[0].total_ns, 400'000);
  EXPECT_TRUE(use.curves.empty());
  EXPECT_EQ(to_json(use)["copies"][0]["pageable"], true);
}

TEST(Memory, DurationsBehindWholeMicroseconds) {
  TestTrace t;
  t.copy("Memcpy DtoD", 7, 0, 1, {.bytes = 131072, .bandwidth_gb_s = 78.76923076923077});
  t.copy("Memcpy DtoD", 7, 10, 5, {.bytes = 131072, .bandwidth_gb_s = 78.0});  // disagrees
  t.copy("Memcpy DtoD", 7, 20, 1, {.bytes = 1, .bandwidth_gb_s = 1e-300});
  Trace trace = t.build();
  trace.resolution_ns = 1000;
  const GpuView view = gpu_view(trace, Rules());
  EXPECT_EQ(copy_duration_ns(view, view.activities[0]), 1664);
  EXPECT_EQ(copy_duration_ns(view, view.activities[1]), 5000);
  EXPECT_EQ(copy_duration_ns(view, view.activities[2]), 1000);
}

TEST(Memory, TheAllocatorsCurve) {
  const std::string path = testing::TempDir() + "hadal_memory_test.json";
  FILE* file = std::fopen(path.c_str(), "w");
  ASSERT_TRUE(file);
  std::fputs(R"({"deviceProperties": [], "traceEvents": [
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": 100,
 "args": {"Total Reserved": 1000, "Total Allocated": 300, "Bytes": 300, "Addr": 1, "Device Id": 0,
 "Device Type": 1}},
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": 200,
 "args": {"Total Reserved": 1000, "Total Allocated": 900, "Bytes": 600, "Addr": 2, "Device Id": 0,
 "Device Type": 1}},
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": 300,
 "args": {"Total Reserved": 2000, "Total Allocated": 100, "Bytes": -800, "Addr": 2, "Device Id": 0,
 "Device Type": 1}},
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": 310,
 "args": {"Bytes": 5}},
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": 320,
 "args": {"Total Allocated": 7, "Bytes": 7, "Device Id": -1, "Device Type": 0}}
]})",
             file);
  std::fclose(file);
  const auto trace = load(path);
  ASSERT_TRUE(trace) << trace.error().message;
  const GpuView view = gpu_view(*trace, Rules());
  const MemoryUse use = memory_use(view);
  std::remove(path.c_str());
  ASSERT_EQ(use.curves.size(), 2U);
  EXPECT_EQ(use.curves[0].device_type, 0);
  const MemoryCurve& gpu = use.curves[1];
  EXPECT_EQ(gpu.device, 0);
  ASSERT_EQ(gpu.points.size(), 3U);
  EXPECT_EQ(gpu.peak.allocated, 900);
  EXPECT_EQ(gpu.peak.time_ns, 100'000);
  EXPECT_EQ(gpu.peak_reserved, 2000);
  ASSERT_EQ(use.notes.size(), 1U);
  EXPECT_NE(use.notes[0].find("1 [memory]"), std::string::npos);
  // Thinned, the peak stays.
  const Json thin = to_json(use, 1);
  EXPECT_EQ(thin["curves"][1]["points"].dump(), "[[0.0,300,1000],[100.0,900,1000]]");
}

TEST(Memory, OfTheRealTrace) {
  const Train train;
  if (!train.ok()) GTEST_SKIP() << train.why();
  const MemoryUse use = memory_use(train.view());
  ASSERT_EQ(use.copies.size(), 2U);
  const CopyRow& copy = use.copies[0];
  EXPECT_EQ(copy.name, "Memcpy DtoD (Device -> Device)");
  EXPECT_EQ(copy.count, 8U);
  EXPECT_EQ(copy.synchronous, 0U);
  EXPECT_EQ(copy.bytes, 4U * (131072 + 4194304));
  EXPECT_EQ(copy.largest_bytes, 4194304U);
  EXPECT_NEAR(copy.largest_gb_s, 1394.8, 0.1);
  EXPECT_NEAR(copy.percent(), 83.3, 0.1);
  EXPECT_EQ(use.copies[1].count, 12U);
  EXPECT_TRUE(use.calls.empty());
  EXPECT_TRUE(use.curves.empty());
}

}  // namespace
}  // namespace hadal::trace
