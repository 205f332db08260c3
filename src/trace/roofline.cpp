#include "trace/roofline.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/comm_bandwidth.h"
#include "trace/contention.h"
#include "trace/kernels.h"
#include "trace/occupancy.h"
#include "trace/waves.h"

namespace hadal::trace {
namespace {

/// a / b, 0 where b is not positive.
double ratio(double a, double b) {
  return b > 0 ? a / b : 0;
}

double seconds(int64_t ns) {
  return static_cast<double>(ns) * 1e-9;
}

/// What part of the SMs each kernel can use.
class SmShare {
 public:
  explicit SmShare(const GpuView& view) : view_(view), beside_(beside(view)) {
    for (const Partition& p : wave_report(view).partitions) partitions_[p.device] = p;
    for (const Device& device : view.trace->devices) limits_[device.id] = sm_limits(device);
  }

  double of(uint32_t i) const {
    const Activity& a = view_.activities[i];
    const int device = device_of(view_, a);
    const auto sm = limits_.find(device);
    const Launch* launch = view_.launch_of(a);
    if (sm == limits_.end() || !sm->second || !launch) return 1;
    const auto o = occupancy(*launch, *sm->second);
    const double sms = sm->second->num_sms;
    if (o && o->blocks_per_sm == 1 && o->blocks_per_sm_launched < 1) {
      return o->blocks_per_sm_launched;
    }
    const auto p = partitions_.find(device);
    const bool shared = p != partitions_.end() && p->second.detected &&
                        beside_[i].company() == Company::kCommunication;
    return shared ? (sms - p->second.communication_sms) / sms : 1;
  }

 private:
  const GpuView& view_;
  std::vector<Beside> beside_;
  std::map<int, Partition> partitions_;
  std::map<int, std::optional<SmLimits>> limits_;
};

Roof roof_of(const Shape& shape, int64_t duration_ns, double sm_share,
             const std::optional<Peaks>& peaks) {
  Roof roof;
  const double s = seconds(duration_ns);
  roof.tflops = ratio(shape.flop, s) * 1e-12;
  roof.tb_s = ratio(shape.bytes, s) * 1e-12;
  roof.intensity = ratio(shape.flop, shape.bytes);
  roof.sm_share = sm_share;
  if (!peaks) return roof;
  const double bandwidth = peaks->hbm_tb_s;
  if (shape.flop <= 0) {
    roof.memory_bound = true;
    roof.percent = 100 * ratio(roof.tb_s, bandwidth);
  } else if (const double compute = peaks->tflops(shape.type) * sm_share; compute > 0) {
    const double memory = roof.intensity * bandwidth;
    roof.memory_bound = memory > 0 && memory < compute;
    roof.peak_tflops = compute;
    roof.attainable_tflops = roof.memory_bound ? memory : compute;
    roof.percent = 100 * ratio(roof.tflops, roof.attainable_tflops);
  }
  roof.above_peak = roof.percent > 100;
  return roof;
}

using RowKey = std::tuple<std::string, Work, int64_t, int64_t, int64_t, int64_t, bool, int>;

RowKey key_of_row(const std::string& name, const Shape& s) {
  switch (s.work) {
    case Work::kGemm: return {name, s.work, s.m, s.n, s.k, s.batch, s.backward, s.parts};
    case Work::kAttention:
      return {name, s.work, s.sequence, s.heads, s.dim_qk, s.dim_v, s.backward, 1};
    case Work::kElementwise: break;
  }
  return {name, s.work, s.elements, s.arrays, 0, 0, false, 1};
}

void add_to_row(RoofRow& row, const Shape& shape, const Roof& roof, int64_t duration_ns) {
  const bool first = row.count++ == 0;
  if (first) {
    row.shape = shape;
    row.sm_share = roof.sm_share;
    row.percent_min = row.percent_max = roof.percent;
  }
  row.total_ns += duration_ns;
  row.flop += shape.flop;
  row.bytes += shape.bytes;
  row.peak_flop += roof.peak_tflops * 1e12 * seconds(duration_ns);
  row.percent_min = std::min(row.percent_min, roof.percent);
  row.percent_max = std::max(row.percent_max, roof.percent);
  row.memory_bound = row.memory_bound || roof.memory_bound;
  row.above_peak = row.above_peak || roof.above_peak;
}

void add_to_total(RoofTotal& total, const Shape& shape, const Roof& roof, int64_t duration_ns) {
  ++total.count;
  total.total_ns += duration_ns;
  total.flop += shape.flop;
  total.peak_flop += roof.peak_tflops * 1e12 * seconds(duration_ns);
}

Json row_json(const RoofRow& row) {
  const Shape& s = row.shape;
  Json json{{"name", row.name},
            {"work", name(s.work)},
            {"type", name(s.type)},
            {"count", row.count},
            {"total_us", us(row.total_ns)}};
  if (s.work == Work::kGemm) {
    json["m"] = s.m;
    json["n"] = s.n;
    json["k"] = s.k;
    json["sources"] = {name(s.m_from), name(s.n_from), name(s.k_from)};
  }
  json["flop"] = row.flop;
  json["bytes"] = row.bytes;
  json["intensity"] = ratio(row.flop, row.bytes);
  json["tflops"] = row.tflops();
  json["tb_s"] = row.tb_s();
  json["sm_share"] = row.sm_share;
  json["memory_bound"] = row.memory_bound;
  const auto or_null = [](double percent) { return percent > 0 ? Json(percent) : Json(); };
  json["percent_min"] = or_null(row.percent_min);
  json["percent_max"] = or_null(row.percent_max);
  json["percent_of_peak"] = or_null(row.percent_of_peak());
  json["above_peak"] = row.above_peak;
  json["confidence"] = name(s.confidence);
  return json;
}

Json total_json(const RoofTotal& total) {
  return {
      {"name", total.name},
      {"count", total.count},
      {"total_us", us(total.total_ns)},
      {"union_us", us(total.union_ns)},
      {"flop", total.flop},
      {"tflops", total.tflops()},
      {"tflops_union", total.tflops_union()},
      {"percent_of_peak", total.percent_of_peak() > 0 ? Json(total.percent_of_peak()) : Json()}};
}

Json peaks_json(const std::optional<Peaks>& peaks) {
  if (!peaks) return {};
  return {{"device", peaks->device},           {"source", peaks->source},
          {"fp8_tflops", peaks->fp8_tflops},   {"bf16_tflops", peaks->bf16_tflops},
          {"tf32_tflops", peaks->tf32_tflops}, {"fp32_tflops", peaks->fp32_tflops},
          {"hbm_tb_s", peaks->hbm_tb_s},       {"nvlink_gb_s", peaks->nvlink_gb_s}};
}

/// The peaks of the device that most activities ran on.
std::optional<Peaks> peaks_of(const GpuView& view, const Model& model,
                              std::vector<std::string>& notes) {
  std::map<int, size_t> count;
  for (const Activity& a : view.activities) ++count[device_of(view, a)];
  const auto most = std::ranges::max_element(count, {}, [](const auto& c) { return c.second; });
  const Device* device = most == count.end() ? nullptr : view.trace->device(most->first);
  const std::string name = device ? device->name : "";
  auto peaks = model.peaks(name);
  if (!peaks) {
    notes.push_back(fmt::format(
        "no peaks are known for \"{}\"; a model file can give them (fp8_tflops, bf16_tflops, "
        "hbm_tb_s, ...)",
        name));
  }
  return peaks;
}

void sort_and_store(std::map<std::string, RoofTotal>& totals,
                    std::map<std::string, std::vector<Interval>>& times, Roofline& out) {
  for (auto& [name, total] : totals) {
    total.name = name;
    total.union_ns = length(unite(std::move(times[name])));
    out.totals.push_back(std::move(total));
  }
  std::ranges::sort(out.totals, {}, [](const RoofTotal& t) {
    return std::tuple(-t.total_ns, std::string_view(t.name));
  });
}

}  // namespace

double RoofRow::tflops() const {
  return ratio(flop, seconds(total_ns)) * 1e-12;
}
double RoofRow::tb_s() const {
  return ratio(bytes, seconds(total_ns)) * 1e-12;
}
double RoofRow::percent_of_peak() const {
  return 100 * ratio(flop, peak_flop);
}
double RoofTotal::tflops() const {
  return ratio(flop, seconds(total_ns)) * 1e-12;
}
double RoofTotal::tflops_union() const {
  return ratio(flop, seconds(union_ns)) * 1e-12;
}
double RoofTotal::percent_of_peak() const {
  return 100 * ratio(flop, peak_flop);
}
double CommBandwidth::gb_s() const {
  return ratio(bytes, seconds(total_ns)) * 1e-9;
}

Roofline roofline(const GpuView& view, const Shapes& shapes, const Model& model) {
  Roofline out;
  out.notes = shapes.notes;
  out.peaks = peaks_of(view, model, out.notes);
  for (const Activity& a : view.activities) {
    if (is_kernel(view, a)) out.kernel_ns += a.duration_ns();
  }
  const SmShare shares(view);
  std::map<uint32_t, std::string> short_names;
  std::map<RowKey, RoofRow> rows;
  std::map<std::string, RoofTotal> totals;
  std::map<std::string, std::vector<Interval>> times;
  std::vector<Interval> gemm_times;
  RoofTotal gemm;
  gemm.name = "all GEMM";
  for (uint32_t i = 0; i < shapes.list.size(); ++i) {
    const Shape& shape = shapes.list[i];
    const Activity& a = view.activities[shape.activity];
    if (shape.flop <= 0 && shape.bytes <= 0) {
      if (shape.work == Work::kGemm) out.gemm_unknown_ns += a.duration_ns();
      continue;
    }
    if (a.duration_ns() <= 0) continue;
    const auto [at, fresh] = short_names.try_emplace(a.name);
    if (fresh) at->second = short_name(view.name_of(a));
    const std::string& name = at->second;
    Roof roof = roof_of(shape, a.duration_ns(), shares.of(shape.activity), out.peaks);
    roof.shape = i;
    out.known_ns += a.duration_ns();
    out.kernels.push_back(roof);
    RoofRow& row = rows[key_of_row(name, shape)];
    row.name = name;
    add_to_row(row, shape, roof, a.duration_ns());
    if (shape.flop <= 0) continue;
    add_to_total(totals[name], shape, roof, a.duration_ns());
    times[name].push_back({a.start_ns, a.end_ns});
    if (shape.work != Work::kGemm) continue;
    add_to_total(gemm, shape, roof, a.duration_ns());
    gemm_times.push_back({a.start_ns, a.end_ns});
  }
  for (auto& [key, row] : rows) out.rows.push_back(std::move(row));
  std::ranges::sort(out.rows, {}, [](const RoofRow& r) {
    return std::pair(-r.total_ns, key_of_row(r.name, r.shape));
  });
  sort_and_store(totals, times, out);
  if (gemm.count > 0) {
    gemm.union_ns = length(unite(std::move(gemm_times)));
    out.gemm = std::move(gemm);
  }
  out.communication = comm_bandwidth(view, model, out.notes);
  const bool above = std::ranges::any_of(out.kernels, &Roof::above_peak);
  if (above) {
    out.notes.emplace_back(
        "kernels above 100 % of the roofline: their bytes were served by caches in part, or a "
        "dimension or the peak is wrong");
  }
  return out;
}

Json to_json(const GpuView& view, const Shapes& shapes, const Roofline& roofline) {
  Json rows = Json::array(), totals = Json::array(), communication = Json::array();
  for (const RoofRow& row : roofline.rows) rows.push_back(row_json(row));
  for (const RoofTotal& total : roofline.totals) totals.push_back(total_json(total));
  for (const CommBandwidth& c : roofline.communication) {
    Json json{{"name", c.name},           {"operation", c.operation},
              {"count", c.count},         {"total_us", us(c.total_ns)},
              {"bytes", c.bytes},         {"gb_s", c.gb_s()},
              {"bus_gb_s", c.bus_gb_s()}, {"source", name(c.source)}};
    if (c.ranks > 0) {
      json["group"] = c.group;
      json["ranks"] = c.ranks;
    }
    if (!c.region.empty()) json["region"] = c.region;
    communication.push_back(std::move(json));
  }
  return {{"peaks", peaks_json(roofline.peaks)},
          {"kernel_us", us(roofline.kernel_ns)},
          {"known_us", us(roofline.known_ns)},
          {"gemm_unknown_us", us(roofline.gemm_unknown_ns)},
          {"gemm", roofline.gemm ? total_json(*roofline.gemm) : Json()},
          {"totals", std::move(totals)},
          {"kernels", std::move(rows)},
          {"communication", std::move(communication)},
          {"shared_memory_fits", to_json(view, shapes)["shared_memory_fits"]},
          {"notes", roofline.notes}};
}

}  // namespace hadal::trace
