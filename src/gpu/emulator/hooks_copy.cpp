// copy.cuh: tiles and bytes that move by themselves.
//
// A load does everything at one moment after its issue. A store reads shared memory at one moment
// and writes global memory at a later one. Both moments are the scheduler's choice.
#include <cstring>

#include <fmt/core.h>

#include "gpu/emulator/machine.h"
#include "gpu/emulator/map.h"
#include "tensor/dtype.h"

namespace hadal::gpu::emulator {
namespace {

constexpr uint32_t kTileAlignment = 128;
constexpr uint32_t kUnit = 16;

std::optional<Map> find_map(Thread& thread, const void* map, int rank, const char* operation) {
  Machine& machine = *running().machine;
  const Grid& grid = *thread.warp->block->grid;
  const auto* bytes = static_cast<const std::byte*>(map);
  const std::byte* parameters = grid.parameters.get();
  const bool constant = bytes >= parameters &&
                        bytes + sizeof(TensorMap) <= parameters + grid.record->parameters.size();
  if (!constant && !machine.memory().contains(reinterpret_cast<Address>(map), sizeof(TensorMap))) {
    machine.fault(thread,
                  fmt::format("{}: the tensor map is neither in the kernel's parameters nor "
                              "in global memory",
                              operation));
    return std::nullopt;
  }
  std::optional<Map> decoded;
  if (reinterpret_cast<Address>(map) % alignof(TensorMap) == 0) decoded = decode_map(map);
  if (!decoded || decoded->rank != rank) {
    machine.fault(thread, fmt::format("{}: {}", operation,
                                      decoded ? fmt::format("{} coordinates for a map of rank {}",
                                                            rank, decoded->rank)
                                              : "these bytes are no tensor map of this device"));
    return std::nullopt;
  }
  return decoded;
}

/// The barrier of a copy: initialised, and visible to the copy engine.
MemoryBarrier* copy_barrier(Thread& thread, Block& block, uint32_t offset, const char* operation) {
  MemoryBarrier* const barrier = find_barrier(thread, block, offset, operation);
  if (barrier != nullptr && !barrier->visible) {
    running().machine->fault(
        thread, fmt::format("{}: fence_barrier_init() has not made the barrier at {:#x} "
                            "visible to copies",
                            operation, offset));
    return nullptr;
  }
  return barrier;
}

using Coordinates = std::array<int32_t, 5>;

/// One destination of a tile's load.
void launch_load(Thread& thread, Block& block, const Map& map, const Coordinates& at, uint32_t to,
                 uint32_t signal) {
  Machine& machine = *running().machine;
  constexpr const char* kOperation = "load_tile";
  if (!check_shared(thread, block, to, map.box_bytes(), kTileAlignment, true, kOperation)) return;
  MemoryBarrier* const barrier = copy_barrier(thread, block, signal, kOperation);
  if (barrier == nullptr) return;
  ++block.inbound;
  machine.launch_in_flight(thread, Flight::kLoad, [&thread, &block, map, at, to, barrier] {
    --block.inbound;
    const uint32_t bytes = map.element_bytes();
    for_each_unit(map, to, at.data(), [&](const Unit& unit) {
      std::array<uint8_t, kUnit> data = {};  // elements outside of the tensor are zero
      const uint32_t run = unit.elements * bytes;
      if (run != 0) {
        const auto* from = reinterpret_cast<const void*>(unit.global);
        if (!check_global(thread, from, run, 1, kOperation)) return;
        std::memcpy(data.data() + unit.skipped * bytes, from, run);
      }
      block.shared.write_async(unit.shared, data.data(), kUnit);
    });
    complete_bytes(thread, *barrier, map.box_bytes());
    return true;
  });
}

std::shared_ptr<StoreGroup> open_group(Thread& thread) {
  if (!thread.open_stores) thread.open_stores = std::make_shared<StoreGroup>();
  ++thread.open_stores->unread;
  ++thread.open_stores->unwritten;
  return thread.open_stores;
}

void wake_stores(Thread& thread) {
  if (!thread.done && thread.wait.what == WaitFor::kStores) running().machine->wake(thread);
}

/// Puts a store in flight. `read` takes the source from what the asynchronous proxy sees; `write`
/// brings it to global memory later.
template <typename Read, typename Write>
void launch_store(Thread& thread, Read read, Write write) {
  Machine& machine = *running().machine;
  auto group = open_group(thread);
  machine.launch_in_flight(
      thread, Flight::kStore,
      [&thread, group = std::move(group), data = std::vector<uint8_t>(), is_read = false,
       read = std::move(read), write = std::move(write)]() mutable {
        if (!is_read) {
          is_read = true;
          const Block& block = *thread.warp->block;
          data = read(block.shared.view(running().machine->rng().chance(0.5)));
          --group->unread;
          wake_stores(thread);
          return false;
        }
        write(data);
        --group->unwritten;
        wake_stores(thread);
        return true;
      });
}

void add_element(Element element, void* to, const void* from) {
  uint32_t a = 0, b = 0;
  const size_t bytes = size_bytes(element);
  std::memcpy(&a, to, bytes);
  std::memcpy(&b, from, bytes);
  switch (element) {
    case Element::kU8: a = (a + b) & 0xff; break;
    case Element::kI32: a += b; break;
    case Element::kF32:
      a = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + std::bit_cast<float>(b));
      break;
    case Element::kF16:
      a = to_f16(to_float(F16{static_cast<uint16_t>(a)}) + to_float(F16{static_cast<uint16_t>(b)}))
              .bits;
      break;
    case Element::kBf16:
      a = to_bf16(to_float(Bf16{static_cast<uint16_t>(a)}) +
                  to_float(Bf16{static_cast<uint16_t>(b)}))
              .bits;
      break;
  }
  std::memcpy(to, &a, bytes);
}

/// Writes or adds a box that was read unit by unit.
void write_tile(Thread& thread, const Map& map, const Coordinates& at, bool add,
                const std::vector<uint8_t>& data) {
  const char* operation = add ? "add_tile" : "store_tile";
  const uint32_t bytes = map.element_bytes();
  const uint8_t* next = data.data();
  // The place in shared memory does not matter any more.
  for_each_unit(map, 0, at.data(), [&](const Unit& unit) {
    const uint8_t* from = next + unit.skipped * bytes;
    next += kUnit;
    if (unit.elements == 0) return;
    auto* to = reinterpret_cast<uint8_t*>(unit.global);
    if (!check_global(thread, to, unit.elements * bytes, 1, operation)) return;
    if (!add) {
      std::memcpy(to, from, unit.elements * bytes);
      return;
    }
    for (uint32_t i = 0; i < unit.elements * bytes; i += bytes) {
      add_element(map.element, to + i, from + i);
    }
  });
}

/// Plain bytes, of which the hardware asks multiples of 16.
bool check_bytes(Thread& thread, uint32_t shared, const void* global, uint32_t bytes,
                 bool write_shared, const char* operation) {
  if (bytes % kUnit != 0) {
    running().machine->fault(
        thread, fmt::format("{}: {} bytes; it must be a multiple of 16", operation, bytes));
    return false;
  }
  return check_shared(thread, *thread.warp->block, shared, bytes, kUnit, write_shared, operation) &&
         (global == nullptr || check_global(thread, global, bytes, kUnit, operation));
}

void store_plain(void* to, uint32_t from, uint32_t bytes, bool add, const char* operation) {
  Thread& thread = enter();
  if (!check_bytes(thread, from, to, bytes, false, operation)) return;
  launch_store(
      thread,
      [from, bytes](const uint8_t* view) {
        return std::vector<uint8_t>(view + from, view + from + bytes);
      },
      [&thread, to, bytes, add, operation](const std::vector<uint8_t>& data) {
        if (!check_global(thread, to, bytes, 1, operation)) return;
        auto* out = static_cast<uint8_t*>(to);
        if (!add) {
          std::memcpy(out, data.data(), bytes);
          return;
        }
        for (uint32_t i = 0; i < bytes; i += 4) add_element(Element::kF32, out + i, &data[i]);
      });
}

}  // namespace

void prefetch_map(const void* map) {
  Thread& thread = enter();
  const auto decoded = decode_map(map);
  if (!decoded) {
    running().machine->fault(thread, "prefetch_map: these bytes are no tensor map of this device");
  }
}

void load_tile(uint32_t to, const void* map, uint32_t barrier, const int32_t* at, int rank,
               uint16_t ranks) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const auto decoded = find_map(thread, map, rank, "load_tile");
  if (!decoded) return;
  Coordinates coordinates = {};
  std::copy(at, at + rank, coordinates.begin());
  Block& own = *thread.warp->block;
  if (ranks == 0) {
    launch_load(thread, own, *decoded, coordinates, to, barrier);
  } else if (ranks >> own.cluster->blocks.size() != 0) {
    machine.fault(thread, fmt::format("load_tile_multicast: ranks {:#x} in a cluster of {}", ranks,
                                      own.cluster->blocks.size()));
  }
  for (uint32_t rest = machine.faulted() ? 0 : ranks; rest != 0; rest &= rest - 1) {
    const uint32_t rank_of = std::countr_zero(rest);
    const Place place = resolve(thread, cluster_address(0, rank_of), "load_tile_multicast");
    if (place.block == nullptr) return;
    launch_load(thread, *place.block, *decoded, coordinates, to, barrier);
  }
  machine.maybe_yield(thread);
}

void store_tile(const void* map, uint32_t from, const int32_t* at, int rank, bool add) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  const char* operation = add ? "add_tile" : "store_tile";
  const auto decoded = find_map(thread, map, rank, operation);
  if (!decoded) return;
  const Block& block = *thread.warp->block;
  if (!check_shared(thread, block, from, decoded->box_bytes(), kTileAlignment, false, operation)) {
    return;
  }
  Coordinates coordinates = {};
  std::copy(at, at + rank, coordinates.begin());
  const Map tile = *decoded;
  launch_store(
      thread,
      [&thread, tile, coordinates, from, operation](const uint8_t* view) {
        std::vector<uint8_t> data;
        data.reserve(tile.box_bytes());
        const SharedMemory& shared = thread.warp->block->shared;
        for_each_unit(tile, from, coordinates.data(), [&](const Unit& unit) {
          if (unit.elements != 0 && shared.unwritten(unit.shared, kUnit)) {
            running().machine->fault(
                thread, fmt::format("{}: nobody has written the 16 bytes at {:#x}", operation,
                                    unit.shared));
          }
          data.insert(data.end(), view + unit.shared, view + unit.shared + kUnit);
        });
        return data;
      },
      [&thread, tile, coordinates, add](const std::vector<uint8_t>& data) {
        write_tile(thread, tile, coordinates, add, data);
      });
  machine.maybe_yield(thread);
}

void load_bytes(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  Block& block = *thread.warp->block;
  if (!check_bytes(thread, to, from, bytes, true, "load_bytes")) return;
  MemoryBarrier* const signal = copy_barrier(thread, block, barrier, "load_bytes");
  if (signal == nullptr) return;
  ++block.inbound;
  machine.launch_in_flight(thread, Flight::kLoad, [&thread, &block, to, from, bytes, signal] {
    --block.inbound;
    if (check_global(thread, from, bytes, kUnit, "load_bytes")) {
      block.shared.write_async(to, from, bytes);
    }
    complete_bytes(thread, *signal, bytes);
    return true;
  });
  machine.maybe_yield(thread);
}

void store_bytes(void* to, uint32_t from, uint32_t bytes) {
  store_plain(to, from, bytes, false, "store_bytes");
}

void add_floats(float* to, uint32_t from, uint32_t bytes) {
  store_plain(to, from, bytes, true, "add_floats");
}

void send_bytes(uint32_t to, uint32_t from, uint32_t bytes, uint32_t barrier) {
  Thread& thread = enter();
  Machine& machine = *running().machine;
  constexpr const char* kOperation = "send_bytes";
  const Place place = resolve(thread, to, kOperation);
  const Place signal = resolve(thread, barrier, kOperation);
  if (place.block == nullptr || signal.block == nullptr) return;
  if (place.block != signal.block) {
    return machine.fault(thread, "send_bytes: the barrier is not in the block that is written");
  }
  if (!check_bytes(thread, from, nullptr, bytes, false, kOperation)) return;
  if (!check_shared(thread, *place.block, place.offset, bytes, kUnit, true, kOperation)) return;
  MemoryBarrier* const at = copy_barrier(thread, *signal.block, signal.offset, kOperation);
  if (at == nullptr) return;
  Block& own = *thread.warp->block;
  ++place.block->inbound;
  if (&own != place.block) ++own.inbound;  // its source must stay, too
  machine.launch_in_flight(thread, Flight::kLoad, [&thread, &own, place, from, bytes, at] {
    --place.block->inbound;
    if (&own != place.block) --own.inbound;
    const uint8_t* view = own.shared.view(running().machine->rng().chance(0.5));
    place.block->shared.write_async(place.offset, view + from, bytes);
    complete_bytes(thread, *at, bytes);
    return true;
  });
  machine.maybe_yield(thread);
}

void commit_stores() {
  Thread& thread = enter();
  if (!thread.open_stores) thread.open_stores = std::make_shared<StoreGroup>();
  thread.stores.push_back(std::move(thread.open_stores));
  thread.open_stores = nullptr;
  running().machine->maybe_yield(thread);
}

void wait_stores(uint32_t pending, bool read) {
  Thread& thread = enter();
  const auto is_done = [&thread, pending, read] {
    for (size_t i = 0; i + pending < thread.stores.size(); ++i) {
      const StoreGroup& group = *thread.stores[i];
      if ((read ? group.unread : group.unwritten) != 0) return false;
    }
    return true;
  };
  while (!is_done()) running().machine->block(thread, {WaitFor::kStores, pending});
  while (!thread.stores.empty() && thread.stores.front()->unwritten == 0) thread.stores.pop_front();
}

}  // namespace hadal::gpu::emulator
