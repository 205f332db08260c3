#include "gemm/gpu_catalog.h"

#include <string>
#include <string_view>

#include <fmt/core.h>

#include "gemm/sm90/gemm_sm90.cuh"
#include "gpu/device/entry.h"

namespace hadal::gemm {
namespace {

using sm90::Operand;

DType type_of(Operand operand) {
  if (operand == Operand::kE4m3) return DType::kE4m3;
  return operand == Operand::kE5m2 ? DType::kE5m2 : DType::kBf16;
}
std::string_view text_of(Operand operand) {
  if (operand == Operand::kE4m3) return "e4m3";
  return operand == Operand::kE5m2 ? "e5m2" : "bf16";
}
std::string_view constant_of(Operand operand) {
  if (operand == Operand::kE4m3) return "kE4m3";
  return operand == Operand::kE5m2 ? "kE5m2" : "kBf16";
}

/// Y's scales: one for the whole tile, or one per row of Y.
enum class YScale { kOne, kEach };
enum class Order { kRows, kSwapped };
enum class Output { kPlain, kFresh };

template <uint32_t kWarpgroups, uint32_t kWaves, uint32_t kColumns, uint32_t kCluster, Order kOrder,
          YScale kYScale, Output kOutput = Output::kPlain, Operand kA = Operand::kE4m3,
          Operand kB = Operand::kE4m3>
void add(std::vector<GpuKernel>& out) {
  constexpr bool kSwap = kOrder == Order::kSwapped, kOne = kYScale == YScale::kOne;
  constexpr bool kFresh = kOutput == Output::kFresh;
  using C = sm90::Config<kWarpgroups, kWaves, kColumns, kCluster, kSwap, kOne, kFresh, kA, kB>;
  GpuKernel kernel = {.rows = C::kRows,
                      .columns = C::kColumns,
                      .warpgroups = C::kWarpgroups,
                      .cluster = C::kCluster,
                      .stages = C::kStages,
                      .swap = kSwap,
                      .one_scale = kOne,
                      .fresh = kFresh,
                      .a_type = type_of(kA),
                      .b_type = type_of(kB)};
  const std::string name =
      fmt::format("gemm_{}_{}_{}x{}{}{}{}{}", text_of(kA), text_of(kB), C::kTileM, C::kTileN,
                  kSwap ? "_swap" : "", kCluster > 1 ? "_pair" : "",
                  C::kScaled && !kOne ? "_each" : "", kFresh ? "_fresh" : "");
  const std::string type = fmt::format(
      "hadal::gemm::sm90::gemm<hadal::gemm::sm90::Config<{}, {}, {}, {}, {}, {}, {}, "
      "hadal::gpu::device::Operand::{}, hadal::gpu::device::Operand::{}>>",
      kWarpgroups, kWaves, kColumns, kCluster, kSwap, kOne, kFresh, constant_of(kA),
      constant_of(kB));
  kernel.source = {.name = name,
                   .text = gpu::entry_text({.name = name,
                                            .header = "gemm/sm90/gemm_sm90.cuh",
                                            .kernel = type,
                                            .parameters = "hadal::gemm::sm90::Parameters",
                                            .threads = C::kThreads}),
                   .parameter_bytes = sizeof(sm90::Parameters),
                   .threads = C::kThreads,
                   .shared_bytes = C::kSharedBytes,
                   .emulated = &gpu::run_thread<sm90::Parameters, sm90::gemm<C>>};
  out.push_back(std::move(kernel));
}

/// Tiles of a pair of FP8 types; `kE4m3` has all of them, the rarer pairs a few.
template <Operand kA, Operand kB>
void add_fp8(std::vector<GpuKernel>& out) {
  using enum Order;
  using enum YScale;
  constexpr auto kPlain = Output::kPlain;
  add<2, 1, 128, 1, kRows, kEach, kPlain, kA, kB>(out);
  add<2, 1, 128, 1, kRows, kOne, kPlain, kA, kB>(out);
  add<1, 1, 64, 1, kSwapped, kEach, kPlain, kA, kB>(out);
  add<2, 1, 128, 1, kRows, kEach, Output::kFresh, kA, kB>(out);
}

void add_e4m3(std::vector<GpuKernel>& out) {
  using enum Order;
  using enum YScale;
  add_fp8<Operand::kE4m3, Operand::kE4m3>(out);
  add<1, 1, 128, 1, kRows, kOne>(out);
  add<2, 1, 64, 1, kRows, kOne>(out);
  add<2, 1, 64, 1, kRows, kEach>(out);
  add<2, 1, 128, 2, kRows, kOne>(out);
  add<2, 1, 128, 2, kRows, kEach>(out);
  add<2, 1, 192, 1, kRows, kEach>(out);
  add<2, 1, 192, 2, kRows, kEach>(out);
  add<2, 2, 128, 1, kRows, kOne>(out);
  add<2, 2, 128, 2, kRows, kOne>(out);
  add<1, 1, 8, 1, kSwapped, kEach>(out);
  add<1, 1, 16, 1, kSwapped, kEach>(out);
  add<1, 1, 32, 1, kSwapped, kEach>(out);
  add<2, 1, 8, 1, kSwapped, kEach>(out);
  add<2, 1, 16, 1, kSwapped, kEach>(out);
  add<2, 1, 32, 1, kSwapped, kEach>(out);
  add<2, 1, 64, 1, kSwapped, kEach>(out);
}

template <uint32_t kWarpgroups, uint32_t kWaves, uint32_t kColumns, uint32_t kCluster, Order kOrder,
          Output kOutput = Output::kPlain>
void add_bf16(std::vector<GpuKernel>& out) {
  add<kWarpgroups, kWaves, kColumns, kCluster, kOrder, YScale::kOne, kOutput, Operand::kBf16,
      Operand::kBf16>(out);
}

void add_all_bf16(std::vector<GpuKernel>& out) {
  using enum Order;
  add_bf16<2, 1, 128, 1, kRows>(out);
  add_bf16<2, 1, 128, 1, kRows, Output::kFresh>(out);
  add_bf16<2, 1, 64, 1, kRows>(out);
  add_bf16<2, 2, 128, 2, kRows>(out);
  add_bf16<1, 1, 16, 1, kSwapped>(out);
  add_bf16<1, 1, 64, 1, kSwapped>(out);
}

std::vector<GpuKernel> make_kernels() {
  std::vector<GpuKernel> out;
  add_e4m3(out);
  add_fp8<Operand::kE4m3, Operand::kE5m2>(out);
  add_fp8<Operand::kE5m2, Operand::kE4m3>(out);
  add_fp8<Operand::kE5m2, Operand::kE5m2>(out);
  add_all_bf16(out);
  return out;
}

}  // namespace

const std::vector<GpuKernel>& gpu_kernels() {
  static const std::vector<GpuKernel> kernels = make_kernels();
  return kernels;
}

}  // namespace hadal::gemm
