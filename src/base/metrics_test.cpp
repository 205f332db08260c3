#include "base/metrics.h"

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(Metrics, TextFormat) {
  Metrics metrics;
  metrics.counter("reads_total", "Reads.", {{"disk", "b"}, {"class", "x"}}).add(3);
  metrics.counter("reads_total", "ignored", {{"disk", "a"}}).add();
  metrics.gauge("depth", "Queue\ndepth \\ \"now\".").set(-1.5);
  const double bounds[] = {0.1, 1, 10};
  Histogram& h = metrics.histogram("latency_seconds", "Latency.", bounds, {{"op", "read"}});
  for (const double value : {0.05, 0.1, 0.2, 10.0, 11.0, std::nan("")}) h.observe(value);
  EXPECT_EQ(metrics.text(),
            "# HELP depth Queue\\ndepth \\\\ \"now\".\n"
            "# TYPE depth gauge\n"
            "depth -1.5\n"
            "# HELP latency_seconds Latency.\n"
            "# TYPE latency_seconds histogram\n"
            "latency_seconds_bucket{op=\"read\",le=\"0.1\"} 2\n"
            "latency_seconds_bucket{op=\"read\",le=\"1\"} 3\n"
            "latency_seconds_bucket{op=\"read\",le=\"10\"} 4\n"
            "latency_seconds_bucket{op=\"read\",le=\"+Inf\"} 5\n"
            "latency_seconds_sum{op=\"read\"} 21.35\n"
            "latency_seconds_count{op=\"read\"} 5\n"
            "# HELP reads_total Reads.\n"
            "# TYPE reads_total counter\n"
            "reads_total{class=\"x\",disk=\"b\"} 3\n"
            "reads_total{disk=\"a\"} 1\n");
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameInstrument) {
  Metrics metrics;
  Counter& a = metrics.counter("c_total", "", {{"x", "1"}, {"y", "2"}});
  EXPECT_EQ(&a, &metrics.counter("c_total", "", {{"y", "2"}, {"x", "1"}}));
  EXPECT_NE(&a, &metrics.counter("c_total", "", {{"x", "1"}}));
}

TEST(Metrics, LabelValuesMayBeAnything) {
  Metrics metrics;
  metrics.gauge("g", "", {{"path", "a\"b\\c\nd"}}).set(std::numeric_limits<double>::infinity());
  EXPECT_EQ(metrics.text(), "# HELP g \n# TYPE g gauge\ng{path=\"a\\\"b\\\\c\\nd\"} +Inf\n");
}

TEST(Metrics, GaugesMoveBothWays) {
  Gauge gauge;
  gauge.add(2);
  gauge.add(-0.5);
  EXPECT_EQ(gauge.value(), 1.5);
}

TEST(Metrics, SeriesAreBounded) {
  Metrics metrics;
  for (size_t i = 0; i < Metrics::kSeriesMax; ++i) {
    metrics.counter("c_total", "", {{"i", std::to_string(i)}}).add();
  }
  Counter& over = metrics.counter("c_total", "", {{"i", "one more"}});
  EXPECT_EQ(&over, &metrics.counter("c_total", "", {{"i", "another"}}));
  EXPECT_NE(&over, &metrics.counter("c_total", "", {{"i", "7"}}));
  over.add(5);
  EXPECT_NE(metrics.text().find("c_total{overflow=\"true\"} 5\n"), std::string::npos);
}

TEST(Metrics, ThreadsLoseNothing) {
  Metrics metrics;
  const std::vector<double> bounds = exponential_bounds(1, 2, 8);
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 5000; ++i) {
          metrics.counter("c_total", "").add();
          metrics.gauge("g", "").add(1);
          metrics.histogram("h", "", bounds).observe(i % 300);
          if (i % 1000 == 0) static_cast<void>(metrics.text());
        }
      });
    }
  }
  EXPECT_EQ(metrics.counter("c_total", "").value(), 20000u);
  EXPECT_EQ(metrics.gauge("g", "").value(), 20000);
  EXPECT_NE(metrics.text().find("h_count 20000\n"), std::string::npos);
}

TEST(Metrics, ExponentialBounds) {
  EXPECT_EQ(exponential_bounds(1, 4, 3), (std::vector<double>{1, 4, 16}));
}

TEST(MetricsDeathTest, WrongUseIsABug) {
  Metrics metrics;
  metrics.counter("c_total", "");
  EXPECT_DEATH(metrics.gauge("c_total", ""), "two kinds");
  EXPECT_DEATH(metrics.gauge("1x", ""), "name");
  EXPECT_DEATH(metrics.gauge("x", "", {{"a-b", ""}}), "name");
  const double falling[] = {2, 1};
  EXPECT_DEATH(metrics.histogram("h", "", falling), "increasing");
}

}  // namespace
}  // namespace hadal
