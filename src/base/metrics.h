// Counters, gauges and histograms that a monitoring system can scrape.
//
//   Metrics metrics;
//   Counter& reads = metrics.counter("hadal_fs_reads_total", "Reads served.", {{"disk", "nvme0"}});
//   reads.add();                    // one relaxed atomic addition
//   std::string page = metrics.text();
//
// A Metrics object is passed to what counts; there is none by default. Look an instrument up once,
// keep the reference (valid as long as the Metrics) and use that on the hot path: looking up takes
// a lock and compares strings. Instruments and text() are safe from any thread. text() reads each
// number once; the numbers of one page are not of one instant, but a histogram's count is always
// the sum of its buckets.
//
// Own code rather than prometheus-cpp: docs/decisions/002-metrics.md. Names follow Prometheus: base
// units (seconds, bytes), the unit in the name, "_total" for counters.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hadal {

/// Instruments have a cache line each: two that different threads write do not slow each other.
class alignas(64) Counter {
 public:
  void add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class alignas(64) Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double delta) { value_.fetch_add(delta, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class alignas(64) Histogram {
 public:
  /// `bounds` are the inclusive upper ends of the buckets, finite and increasing; a last bucket
  /// without end is added.
  explicit Histogram(std::span<const double> bounds);

  /// NaN is ignored.
  void observe(double value);

  std::span<const double> bounds() const { return bounds_; }
  uint64_t count(size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;  // [bounds + 1]
  std::atomic<double> sum_{0};
};

/// first, first * factor, ...: `count` bounds. {1e-6, 2, 24} covers a microsecond to eight seconds.
std::vector<double> exponential_bounds(double first, double factor, int count);

class Metrics {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  /// Combinations of name and labels that one Metrics holds. Label values often come from outside;
  /// those beyond the bound share one instrument per name with the label overflow="true".
  static constexpr size_t kSeriesMax = 10'000;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// The instrument of this name and these labels, made by the first call. Names and label names
  /// are part of the program: one that Prometheus does not allow, or a name used for two kinds or
  /// with two sets of bounds, fails a CHECK. Label values may be any text. `help` is taken from the
  /// first call.
  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                       Labels labels = {});

  /// Everything in Prometheus' text format 0.0.4, sorted by name and labels.
  std::string text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal
