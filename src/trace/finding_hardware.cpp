// What the machine does with the kernels: SM partition, waves, queueing, occupancy, roofline.
#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "trace/finding_rules.h"
#include "trace/kernel_groups.h"

namespace hadal::trace {
namespace {

constexpr double kWorthSaying = 0.001;     // of the span
constexpr double kSlowdownMin = 1.2;       // a kernel in company that is this much slower
constexpr double kRooflineFarBelow = 0.7;  // of what the trace's GEMMs reach together
constexpr double kLowOccupancy = 25;       // percent, for kernels that live on bandwidth
constexpr int64_t kSmallKernelNs = 10'000;
constexpr double kSmallKernelsShare = 0.5;  // of all kernels

std::string text_us(int64_t ns) {
  return shown(cell(ns), Unit::kTime);
}

int64_t worth(const Analyses& a) {
  return static_cast<int64_t>(kWorthSaying * static_cast<double>(a.summary.span_ns));
}

/// The last part of an activity, `saved_ns` long: what goes when it gets faster by so much.
Interval tail(const Activity& a, int64_t saved_ns) {
  return {a.end_ns - std::clamp<int64_t>(saved_ns, 0, a.duration_ns()), a.end_ns};
}

/// A finding about kernels: the saving of each as recoverable time.
void add_saving(const GpuView& view, uint32_t activity, int64_t saved_ns,
                std::vector<Interval>& savings, Finding& f) {
  const Activity& a = view.activities[activity];
  savings.push_back(tail(a, saved_ns));
  f.evidence.push_back(
      {{a.start_ns, a.end_ns},
       fmt::format("{} in {}", short_name(view.name_of(a)), region_label(view, a.region))});
}

void find_partition(const WaveReport& waves, FindingList& out) {
  for (const Partition& p : waves.partitions) {
    if (!p.detected || p.gain() <= 0) continue;
    Finding f{.id = fmt::format("sm-partition:device{}", p.device),
              .confidence = Confidence::kDerived};
    f.claim = fmt::format(
        "communication holds {} of {} SMs, compute has {}: one after the other with all SMs the "
        "work "
        "would take {} us, overlapped it takes {}, a gain of {:.2f}x for an SM tax of {:.1f} %",
        p.communication_sms, p.num_sms, p.compute_sms, text_us(p.sequential_ns), text_us(p.span_ns),
        p.gain(), 100 * p.sm_tax());
    f.action = "Where communication ends well before the compute beside it, give it fewer SMs.";
    out.push_back(std::move(f));
  }
}

/// A kernel that is slower beside communication than alone in the same slot: the same launch of the
/// same phase in another layer. Kernels of one name and grid elsewhere may have other sizes.
struct Contended {
  KernelKey key;
  int64_t alone_ns = 0, beside_ns = 0;  // medians of the slot that loses most
  int64_t worst_ns = 0;                 // what that slot loses
  std::vector<const ContentionRow*> slots;
};

std::map<KernelKey, Contended> contended_kernels(const Contention& measured) {
  std::map<KernelKey, Contended> found;
  for (const ContentionRow& slot : measured.slots) {
    const int64_t lost = slot.lost_ns(Company::kCommunication);
    if (slot.slowdown(Company::kCommunication) < kSlowdownMin || lost <= 0) continue;
    Contended& c = found[slot.key];
    c.key = slot.key;
    c.slots.push_back(&slot);
    if (lost <= c.worst_ns) continue;
    c.worst_ns = lost;
    c.alone_ns = slot.in(Company::kAlone).median_ns;
    c.beside_ns = slot.in(Company::kCommunication).median_ns;
  }
  return found;
}

/// The activities of one slot in company of communication.
void add_slot(const GpuView& view, const std::vector<Beside>& company, const ContentionRow& slot,
              const std::vector<std::vector<uint32_t>>& in_regions, std::vector<Interval>& savings,
              Finding& f) {
  const int64_t alone = slot.in(Company::kAlone).median_ns;
  for (size_t r = 0; r < view.regions.size(); ++r) {
    if (view.regions[r].name != slot.region_name) continue;
    int ordinal = 0;
    for (const uint32_t i : in_regions[r]) {
      if (!is_kernel(view, view.activities[i]) || key_of(view, view.activities[i]) != slot.key)
        continue;
      if (ordinal++ != slot.ordinal || company[i].company() != Company::kCommunication) continue;
      add_saving(view, i, view.activities[i].duration_ns() - alone, savings, f);
    }
  }
}

void find_contended(const Analyses& a, const WaveReport& waves, FindingList& out) {
  const GpuView& view = a.view;
  const Contention& measured = a.hardware.contention;
  const std::vector<Beside> company = beside(view);
  const auto in_regions = launched_in_regions(view);
  std::map<KernelKey, const WaveRow*> flagged;
  for (const WaveRow& row : waves.rows) {
    if (row.flagged) flagged.emplace(row.key, &row);  // rows come longest first
  }
  for (const auto& [key, c] : contended_kernels(measured)) {
    const std::string name = short_name(view.trace->names[key.name]);
    const Launch* launch = launch_of(view, key);
    Finding f{.id = fmt::format("contended:{}:{}", name, key.launch)};
    std::vector<Interval> savings;
    for (const ContentionRow* slot : c.slots) {
      add_slot(view, company, *slot, in_regions, savings, f);
    }
    f.recoverable = unite(std::move(savings));
    if (length(f.recoverable) < worth(a)) continue;
    f.claim = fmt::format(
        "{} ({} blocks) takes {} us beside communication where the same launch of another layer "
        "takes "
        "{} alone: {:.2f}x",
        name, launch == nullptr ? 0 : launch->num_blocks(), text_us(c.beside_ns),
        text_us(c.alone_ns),
        static_cast<double>(c.beside_ns) / static_cast<double>(std::max<int64_t>(c.alone_ns, 1)));
    if (const auto at = flagged.find(key); at != flagged.end()) {
      const WaveRow& wave = *at->second;
      f.claim +=
          fmt::format("; {} SMs are held, its {} blocks need {} waves of {} ({:.0f} % full)",
                      wave.sms_held, wave.blocks, wave.waves, wave.capacity, 100 * wave.efficiency);
      f.action = fmt::format(
          "Choose a grid that fits the SMs that are left: a multiple of {} blocks, "
          "or a persistent kernel.",
          wave.capacity);
    } else {
      f.action =
          "It shares SMs, memory or the network with the communication: place it where the GPU "
          "only computes, or give the communication fewer SMs.";
    }
    out.push_back(std::move(f));
  }
}

void find_queueing(const Analyses& a, const WaveReport& waves, FindingList& out) {
  const Queueing& q = waves.queueing;
  if (q.total_ns < worth(a)) return;
  Finding f{.id = "queueing:co-residency", .confidence = Confidence::kDerived};
  f.claim = fmt::format(
      "for {} us single-wave kernels that cannot share the GPU run at the same time: part of their "
      "duration is waiting for SMs ({} kernels; durations add up to {} us over {} us)",
      text_us(q.total_ns), q.kernels, text_us(q.sum_ns), text_us(q.union_ns));
  f.action =
      "Run them one after the other, or merge them into one grouped kernel; do not trust sums "
      "of their durations.";
  for (const uint32_t i : q.activities) {
    const Activity& activity = a.view.activities[i];
    f.evidence.push_back(
        {{activity.start_ns, activity.end_ns}, short_name(a.view.name_of(activity))});
  }
  out.push_back(std::move(f));
}

void find_head_of_line(const Analyses& a, const WaveReport& waves, FindingList& out) {
  Finding f{.id = "head-of-line", .confidence = Confidence::kDerived};
  std::vector<Interval> savings;
  std::map<std::string, int> names;
  for (const HeadOfLine& h : waves.head_of_line) {
    const Activity& activity = a.view.activities[h.activity];
    add_saving(a.view, h.activity, activity.duration_ns() - h.elsewhere_median_ns, savings, f);
    ++names[short_name(a.view.name_of(activity))];
  }
  f.recoverable = unite(std::move(savings));
  if (length(f.recoverable) < worth(a)) return;
  const HeadOfLine& worst = waves.head_of_line[0];
  f.claim = fmt::format(
      "{} compute kernels on communication streams ({}{}) are slowed by what runs beside them and "
      "hold up the communication behind: {} us where {} are usual",
      waves.head_of_line.size(), names.begin()->first, names.size() > 1 ? ", ..." : "",
      text_us(a.view.activities[worst.activity].duration_ns()), text_us(worst.elsewhere_median_ns));
  f.action = "Run them on the compute stream, or give the communication stream priority.";
  out.push_back(std::move(f));
}

bool lives_on_bandwidth(std::string_view f) {
  return f == "elementwise" || f == "norm" || f == "cast" || f == "copy" || f == "activation" ||
         f == "permute" || f == "reduce";
}

void find_occupancy(const Analyses& a, FindingList& out) {
  const OccupancyReport& report = a.hardware.occupancy;
  if (report.wrong_ns >= worth(a)) {
    Finding f{.id = "occupancy:reported-wrong", .confidence = Confidence::kDerived};
    f.claim = fmt::format(
        "the occupancy that the trace reports is wrong for {} launches ({:.1f} % of kernel time): "
        "{:.2f} % on average where {:.2f} % is right",
        report.launches_wrong,
        100.0 * static_cast<double>(report.wrong_ns) / static_cast<double>(report.kernel_ns),
        report.reported_mean_percent, report.exact_mean_percent);
    f.action = "Trust `hadal trace occupancy`; the profiler ignores shared memory above 48 KiB.";
    out.push_back(std::move(f));
  }
  for (const KernelOccupancy& k : report.kernels) {
    const std::string_view full = a.view.trace->names[k.key.name];
    if (!k.exact || k.exact->percent >= kLowOccupancy || k.total_ns < worth(a) ||
        !lives_on_bandwidth(family(full))) {
      continue;
    }
    Finding f{.id = fmt::format("occupancy:{}:{}", short_name(full), k.key.launch),
              .confidence = Confidence::kDerived};
    f.claim = fmt::format(
        "{} lives on memory bandwidth and keeps {:.0f} % of the warps resident; the limit is {}",
        short_name(full), k.exact->percent, name(k.exact->limiter));
    f.action = k.exact->limiter == Limiter::kGrid
                   ? "Use more or smaller blocks, so that all SMs have loads in flight."
                   : "Use fewer registers or less shared memory per block.";
    out.push_back(std::move(f));
  }
}

/// GEMMs well below what GEMMs reach in this trace.
void find_roofline(const Analyses& a, FindingList& out) {
  const Shapes& shapes = a.hardware.shapes;
  const Roofline& roofs = a.hardware.roofline;
  if (!roofs.gemm || roofs.gemm->percent_of_peak() <= 0) return;
  const double usual = roofs.gemm->percent_of_peak();
  for (const RoofRow& row : roofs.rows) {
    const double percent = row.percent_of_peak();
    if (row.shape.work != Work::kGemm || row.memory_bound || percent <= 0 ||
        percent >= kRooflineFarBelow * usual) {
      continue;
    }
    const double saved = 1 - percent / usual;
    if (saved * static_cast<double>(row.total_ns) < static_cast<double>(worth(a))) continue;
    const Shape& s = row.shape;
    Finding f{.id = fmt::format("roofline:{}:{}x{}x{}", row.name, s.m, s.n, s.k),
              .confidence = s.confidence};
    std::vector<Interval> savings;
    for (const Shape& other : shapes.list) {
      if (other.work != s.work || other.m != s.m || other.n != s.n || other.k != s.k) continue;
      const Activity& activity = a.view.activities[other.activity];
      if (short_name(a.view.name_of(activity)) != row.name) continue;
      add_saving(a.view, other.activity,
                 static_cast<int64_t>(saved * static_cast<double>(activity.duration_ns())), savings,
                 f);
    }
    f.recoverable = unite(std::move(savings));
    f.claim = fmt::format(
        "{} with M={} N={} K={} reaches {:.0f} TFLOP/s, {:.0f} % of the peak; GEMMs of this trace "
        "reach {:.0f} % together",
        row.name, s.m, s.n, s.k, row.tflops(), percent, usual);
    f.action =
        "Small K or N leaves tiles idle: merge products that share an input, or choose another "
        "tile.";
    out.push_back(std::move(f));
  }
}

}  // namespace

void find_hardware(const Analyses& a, FindingList& out) {
  const WaveReport& waves = a.hardware.waves;
  find_partition(waves, out);
  find_contended(a, waves, out);
  find_queueing(a, waves, out);
  find_head_of_line(a, waves, out);
  find_occupancy(a, out);
  find_roofline(a, out);
}

void find_structure(const Analyses& a, FindingList& out) {
  uint64_t kernels = 0, small = 0;
  std::vector<Interval> times;
  for (const Activity& activity : a.view.activities) {
    if (activity.kind != Class::kCompute) continue;
    ++kernels;
    if (activity.duration_ns() >= kSmallKernelNs) continue;
    ++small;
    times.push_back({activity.start_ns, activity.end_ns});
  }
  if (kernels == 0 ||
      static_cast<double>(small) < kSmallKernelsShare * static_cast<double>(kernels)) {
    return;
  }
  Finding f{.id = "small-kernels"};
  f.recoverable = unite(std::move(times));
  f.claim = fmt::format("{} of {} compute kernels last less than {} us; together {} us", small,
                        kernels, kSmallKernelNs / 1000, text_us(length(f.recoverable)));
  f.action =
      "Fuse elementwise chains (torch.compile, a fused kernel); the ceiling assumes that they "
      "go altogether.";
  f.confidence = Confidence::kInferred;
  for (const Interval& time : f.recoverable) f.evidence.push_back({time, "small kernels"});
  out.push_back(std::move(f));
}

}  // namespace hadal::trace
