// What kernels compute, where no one recorded it: dimensions of matrix multiplications, attention
// and elementwise kernels, each with its source.
//
// Sources, best first:
//   model       a line of the model file (model.h)
//   input dims  `Input Dims` of the operator that launched the kernel (record_shapes=True)
//   template    integers in the kernel's name: FlashAttention's head size and tile, with the grid
//   shared      K of a family of GEMM kernels whose shared memory grows with K (scales of FP8 are
//   kept
//               per 128 of K): smem = a + b K, fitted, not known. Anchors are the widths that cast
//               and transpose kernels of the same trace show by their grids; a fit counts when a
//               kernel was launched with kFitValuesMin or more sizes of shared memory, all of them
//               give multiples of 64, kFitHitsMin of them are such widths, and no other fit hits as
//               many. A kernel with fewer sizes takes the fit of another if all of its K are
//               widths.
//   cast grid   M of a GEMM: the rows of the nearest per-token cast before it on its stream; for a
//               grouped GEMM the most rows that a cast of its region shows. N: after the input
//               gradient both operands of the weight gradient are cast, one as wide as K, the other
//               as N.
//   transpose   N: the tiles of the weight that is transposed just before it, over those of K
//   reverse     N of a forward GEMM with K = n: the one K of input gradients with N = n
// A dimension without a source stays 0. FLOP and bytes need all of them.
//
//   GEMM        FLOP = 2 batch M N K          bytes = (M K + K N) in + M N out, each once
//   attention   FLOP = 2 heads S^2 (Dqk + Dv), backward 2 heads S^2 (3 Dqk + 2 Dv); half if causal
//   elementwise bytes = elements * size * arrays; the elements of full blocks, so an upper bound
//
// Bytes are what must move at least; caches may serve part of them, and retries may add. Linear but
// for sorts; arguments of at most kArgumentsReadMax operators are read from the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trace/activity.h"
#include "trace/findings.h"
#include "trace/json.h"
#include "trace/kernel_groups.h"
#include "trace/model.h"

namespace hadal::trace {

inline constexpr size_t kFitValuesMin = 4;
inline constexpr int kFitHitsMin = 3;
inline constexpr size_t kArgumentsReadMax = 100'000;

enum class Work : uint8_t { kGemm, kAttention, kElementwise };
std::string_view name(Work work);  // "gemm", "attention", "elementwise"

enum class ShapeSource : uint8_t {
  kNone,
  kModel,
  kInputDims,
  kTemplate,
  kSharedMemory,
  kCastGrid,
  kTranspose,
  kReverse
};
std::string_view name(ShapeSource source);  // "", "model", "input_dims", "template", ...

struct Shape {
  uint32_t activity = 0;
  Work work = Work::kGemm;
  DType type = DType::kUnknown;
  bool grouped = false;                    // GEMM: rows of several products
  int64_t batch = 1, m = 0, n = 0, k = 0;  // GEMM; 0: unknown
  int parts = 1;                           // kernels that make this product together
  int64_t sequence = 0, heads = 0, dim_qk = 0, dim_v = 0;  // attention; heads times batch
  bool causal = false, backward = false;
  int64_t elements = 0;  // elementwise
  int arrays = 0;
  ShapeSource m_from = ShapeSource::kNone, n_from = ShapeSource::kNone, k_from = ShapeSource::kNone;
  double flop = 0, bytes = 0;  // of this kernel; 0: unknown
  Confidence confidence = Confidence::kInferred;
};

/// smem = base + bytes_per_k * K.
struct SharedMemoryFit {
  std::string kernel;  // short name
  double base = 0, bytes_per_k = 0;
  int values = 0, hits = 0;
  std::vector<int64_t> k;  // ascending
};

struct Shapes {
  std::vector<Shape> list;  // of kernels of the three kinds; by activity
  std::vector<SharedMemoryFit> fits;
  std::vector<std::string> notes;
};

/// What it multiplies, by its name.
DType gemm_type(std::string_view kernel_name);

Shapes infer_shapes(const GpuView& view, const Model& model = {});
Json to_json(const GpuView& view, const Shapes& shapes);

}  // namespace hadal::trace
