// Matrix products in FP8 and bf16 with scales, dense and grouped, on the CPU and on Hopper GPUs.
//
//   D[m, n] = activation(alpha * sum_k A[m, k] * B[n, k] + beta * C[m, n] + bias[n])
//
// with A[m, k] = code * scale of its block. Everything that can be decided or go wrong is decided
// when a plan is made; running it checks pointers and starts the work.
//
//   Context context = Context::cpu();                       // or Context::on(gpu_device)
//   GemmSpec spec{.m = 4096, .n = 7168, .k = 2048};         // e4m3, 1x128 and 128x128, bf16 out
//   Plan plan = TRY(context.plan(spec));
//   Buffer-of-yours workspace(plan.workspace_bytes());
//   TRY(plan.run({.a = a, .a_scale = sa, .b = b, .b_scale = sb, .d = d, .workspace = workspace}));
//
// Conventions. A is [m][k] and B is [n][k], both with k contiguous; D is [m][n]. Pointers are the
// host's for a CPU context and the device's for a GPU context. Strides count elements; 0 stands for
// the tight one. On a GPU base addresses and row strides are multiples of 16 bytes.
//
// Arithmetic. Codes are exact; products are exact in float32; sums are float32, 128 products of k
// at a time, and each such sum is scaled and added to the result's running sum (two levels, which
// Hopper's tensor cores need, because they keep about 14 bits of a sum). A NaN code makes what it
// touches NaN; what lies beyond m, n and k is never read.
//
// int8 mode (GemmSpec::int8; CPU, FP8 operands) is faster and less exact. Each row of A and of B is
// requantized in blocks of 128 along k, to integers of -127 to 127 times a step, which is the
// block's largest magnitude over 127. A value a' so made is within half a step of a, that is within
// e_a = amax(a) / 254. As a' b' - a b = a (b' - b) + (a' - a) b + (a' - a) (b' - b), a block has
//
//   |sum a' b' - sum a b| <= e_b sum |a| + e_a sum |b| + 128 e_a e_b
//
// and D, before its activation, alpha times the sum of that over the blocks, and float32 roundings.
// Of N(0, 1) data the result is about 0.9 % off (calc_diff 4.5e-5), where FP8 itself costs 3.7 %
// (6.8e-4). Integer sums are exact, so all instruction sets agree in every bit of the sums. The
// step of a block with a NaN is NaN: the same elements of D become NaN as in the exact mode. An
// infinite code (e5m2) acts as a NaN.
//
// Same bits. A plan gives the same bits every time, with any number of threads. On the CPU each row
// of D also does not depend on the other rows or on m, nor on whether B is packed. On a GPU that
// holds if GemmSpec::batch_invariant is set; else tiles, and with them the order of split sums, may
// be chosen by m.
//
// The scores of the lightning indexer are computed in the same contexts: mqa_logits.h, which is a
// part of this header.
//
// Threads. A Context and a Plan may be used from any number of threads. Two runs at the same time
// need two workspaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "gemm/mqa_logits.h"
#include "gpu/gpu.h"
#include "tensor/quantize.h"
#include "tensor/types.h"

namespace hadal::cpu {
enum class Isa;
}

namespace hadal::gemm {

/// Where the scale of row r and block j of k stands:
enum class ScaleLayout : uint8_t {
  kRowMajor,  // [r * stride + j]; stride 0: the number of blocks
  kColMajor,  // [j * stride + r]; stride 0: rows rounded up to 4 (16 bytes), what a GPU wants
  kPacked4,  // e8m0 only: byte j % 4 of the 32-bit word [(j / 4) * stride + r], stride as kColMajor
};

/// The scales of an FP8 matrix. Rows are rows of the matrix / block.rows.
struct ScaleSpec {
  BlockShape block = kPer1x128;  // kPer1x128, kPer128x128, kPerRow or kPerTensor
  DType type = DType::kF32;      // or kE8m0
  ScaleLayout layout = ScaleLayout::kRowMajor;
  int64_t stride = 0;
  int64_t group_stride = 0;  // between groups; 0: tight
};

/// A or B.
struct OperandSpec {
  DType type = DType::kE4m3;  // kE4m3, kE5m2 or kBf16; both FP8 or both bf16
  int64_t stride = 0;         // between rows; 0: k
  int64_t group_stride = 0;   // between the matrices of groups; 0: tight
  ScaleSpec scale = {};       // FP8 only
  bool packed = false;        // B on the CPU: what pack_b() wrote, scales included
};

enum class Activation : uint8_t {
  kNone,
  kSilu,    // x * sigmoid(x)
  kSwiglu,  // silu(x[m, j]) * x[m, n/2 + j]: D has n/2 columns; the first half of B's rows are
            // gates
};

/// D, and C where there is one.
struct OutputSpec {
  DType type = DType::kBf16;  // kBf16, kF16, kF32, or kE4m3 with a fresh scale per 1x128
  int64_t stride = 0;         // between rows; 0: its columns
  int64_t group_stride = 0;
  ScaleSpec scale = {};  // kE4m3: block is kPer1x128, type and layout as chosen
  Activation activation = Activation::kNone;
  bool bias = false;            // float32 [n] (of each group: [groups][n])
  bool accumulate = false;      // there is a C
  DType c_type = DType::kBf16;  // kBf16, kF16 or kF32
  int64_t c_stride = 0;         // 0: stride's
  int64_t c_group_stride = 0;
};

/// Several products in one call. `groups` arrays are int32, on the side of the other pointers, and
/// read when the plan runs.
enum class Grouping : uint8_t {
  kNone,
  kBatched,    // A [G][m][k], B [G][n][k], D [G][m][n]
  kRowEnds,    // A [m][k], B [G][n][k], D [m][n]: rows of group g end before ends[g] and start at
               // ends[g-1] rounded up to row_alignment. Rows in no group are not touched.
  kRowGroups,  // likewise, with the group of each row in ids[m]; -1: in no group. The rows of a
               // group stand together (on the CPU they need not).
  kMasked,     // A [G][m][k], B [G][n][k], D [G][m][n], of which counts[g] rows are used
  kK,          // A [m][K], B [n][K], D [G][m][n]: group g multiplies k in [ends[g-1], ends[g]).
       // spec.k is K, the capacity; ends are multiples of 128. Groups without k give beta * C.
  kKFlat,  // as kK, but each group's A is a matrix [m][k_g] of its own, one behind the other (it
           // starts at element m * ends[g-1]), and B likewise. Scales as for kK.
};

struct GemmSpec {
  int64_t m = 0;  // rows of A; of all groups (kRowEnds, kRowGroups) or of each (others)
  int64_t n = 0;  // rows of B (of each group); a multiple of 8
  int64_t k = 0;
  OperandSpec a = {};
  OperandSpec b = {.scale = {.block = kPer128x128}};
  OutputSpec d = {};

  Grouping grouping = Grouping::kNone;
  int num_groups = 1;
  int row_alignment = 1;      // kRowEnds
  int64_t expected_rows = 0;  // of all groups, a hint for the choice of the tile; 0: m
  int64_t a_rows = 0;         // rows of A where they are gathered by index: row r of the product is
                              // a[rows[r]], with its scales; 0: nothing is gathered

  bool batch_invariant = false;
  bool int8 = false;  // int8 mode; packed B is then packed for it
};

struct GemmArgs {
  const void* a = nullptr;
  const void* a_scale = nullptr;
  const void* b = nullptr;
  const void* b_scale = nullptr;
  const void* c = nullptr;  // may be d, if type and strides are the same
  const float* bias = nullptr;
  void* d = nullptr;
  void* d_scale = nullptr;
  const int32_t* groups = nullptr;  // ends, ids or counts
  const int32_t* rows = nullptr;    // a_rows: [m]; of groups with own matrices: [G][m]
  std::span<std::byte> workspace = {};
  float alpha = 1;
  float beta = 1;  // used if accumulate
};

/// What a plan will do, and what it should cost.
struct PlanInfo {
  std::string backend;  // "cpu avx512bf16", "NVIDIA H200"
  std::string kernel;   // "tile 128x192, 2 CTAs share B, 4 stages"
  int64_t tile_m = 0, tile_n = 0, tile_k = 0;
  int stages = 0, cluster = 1, split_k = 1;
  int64_t tiles = 0;
  double waves = 0;             // tiles over what runs at once
  double predicted_us = 0;      // by the model that chose the tile
  double limit_us = 0;          // the larger of operations over peak and bytes over bandwidth
  double flops = 0, bytes = 0;  // bytes: each input and output once
  size_t workspace_bytes = 0;

  std::string text() const;  // a few lines
  std::string json() const;
};

class Plan {
 public:
  /// Runs the product. On a CPU it is done when this returns; on a GPU it is enqueued as one launch
  /// and errors of the device come out of synchronize(). kInvalidArgument names an argument that is
  /// null, misaligned or too small; nothing has been written then. Allocates nothing.
  Result<> run(const GemmArgs& args, gpu::Stream stream = nullptr) const noexcept;

  /// What args.workspace must hold at least; alignment 256.
  size_t workspace_bytes() const;
  const PlanInfo& explain() const;
  const GemmSpec& spec() const;

  struct Impl;
  explicit Plan(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

struct CpuOptions {
  int threads = 0;                          // 0: all cores that this process may use
  std::optional<hadal::cpu::Isa> isa = {};  // empty: the best of this machine
};

class Context {
 public:
  /// kUnsupported if this machine lacks the instruction set.
  static Result<Context> cpu(const CpuOptions& options = {});
  /// `device` outlives the context and its plans.
  static Context on(gpu::Device* device);

  /// kInvalidArgument names the member of the spec; kUnsupported says what would be supported. On a
  /// GPU kernels are compiled or loaded here.
  Result<Plan> plan(const GemmSpec& given) const;

  /// The size of packed B for all groups of `given`, and the packing itself: weights that are used
  /// many times are laid out once in the order in which the CPU reads them. CPU only.
  Result<size_t> packed_b_bytes(const GemmSpec& given) const;
  Result<> pack_b(const GemmSpec& given, const void* b, const void* b_scale,
                  std::span<std::byte> packed) const;

  struct Impl;

 private:
  friend Result<MqaPlan> plan_mqa_logits(const Context& context, const MqaSpec& given);
  explicit Context(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace hadal::gemm
