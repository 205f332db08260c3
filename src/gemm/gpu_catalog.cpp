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

/// What the blocks of a cluster do together.
enum class Team { kNone, kShare2, kSplit2, kSplit4, kSplit8 };
constexpr uint32_t split_of(Team team) {
  switch (team) {
    case Team::kSplit2: return 2;
    case Team::kSplit4: return 4;
    case Team::kSplit8: return 8;
    default: return 1;
  }
}

/// Y's scales: one for the whole tile, or one per row of Y.
enum class YScale { kOne, kEach };
enum class Order { kRows, kSwapped };
enum class Output { kPlain, kFresh };

template <uint32_t kWarpgroups, uint32_t kWaves, uint32_t kColumns, Team kTeam, Order kOrder,
          YScale kYScale, Output kOutput = Output::kPlain, Operand kA = Operand::kE4m3,
          Operand kB = Operand::kE4m3>
void add(std::vector<GpuKernel>& out) {
  constexpr bool kSwap = kOrder == Order::kSwapped, kOne = kYScale == YScale::kOne;
  constexpr bool kFresh = kOutput == Output::kFresh;
  constexpr uint32_t kShare = kTeam == Team::kShare2 ? 2 : 1, kSplit = split_of(kTeam);
  using C =
      sm90::Config<kWarpgroups, kWaves, kColumns, kShare, kSplit, kSwap, kOne, kFresh, kA, kB>;
  GpuKernel kernel = {.rows = C::kRows,
                      .columns = C::kColumns,
                      .warpgroups = C::kWarpgroups,
                      .cluster = C::kCluster,
                      .split = C::kSplit,
                      .stages = C::kStages,
                      .swap = kSwap,
                      .one_scale = kOne,
                      .fresh = kFresh,
                      .a_type = type_of(kA),
                      .b_type = type_of(kB)};
  const std::string name =
      fmt::format("gemm_{}_{}_{}x{}{}{}{}{}{}", text_of(kA), text_of(kB), C::kTileM, C::kTileN,
                  kSwap ? "_swap" : "", kShare > 1 ? "_pair" : "",
                  kSplit > 1 ? fmt::format("_split{}", kSplit) : "",
                  C::kScaled && !kOne ? "_each" : "", kFresh ? "_fresh" : "");
  const std::string type = fmt::format(
      "hadal::gemm::sm90::gemm<hadal::gemm::sm90::Config<{}, {}, {}, {}, {}, {}, {}, {}, "
      "hadal::gpu::device::Operand::{}, hadal::gpu::device::Operand::{}>>",
      kWarpgroups, kWaves, kColumns, kShare, kSplit, kSwap, kOne, kFresh, constant_of(kA),
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
  add<2, 1, 128, Team::kNone, kRows, kEach, kPlain, kA, kB>(out);
  add<2, 1, 128, Team::kNone, kRows, kOne, kPlain, kA, kB>(out);
  add<1, 1, 64, Team::kNone, kSwapped, kEach, kPlain, kA, kB>(out);
  add<2, 1, 128, Team::kNone, kRows, kEach, Output::kFresh, kA, kB>(out);
}

/// A few rows of A, so few tiles that blocks would be idle.
template <Team kTeam>
void add_split(std::vector<GpuKernel>& out) {
  using enum Order;
  using enum YScale;
  add<1, 1, 8, kTeam, kSwapped, kEach>(out);
  add<1, 1, 16, kTeam, kSwapped, kEach>(out);
  add<1, 1, 32, kTeam, kSwapped, kEach>(out);
  add<1, 1, 64, kTeam, kSwapped, kEach>(out);
}

void add_e4m3(std::vector<GpuKernel>& out) {
  using enum Order;
  using enum YScale;
  add_fp8<Operand::kE4m3, Operand::kE4m3>(out);
  add<1, 1, 128, Team::kNone, kRows, kOne>(out);
  add<2, 1, 64, Team::kNone, kRows, kOne>(out);
  add<2, 1, 64, Team::kNone, kRows, kEach>(out);
  add<2, 1, 128, Team::kShare2, kRows, kOne>(out);
  add<2, 1, 128, Team::kShare2, kRows, kEach>(out);
  add<2, 1, 192, Team::kNone, kRows, kEach>(out);
  add<2, 1, 192, Team::kShare2, kRows, kEach>(out);
  add<2, 2, 128, Team::kNone, kRows, kOne>(out);
  add<2, 2, 128, Team::kShare2, kRows, kOne>(out);
  add<1, 1, 8, Team::kNone, kSwapped, kEach>(out);
  add<1, 1, 16, Team::kNone, kSwapped, kEach>(out);
  add<1, 1, 32, Team::kNone, kSwapped, kEach>(out);
  add<2, 1, 8, Team::kNone, kSwapped, kEach>(out);
  add<2, 1, 16, Team::kNone, kSwapped, kEach>(out);
  add<2, 1, 32, Team::kNone, kSwapped, kEach>(out);
  add<2, 1, 64, Team::kNone, kSwapped, kEach>(out);
  add_split<Team::kSplit2>(out);
  add_split<Team::kSplit4>(out);
  add<1, 1, 8, Team::kSplit8, kSwapped, kEach>(out);
  add<1, 1, 16, Team::kSplit8, kSwapped, kEach>(out);
}

template <uint32_t kWarpgroups, uint32_t kWaves, uint32_t kColumns, Team kTeam, Order kOrder,
          Output kOutput = Output::kPlain>
void add_bf16(std::vector<GpuKernel>& out) {
  add<kWarpgroups, kWaves, kColumns, kTeam, kOrder, YScale::kOne, kOutput, Operand::kBf16,
      Operand::kBf16>(out);
}

void add_all_bf16(std::vector<GpuKernel>& out) {
  using enum Order;
  add_bf16<2, 1, 128, Team::kNone, kRows>(out);
  add_bf16<2, 1, 128, Team::kNone, kRows, Output::kFresh>(out);
  add_bf16<2, 1, 64, Team::kNone, kRows>(out);
  add_bf16<2, 2, 128, Team::kShare2, kRows>(out);
  add_bf16<1, 1, 16, Team::kNone, kSwapped>(out);
  add_bf16<1, 1, 64, Team::kNone, kSwapped>(out);
  add_bf16<1, 1, 16, Team::kSplit4, kSwapped>(out);
  add_bf16<1, 1, 64, Team::kSplit4, kSwapped>(out);
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
