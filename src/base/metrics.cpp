#include "base/metrics.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <mutex>
#include <variant>

#include <fmt/core.h>
#include <fmt/format.h>

#include "base/check.h"

namespace hadal {
namespace {

using Instrument =
    std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;

struct Family {
  std::string help;
  size_t kind = 0;                           // index in Instrument
  std::vector<double> bounds;                // of histograms
  std::map<std::string, Instrument> series;  // by label text: a="1",b="2"
};

bool is_name(std::string_view text, bool colons) {
  const auto allowed = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (colons && c == ':');
  };
  return !text.empty() && !(text[0] >= '0' && text[0] <= '9') && std::ranges::all_of(text, allowed);
}

std::string escape(std::string_view text, bool quotes) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
    } else {
      if (c == '\\' || (quotes && c == '"')) result += '\\';
      result += c;
    }
  }
  return result;
}

std::string label_text(Metrics::Labels labels) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : labels) {
    CHECK(is_name(name, false) && name != "le",
          "a label has a name that Prometheus does not allow");
    parts.push_back(fmt::format("{}=\"{}\"", name, escape(value, true)));
  }
  std::ranges::sort(parts);
  return fmt::format("{}", fmt::join(parts, ","));
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

using Out = std::back_insert_iterator<std::string>;

/// name{labels,extra} without empty braces.
void write_series(Out out, std::string_view name, std::string_view labels,
                  std::string_view extra = {}) {
  const std::string_view comma = labels.empty() || extra.empty() ? "" : ",";
  if (labels.empty() && extra.empty()) {
    fmt::format_to(out, "{} ", name);
  } else {
    fmt::format_to(out, "{}{{{}{}{}}} ", name, labels, comma, extra);
  }
}

void write_value(Out out, const std::string& name, const std::string& labels,
                 const Counter& counter) {
  write_series(out, name, labels);
  fmt::format_to(out, "{}\n", counter.value());
}

void write_value(Out out, const std::string& name, const std::string& labels, const Gauge& gauge) {
  write_series(out, name, labels);
  fmt::format_to(out, "{}\n", number(gauge.value()));
}

void write_value(Out out, const std::string& name, const std::string& labels,
                 const Histogram& histogram) {
  const std::span<const double> bounds = histogram.bounds();
  uint64_t count = 0;
  for (size_t i = 0; i <= bounds.size(); ++i) {
    count += histogram.count(i);
    const std::string end = i < bounds.size() ? number(bounds[i]) : "+Inf";
    write_series(out, name + "_bucket", labels, fmt::format("le=\"{}\"", end));
    fmt::format_to(out, "{}\n", count);
  }
  write_series(out, name + "_sum", labels);
  fmt::format_to(out, "{}\n", number(histogram.sum()));
  write_series(out, name + "_count", labels);
  fmt::format_to(out, "{}\n", count);
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()),
      counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds.size() + 1)) {
  for (size_t i = 0; i < bounds_.size(); ++i) {
    CHECK(std::isfinite(bounds_[i]) && (i == 0 || bounds_[i - 1] < bounds_[i]),
          "histogram bounds must be finite and increasing");
  }
}

void Histogram::observe(double value) {
  if (std::isnan(value)) return;
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<double> exponential_bounds(double first, double factor, int count) {
  std::vector<double> bounds;
  for (int i = 0; i < count; ++i, first *= factor) bounds.push_back(first);
  return bounds;
}

struct Metrics::Impl {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;
  size_t series = 0;

  template <typename T>
  T& get(std::string_view name, std::string_view help, std::span<const double> bounds,
         Labels labels) {
    using Pointer = std::unique_ptr<T>;
    constexpr size_t kKind = std::is_same_v<T, Counter> ? 0 : std::is_same_v<T, Gauge> ? 1 : 2;
    std::string text = label_text(labels);
    const std::lock_guard lock(mutex);
    auto family = families.find(name);
    if (family == families.end()) {
      CHECK(is_name(name, true), "a metric has a name that Prometheus does not allow");
      family = families.emplace(name, Family{std::string(help), kKind, {}, {}}).first;
      family->second.bounds.assign(bounds.begin(), bounds.end());
    }
    auto& [key, content] = *family;
    CHECK(content.kind == kKind, "one metric name is used for two kinds");
    CHECK(std::ranges::equal(content.bounds, bounds), "one histogram has two sets of bounds");
    auto entry = content.series.find(text);
    if (entry == content.series.end() && series >= kSeriesMax) {
      text = "overflow=\"true\"";
      entry = content.series.find(text);
    }
    if (entry == content.series.end()) {
      Pointer made;
      if constexpr (std::is_same_v<T, Histogram>) {
        made = std::make_unique<T>(bounds);
      } else {
        made = std::make_unique<T>();
      }
      entry = content.series.emplace(std::move(text), std::move(made)).first;
      ++series;
    }
    return *std::get<Pointer>(entry->second);
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, Labels labels) {
  return impl_->get<Counter>(name, help, {}, labels);
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, Labels labels) {
  return impl_->get<Gauge>(name, help, {}, labels);
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help,
                              std::span<const double> bounds, Labels labels) {
  return impl_->get<Histogram>(name, help, bounds, labels);
}

std::string Metrics::text() const {
  constexpr std::string_view kKinds[] = {"counter", "gauge", "histogram"};
  std::string result;
  const Out out(result);
  const std::lock_guard lock(impl_->mutex);
  for (const auto& entry : impl_->families) {
    const std::string& name = entry.first;
    const Family& family = entry.second;
    fmt::format_to(out, "# HELP {} {}\n# TYPE {} {}\n", name, escape(family.help, false), name,
                   kKinds[family.kind]);
    for (const auto& series : family.series) {
      const auto write = [&](const auto& pointer) {
        write_value(out, name, series.first, *pointer);
      };
      std::visit(write, series.second);
    }
  }
  return result;
}

}  // namespace hadal
