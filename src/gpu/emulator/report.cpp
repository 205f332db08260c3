// What the emulator says about threads: where they are and what they wait for.
#include <bit>

#include <fmt/core.h>

#include "gpu/emulator/machine.h"

namespace hadal::gpu::emulator {
namespace {

constexpr int kLinesMax = 100;

std::string describe(const MemoryBarrier& barrier) {
  return fmt::format("in phase {}, {} of {} arrivals pending, {} bytes announced and not landed",
                     barrier.phase, barrier.pending, barrier.expected, barrier.bytes);
}

std::string describe_barrier_wait(const Thread& thread) {
  const auto& barriers = thread.warp->block->barriers;
  const auto found = barriers.find(thread.wait.a);
  return fmt::format("waits for parity {} of the barrier at {:#x} ({})", thread.wait.b,
                     thread.wait.a,
                     found == barriers.end() ? "never initialised" : describe(found->second));
}

std::string describe_mma_wait(const Warp& warp) {
  std::string text =
      fmt::format("waits for wgmma ({} of {} executed", warp.mma_executed, warp.mma_issued);
  const auto& warps = warp.block->warps;
  const uint32_t first = warp.index / kWarpgroupWarps * kWarpgroupWarps;
  for (uint32_t w = first; w < first + kWarpgroupWarps; ++w) {
    if (w >= warps.size()) {
      text += fmt::format(", there is no warp {}", w);
    } else if (warps[w]->mma_issued < warp.mma_issued) {
      text += fmt::format(", warp {} has issued {}", w, warps[w]->mma_issued);
    }
  }
  return text + ")";
}

}  // namespace

std::string place(const Warp& warp) {
  const Block& block = *warp.block;
  return fmt::format("kernel {}, block ({},{},{}), warp {}", block.grid->record->name,
                     block.index[0], block.index[1], block.index[2], warp.index);
}

std::string describe_wait(const Thread& thread) {
  const Block& block = *thread.warp->block;
  const Wait& wait = thread.wait;
  switch (wait.what) {
    case WaitFor::kNothing: return "can run";
    case WaitFor::kLanes:
      return fmt::format("waits in {} for the lanes {:#010x}", wait.text, wait.a);
    case WaitFor::kBarrier: return describe_barrier_wait(thread);
    case WaitFor::kNamed:
      return fmt::format("waits at named barrier {} ({} of {} threads have come)", wait.a,
                         block.named[wait.a].arrived, block.named[wait.a].threads);
    case WaitFor::kCluster:
      return fmt::format("waits at the cluster's barrier ({} of {} threads have come)",
                         block.cluster->arrived, block.cluster->threads_left);
    case WaitFor::kStores:
      return fmt::format("waits until at most {} groups of bulk stores are pending", wait.a);
    case WaitFor::kMma: return describe_mma_wait(*thread.warp);
    case WaitFor::kRegisters:
      return fmt::format("waits for {} registers per thread ({} of the block are free)", wait.a,
                         block.registers_free);
    case WaitFor::kPrevious: return "waits for the kernel in front";
  }
  return "";
}

std::string describe_threads(const std::vector<std::unique_ptr<Grid>>& grids) {
  std::string text;
  int lines = 0;
  for (const auto& grid : grids) {
    for (const auto& cluster : grid->running) {
      for (const auto& block : cluster->blocks) {
        for (const auto& warp : block->warps) {
          // Lanes that say the same share a line.
          uint32_t left = warp->lanes & ~warp->done;
          while (left != 0 && ++lines <= kLinesMax) {
            const Thread& first = *warp->threads[std::countr_zero(left)];
            const std::string what = describe_wait(first);
            uint32_t same = 0;
            for (uint32_t rest = left; rest != 0; rest &= rest - 1) {
              const int lane = std::countr_zero(rest);
              if (describe_wait(*warp->threads[lane]) == what) same |= 1u << lane;
            }
            left &= ~same;
            text += fmt::format("  {}, lanes {:#010x}: {}\n", place(*warp), same, what);
          }
        }
      }
    }
  }
  if (lines > kLinesMax) text += "  and more\n";
  if (!text.empty()) text.pop_back();
  return text;
}

}  // namespace hadal::gpu::emulator
