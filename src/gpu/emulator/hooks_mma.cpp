// mma.cuh: wgmma, and loads and stores of 8x8 matrices.
//
// Registers are arrays on the stack of a thread's fiber. begin_mma() remembers their content; mma()
// checks that it has not changed since, takes it, and leaves poison in accumulators; wait_mma()
// checks that the poison is untouched and puts the result back. An instruction is put in flight
// when the fourth warp of its warpgroup has come to it; those of one warpgroup execute in order.
#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/core.h>

#include "gpu/emulator/machine.h"
#include "gpu/emulator/mma.h"

#if defined(__clang__) || defined(__GNUC__)
#define HADAL_NO_ASAN __attribute__((no_sanitize_address))
#endif

namespace hadal::gpu::emulator {
namespace {

constexpr uint32_t kAll = 0xffffffff;
constexpr uint32_t kPoison = 0x7fffdead;  // a NaN
constexpr uint32_t kThreads = kWarpgroupWarps * kLanes;

struct MmaSlot {
  const MmaShape* shape;
  float* d;
  const uint32_t* a;
  uint64_t tile_a, tile_b;
  bool accumulate;
};

struct MatrixSlot {
  uint32_t row;
  uint32_t* registers;
};

/// Whether registers hold `content`. They may have gone out of scope meanwhile, which is a mistake
/// of the kernel that must end in a message and not in a report of the sanitizer.
HADAL_NO_ASAN bool holds(const uint8_t* at, const std::vector<uint32_t>& content) {
  const auto* words = reinterpret_cast<const volatile uint32_t*>(at);
  for (size_t i = 0; i < content.size(); ++i) {
    if (words[i] != content[i]) return false;
  }
  return true;
}

HADAL_NO_ASAN bool is_poisoned(const HeldRegisters& held) {
  const auto* words = reinterpret_cast<const volatile uint32_t*>(held.at);
  for (size_t i = 0; i < held.content.size(); ++i) {
    if (words[i] != kPoison) return false;
  }
  return true;
}

HeldRegisters* find_held(Thread& thread, const void* at, size_t bytes) {
  for (const auto& held : thread.held) {
    if (held->at == at && held->bytes == bytes) return held.get();
  }
  return nullptr;
}

HeldRegisters* take_accumulators(Thread& thread, float* d, int columns, uint64_t number) {
  Machine& machine = *running().machine;
  const size_t bytes = static_cast<size_t>(columns) / 2 * sizeof(float);
  HeldRegisters* const held = find_held(thread, d, bytes);
  if (held == nullptr) {
    machine.fault(thread,
                  "mma: the accumulators were not named in begin_mma() since they were read");
    return nullptr;
  }
  if (held->accumulating ? !is_poisoned(*held) : !holds(held->at, held->content)) {
    machine.fault(thread, "mma: the accumulators have changed since begin_mma()");
    return nullptr;
  }
  held->accumulating = true;
  held->last_mma = number;
  std::fill_n(reinterpret_cast<uint32_t*>(d), held->content.size(), kPoison);
  return held;
}

HeldRegisters* take_a(Thread& thread, const uint32_t* a, uint64_t number) {
  Machine& machine = *running().machine;
  HeldRegisters* const held = find_held(thread, a, 4 * sizeof(uint32_t));
  if (held == nullptr || !holds(held->at, held->content)) {
    machine.fault(thread, held == nullptr
                              ? "mma: the registers of A were not named in begin_mma()"
                              : "mma: the registers of A have changed since begin_mma()");
    return nullptr;
  }
  held->last_mma = number;
  return held;
}

bool same(const MmaPart& a, const MmaPart& b) {
  return std::memcmp(&a.shape, &b.shape, sizeof(a.shape)) == 0 && a.tile_a == b.tile_a &&
         a.tile_b == b.tile_b && a.accumulate == b.accumulate && a.registers_a == b.registers_a;
}

/// Column and row within the warp's 16 of accumulator i.
int row_of(uint32_t lane, size_t i) {
  return static_cast<int>(lane / 4 + i % 4 / 2 * 8);
}
int column_of(uint32_t lane, size_t i) {
  return static_cast<int>(i / 4 * 8 + lane % 4 * 2 + i % 2);
}

std::optional<std::vector<float>> operand_a(Thread& thread,
                                            const std::array<MmaPart, kWarpgroupWarps>& parts,
                                            std::span<const uint8_t> shared) {
  const MmaShape& shape = parts[0].shape;
  if (!parts[0].registers_a)
    return gather(shared, parts[0].tile_a, 64, shape.type_a, shape.mn_major_a);
  std::vector<uint32_t> words(kThreads * 4);
  for (uint32_t i = 0; i < kThreads; ++i) {
    const HeldRegisters& held = *parts[i / kLanes].a[i % kLanes];
    if (!holds(held.at, held.content)) {
      running().machine->fault(thread, "the registers of A have changed before wait_mma()");
    }
    std::copy(held.content.begin(), held.content.end(), &words[i * 4]);
  }
  return gather_registers(words, shape.type_a);
}

/// Reads the operands as they are now and adds the product to what the hardware holds.
void execute(Thread& thread, const std::array<MmaPart, kWarpgroupWarps>& parts) {
  Machine& machine = *running().machine;
  const Block& block = *thread.warp->block;
  const MmaShape& shape = parts[0].shape;
  const std::span<const uint8_t> shared(block.shared.view(machine.rng().chance(0.5)),
                                        block.shared.end());
  const auto a = operand_a(thread, parts, shared);
  const auto b = gather(shared, parts[0].tile_b, shape.columns, shape.type_b, shape.mn_major_b);
  if (!a || !b) {
    return machine.fault(thread,
                         fmt::format("mma: the tile of {} leaves shared memory", a ? "B" : "A"));
  }
  std::vector<float> d(size_t{64} * shape.columns);
  const auto for_each = [&](auto visit) {
    for (uint32_t t = 0; t < kThreads; ++t) {
      HeldRegisters& held = *parts[t / kLanes].d[t % kLanes];
      for (size_t i = 0; i < held.content.size(); ++i) {
        const size_t row = t / kLanes * 16 + row_of(t % kLanes, i);
        visit(held.content[i], d[row * shape.columns + column_of(t % kLanes, i)]);
      }
    }
  };
  if (parts[0].accumulate) {
    for_each([](uint32_t word, float& x) { x = std::bit_cast<float>(word); });
  }
  const bool fp8 = depth(shape.type_a) == 32;
  multiply(d, *a, *b, shape.columns, depth(shape.type_a),
           fp8 && machine.options().truncate_fp8_sums);
  for_each([](uint32_t& word, float x) { word = std::bit_cast<uint32_t>(x); });
}

bool waits_for_mma(const Warp& warp) {
  const uint32_t alive = warp.lanes & ~warp.done;
  return alive != 0 && warp.threads[std::countr_zero(alive)]->wait.what == WaitFor::kMma;
}

bool groups_done(const Warp& warp, uint32_t pending) {
  if (warp.mma_groups.size() <= pending) return true;
  return warp.mma_executed >= warp.mma_groups[warp.mma_groups.size() - 1 - pending];
}

/// Puts an instruction in flight for which all four warps have come.
void launch_mma(Thread& thread, uint32_t first_warp) {
  Machine& machine = *running().machine;
  Block& block = *thread.warp->block;
  Warpgroup& group = block.warpgroups[first_warp / kWarpgroupWarps];
  std::array<MmaPart, kWarpgroupWarps> parts;
  for (uint32_t w = 0; w < kWarpgroupWarps; ++w) {
    Warp& warp = *block.warps[first_warp + w];
    parts[w] = warp.mma_parts.front();
    warp.mma_parts.pop_front();
    if (!same(parts[0], parts[w])) {
      machine.fault(thread, fmt::format("mma: warps {} and {} of one warpgroup disagree on shape, "
                                        "tiles or accumulation",
                                        first_warp, first_warp + w));
      return;
    }
  }
  group.mma.push_back(parts);
  machine.launch_in_flight(thread, Flight::kMma, [&thread, &block, &group, first_warp] {
    execute(thread, group.mma.front());
    group.mma.pop_front();
    for (uint32_t w = first_warp; w < first_warp + kWarpgroupWarps; ++w) {
      Warp& warp = *block.warps[w];
      ++warp.mma_executed;
      if (waits_for_mma(warp) &&
          groups_done(warp, warp.threads[std::countr_zero(warp.lanes)]->wait.a)) {
        running().machine->wake_lanes(warp, warp.lanes);
      }
    }
    return true;
  });
}

/// The warp's part of an instruction, from what its lanes have brought.
bool make_part(Thread& thread, const Collective& lanes, MmaPart& part) {
  Machine& machine = *running().machine;
  Warp& warp = *thread.warp;
  const uint64_t number = ++warp.mma_issued;
  const auto& first = *static_cast<const MmaSlot*>(lanes.slots[std::countr_zero(lanes.mask)]);
  part.shape = *first.shape;
  part.tile_a = first.tile_a;
  part.tile_b = first.tile_b;
  part.accumulate = first.accumulate;
  part.registers_a = first.a != nullptr;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const auto& slot = *static_cast<const MmaSlot*>(lanes.slots[lane]);
    if (std::memcmp(slot.shape, first.shape, sizeof(MmaShape)) != 0 ||
        slot.tile_a != first.tile_a || slot.tile_b != first.tile_b ||
        slot.accumulate != first.accumulate) {
      machine.fault(thread,
                    fmt::format("mma: lane {} disagrees on shape, tiles or accumulation", lane));
      return false;
    }
    Thread& owner = *warp.threads[lane];
    part.d[lane] = take_accumulators(owner, slot.d, first.shape->columns, number);
    part.a[lane] = slot.a == nullptr ? nullptr : take_a(owner, slot.a, number);
  }
  return !machine.faulted();
}

}  // namespace

void begin_mma_fence() {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  if (const auto lanes = machine.meet(thread, "begin_mma", kAll)) machine.release(thread, *lanes);
}

void begin_mma_registers(void* registers, size_t bytes) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  HeldRegisters* held = find_held(thread, registers, bytes);
  if (held != nullptr && held->accumulating) {
    if (!is_poisoned(*held)) {
      machine.fault(thread, "begin_mma: accumulators were changed that wait_mma() has not named");
    }
    return;  // the sum goes on
  }
  if (held != nullptr && held->last_mma > thread.warp->mma_executed &&
      !holds(held->at, held->content)) {
    return machine.fault(thread, "begin_mma: the registers of A were changed before wait_mma()");
  }
  if (held == nullptr) {
    // Registers of a scope that has ended may have lain here.
    auto* const at = static_cast<uint8_t*>(registers);
    std::erase_if(thread.held, [&](const auto& old) {
      return old->last_mma <= thread.warp->mma_executed && !old->accumulating &&
             old->at < at + bytes && at < old->at + old->bytes;
    });
    thread.held.push_back(std::make_unique<HeldRegisters>());
    held = thread.held.back().get();
    held->at = at;
    held->bytes = bytes;
    held->content.resize(bytes / sizeof(uint32_t));
  }
  std::memcpy(held->content.data(), registers, bytes);
}

void mma(const MmaShape& shape, float* d, uint64_t tile_a, const uint32_t* a, uint64_t tile_b,
         bool accumulate) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  MmaSlot slot = {&shape, d, a, tile_a, tile_b, accumulate};
  const auto lanes = machine.meet(thread, "mma", kAll, &slot);
  if (!lanes) return;
  Warp& warp = *thread.warp;
  Block& block = *warp.block;
  const uint32_t first = warp.index / kWarpgroupWarps * kWarpgroupWarps;
  MmaPart part = {};
  if (lanes->mask != kAll || first + kWarpgroupWarps > block.warps.size()) {
    machine.fault(thread, "mma: the warp is not in a warpgroup of four whole warps");
  } else if (make_part(thread, *lanes, part)) {
    warp.mma_parts.push_back(part);
    bool all = true;
    for (uint32_t w = first; w < first + kWarpgroupWarps; ++w) {
      all = all && !block.warps[w]->mma_parts.empty();
    }
    if (all) launch_mma(thread, first);
  }
  machine.release(thread, *lanes);
  machine.maybe_yield(thread);
}

void commit_mma() {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  if (const auto lanes = machine.meet(thread, "commit_mma", kAll)) {
    thread.warp->mma_groups.push_back(thread.warp->mma_issued);
    machine.release(thread, *lanes);
  }
}

void wait_mma(uint32_t pending) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const auto lanes = machine.meet(thread, "wait_mma", kAll);
  if (!lanes) return;
  Warp& warp = *thread.warp;
  if (!groups_done(warp, pending))
    machine.hold(thread, *lanes, {WaitFor::kMma, pending});
  else
    machine.release(thread, *lanes);
  // Groups before the last one that is done say nothing any more.
  while (warp.mma_groups.size() > 1 && warp.mma_groups[0] <= warp.mma_executed &&
         warp.mma_groups.size() > pending) {
    warp.mma_groups.erase(warp.mma_groups.begin());
  }
}

void end_mma_registers(void* registers, size_t bytes) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  HeldRegisters* const held = find_held(thread, registers, bytes);
  if (held == nullptr) {
    return machine.fault(thread, "wait_mma: these registers were not named in begin_mma()");
  }
  const Warp& warp = *thread.warp;
  const bool committed = !warp.mma_groups.empty() && held->last_mma <= warp.mma_groups.back();
  if (held->last_mma > warp.mma_executed || (held->last_mma != 0 && !committed)) {
    return machine.fault(thread,
                         "wait_mma: an mma() that uses these registers is not in a group that "
                         "this call waits for");
  }
  if (held->accumulating) {
    if (!is_poisoned(*held)) {
      return machine.fault(thread, "wait_mma: the accumulators were changed while in flight");
    }
    std::memcpy(registers, held->content.data(), bytes);
  }
  std::erase_if(thread.held, [&](const auto& entry) { return entry.get() == held; });
}

// --- 8x8 matrices ---

namespace {

/// The element pair of a lane's register within a matrix: row and first column, or with `transpose`
/// the two rows of one column.
template <typename Visit>
void for_each_element(const Collective& lanes, int count, bool transpose, Visit visit) {
  for (int matrix = 0; matrix < count; ++matrix) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      auto& word = static_cast<MatrixSlot*>(lanes.slots[lane])->registers[matrix];
      for (uint32_t i = 0; i < 2; ++i) {
        const uint32_t row = transpose ? lane % 4 * 2 + i : lane / 4;
        const uint32_t column = transpose ? lane / 4 : lane % 4 * 2 + i;
        const uint32_t at = static_cast<MatrixSlot*>(lanes.slots[matrix * 8 + row])->row;
        visit(word, i, at + column * 2);
      }
    }
  }
}

std::optional<Collective> meet_matrices(Thread& thread, const char* operation, MatrixSlot& slot,
                                        int count, bool write) {
  Machine& machine = *running().machine;
  const auto lanes = machine.meet(thread, operation, kAll, &slot);
  if (!lanes) return std::nullopt;
  bool good = lanes->mask == kAll;
  for (int i = 0; good && i < count * 8; ++i) {
    const uint32_t row = static_cast<MatrixSlot*>(lanes->slots[i])->row;
    good =
        check_shared(*thread.warp->threads[i], *thread.warp->block, row, 16, 16, write, operation);
  }
  if (good) return lanes;
  machine.fault(thread, fmt::format("{}: the warp is not whole", operation));
  machine.release(thread, *lanes);
  return std::nullopt;
}

}  // namespace

void load_matrices(uint32_t* registers, uint32_t row, int count, bool transpose) {
  Thread& thread = enter();
  MatrixSlot slot = {row, registers};
  const auto lanes = meet_matrices(thread, "load_matrices", slot, count, false);
  if (!lanes) return;
  const SharedMemory& shared = thread.warp->block->shared;
  for_each_element(*lanes, count, transpose, [&](uint32_t& word, uint32_t i, uint32_t at) {
    uint16_t half = 0;
    shared.read(&half, at, 2);
    word = i == 0 ? half : word | static_cast<uint32_t>(half) << 16;
  });
  running().machine->release(thread, *lanes);
}

void store_matrices(uint32_t row, const uint32_t* registers, int count, bool transpose) {
  Thread& thread = enter();
  // The registers are only read.
  MatrixSlot slot = {row, const_cast<uint32_t*>(registers)};
  const auto lanes = meet_matrices(thread, "store_matrices", slot, count, true);
  if (!lanes) return;
  Warp& warp = *thread.warp;
  for_each_element(*lanes, count, transpose, [&](uint32_t word, uint32_t i, uint32_t at) {
    const auto half = static_cast<uint16_t>(word >> (16 * i));
    warp.block->shared.write(at, &half, 2);
  });
  // The lane that brings the row's values is the one that has to fence; which of the four does not
  // matter, as the fence is the warp's habit. The lane that gives the address stands for them.
  for (int i = 0; i < count * 8; ++i) {
    Thread& owner = *warp.threads[i];
    const uint32_t at = static_cast<MatrixSlot*>(lanes->slots[i])->row;
    owner.unfenced.push_back({&warp.block->shared, at, 16});
  }
  running().machine->release(thread, *lanes);
}

}  // namespace hadal::gpu::emulator
