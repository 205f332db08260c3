#include "trace/model.h"

#include <array>
#include <charconv>
#include <utility>

#include <fmt/core.h>

#include "base/config.h"
#include "base/files.h"
#include "trace/rules.h"

namespace hadal::trace {
namespace {

constexpr double kDimensionMax = 1LL << 40;

struct Row {
  std::string_view pattern;  // as in rules.h; the first that matches the device's name counts
  std::string_view device, source;
  double fp8, bf16, tf32, fp32, hbm, nvlink;
};
// Dense figures; NVIDIA's sheets print them with sparsity, twice as large. NVLink is one direction,
// half of what the sheets call total bandwidth.
constexpr std::array kRows = {
    Row{"H100 PCIe", "H100 PCIe", "NVIDIA H100 data sheet", 1513, 756.5, 378, 51, 2.0, 300},
    Row{"H100 NVL", "H100 NVL", "NVIDIA H100 data sheet", 1671, 835.5, 417.5, 60, 3.9, 300},
    Row{"GH200", "GH200", "NVIDIA GH200 data sheet", 1979, 989.5, 494.7, 67, 4.0, 450},
    Row{"H100", "H100 SXM", "NVIDIA H100 data sheet", 1979, 989.5, 494.7, 67, 3.35, 450},
    Row{"H800", "H800 SXM", "NVIDIA H100 data sheet; NVLink as NVIDIA states for H800", 1979, 989.5,
        494.7, 67, 3.35, 200},
    Row{"H200", "H200 SXM", "NVIDIA H200 data sheet", 1979, 989.5, 494.7, 67, 4.8, 450},
    Row{"H20", "H20", "NVIDIA H20 data sheet", 296, 148, 74, 44, 4.0, 450},
    Row{"GB200", "GB200", "NVIDIA GB200 NVL72 data sheet", 5000, 2500, 1250, 80, 8.0, 900},
    Row{"B200", "B200", "NVIDIA DGX B200 data sheet", 4500, 2250, 1125, 75, 8.0, 900},
    Row{"A100*PCIE*40GB", "A100 PCIe 40GB", "NVIDIA A100 data sheet", 0, 312, 156, 19.5, 1.555,
        300},
    Row{"A100*40GB", "A100 SXM 40GB", "NVIDIA A100 data sheet", 0, 312, 156, 19.5, 1.555, 300},
    Row{"A100*PCI", "A100 PCIe 80GB", "NVIDIA A100 data sheet", 0, 312, 156, 19.5, 1.935, 300},
    Row{"A100", "A100 SXM 80GB", "NVIDIA A100 data sheet", 0, 312, 156, 19.5, 2.039, 300},
    Row{"A800", "A800 SXM 80GB", "NVIDIA A100 data sheet; NVLink as NVIDIA states for A800", 0, 312,
        156, 19.5, 2.039, 200},
    Row{"V100", "V100 SXM", "NVIDIA V100 data sheet", 0, 125, 0, 15.7, 0.9, 150},
    Row{"L40S", "L40S", "NVIDIA L40S data sheet", 733, 362, 183, 91.6, 0.864, 0},
    Row{"RTX 4090", "GeForce RTX 4090", "NVIDIA Ada GPU architecture whitepaper", 330.3, 165.2,
        82.6, 82.6, 1.008, 0},
    Row{"MI300X", "MI300X", "AMD Instinct MI300X data sheet", 2614.9, 1307.4, 653.7, 163.4, 5.3,
        448},
    Row{"MI325X", "MI325X", "AMD Instinct MI325X data sheet", 2614.9, 1307.4, 653.7, 163.4, 6.0,
        448},
};

Peaks peaks_of(const Row& row) {
  return {.device = std::string(row.device),
          .source = std::string(row.source),
          .fp8_tflops = row.fp8,
          .bf16_tflops = row.bf16,
          .tf32_tflops = row.tf32,
          .fp32_tflops = row.fp32,
          .hbm_tb_s = row.hbm,
          .nvlink_gb_s = row.nvlink};
}

constexpr std::array<std::string_view, 6> kTypeNames = {"unknown", "fp8",  "bf16",
                                                        "tf32",    "fp32", "fp64"};

struct File {
  Model model;
  std::vector<std::string> gemms, kernels;

  void visit(auto& v) {
    const ConfigRange positive{.min = 0, .max = 1e9};
    v("device", model.device, "name of the GPU, if the trace's own is not in the table of peaks");
    v("fp8_tflops", model.fp8_tflops, "peak of dense FP8, TFLOP/s; 0: as the table", positive);
    v("bf16_tflops", model.bf16_tflops, "peak of dense BF16 and FP16", positive);
    v("tf32_tflops", model.tf32_tflops, "peak of dense TF32", positive);
    v("fp32_tflops", model.fp32_tflops, "peak of FP32 without tensor cores", positive);
    v("hbm_tb_s", model.hbm_tb_s, "memory bandwidth, TB/s", positive);
    v("nvlink_gb_s", model.nvlink_gb_s, "of one direction, GB/s", positive);
    const ConfigRange dimension{.min = 0, .max = kDimensionMax};
    v("tokens", model.tokens, "tokens of a micro-batch on this rank", dimension);
    v("hidden", model.hidden, "hidden size", dimension);
    v("topk", model.topk, "experts of a token", dimension);
    v("experts", model.experts, "experts of a layer", dimension);
    v("nodes", model.nodes, "nodes that a token is sent to on average", positive);
    v("gemms", gemms, "region | ordinals | M | N | K [| type]");
    v("kernels", kernels, "pattern | M | N | K [| type]");
  }
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const size_t bar = line.find('|');
    fields.push_back(trimmed(line.substr(0, bar)));
    if (bar == std::string_view::npos) return fields;
    line.remove_prefix(bar + 1);
  }
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Dimension> dimension(std::string_view text, const Model& model) {
  if (text == "rows") return Dimension{.kind = Dimension::Kind::kRows, .value = 0};
  std::optional<int64_t> value = number<int64_t>(text);
  if (text == "tokens") value = model.tokens;
  if (text == "hidden") value = model.hidden;
  if (!value || *value <= 0 || static_cast<double>(*value) > kDimensionMax) {
    return fail(Code::kInvalidArgument,
                fmt::format("the dimension is \"{}\"; it must be a number from 1 to 2^40, rows, or "
                            "tokens or hidden where the file sets them",
                            text));
  }
  return Dimension{.kind = Dimension::Kind::kNumber, .value = *value};
}

/// M, N, K and perhaps a type, from `fields` on.
Result<GemmLine> product(GemmLine line, std::span<const std::string_view> fields,
                         const Model& model) {
  line.m = TRY(dimension(fields[0], model));
  line.n = TRY(dimension(fields[1], model));
  line.k = TRY(dimension(fields[2], model));
  if (fields.size() == 3) return line;
  for (size_t i = 1; i < kTypeNames.size(); ++i) {
    if (fields[3] == kTypeNames[i]) line.type = static_cast<DType>(i);
  }
  if (line.type == DType::kUnknown) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("the type is \"{}\"; it must be fp8, bf16, tf32, fp32 or fp64", fields[3]));
  }
  return line;
}

Result<GemmLine> gemm_line(std::string_view text, const Model& model) {
  const std::vector<std::string_view> fields = fields_of(text);
  if (fields.size() < 5 || fields.size() > 6) {
    return fail(Code::kInvalidArgument,
                fmt::format("it has {} fields; it must be region | ordinals | M | N | K [| type]",
                            fields.size()));
  }
  const size_t dash = fields[1].find('-');
  const auto first = number<int>(fields[1].substr(0, dash));
  const auto last =
      dash == std::string_view::npos ? first : number<int>(fields[1].substr(dash + 1));
  if (!first || !last || *first < 0 || *last < *first) {
    return fail(Code::kInvalidArgument,
                fmt::format("the ordinals are \"{}\"; they must be a number from 0, or a range "
                            "such as 1-4",
                            fields[1]));
  }
  GemmLine line;
  line.region = fields[0];
  line.first = *first;
  line.last = *last;
  return product(std::move(line), std::span(fields).subspan(2), model);
}

Result<GemmLine> kernel_line(std::string_view text, const Model& model) {
  const std::vector<std::string_view> fields = fields_of(text);
  if (fields.size() < 4 || fields.size() > 5 || fields[0].empty()) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("it has {} fields; it must be pattern | M | N | K [| type]", fields.size()));
  }
  GemmLine line;
  line.pattern = fields[0];
  return product(std::move(line), std::span(fields).subspan(1), model);
}

void replace(double& figure, double own) {
  if (own > 0) figure = own;
}

}  // namespace

std::string_view name(DType type) {
  return kTypeNames[static_cast<size_t>(type)];
}

int bytes_of(DType type) {
  constexpr std::array kBytes = {0, 1, 2, 4, 4, 8};
  return kBytes[static_cast<size_t>(type)];
}

double Peaks::tflops(DType type) const {
  switch (type) {
    case DType::kFp8: return fp8_tflops;
    case DType::kBf16: return bf16_tflops;
    case DType::kTf32: return tf32_tflops;
    case DType::kFp32: return fp32_tflops;
    case DType::kUnknown:
    case DType::kFp64: break;
  }
  return 0;
}

std::optional<Peaks> known_peaks(std::string_view device_name) {
  for (const Row& row : kRows) {
    if (matches(row.pattern, device_name)) return peaks_of(row);
  }
  return std::nullopt;
}

std::vector<Peaks> all_known_peaks() {
  std::vector<Peaks> all;
  all.reserve(kRows.size());
  for (const Row& row : kRows) all.push_back(peaks_of(row));
  return all;
}

Result<Model> Model::parse(std::string_view toml, const std::string& path) {
  File file;
  TRY(apply_toml(config_fields(file), toml, path));
  Model model = std::move(file.model);
  for (size_t i = 0; i < file.gemms.size(); ++i) {
    model.gemms.push_back(
        TRY(in(fmt::format("{}: line {} of gemms", path, i + 1), gemm_line(file.gemms[i], model))));
  }
  for (size_t i = 0; i < file.kernels.size(); ++i) {
    model.gemms.push_back(TRY(in(fmt::format("{}: line {} of kernels", path, i + 1),
                                 kernel_line(file.kernels[i], model))));
  }
  return model;
}

Result<Model> Model::read(const std::string& path) {
  constexpr int64_t kBytesMax = 1 << 20;
  return parse(TRY(read_file(path, kBytesMax)), path);
}

std::optional<Peaks> Model::peaks(std::string_view device_name) const {
  std::optional<Peaks> found = known_peaks(device.empty() ? device_name : device);
  const bool own = fp8_tflops > 0 || bf16_tflops > 0 || tf32_tflops > 0 || fp32_tflops > 0 ||
                   hbm_tb_s > 0 || nvlink_gb_s > 0;
  if (!own) return found;
  if (!found) {
    found.emplace();
    found->device = device.empty() ? device_name : std::string_view(device);
  }
  found->source += found->source.empty() ? "model file" : "; model file";
  replace(found->fp8_tflops, fp8_tflops);
  replace(found->bf16_tflops, bf16_tflops);
  replace(found->tf32_tflops, tf32_tflops);
  replace(found->fp32_tflops, fp32_tflops);
  replace(found->hbm_tb_s, hbm_tb_s);
  replace(found->nvlink_gb_s, nvlink_gb_s);
  return found;
}

}  // namespace hadal::trace
