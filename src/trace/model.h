// What the trace does not say and its owner knows: a device's peaks, and the shapes of a model.
//
// Peaks are those of the vendor's data sheet, dense (without sparsity), at boost clock. A device
// that is not in the table, or another opinion about one that is, goes into the model file:
//
//   device = "NVIDIA H800"             # which row of the table; else the trace's own name
//   fp8_tflops = 1979                  # any of these replaces the row's
//   hbm_tb_s = 3.35
//   tokens = 4096                      # of one micro-batch on this rank
//   hidden = 7168
//   topk = 8
//   experts = 256
//   nodes = 4                          # that a token is sent to on average (communication)
//   gemms = [                          # region | ordinals | M | N | K [| type]
//     "attn(F) | 0 | tokens | 1536 | hidden",
//     "mlp(W) | 1-4 | hidden | 2048 | rows | fp8",
//   ]
//   kernels = [                        # pattern | M | N | K [| type]
//     "my_gemm | 4096 | 4096 | 4096 | bf16",
//   ]
//
// An ordinal counts the matrix multiplications launched in one region, from 0; a range like 1-4 is
// one product made by several kernels (the experts of a group), which share it in equal parts. A
// dimension is a number, tokens, hidden, or rows: the rows of the grouped product, read from the
// largest cast grid of the region. Lines of gemms go before those of kernels, the first that
// matches counts, and both go before what the trace itself suggests.
//
// Units: TFLOP/s = 1e12/s, TB/s = 1e12 B/s, GB/s = 1e9 B/s.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::trace {

/// What a matrix multiplication multiplies.
enum class DType : uint8_t { kUnknown, kFp8, kBf16, kTf32, kFp32, kFp64 };
std::string_view name(DType type);  // "unknown", "fp8", "bf16" (and fp16), "tf32", "fp32", "fp64"
int bytes_of(DType type);           // 0 for unknown

struct Peaks {
  std::string device;                                                        // the row's name
  std::string source;                                                        // who says so
  double fp8_tflops = 0, bf16_tflops = 0, tf32_tflops = 0, fp32_tflops = 0;  // 0: not offered
  double hbm_tb_s = 0;
  double nvlink_gb_s = 0;           // of one direction, all links
  double tflops(DType type) const;  // 0: unknown
};

/// The row for a device's name as the driver gives it ("NVIDIA H100 80GB HBM3"). nullopt: none.
std::optional<Peaks> known_peaks(std::string_view device_name);
/// All rows, for documentation.
std::vector<Peaks> all_known_peaks();

/// One dimension of a line.
struct Dimension {
  enum class Kind : uint8_t { kNumber, kRows };  // tokens and hidden are resolved while reading
  Kind kind = Kind::kNumber;
  int64_t value = 0;
};

struct GemmLine {
  std::string region;  // empty: `pattern` says which kernels
  std::string pattern;
  int first = 0, last = 0;  // ordinals, inclusive
  Dimension m, n, k;
  DType type = DType::kUnknown;
};

struct Model {
  std::string device;
  double fp8_tflops = 0, bf16_tflops = 0, tf32_tflops = 0, fp32_tflops = 0;
  double hbm_tb_s = 0, nvlink_gb_s = 0;
  int64_t tokens = 0, hidden = 0, topk = 0, experts = 0;
  double nodes = 0;
  std::vector<GemmLine> gemms;

  /// kInvalidArgument with line, value and what is allowed; kNotFound and the like of the file.
  static Result<Model> read(const std::string& path);
  static Result<Model> parse(std::string_view toml, const std::string& path);

  /// The table's row for this model's device, or for `device_name`, with the model's own figures in
  /// place. nullopt where neither gives any.
  std::optional<Peaks> peaks(std::string_view device_name) const;
};

}  // namespace hadal::trace
