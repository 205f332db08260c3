#include "trace/hardware_sheets.h"

#include <algorithm>
#include <string>

#include <fmt/core.h>

#include "trace/kernels.h"

namespace hadal::trace {
namespace {

std::string short_of(const GpuView& view, KernelKey key) {
  return short_name(view.trace->names[key.name]);
}

/// "396 x 128": blocks and threads of a block.
std::string launch_text(const GpuView& view, KernelKey key) {
  const Launch* launch = launch_of(view, key);
  if (!launch) return "";
  return fmt::format("{} x {}", volume(launch->grid), volume(launch->block));
}

/// A number that has no value when it is not positive.
Cell known(double value) {
  return value > 0 ? Cell(value) : Cell();
}

/// "attn(F)#2"; empty outside of all regions.
std::string region_text(const GpuView& view, uint32_t region) {
  if (region == kNone) return "";
  const Region& r = view.regions[region];
  return fmt::format("{}#{}", view.trace->names[r.name], r.index);
}

/// From the first start to the last end of some activities.
Interval around(const GpuView& view, const std::vector<uint32_t>& activities) {
  if (activities.empty()) return {};
  Interval all{INT64_MAX, INT64_MIN};
  for (const uint32_t i : activities) {
    all.start = std::min(all.start, view.activities[i].start_ns);
    all.end = std::max(all.end, view.activities[i].end_ns);
  }
  return all;
}

std::string shape_text(const Shape& s) {
  const auto dimension = [](int64_t value, ShapeSource from) {
    if (value == 0) return std::string("?");
    const bool given = from == ShapeSource::kModel || from == ShapeSource::kInputDims;
    return fmt::format("{}{}", value, given ? "" : "*");
  };
  switch (s.work) {
    case Work::kGemm:
      return fmt::format("{}{} x {} x {}", s.batch > 1 ? fmt::format("{} of ", s.batch) : "",
                         dimension(s.m, s.m_from), dimension(s.n, s.n_from),
                         dimension(s.k, s.k_from));
    case Work::kAttention:
      return fmt::format("{} heads, {} tokens, {}/{}{}", s.heads, s.sequence, s.dim_qk, s.dim_v,
                         s.causal ? ", causal" : "");
    case Work::kElementwise: break;
  }
  return fmt::format("{} arrays of {}", s.arrays, s.elements);
}

}  // namespace

Sheet occupancy_sheet(const GpuView& view, const OccupancyReport& report) {
  Sheet sheet{.id = "occupancy",
              .title = "Occupancy by kernel",
              .columns = {{"kernel", "kernel", Unit::kText},
                          {"launch", "blocks x threads", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime},
                          {"percent", "occupancy", Unit::kPercent},
                          {"reported_percent", "reported", Unit::kPercent},
                          {"blocks_per_sm", "blocks/SM", Unit::kCount},
                          {"limiter", "limited by", Unit::kText}}};
  for (const KernelOccupancy& k : report.kernels) {
    const auto exact = [&](auto value) { return k.exact ? Cell(value(*k.exact)) : Cell(); };
    sheet.add({cell(short_of(view, k.key)), cell(launch_text(view, k.key)), cell(k.count),
               cell(k.total_ns), exact([](const Occupancy& o) { return o.percent; }),
               k.reported_percent < 0 ? Cell() : Cell(k.reported_percent),
               exact([](const Occupancy& o) { return double(o.blocks_per_sm); }),
               exact([](const Occupancy& o) { return std::string(name(o.limiter)); })});
  }
  if (report.launches_wrong > 0) {
    sheet.notes.push_back(fmt::format(
        "the profiler reports {} of {} launches wrongly: it computes with 48 KiB of shared memory",
        report.launches_wrong, report.launches));
  }
  sheet.notes.emplace_back(
      "low occupancy is normal for warp-specialised products and attention: one block per SM");
  return sheet;
}

Sheet waves_sheet(const GpuView& view, const WaveReport& report) {
  Sheet sheet{.id = "waves",
              .title = "Waves that are not filled",
              .columns = {{"kernel", "kernel", Unit::kText},
                          {"company", "beside", Unit::kText},
                          {"blocks", "blocks", Unit::kCount},
                          {"capacity", "at a time", Unit::kCount},
                          {"waves", "waves", Unit::kCount},
                          {"efficiency_percent", "efficiency", Unit::kPercent},
                          {"count", "count", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime}}};
  for (const WaveRow& row : report.rows) {
    if (!row.flagged) continue;
    sheet.add({cell(short_of(view, row.key)), cell(name(row.company)), cell(row.blocks),
               cell(row.capacity), cell(row.waves), cell(100 * row.efficiency), cell(row.count),
               cell(row.total_ns)});
  }
  for (const Partition& p : report.partitions) {
    if (!p.detected) continue;
    sheet.notes.push_back(fmt::format(
        "GPU {}: communication holds {} of {} SMs, computation is laid out for {}: {:.1f} % fewer "
        "for it, and one after the other would take {:.2f} times as long",
        p.device, p.communication_sms, p.num_sms, p.compute_sms, 100 * p.sm_tax(), p.gain()));
  }
  if (report.queueing.total_ns > 0) {
    sheet.notes.push_back(fmt::format(
        "{} kernels of one wave that do not fit on the GPU together wait for each other during {} "
        "us; their durations add up to {} us, of which {} us are different",
        report.queueing.kernels, shown(cell(report.queueing.total_ns), Unit::kTime),
        shown(cell(report.queueing.sum_ns), Unit::kTime),
        shown(cell(report.queueing.union_ns), Unit::kTime)));
  }
  return sheet;
}

Sheet contention_sheet(const GpuView& view, const Contention& contention) {
  Sheet sheet{.id = "contention",
              .title = "The same kernel in the same place, alone and beside communication",
              .columns = {{"region", "region", Unit::kText},
                          {"kernel", "kernel", Unit::kText},
                          {"launch", "blocks x threads", Unit::kText},
                          {"alone_us", "alone us", Unit::kTime},
                          {"alone_count", "n", Unit::kCount},
                          {"communication_us", "beside us", Unit::kTime},
                          {"communication_count", "n", Unit::kCount},
                          {"slowdown", "slowdown", Unit::kNumber},
                          {"lost_us", "lost us", Unit::kTime}}};
  for (const ContentionRow& row : contention.slots) {
    const DurationStats& alone = row.in(Company::kAlone);
    const DurationStats& beside = row.in(Company::kCommunication);
    if (beside.count == 0) continue;
    sheet.add({cell(view.trace->names[row.region_name]), cell(short_of(view, row.key)),
               cell(launch_text(view, row.key)), cell(alone.median_ns), cell(alone.count),
               cell(beside.median_ns), cell(beside.count),
               cell(row.slowdown(Company::kCommunication)),
               cell(row.lost_ns(Company::kCommunication))});
  }
  return sheet;
}

Sheet head_of_line_sheet(const GpuView& view, const WaveReport& report) {
  Sheet sheet{.id = "head_of_line",
              .title = "Computation that holds up a stream of communication",
              .columns = {{"kernel", "kernel", Unit::kText},
                          {"region", "region", Unit::kText},
                          {"duration_us", "us", Unit::kTime},
                          {"elsewhere_us", "elsewhere us", Unit::kTime},
                          {"elsewhere_count", "n", Unit::kCount}}};
  for (const HeadOfLine& h : report.head_of_line) {
    const Activity& a = view.activities[h.activity];
    sheet.add({cell(short_name(view.name_of(a))), cell(region_text(view, a.region)),
               cell(a.duration_ns()), cell(h.elsewhere_median_ns), cell(h.elsewhere_count)},
              {a.start_ns, a.end_ns});
  }
  return sheet;
}

std::string peaks_text(const Peaks& peaks) {
  return fmt::format("{}: FP8 {:g}, BF16 {:g} TFLOP/s dense, {:g} TB/s ({})", peaks.device,
                     peaks.fp8_tflops, peaks.bf16_tflops, peaks.hbm_tb_s, peaks.source);
}

Sheet roofline_sheet(const Roofline& r) {
  Sheet sheet{.id = "roofline",
              .title = "Kernels against the roofline",
              .columns = {{"kernel", "kernel", Unit::kText},
                          {"shape", "shape", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime},
                          {"tflops", "TFLOP/s", Unit::kNumber},
                          {"tb_s", "TB/s", Unit::kNumber, false},
                          {"percent_of_peak", "of peak", Unit::kPercent},
                          {"percent_min", "roof min", Unit::kPercent, false},
                          {"percent_max", "of roof", Unit::kPercent},
                          {"bound", "bound by", Unit::kText}}};
  for (const RoofRow& row : r.rows) {
    sheet.add({cell(row.name), cell(shape_text(row.shape)), cell(row.count), cell(row.total_ns),
               known(row.tflops()), known(row.tb_s()), known(row.percent_of_peak()),
               known(row.percent_min), known(row.percent_max),
               cell(row.above_peak     ? "caches?"
                    : row.memory_bound ? "memory"
                                       : "compute")});
  }
  sheet.notes.emplace_back(
      "M x N x K; * is inferred from grids or shared memory. Peaks are scaled by the share of SMs "
      "that a kernel can use");
  return sheet;
}

Sheet roofline_totals_sheet(const Roofline& r) {
  Sheet sheet{.id = "roofline_totals",
              .title = "Matrix products and attention",
              .columns = {{"kernel", "kernel", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime},
                          {"union_us", "union us", Unit::kTime},
                          {"tflops", "TFLOP/s", Unit::kNumber},
                          {"tflops_union", "by union", Unit::kNumber},
                          {"percent_of_peak", "of peak", Unit::kPercent}}};
  const auto add = [&](const RoofTotal& t) {
    sheet.add({cell(t.name), cell(t.count), cell(t.total_ns), cell(t.union_ns), cell(t.tflops()),
               cell(t.tflops_union()), known(t.percent_of_peak())});
  };
  for (const RoofTotal& total : r.totals) add(total);
  if (r.gemm) add(*r.gemm);
  if (r.gemm_unknown_ns > 0) {
    sheet.notes.push_back(
        fmt::format("{} us of matrix products have unknown dimensions; a model file (--model) or "
                    "record_shapes=True gives them",
                    shown(cell(r.gemm_unknown_ns), Unit::kTime)));
  }
  return sheet;
}

Sheet comm_bandwidth_sheet(const Roofline& r) {
  Sheet sheet{.id = "comm_bandwidth",
              .title = "Bandwidth of communication, waits included",
              .columns = {{"operation", "operation", Unit::kText},
                          {"where", "group or region", Unit::kText},
                          {"ranks", "ranks", Unit::kCount},
                          {"count", "count", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime},
                          {"gb_s", "GB/s", Unit::kNumber},
                          {"bus_gb_s", "bus GB/s", Unit::kNumber}}};
  for (const CommBandwidth& c : r.communication) {
    sheet.add({cell(c.operation), cell(c.ranks > 0 ? c.group : c.region),
               c.ranks > 0 ? cell(c.ranks) : Cell(), cell(c.count), cell(c.total_ns),
               cell(c.gb_s()), c.ranks > 0 ? cell(c.bus_gb_s()) : Cell()});
  }
  return sheet;
}

Sheet copies_sheet(const MemoryUse& use) {
  Sheet sheet{.id = "copies",
              .title = "Copies and memsets",
              .columns = {{"name", "name", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"synchronous", "sync", Unit::kCount},
                          {"bytes", "bytes", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime},
                          {"gb_s", "GB/s", Unit::kNumber},
                          {"largest_bytes", "largest", Unit::kCount},
                          {"largest_gb_s", "its GB/s", Unit::kNumber},
                          {"percent", "of limit", Unit::kPercent}}};
  for (const CopyRow& row : use.copies) {
    sheet.add({cell(row.name), cell(row.count), cell(row.synchronous), cell(row.bytes),
               cell(row.total_ns), cell(row.gb_s()), cell(row.largest_bytes),
               cell(row.largest_gb_s), known(row.percent())});
    if (row.pageable && sheet.notes.empty()) {
      sheet.notes.emplace_back(
          "copies of pageable memory pass a staging buffer and hold the host: pin_memory=True");
    }
  }
  return sheet;
}

Sheet allocation_calls_sheet(const MemoryUse& use) {
  Sheet sheet{.id = "allocation_calls",
              .title = "Calls that allocate or free",
              .columns = {{"name", "call", Unit::kText},
                          {"count", "count", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime}}};
  for (const AllocationCalls& call : use.calls) {
    sheet.add({cell(call.name), cell(call.count), cell(call.total_ns)});
  }
  return sheet;
}

Sheet memory_peaks_sheet(const MemoryUse& use) {
  Sheet sheet{.id = "memory_peaks",
              .title = "The allocator's peaks",
              .columns = {{"device", "device", Unit::kText},
                          {"peak_bytes", "peak bytes", Unit::kCount},
                          {"peak_at_us", "at us", Unit::kTime},
                          {"peak_reserved_bytes", "reserved bytes", Unit::kCount}}};
  for (const MemoryCurve& curve : use.curves) {
    const std::string device =
        curve.device_type == 0 ? "host" : fmt::format("GPU {}", curve.device);
    sheet.add({cell(device), cell(curve.peak.allocated), cell(curve.peak.time_ns),
               cell(curve.peak_reserved)});
  }
  return sheet;
}

Sheet sequences_sheet(const GpuView& view, const Patterns& p) {
  Sheet sheet{.id = "sequences",
              .title = "Sequences of kernels that repeat",
              .columns = {{"stream", "stream", Unit::kText},
                          {"length", "kernels", Unit::kCount},
                          {"count", "times", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime},
                          {"sequence", "sequence", Unit::kText}}};
  for (const Sequence& s : p.sequences) {
    constexpr size_t kShown = 6;
    std::string text;
    for (size_t i = 0; i < std::min(s.names.size(), kShown); ++i) {
      text += (i == 0 ? "" : ", ") + short_name(view.trace->names[s.names[i]]);
    }
    if (s.names.size() > kShown) text += ", ...";
    sheet.add({cell(std::to_string(view.trace->tracks[s.track].stream)), cell(s.names.size()),
               cell(s.count), cell(s.total_ns), cell(text)});
  }
  return sheet;
}

Sheet recompute_sheet(const GpuView& view, const Patterns& p) {
  Sheet sheet{.id = "recompute",
              .title = "Forward kernels that the backward pass runs again",
              .columns = {{"region", "region", Unit::kText},
                          {"kernels", "kernels", Unit::kCount},
                          {"total_us", "sum us", Unit::kTime}}};
  for (const Recompute& r : p.recompute) {
    sheet.add({cell(region_text(view, r.backward)), cell(r.activities.size()), cell(r.total_ns)},
              around(view, r.activities));
  }
  return sheet;
}

Sheet chains_sheet(const GpuView& view, const Patterns& p) {
  Sheet sheet{.id = "fusion_chains",
              .title = "Chains of short kernels that could be one",
              .columns = {{"region", "region", Unit::kText},
                          {"kernels", "kernels", Unit::kCount},
                          {"span_us", "from first to last us", Unit::kTime},
                          {"ceiling_us", "could save us", Unit::kTime},
                          {"first", "first kernel", Unit::kText}}};
  for (const FusionChain& chain : p.chains) {
    const Activity& first = view.activities[chain.activities.front()];
    sheet.add({cell(region_text(view, first.region)), cell(chain.activities.size()),
               cell(chain.span_ns), cell(chain.ceiling_ns), cell(short_name(view.name_of(first)))},
              around(view, chain.activities));
  }
  sheet.notes.push_back(fmt::format("{} kernels are shorter than 10 us; they take {} us",
                                    p.short_kernels, shown(cell(p.short_kernels_ns), Unit::kTime)));
  return sheet;
}

Sheet grouped_rows_sheet(const GpuView& view, const Patterns& p) {
  Sheet sheet{.id = "grouped_rows",
              .title = "Rows of grouped matrix products, padded",
              .columns = {{"region", "region", Unit::kText},
                          {"rows", "rows", Unit::kText},
                          {"most_over_mean", "most / mean", Unit::kNumber}}};
  for (const GroupedRows& g : p.grouped_rows) {
    constexpr size_t kShown = 12;
    std::string rows;
    for (size_t i = 0; i < std::min(g.rows.size(), kShown); ++i) {
      rows += fmt::format("{}{}", i == 0 ? "" : ", ", g.rows[i]);
    }
    if (g.rows.size() > kShown) rows += ", ...";
    sheet.add({cell(view.trace->names[g.region_name]), cell(rows),
               known(g.mean > 0 ? static_cast<double>(g.most) / g.mean : 0)});
  }
  return sheet;
}

}  // namespace hadal::trace
