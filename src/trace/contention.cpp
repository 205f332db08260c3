#include "trace/contention.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

/// How much of any stretch of time a set covers, in logarithmic time.
class Coverage {
 public:
  explicit Coverage(IntervalSet set) : set_(std::move(set)) {
    before_.reserve(set_.size() + 1);
    before_.push_back(0);
    for (const Interval& i : set_) before_.push_back(before_.back() + i.length());
  }
  int64_t of(int64_t start, int64_t end) const { return until(end) - until(start); }

 private:
  int64_t until(int64_t time) const {
    const auto after = std::ranges::lower_bound(set_, time, {}, &Interval::start);
    const auto count = static_cast<size_t>(after - set_.begin());
    if (count == 0) return 0;
    const Interval& last = set_[count - 1];
    return before_[count] - std::max<int64_t>(0, last.end - time);
  }
  IntervalSet set_;
  std::vector<int64_t> before_;  // length of the first i intervals
};

/// The time during which at least two of the intervals run.
IntervalSet at_least_two(const std::vector<Interval>& intervals) {
  std::vector<std::pair<int64_t, int>> steps;
  for (const Interval& i : intervals) {
    if (i.length() <= 0) continue;
    steps.emplace_back(i.start, +1);
    steps.emplace_back(i.end, -1);
  }
  std::ranges::sort(steps);
  std::vector<Interval> found;
  int running = 0;
  int64_t since = 0;
  for (const auto& [time, step] : steps) {
    if (running >= 2) found.push_back({since, time});
    running += step;
    since = time;
  }
  return unite(std::move(found));
}

/// What runs on one device, seen from a kernel of either class.
struct DeviceLoad {
  Coverage communication, compute;          // of the other class
  Coverage communication_two, compute_two;  // of one's own class: two or more run
};

std::map<int, DeviceLoad> device_loads(const GpuView& view) {
  std::map<int, std::array<std::vector<Interval>, 2>> by_device;
  for (const Activity& a : view.activities) {
    if (a.kind == Class::kMemory) continue;
    by_device[device_of(view, a)][a.kind == Class::kCompute].push_back({a.start_ns, a.end_ns});
  }
  std::map<int, DeviceLoad> loads;
  for (auto& [device, intervals] : by_device) {
    const auto& [communication, compute] = intervals;
    loads.emplace(device, DeviceLoad{.communication = Coverage(unite(communication)),
                                     .compute = Coverage(unite(compute)),
                                     .communication_two = Coverage(at_least_two(communication)),
                                     .compute_two = Coverage(at_least_two(compute))});
  }
  return loads;
}

struct Sample {
  KernelKey key;
  int device;
  uint32_t region_name;
  int ordinal;
  Company company;
  int64_t duration_ns;
  auto place() const { return std::tuple(device, key, region_name, ordinal); }
};

int64_t lost_in_all(const ContentionRow& row) {
  int64_t lost = 0;
  for (const Company c : {Company::kCommunication, Company::kCompute, Company::kMixed}) {
    lost += row.lost_ns(c);
  }
  return lost;
}

/// One row per place; those never seen alone, or never in company, say nothing and are dropped.
std::vector<ContentionRow> rows_of(std::vector<Sample> samples) {
  std::ranges::sort(
      samples, {}, [](const Sample& s) { return std::tuple(s.place(), s.company, s.duration_ns); });
  std::vector<ContentionRow> rows;
  for (size_t begin = 0; begin < samples.size();) {
    const Sample& first = samples[begin];
    ContentionRow row{.key = first.key,
                      .device = first.device,
                      .region_name = first.region_name,
                      .ordinal = first.ordinal,
                      .time = {}};
    std::array<std::vector<int64_t>, kNumCompanies> durations;
    size_t end = begin;
    for (; end < samples.size() && samples[end].place() == first.place(); ++end) {
      durations[static_cast<size_t>(samples[end].company)].push_back(samples[end].duration_ns);
      row.total_ns += samples[end].duration_ns;
    }
    const size_t alone = durations[static_cast<size_t>(Company::kAlone)].size();
    const bool comparable = alone > 0 && alone < end - begin;
    for (size_t c = 0; comparable && c < kNumCompanies; ++c) {
      row.time[c] = duration_stats(std::move(durations[c]));
    }
    if (comparable) rows.push_back(row);
    begin = end;
  }
  std::ranges::sort(rows, {}, [](const ContentionRow& row) {
    return std::tuple(-lost_in_all(row), row.device, row.key, row.region_name, row.ordinal);
  });
  return rows;
}

Json row_json(const GpuView& view, const ContentionRow& row) {
  Json json = kernel_json(view, row.key);
  json["device"] = row.device;
  if (row.region_name != kNone) {
    json["region"] = view.trace->names[row.region_name];
    json["ordinal"] = row.ordinal;
  }
  json["total_us"] = us(row.total_ns);
  json["lost_us"] = us(lost_in_all(row));
  for (int c = 0; c < kNumCompanies; ++c) {
    const auto company = static_cast<Company>(c);
    const DurationStats& time = row.in(company);
    if (time.count == 0) continue;
    Json& into = json[std::string(name(company))];
    into = {{"count", time.count},
            {"min_us", us(time.min_ns)},
            {"median_us", us(time.median_ns)},
            {"max_us", us(time.max_ns)}};
    if (company != Company::kAlone) into["slowdown"] = row.slowdown(company);
  }
  return json;
}

}  // namespace

std::string_view name(Company company) {
  constexpr std::string_view kNames[] = {"alone", "communication", "compute", "mixed"};
  return kNames[static_cast<size_t>(company)];
}

Company Beside::company() const {
  if (communication >= kBesideMin) return Company::kCommunication;
  if (communication > kAloneMax) return Company::kMixed;
  if (compute >= kBesideMin) return Company::kCompute;
  return compute > kAloneMax ? Company::kMixed : Company::kAlone;
}

std::vector<Beside> beside(const GpuView& view) {
  const std::map<int, DeviceLoad> loads = device_loads(view);
  std::vector<Beside> all(view.activities.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const Activity& a = view.activities[i];
    if (a.kind == Class::kMemory || a.duration_ns() <= 0) continue;
    const DeviceLoad& load = loads.at(device_of(view, a));
    const bool compute = a.kind == Class::kCompute;
    const auto share = [&](const Coverage& coverage) {
      return static_cast<double>(coverage.of(a.start_ns, a.end_ns)) /
             static_cast<double>(a.duration_ns());
    };
    all[i] = {.communication = share(compute ? load.communication : load.communication_two),
              .compute = share(compute ? load.compute_two : load.compute)};
  }
  return all;
}

double ContentionRow::slowdown(Company c) const {
  const int64_t alone = in(Company::kAlone).median_ns;
  return in(c).count == 0 || alone <= 0
             ? 0
             : static_cast<double>(in(c).median_ns) / static_cast<double>(alone);
}

int64_t ContentionRow::lost_ns(Company c) const {
  const double expected =
      static_cast<double>(in(Company::kAlone).median_ns) * static_cast<double>(in(c).count);
  return std::max<int64_t>(0, std::llround(static_cast<double>(in(c).sum_ns) - expected));
}

Contention contention(const GpuView& view) {
  const std::vector<Beside> company = beside(view);
  std::vector<Sample> by_kernel, by_slot;
  const auto sample = [&](uint32_t i, uint32_t region_name, int ordinal) {
    const Activity& a = view.activities[i];
    return Sample{key_of(view, a), device_of(view, a),   region_name,
                  ordinal,         company[i].company(), a.duration_ns()};
  };
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    if (is_kernel(view, a) && a.duration_ns() > 0) by_kernel.push_back(sample(i, kNone, -1));
  }
  const std::vector<std::vector<uint32_t>> launched = launched_in_regions(view);
  for (size_t r = 0; r < launched.size(); ++r) {
    std::map<std::pair<int, KernelKey>, int> count;
    for (const uint32_t i : launched[r]) {
      const Activity& a = view.activities[i];
      if (!is_kernel(view, a)) continue;
      const int ordinal = count[{device_of(view, a), key_of(view, a)}]++;
      if (a.duration_ns() > 0) by_slot.push_back(sample(i, view.regions[r].name, ordinal));
    }
  }
  return {.kernels = rows_of(std::move(by_kernel)), .slots = rows_of(std::move(by_slot))};
}

Json to_json(const GpuView& view, const Contention& contention) {
  Json kernels = Json::array(), slots = Json::array();
  for (const ContentionRow& row : contention.kernels) kernels.push_back(row_json(view, row));
  for (const ContentionRow& row : contention.slots) slots.push_back(row_json(view, row));
  return {{"kernels", std::move(kernels)}, {"slots", std::move(slots)}};
}

}  // namespace hadal::trace
