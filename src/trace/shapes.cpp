#include "trace/shapes.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/kernels.h"
#include "trace/rules.h"
#include "trace/shape_dims.h"
#include "trace/shape_fit.h"
#include "trace/shape_names.h"

namespace hadal::trace {
namespace {

constexpr size_t kTokenCastLookedBackMax = 64;  // launches on one stream
constexpr size_t kTransposeLookedBackMax = 4, kCastLookedAheadMax = 3;
constexpr size_t kFittedKernelsMax = 32;
constexpr int64_t kGemmThreadsMin = 64;  // helpers that fill descriptors have fewer

/// What a name says, found once per name.
struct NameFacts {
  bool gemm = false, grouped = false;
  DType type = DType::kUnknown;
  TileEvidence tiles;
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

int64_t tiles_of(int64_t extent, int64_t tile) {
  return extent / tile + (extent % tile != 0);
}

class Inference {
 public:
  Inference(const GpuView& view, const Model& model) : view_(view), model_(model) {
    read_names();
    place_activities();
    find_widths();
  }

  Shapes run() {
    add_shapes();
    apply_model();
    apply_arguments();
    apply_fits();
    apply_rows();
    apply_columns();
    apply_reverse();
    for (Shape& shape : shapes_.list) {
      fill_work(shape);
      if (shape.work == Work::kGemm) shape.confidence = confidence_of(shape);
    }
    return std::move(shapes_);
  }

 private:
  const Activity& activity(uint32_t i) const { return view_.activities[i]; }
  const NameFacts& facts(uint32_t i) const { return names_.at(activity(i).name); }
  const Launch* launch(uint32_t i) const { return view_.launch_of(activity(i)); }

  void read_names() {
    for (const Activity& a : view_.activities) {
      if (!is_kernel(view_, a)) continue;
      const auto [at, fresh] = names_.try_emplace(a.name);
      if (!fresh) continue;
      const std::string_view name = view_.name_of(a);
      NameFacts& facts = at->second;
      facts.gemm =
          a.kind == Class::kCompute && family(name) == "gemm" && !contains(name, "splitKreduce");
      facts.grouped = contains(name, "m_grouped") || contains(name, "GroupProblemShape");
      facts.type = gemm_type(name);
      facts.tiles = tile_evidence(name);
    }
  }

  /// Order of launches: per stream, and the GEMMs of each region.
  void place_activities() {
    order_ = launch_order(view_);
    position_.assign(view_.activities.size(), 0);
    for (const uint32_t i : order_) {
      if (!is_kernel(view_, activity(i))) continue;
      auto& stream = streams_[activity(i).track];
      position_[i] = stream.size();
      stream.push_back(i);
    }
  }

  void find_widths() {
    for (const auto& [track, stream] : streams_) {
      for (const uint32_t i : stream) {
        const Launch* l = launch(i);
        const NameFacts& f = facts(i);
        if (!l) continue;
        int64_t rows = 0;
        if (f.tiles.kind == TileEvidence::Kind::kTileCast) {
          widths_.insert(f.tiles.tile * l->grid[0]);
          rows = f.tiles.tile * l->grid[1];
        }
        if (f.tiles.kind == TileEvidence::Kind::kTokenCast) rows = l->grid[0];
        if (rows > 0 && activity(i).region != kNone) {
          int64_t& most = rows_of_region_[activity(i).region];
          most = std::max(most, rows);
        }
      }
    }
  }

  void add_shapes() {
    std::map<KernelKey, std::optional<Shape>> known;  // names are long: take each apart once
    for (uint32_t i = 0; i < view_.activities.size(); ++i) {
      const Activity& a = activity(i);
      if (!is_kernel(view_, a) || a.kind != Class::kCompute) continue;
      const auto [at, fresh] = known.try_emplace(key_of(view_, a));
      if (fresh) at->second = shape_of_name(i);
      if (!at->second) continue;
      if (at->second->work == Work::kGemm) at_[i] = shapes_.list.size();
      shapes_.list.push_back(*at->second);
      shapes_.list.back().activity = i;
    }
    for (const uint32_t i : order_) {
      if (at_.contains(i)) gemms_.push_back(i);
    }
  }
  std::optional<Shape> shape_of_name(uint32_t i) const {
    const Launch* l = launch(i);
    if (facts(i).gemm && (!l || volume(l->block) >= kGemmThreadsMin)) {
      Shape shape;
      shape.grouped = facts(i).grouped;
      shape.type = facts(i).type;
      return shape;
    }
    if (!l) return std::nullopt;
    const auto attention = attention_shape(view_.name_of(activity(i)), *l);
    return attention ? attention : elementwise_shape(view_.name_of(activity(i)), *l);
  }
  Shape& gemm(uint32_t i) { return shapes_.list[at_.at(i)]; }

  /// Rows of the grouped product of a region; 0: unknown.
  int64_t rows_of(uint32_t i) const {
    const auto at = rows_of_region_.find(activity(i).region);
    return at == rows_of_region_.end() ? 0 : at->second;
  }

  void apply_line(const GemmLine& line, uint32_t i) {
    Shape& shape = gemm(i);
    const auto value = [&](const Dimension& d) {
      return d.kind == Dimension::Kind::kRows ? rows_of(i) : d.value;
    };
    shape.m = value(line.m);
    shape.n = value(line.n);
    shape.k = value(line.k);
    if (line.type != DType::kUnknown) shape.type = line.type;
    shape.parts = line.region.empty() ? 1 : line.last - line.first + 1;
    shape.m_from = shape.n_from = shape.k_from = ShapeSource::kModel;
  }

  void apply_model() {
    if (model_.gemms.empty()) return;
    std::map<std::string_view, std::vector<const GemmLine*>> by_region;
    std::vector<const GemmLine*> by_pattern;
    for (const GemmLine& line : model_.gemms) {
      (line.region.empty() ? by_pattern : by_region[line.region]).push_back(&line);
    }
    std::map<uint32_t, int> ordinals;  // GEMMs so far, by region
    size_t used = 0;
    for (const uint32_t i : gemms_) {
      const uint32_t region = activity(i).region;
      const GemmLine* found = nullptr;
      if (region != kNone) {
        const int ordinal = ordinals[region]++;
        const auto lines = by_region.find(view_.trace->names[view_.regions[region].name]);
        if (lines != by_region.end()) {
          const auto at = std::ranges::find_if(lines->second, [&](const GemmLine* line) {
            return line->first <= ordinal && ordinal <= line->last;
          });
          if (at != lines->second.end()) found = *at;
        }
      }
      for (size_t p = 0; !found && p < by_pattern.size(); ++p) {
        if (matches(by_pattern[p]->pattern, view_.name_of(activity(i)))) found = by_pattern[p];
      }
      if (!found) continue;
      apply_line(*found, i);
      ++used;
    }
    if (used == 0) {
      shapes_.notes.emplace_back("no line of the model file fits a kernel of this trace");
    }
  }

  /// Input Dims of the operators around each GEMM, where the trace has them.
  void apply_arguments() {
    std::vector<uint32_t> open;
    for (const uint32_t i : gemms_) {
      if (gemm(i).m_from != ShapeSource::kModel) open.push_back(i);
    }
    const auto operators = launching_operators(view_, open);
    std::set<uint32_t> rows;
    for (const auto& list : operators) {
      for (const uint32_t row : list) {
        if (multiplies(view_.trace->name_of(row))) rows.insert(row);
      }
    }
    if (rows.empty()) return;
    if (rows.size() > kArgumentsReadMax) {
      shapes_.notes.push_back(fmt::format(
          "{} operators launch matrix multiplications; the arguments of the first {} were read",
          rows.size(), kArgumentsReadMax));
      rows.erase(std::next(rows.begin(), kArgumentsReadMax), rows.end());
    }
    const std::vector<uint32_t> wanted(rows.begin(), rows.end());
    const auto texts = read_events(*view_.trace, wanted);
    if (!texts) {
      shapes_.notes.push_back("Input Dims were not read: " + texts.error().message);
      return;
    }
    std::map<uint32_t, GemmDims> dims;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (const auto found = gemm_dims((*texts)[i])) dims.emplace(wanted[i], *found);
    }
    std::map<uint32_t, std::vector<uint32_t>> kernels_of;  // by operator
    for (size_t i = 0; i < open.size(); ++i) {
      const auto op =
          std::ranges::find_if(operators[i], [&](uint32_t o) { return dims.contains(o); });
      if (op != operators[i].end()) kernels_of[*op].push_back(open[i]);
    }
    for (const auto& [op, kernels] : kernels_of) {
      for (const uint32_t i : kernels) apply_dims(dims.at(op), static_cast<int>(kernels.size()), i);
    }
  }
  void apply_dims(const GemmDims& dims, int parts, uint32_t i) {
    Shape& shape = gemm(i);
    shape.batch = dims.batch;
    shape.m = dims.m;
    shape.n = dims.n;
    shape.k = dims.k;
    shape.parts = parts;
    if (dims.type != DType::kUnknown) shape.type = dims.type;
    shape.m_from = shape.n_from = shape.k_from = ShapeSource::kInputDims;
  }

  void apply_fits() {
    const std::vector<int64_t> widths(widths_.begin(), widths_.end());
    std::map<uint32_t, std::set<int64_t>> sizes;  // shared memory by name
    for (const uint32_t i : gemms_) {
      if (const Launch* l = launch(i)) sizes[activity(i).name].insert(l->shared_memory_bytes);
    }
    std::map<uint32_t, LinearFit> fits;
    size_t tried = 0;
    for (const auto& [kernel, set] : sizes) {
      if (set.size() < kFitValuesMin || ++tried > kFittedKernelsMax) continue;
      if (const auto fit = fit_shared_memory({set.begin(), set.end()}, widths)) {
        fits.emplace(kernel, *fit);
      }
    }
    const std::map<uint32_t, LinearFit> found = fits;
    for (const auto& [kernel, set] : sizes) {
      for (const auto& [other, fit] : found) {
        const bool all_known = std::ranges::all_of(set, [&](int64_t s) {
          const auto k = fit.k(s);
          return k && widths_.contains(*k);
        });
        if (all_known) fits.try_emplace(kernel, fit);
      }
    }
    for (const auto& [kernel, fit] : fits) describe_fit(kernel, fit, sizes[kernel]);
    for (const uint32_t i : gemms_) {
      const auto fit = fits.find(activity(i).name);
      Shape& shape = gemm(i);
      if (shape.k_from != ShapeSource::kNone || fit == fits.end() || !launch(i)) continue;
      shape.k = fit->second.k(launch(i)->shared_memory_bytes).value_or(0);
      if (shape.k > 0) shape.k_from = ShapeSource::kSharedMemory;
    }
  }
  void describe_fit(uint32_t kernel, const LinearFit& fit, const std::set<int64_t>& sizes) {
    SharedMemoryFit described;
    described.kernel = short_name(view_.trace->names[kernel]);
    described.bytes_per_k =
        static_cast<double>(fit.denominator) / static_cast<double>(fit.numerator);
    described.base =
        static_cast<double>(fit.s0) - static_cast<double>(fit.k0) * described.bytes_per_k;
    described.values = static_cast<int>(sizes.size());
    for (const int64_t size : sizes) {
      const int64_t k = fit.k(size).value_or(0);
      if (k > 0) described.k.push_back(k);
      described.hits += widths_.contains(k);
    }
    shapes_.fits.push_back(std::move(described));
  }

  /// M from casts. Only where K has a source: a kernel that the fit does not know (a weight
  /// gradient, say) may have its tokens elsewhere.
  void apply_rows() {
    for (const uint32_t i : gemms_) {
      Shape& shape = gemm(i);
      if (shape.m_from != ShapeSource::kNone || shape.k_from != ShapeSource::kSharedMemory)
        continue;
      shape.m = shape.grouped ? rows_of(i) : tokens_before(i);
      if (shape.m > 0) shape.m_from = ShapeSource::kCastGrid;
    }
  }
  int64_t tokens_before(uint32_t i) const {
    const auto& stream = streams_.at(activity(i).track);
    const size_t at = position_[i];
    for (size_t back = 1; back <= std::min(at, kTokenCastLookedBackMax); ++back) {
      const uint32_t j = stream[at - back];
      if (facts(j).tiles.kind == TileEvidence::Kind::kTokenCast && launch(j)) {
        return launch(j)->grid[0];
      }
    }
    return 0;
  }

  /// N of an input gradient, from the weight that is transposed for it or the casts behind it.
  void apply_columns() {
    for (const uint32_t i : gemms_) {
      Shape& shape = gemm(i);
      if (shape.n_from != ShapeSource::kNone || shape.k_from != ShapeSource::kSharedMemory ||
          shape.grouped) {
        continue;
      }
      const int64_t transposed = columns_before(i, shape.k), cast = columns_after(i, shape.k);
      if (transposed > 0 && cast > 0 && transposed != cast) continue;  // one of them is wrong
      shape.n = std::max(transposed, cast);
      if (shape.n > 0) {
        shape.n_from = transposed > 0 ? ShapeSource::kTranspose : ShapeSource::kCastGrid;
      }
    }
  }
  int64_t columns_before(uint32_t i, int64_t k) const {
    const auto& stream = streams_.at(activity(i).track);
    const size_t at = position_[i];
    for (size_t back = 1; back <= std::min(at, kTransposeLookedBackMax); ++back) {
      const uint32_t j = stream[at - back];
      if (facts(j).gemm && at_.contains(j)) return 0;
      const TileEvidence& e = facts(j).tiles;
      if (e.kind != TileEvidence::Kind::kTranspose || !launch(j)) continue;
      const int64_t tiles = volume(launch(j)->grid), across = tiles_of(k, e.tile);
      return tiles % across == 0 && tiles / across < (int64_t{1} << 32) ? tiles / across * e.tile
                                                                        : 0;
    }
    return 0;
  }
  int64_t columns_after(uint32_t i, int64_t k) const {
    const auto& stream = streams_.at(activity(i).track);
    std::vector<int64_t> columns;  // in tiles
    int64_t tile = 128;
    for (size_t j = position_[i] + 1;
         j < std::min(stream.size(), position_[i] + 1 + kCastLookedAheadMax); ++j) {
      if (at_.contains(stream[j])) break;
      const TileEvidence& e = facts(stream[j]).tiles;
      if (e.kind != TileEvidence::Kind::kTileCast || !launch(stream[j])) continue;
      columns.push_back(launch(stream[j])->grid[0]);
      tile = e.tile;
    }
    if (columns.size() != 2) return 0;
    const int64_t across = tiles_of(k, tile);
    if (columns[0] == across) return columns[1] * tile;
    return columns[1] == across ? columns[0] * tile : 0;
  }

  /// N of forward products: where input gradients with N = K all have the same K, that is it.
  void apply_reverse() {
    std::map<std::pair<int, int64_t>, std::set<int64_t>>
        inner;  // (device, N) of gradients: their K
    for (const uint32_t i : gemms_) {
      const Shape& shape = gemm(i);
      if (shape.n_from == ShapeSource::kTranspose || shape.n_from == ShapeSource::kCastGrid) {
        inner[{device_of(view_, activity(i)), shape.n}].insert(shape.k);
      }
    }
    for (const uint32_t i : gemms_) {
      Shape& shape = gemm(i);
      if (shape.n_from != ShapeSource::kNone || shape.k_from != ShapeSource::kSharedMemory ||
          shape.grouped) {
        continue;
      }
      const auto found = inner.find({device_of(view_, activity(i)), shape.k});
      if (found == inner.end() || found->second.size() != 1) continue;
      shape.n = *found->second.begin();
      shape.n_from = ShapeSource::kReverse;
    }
  }

  static Confidence confidence_of(const Shape& shape) {
    const bool given =
        shape.k_from == ShapeSource::kModel || shape.k_from == ShapeSource::kInputDims;
    return given ? Confidence::kDerived : Confidence::kInferred;
  }

  const GpuView& view_;
  const Model& model_;
  std::map<uint32_t, NameFacts> names_;
  std::vector<uint32_t> order_, gemms_;                // by launch
  std::map<uint16_t, std::vector<uint32_t>> streams_;  // kernels by launch
  std::vector<size_t> position_;                       // of an activity in its stream
  std::set<int64_t> widths_;                           // of matrices, from cast grids
  std::map<uint32_t, int64_t> rows_of_region_;
  std::map<uint32_t, size_t> at_;  // GEMM activity: index into list
  Shapes shapes_;
};

Json shape_json(const GpuView& view, const Shape& s) {
  const Activity& a = view.activities[s.activity];
  Json json{{"name", view.name_of(a)}, {"work", name(s.work)}, {"start_us", us(a.start_ns)}};
  json["duration_us"] = us(a.duration_ns());
  if (a.region != kNone) {
    json["region"] = view.trace->names[view.regions[a.region].name];
    json["index"] = view.regions[a.region].index;
  }
  const auto dimension = [&](const char* key, int64_t value, ShapeSource from) {
    if (value > 0) json[key] = {{"value", value}, {"source", name(from)}};
  };
  if (s.work == Work::kGemm) {
    json["type"] = name(s.type);
    dimension("m", s.m, s.m_from);
    dimension("n", s.n, s.n_from);
    dimension("k", s.k, s.k_from);
    if (s.batch > 1) json["batch"] = s.batch;
    if (s.parts > 1) json["kernels_of_product"] = s.parts;
  } else if (s.work == Work::kAttention) {
    json["sequence"] = s.sequence;
    json["heads"] = s.heads;
    json["dim_qk"] = s.dim_qk;
    json["dim_v"] = s.dim_v;
    json["causal"] = s.causal;
    json["backward"] = s.backward;
  } else {
    json["elements"] = s.elements;
    json["arrays"] = s.arrays;
  }
  if (s.flop > 0) json["flop"] = s.flop;
  if (s.bytes > 0) json["bytes"] = s.bytes;
  json["confidence"] = name(s.confidence);
  return json;
}

}  // namespace

std::string_view name(Work work) {
  constexpr std::string_view kNames[] = {"gemm", "attention", "elementwise"};
  return kNames[static_cast<size_t>(work)];
}

std::string_view name(ShapeSource source) {
  constexpr std::string_view kNames[] = {
      "", "model", "input_dims", "template", "shared_memory", "cast_grid", "transpose", "reverse"};
  return kNames[static_cast<size_t>(source)];
}

DType gemm_type(std::string_view kernel) {
  for (const auto& [part, type] : {std::pair{"fp8", DType::kFp8},
                                   {"e4m3", DType::kFp8},
                                   {"e5m2", DType::kFp8},
                                   {"tf32", DType::kTf32},
                                   {"bf16", DType::kBf16},
                                   {"bfloat16", DType::kBf16},
                                   {"BFloat16", DType::kBf16},
                                   {"fp16", DType::kBf16},
                                   {"f16f16", DType::kBf16},
                                   {"h884", DType::kBf16},
                                   {"h16816", DType::kBf16},
                                   {"hgemm", DType::kBf16},
                                   {"half_t", DType::kBf16},
                                   {"sgemm", DType::kFp32},
                                   {"f64f64", DType::kFp64},
                                   {"dgemm", DType::kFp64}}) {
    if (contains(kernel, part)) return type;
  }
  return DType::kUnknown;
}

Shapes infer_shapes(const GpuView& view, const Model& model) {
  return Inference(view, model).run();
}

Json to_json(const GpuView& view, const Shapes& shapes) {
  Json kernels = Json::array(), fits = Json::array();
  for (const Shape& s : shapes.list) kernels.push_back(shape_json(view, s));
  for (const SharedMemoryFit& fit : shapes.fits) {
    fits.push_back({{"kernel", fit.kernel},
                    {"base_bytes", fit.base},
                    {"bytes_per_k", fit.bytes_per_k},
                    {"sizes", fit.values},
                    {"known_widths", fit.hits},
                    {"k", fit.k}});
  }
  return {{"kernels", std::move(kernels)},
          {"shared_memory_fits", std::move(fits)},
          {"notes", shapes.notes}};
}

}  // namespace hadal::trace
