// Small kernels of one primitive each, for the emulator's tests.
#pragma once

#include "gpu/device/device.cuh"

namespace hadal::gpu::test {

struct PrimitiveParameters {
  TensorMap map_a, map_b;
  uint8_t* out;  // one of these two, by the kernel
  float* sums;
  const uint32_t* in;
  uint32_t* flag;
  int32_t x, y, z;
  uint32_t bytes;
};

// --- TMA ---

/// Loads one box at (x, y, z) and copies shared memory to `out` as it lies there.
template <int kRank>
HADAL_DEVICE void load_box(const PrimitiveParameters& p) {
  using namespace device;
  const SharedAddress tile = shared_memory();
  const Barrier full{tile + round_up(p.bytes, 128u)};
  if (thread_index().x == 0) {
    full.init(1);
    fence_barrier_init();
    full.arrive_expect(p.bytes);
    if constexpr (kRank == 1) load_tile(tile, p.map_a, full, {p.x});
    if constexpr (kRank == 2) load_tile(tile, p.map_a, full, {p.x, p.y});
    if constexpr (kRank == 3) load_tile(tile, p.map_a, full, {p.x, p.y, p.z});
  }
  sync_block();
  full.wait(0);
  for (uint32_t i = thread_index().x; i < p.bytes / 4; i += block_size().x) {
    store_global(reinterpret_cast<uint32_t*>(p.out) + i, load_shared<uint32_t>(tile + 4 * i));
  }
}

/// Fills shared memory from `in` and stores it, or adds it, as one box at (x, y).
template <bool kAdd>
HADAL_DEVICE void store_box(const PrimitiveParameters& p) {
  using namespace device;
  const SharedAddress tile = shared_memory();
  for (uint32_t i = thread_index().x; i < p.bytes / 4; i += block_size().x) {
    store_shared(tile + 4 * i, load_constant(p.in + i));
  }
  fence_async_shared();
  sync_block();
  if (thread_index().x == 0) {
    if constexpr (kAdd) {
      add_tile(p.map_a, tile, {p.x, p.y});
    } else {
      store_tile(p.map_a, tile, {p.x, p.y});
    }
    commit_stores();
    wait_stores<0>();
  }
}

/// Bytes from `in` to shared memory, doubled there, back to `out`, and added to `sums` as floats.
/// The first word of `out`, which must be there then, to `flag`.
HADAL_DEVICE void copy_bytes(const PrimitiveParameters& p) {
  using namespace device;
  const SharedAddress tile = shared_memory();
  const Barrier full{tile + p.bytes};
  if (thread_index().x == 0) {
    full.init(1);
    fence_async_shared();  // makes barriers visible to copies, too
    full.arrive_expect(p.bytes);
    load_bytes(tile, p.in, p.bytes, full);
  }
  sync_block();
  full.wait(0);
  for (uint32_t i = thread_index().x; i < p.bytes / 4; i += block_size().x) {
    store_shared(tile + 4 * i, 2 * load_shared<float>(tile + 4 * i));
  }
  fence_async_shared();
  sync_block();
  if (thread_index().x == 0) {
    store_bytes(p.out, tile, p.bytes);
    commit_stores();
    add_floats(p.sums, tile, p.bytes);
    commit_stores();
    wait_stores<0>();
    store_global(p.flag, load_global(reinterpret_cast<const uint32_t*>(p.out)));
  }
}

// --- wgmma ---

/// One product D[64, N] = A B^T over `kSteps` instructions; A and B come by TMA.
template <device::Operand kA, device::Operand kB, device::Major kMajorA, device::Major kMajorB,
          Swizzle kSwizzleOf, int kN, int kStepsOf, bool kRegistersAOf = false>
struct MmaConfig {
  static constexpr device::Operand kTypeA = kA, kTypeB = kB;
  static constexpr device::Major kMajorOfA = kMajorA, kMajorOfB = kMajorB;
  static constexpr Swizzle kSwizzle = kSwizzleOf;
  static constexpr int kColumns = kN, kSteps = kStepsOf;
  static constexpr bool kRegistersA = kRegistersAOf;
  static constexpr uint32_t kWidth = device::width_bytes_of(kSwizzle);
  static constexpr uint32_t kElement = kA == device::Operand::kTf32 ? 4
                                       : kA == device::Operand::kBf16 || kA == device::Operand::kF16
                                           ? 2
                                           : 1;
  static constexpr uint32_t kDepth = 32 / kElement;  // of an instruction
  static constexpr uint32_t kK = kDepth * kSteps;
  static constexpr uint32_t kTileB = 65536;  // where B begins
};

/// Where a tile with `rows` rows of M or N lies in shared memory, and how to go one step of K on.
/// K-major: boxes of width x rows, one after the other along K. MN-major: boxes of (width / 2
/// elements of M or N) x K, one after the other along M or N.
template <typename Config, device::Major kMajor>
HADAL_DEVICE device::Tile mma_tile(device::SharedAddress at, uint32_t rows, uint32_t step) {
  using namespace device;
  if constexpr (kMajor == Major::kMn) {
    const uint32_t box = Config::kK * Config::kWidth;
    const uint32_t group = 8 * Config::kWidth;  // eight k
    if constexpr (Config::kSwizzle == Swizzle::kNone) {
      return make_tile(at + step * Config::kDepth * Config::kWidth, Config::kSwizzle, box, group);
    }
    return make_tile(at + step * Config::kDepth * Config::kWidth, Config::kSwizzle, group, box);
  } else {
    const uint32_t box = rows * Config::kWidth;
    const uint32_t byte = step * 32;
    if constexpr (Config::kSwizzle == Swizzle::kNone) {
      return make_tile(at + 2 * step * box, Config::kSwizzle, 128, box);
    } else {
      const uint32_t within = byte / Config::kWidth * box + byte % Config::kWidth;
      return make_tile<Config::kSwizzle>(at + within);
    }
  }
}

template <typename Config>
HADAL_DEVICE uint32_t mma_load(const TensorMap& map, device::SharedAddress to, device::Barrier full,
                               device::Major major, int32_t rows) {
  using namespace device;
  const auto width = static_cast<int32_t>(Config::kWidth / Config::kElement);
  const auto k = static_cast<int32_t>(Config::kK);
  const int32_t boxes = major == Major::kMn ? ceil_div(rows, width) : ceil_div(k, width);
  const uint32_t bytes = Config::kWidth * static_cast<uint32_t>(major == Major::kMn ? k : rows);
  for (int32_t i = 0; i < boxes; ++i) {
    load_tile(to + static_cast<uint32_t>(i) * bytes, map, full, {i * width, 0});
  }
  return bytes * static_cast<uint32_t>(boxes);
}

template <typename Config>
HADAL_DEVICE void mma_product(const PrimitiveParameters& p) {
  using namespace device;
  constexpr int kRegisters = Config::kColumns / 2;
  const SharedAddress a = shared_memory(), b = a + Config::kTileB;
  const Barrier full{a + 2 * Config::kTileB};
  const uint32_t lane = lane_index(), warp = thread_index().x / kWarpSize;
  if (thread_index().x == 0) {
    full.init(1);
    fence_barrier_init();
    full.expect(mma_load<Config>(p.map_a, a, full, Config::kMajorOfA, 64));
    full.arrive_expect(mma_load<Config>(p.map_b, b, full, Config::kMajorOfB, Config::kColumns));
  }
  sync_block();
  full.wait(0);
  float d[kRegisters];
  HADAL_UNROLL
  for (float& x : d) x = 1;  // the first step must not add to it
  uint32_t fragments[Config::kSteps][4] = {};
  if constexpr (Config::kRegistersA) {
    HADAL_UNROLL
    for (uint32_t step = 0; step < Config::kSteps; ++step) {
      HADAL_UNROLL
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t row = 16 * warp + lane / 4 + 8 * (i % 2);
        const uint32_t word = 8 * step + lane % 4 + 4 * (i / 2);
        fragments[step][i] = load_constant(p.in + row * (Config::kK * Config::kElement / 4) + word);
      }
    }
  }
  begin_mma(d);
  HADAL_UNROLL
  for (int step = 0; step < Config::kSteps; ++step) {
    const Tile tile_b = mma_tile<Config, Config::kMajorOfB>(b, Config::kColumns, step);
    if constexpr (Config::kRegistersA) {
      begin_mma(fragments[step]);
      mma<Config::kTypeA, Config::kTypeB, Config::kMajorOfB>(d, fragments[step], tile_b, step != 0);
    } else {
      const Tile tile_a = mma_tile<Config, Config::kMajorOfA>(a, 64, step);
      mma<Config::kTypeA, Config::kTypeB, Config::kMajorOfA, Config::kMajorOfB>(d, tile_a, tile_b,
                                                                                step != 0);
    }
  }
  commit_mma();
  wait_mma<0>(d);
  HADAL_UNROLL
  for (uint32_t i = 0; i < kRegisters; ++i) {
    const uint32_t row = 16 * warp + lane / 4 + i % 4 / 2 * 8;
    const uint32_t column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    store_global(p.sums + row * Config::kColumns + column, d[i]);
  }
}

// --- 8x8 matrices ---

/// Stores registers (lane * 8 + matrix * 2 + element as 16-bit values) by stmatrix, loads them by
/// ldmatrix, and writes shared memory (1 KiB at most), then the registers, to `out`.
template <int kCount, bool kTranspose>
HADAL_DEVICE void matrices(const PrimitiveParameters& p) {
  using namespace device;
  const SharedAddress tile = shared_memory();
  const uint32_t lane = lane_index();
  uint32_t words[kCount], back[kCount];
  HADAL_UNROLL
  for (uint32_t i = 0; i < kCount; ++i) {
    const uint32_t first = lane * 8 + i * 2;
    words[i] = first | (first + 1) << 16;
  }
  // Rows lie 32 bytes apart, so that they cannot be mistaken for a block.
  store_matrices<kTranspose>(tile + lane % (8 * kCount) * 32, words);
  sync_warp();
  load_matrices<kTranspose>(back, tile + lane % (8 * kCount) * 32);
  auto* out = reinterpret_cast<uint32_t*>(p.out);
  if (lane < 8 * kCount) {
    for (uint32_t i = 0; i < 4; ++i) {
      store_global(out + lane * 4 + i, load_shared<uint32_t>(tile + lane * 32 + i * 4));
    }
  }
  HADAL_UNROLL
  for (uint32_t i = 0; i < kCount; ++i) store_global(out + 128 + lane * kCount + i, back[i]);
}

// --- clusters ---

/// Two blocks: each loads half of the tile to both; rank 0 frees a barrier of rank 1 by a remote
/// arrival, and rank 1 sends its sum of the tile by store_async, send_bytes and store_cluster.
HADAL_DEVICE void cluster_pair(const PrimitiveParameters& p) {
  using namespace device;
  constexpr uint32_t kHalf = 1024;
  const SharedAddress tile = shared_memory(), inbox = tile + 2 * kHalf, outbox = inbox + 256;
  const Barrier full{outbox + 256}, go{full.at + 8}, mail{full.at + 16};
  const uint32_t rank = cluster_rank();
  const bool leader = thread_index().x == 0;
  if (leader) {
    full.init(1);
    go.init(1);
    mail.init(1);
    fence_barrier_init();
    full.arrive_expect(2 * kHalf);
    if (rank == 0) mail.arrive_expect(4 + 16 + 16);
  }
  sync_cluster();
  if (leader) {
    load_tile_multicast(tile + rank * kHalf, p.map_a, full, 3, {0, static_cast<int32_t>(rank) * 8});
  }
  full.wait(0);
  uint32_t sum = 0;
  for (uint32_t i = lane_index(); i < 2 * kHalf / 4; i += kWarpSize) {
    sum += load_shared<uint32_t>(tile + 4 * i);
  }
  HADAL_UNROLL
  for (uint32_t bit = 16; bit > 0; bit /= 2) sum += shuffle_xor(sum, bit);
  if (leader && rank == 0) go.arrive_at(1);
  if (rank == 1) {
    go.wait_cluster(0);
    if (leader) {
      const ClusterAddress to = cluster_address(inbox, 0);
      const ClusterAddress signal = cluster_address(mail.at, 0);
      store_shared(outbox, Vector4{{sum, sum + 1, sum + 2, sum + 3}});
      fence_async_shared();
      send_bytes(to + 16, outbox, 16, signal);
      store_async(to + 32, Vector4{{7, 8, 9, sum}}, signal);
      store_async(to, sum, signal);
      store_cluster(to + 48, sum * 2);
    }
  }
  if (rank == 0) mail.wait_cluster(0);
  sync_cluster();
  if (rank == 0 && leader) {
    auto* out = reinterpret_cast<uint32_t*>(p.out);
    store_global(out, load_shared<uint32_t>(inbox));
    for (uint32_t i = 0; i < 8; ++i) {
      store_global(out + 1 + i, load_shared<uint32_t>(inbox + 16 + 4 * i));
    }
    store_global(out + 9, load_shared<uint32_t>(inbox + 48));
    store_global(out + 10, load_cluster<uint32_t>(cluster_address(tile, 1)));
  }
  sync_cluster();
}

// --- threads ---

/// Warp 1 writes what warp 0 reads, in three rounds over two named barriers.
HADAL_DEVICE void named_barriers(const PrimitiveParameters& p) {
  using namespace device;
  const SharedAddress slot = shared_memory() + 4 * lane_index();
  const uint32_t warp = warp_index();
  for (uint32_t round = 0; round < 3; ++round) {
    if (warp == 1) {
      if (round > 0) sync_named(2, 64);
      store_shared(slot, 100 * round + lane_index());
      arrive_named(1, 64);
    } else {
      sync_named(1, 64);
      const uint32_t value = load_shared<uint32_t>(slot);
      store_global(reinterpret_cast<uint32_t*>(p.out) + 32 * round + lane_index(), value);
      if (round < 2) arrive_named(2, 64);
    }
  }
  if (warp == 0) sync_named(1, 32);  // the same barrier, for other threads
}

/// Three warpgroups: the last gives registers, the others take them. Each warp writes its ticket:
/// givers draw before they give, takers once they have taken.
HADAL_DEVICE void register_roles(const PrimitiveParameters& p) {
  using namespace device;
  const uint32_t warp = warp_index();
  auto* ticket = reinterpret_cast<uint32_t*>(p.out) + warp;
  if (warp >= 8) {
    if (lane_index() == 0) store_global(ticket, atomic_add(p.flag, 1u));
    sync_warp();
    give_registers<40>();
  } else {
    take_registers<232>();
    if (lane_index() == 0) store_global(ticket, atomic_add(p.flag, 1u));
  }
}

/// Shuffles, votes, elections: one word per lane and function.
HADAL_DEVICE void warp_functions(const PrimitiveParameters& p) {
  using namespace device;
  auto* out = reinterpret_cast<uint32_t*>(p.out) + lane_index();
  const uint32_t lane = lane_index();
  store_global(out, shuffle(lane * 10, 5));
  store_global(out + 32, shuffle_xor(lane, 3));
  store_global(out + 64, shuffle_up(lane, 2));
  store_global(out + 96, vote(lane % 3 == 0));
  store_global(out + 128, vote(elect_one()));
  store_global(out + 160, bits_of(shuffle(static_cast<float>(lane), 31 - lane)));
  if (lane < 8) store_global(out + 192, shuffle(lane, lane ^ 1, 0xff));
}

/// Three rounds over one barrier of two arrivals, with bytes in the second.
HADAL_DEVICE void barrier_phases(const PrimitiveParameters& p) {
  using namespace device;
  const SharedAddress tile = shared_memory();
  const Barrier barrier{tile + 128};
  auto* out = reinterpret_cast<uint32_t*>(p.out);
  if (thread_index().x == 0) {
    barrier.init(2);
    fence_barrier_init();
    store_global(out, uint32_t{barrier.try_wait(1)});  // the phase before the first is over
    store_global(out + 1, uint32_t{barrier.try_wait(0)});
    barrier.arrive();
    store_global(out + 2, uint32_t{barrier.try_wait(0)});
    barrier.arrive();
    store_global(out + 3, uint32_t{barrier.try_wait(0)});
    barrier.arrive();
    barrier.arrive_expect(64);
    store_global(out + 4, uint32_t{barrier.try_wait(1)});
    load_bytes(tile, p.in, 64, barrier);
    barrier.wait(1);
    store_global(out + 5, load_shared<uint32_t>(tile + 60));
    barrier.expect(32);
    load_bytes(tile, p.in, 32, barrier);
    barrier.arrive();
    barrier.arrive();
    barrier.wait(0);
    store_global(out + 6, load_shared<uint32_t>(tile));
  }
}

/// Blocks pass a token in a circle through a flag in global memory.
HADAL_DEVICE void token(const PrimitiveParameters& p) {
  using namespace device;
  if (thread_index().x != 0) return;
  const uint32_t blocks = grid_size().x;
  for (uint32_t round = 0; round < 3; ++round) {
    while (load_acquire(p.flag) != round * blocks + block_index().x) sleep_ns(100);
    atomic_add(reinterpret_cast<uint32_t*>(p.out), block_index().x + 1);
    atomic_add_acq_rel(p.flag, 1);
  }
  if (block_index().x == 0) raise_flag(p.flag + 1, 42);
}

/// Writes (or with `kReads` sums) what the other kernel of a pair reads, overlapping it.
template <bool kReads, bool kWaits>
HADAL_DEVICE void dependent(const PrimitiveParameters& p) {
  using namespace device;
  auto* data = reinterpret_cast<uint32_t*>(p.out) + block_index().x;
  if constexpr (!kReads) {
    let_next_kernel_start();
    for (int i = 0; i < 20; ++i) sleep_ns(100);
    if (thread_index().x == 0) store_global(data, block_index().x + 1);
  } else {
    if constexpr (kWaits) wait_for_previous_kernel();
    if (thread_index().x == 0) {
      store_global(reinterpret_cast<uint32_t*>(p.sums) + block_index().x, load_global(data));
    }
  }
}

}  // namespace hadal::gpu::test
