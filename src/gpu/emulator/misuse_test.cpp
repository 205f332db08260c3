// What the emulator says of programs that are wrong: each row is a kernel with one mistake and the
// words that must be in the report; and of hosts that ask for what a device does not do.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "gpu/emulator/emulator_testing.h"

namespace hadal::gpu {
namespace {

using namespace device;

using Mma = float[4];

constexpr uint64_t kSeeds = 8;

/// A kernel with a mistake. Some seed must find it, and none may say anything else.
struct Misuse {
  const char* found;
  void (*kernel)(const void* parameters);
  Launch launch = one_block(32);
};

const PrimitiveParameters& params(const void* parameters) {
  return *static_cast<const PrimitiveParameters*>(parameters);
}

Launch cluster_of_two() {
  return {.grid = {2}, .block = {32}, .cluster = {2}, .shared_bytes = 8192};
}

/// Thread 0 makes a barrier at the start of shared memory, and the block sees it.
Barrier make_barrier(uint32_t arrivals) {
  const Barrier barrier{shared_memory()};
  if (thread_index().x == 0) {
    barrier.init(arrivals);
    fence_barrier_init();
  }
  sync_block();
  return barrier;
}

bool is_first() {
  return thread_index().x == 0;
}

SharedAddress tile() {
  return shared_memory() + 1024;
}

/// A product of one instruction, from a tile whose content does not matter.
void multiply(Mma& d, bool accumulate = false) {
  mma<Operand::kE4m3>(d, make_tile<Swizzle::k32>(tile()), make_tile<Swizzle::k32>(tile()),
                      accumulate);
}

void check(const Misuse& misuse) {
  SCOPED_TRACE(misuse.found);
  KernelSource source;
  source.name = "misuse";
  source.parameter_bytes = sizeof(PrimitiveParameters);
  source.emulated = misuse.kernel;
  int found = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Rig rig({.seed = seed, .steps_max = 100000});
    PrimitiveParameters p = {};
    const Address in = rig.zeros<uint32_t>(1024);
    p.in = reinterpret_cast<const uint32_t*>(in);
    p.map_a = rig.map({in, Element::kU8, 2, {64, 64}, {64}, {64, 16}, Swizzle::kNone});
    if (misuse.launch.overlap_previous) {
      ASSERT_TRUE(rig.launch(source, p, misuse.launch));
    }
    const Result<> ran = rig.run(source, p, misuse.launch);
    if (ran) continue;
    ++found;
    EXPECT_EQ(ran.error().code, Code::kInternal);
    EXPECT_NE(ran.error().message.find(misuse.found), std::string::npos)
        << "seed " << seed << ": " << ran.error().message;
  }
  EXPECT_GT(found, 0);
}

// --- nothing can move ---

TEST(Deadlock, SaysWhichWarpWaitsForWhat) {
  const Misuse rows[] = {
      {"deadlock: no thread can run and nothing is in flight\n"
       "  kernel misuse, block (0,0,0), warp 0, lanes 0xffffffff: waits for parity 0 of the "
       "barrier "
       "at 0x400 (in phase 0, 1 of 2 arrivals pending, 64 bytes announced and not landed)",
       [](const void*) {
         const Barrier barrier = make_barrier(2);
         if (is_first()) barrier.arrive_expect(64);
         barrier.wait(0);
       }},
      {"warp 1, lanes 0xffffffff: waits at named barrier 4 (32 of 64 threads have come)",
       [](const void*) { sync_named(3 + warp_index(), 64); }, one_block(64)},
      {"lanes 0x0000ffff: waits in sync_warp for the lanes 0xffffffff",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         if (lane_index() < 16) sync_warp();
         barrier.wait(0);
       }},
      {"block (0,0,0), warp 0, lanes 0xffffffff: waits at the cluster's barrier "
       "(32 of 64 threads have come)",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         if (cluster_rank() == 1) barrier.wait(0);
         sync_cluster();
       },
       cluster_of_two()},
      {"waits for 232 registers per thread (0 of the block are free)",
       [](const void*) { take_registers<232>(); }, one_block(384)},
      {"warp 2, lanes 0xffffffff: waits for wgmma (0 of 1 executed, warp 3 has issued 0)",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         if (warp_index() == 3) barrier.wait(0);
         Mma d = {};
         begin_mma(d);
         multiply(d);
         commit_mma();
         wait_mma<0>(d);
       },
       one_block(128)},
      {"waits for the kernel in front",
       [](const void*) {
         let_next_kernel_start();
         wait_for_previous_kernel();
         make_barrier(1).wait(0);
       },
       {.grid = {1}, .block = {32}, .cluster = {}, .shared_bytes = 8192, .overlap_previous = true}},
      {"the step limit of 100000 is reached; is this a loop without end?\n"
       "  kernel misuse, block (0,0,0), warp 0",
       [](const void* p) {
         while (load_acquire(params(p).in) == 0) sleep_ns(100);
       }},
  };
  for (const Misuse& row : rows) check(row);
}

// --- what is found at once ---

TEST(Misuse, OfMemory) {
  const Misuse rows[] = {
      {"load_shared: 4 bytes at 0x2400 of shared memory, which is 0x400 to 0x2400",
       [](const void*) { load_shared<uint32_t>(shared_memory() + 8192); }},
      {"store_shared: 0x402 is no multiple of 4",
       [](const void*) { store_shared(shared_memory() + 2, uint32_t{0}); }},
      {"load_shared: nobody has written the 4 bytes at 0x800",
       [](const void*) { load_shared<uint32_t>(tile()); }},
      {"load_matrices: nobody has written the 16 bytes at 0x800",
       [](const void*) {
         uint32_t words[1];
         load_matrices(words, tile());
       }},
      {"store_shared: 16 bytes at 0x400 would overwrite a barrier",
       [](const void*) { store_shared(make_barrier(1).at, Vector4{}); }},
      {"load_global: 4 bytes at ", [](const void* p) { load_constant(params(p).in + 1024); }},
      {"which is byte 4096 of a buffer of 4096 bytes",
       [](const void* p) { load_constant(params(p).in + 1024); }},
      {"atomic: 4 bytes at 0x0, outside of every buffer",
       [](const void* p) { atomic_add(params(p).flag, 1u); }},
      {"load_cluster: nobody has written the 4 bytes at 0x800 of block 1",
       [](const void*) {
         sync_cluster();
         load_cluster<uint32_t>(cluster_address(tile(), 1));
         sync_cluster();
       },
       cluster_of_two()},
  };
  for (const Misuse& row : rows) check(row);
}

TEST(Misuse, OfBarriersAndCopies) {
  const Misuse rows[] = {
      {"arrive: there is no initialised barrier at 0x400",
       [](const void*) { Barrier{shared_memory()}.arrive(); }},
      {"barrier init: 0 arrivals", [](const void*) { make_barrier(0); }},
      {"arrive: one arrival more than the 1 of phase 0",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         if (!is_first()) return;
         barrier.arrive_expect(16);
         barrier.arrive();
       }},
      {"expect: the barrier's count of bytes becomes 1048576; it holds 20 bits",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         if (is_first()) barrier.expect(1 << 20);
       }},
      {"load_bytes: fence_barrier_init() has not made the barrier at 0x400 visible to copies",
       [](const void* p) {
         const Barrier barrier{shared_memory()};
         if (!is_first()) return;
         barrier.init(1);
         load_bytes(tile(), params(p).in, 16, barrier);
       }},
      {"load_bytes: 8 bytes; it must be a multiple of 16",
       [](const void* p) { load_bytes(tile(), params(p).in, 8, make_barrier(1)); }},
      {"load_tile: 0x810 is no multiple of 128",
       [](const void* p) { load_tile(tile() + 16, params(p).map_a, make_barrier(1), {0, 0}); }},
      {"load_tile: 1 coordinates for a map of rank 2",
       [](const void* p) { load_tile(tile(), params(p).map_a, make_barrier(1), {0}); }},
      {"load_tile: these bytes are no tensor map of this device",
       [](const void* p) { load_tile(tile(), params(p).map_b, make_barrier(1), {0, 0}); }},
      {"load_tile_multicast: ranks 0x2 in a cluster of 1",
       [](const void* p) {
         load_tile_multicast(tile(), params(p).map_a, make_barrier(1), 2, {0, 0});
       }},
      {"store_tile: nobody has written the 16 bytes at 0x",
       [](const void* p) {
         if (!is_first()) return;
         store_tile(params(p).map_a, tile(), {0, 0});
         commit_stores();
         wait_stores<0>();
       }},
      {"add_tile: the map is one of bytes; it must be of f32, f16, bf16 or i32",
       [](const void* p) { add_tile(params(p).map_a, tile(), {0, 0}); }},
      {"the thread ends while a bulk store may still read shared memory",
       [](const void* p) {
         if (!is_first()) return;
         store_bytes(const_cast<uint32_t*>(params(p).in), tile(), 64);
         commit_stores();
       }},
      {"the block ends while 1 operations in flight",
       [](const void* p) {
         const Barrier barrier = make_barrier(1);
         if (is_first()) load_bytes(tile(), params(p).in, 64, barrier);
       }},
  };
  for (const Misuse& row : rows) check(row);
}

TEST(Misuse, OfWarpsBlocksAndClusters) {
  const Misuse rows[] = {
      {"the warp has diverged: this lane calls ",
       [](const void*) { lane_index() < 16 ? sync_warp() : static_cast<void>(elect_one()); }},
      {" end",  // lanes that have ended, or the thread that ends while lanes wait for it
       [](const void*) {
         if (lane_index() != 7) sync_warp();
       }},
      {"shuffle: lane 3 reads lane 20, which is not in the mask 0x0000ffff",
       [](const void*) {
         if (lane_index() < 16) shuffle(1u, lane_index() == 3 ? 20 : 0, 0xffff);
       }},
      {"named barrier 16 for 32 threads: ids are 0 to 15", [](const void*) { sync_named(16, 32); }},
      {"but others have come to it for ",
       [](const void*) {
         if (warp_index() < 2) sync_named(1, warp_index() == 0 ? 96 : 64);
       },
       one_block(96)},
      {"give_registers<256>: the warp has 248 registers per thread",
       [](const void*) { give_registers<256>(); }},
      {"warps 0 and 2 of one warpgroup have changed their registers a different number of times",
       [](const void*) {
         if (warp_index() != 2) give_registers<24>();
       },
       one_block(96)},
      {"wait_cluster() without its arrive_cluster()", [](const void*) { wait_cluster(); }},
      {"arrive_cluster() again without wait_cluster()",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         arrive_cluster();
         arrive_cluster();
         barrier.wait(0);
       },
       cluster_of_two()},
      {"arrive_at: fence_barrier_init() has not made the barrier visible",
       [](const void*) {
         const Barrier barrier{shared_memory()};
         if (is_first()) barrier.init(1);
         sync_cluster();
         if (cluster_rank() == 0) barrier.arrive_at(1);
         sync_cluster();
       },
       cluster_of_two()},
      {"arrive_at: nothing says that block 1 of the cluster has started",
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         if (cluster_rank() == 0) barrier.arrive_at(1);
         sync_cluster();
       },
       cluster_of_two()},
      {" end",  // the block has ended, or does while the arrival is in flight
       [](const void*) {
         const Barrier barrier = make_barrier(1);
         sync_cluster();
         if (cluster_rank() == 0 && is_first()) barrier.arrive_at(1);
       },
       cluster_of_two()},
  };
  for (const Misuse& row : rows) check(row);
}

TEST(Misuse, OfWgmma) {
  const Misuse rows[] = {
      {"mma: the accumulators have changed since begin_mma()",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         d[0] = 1;
         multiply(d);
       }},
      {"mma: the registers of A were not named in begin_mma()",
       [](const void*) {
         Mma d = {};
         const uint32_t a[4] = {};
         begin_mma(d);
         mma<Operand::kBf16>(d, a, make_tile<Swizzle::k32>(tile()), false);
       }},
      {"the registers of A have changed before wait_mma()",
       [](const void*) {
         Mma d = {};
         uint32_t a[4] = {};
         begin_mma(d, a);
         mma<Operand::kBf16>(d, a, make_tile<Swizzle::k32>(tile()), false);
         commit_mma();
         a[3] = 1;
         wait_mma<0>(d);
       }},
      {"wait_mma: the accumulators were changed while in flight",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         multiply(d);
         commit_mma();
         d[1] = 0;
         wait_mma<0>(d);
       }},
      {"wait_mma: an mma() that uses these registers is not in a group that this call waits for",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         multiply(d);
         commit_mma();
         wait_mma<1>(d);
       }},
      {"the warp ends with 1 wgmma in flight",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         multiply(d);
         commit_mma();
       }},
      {"mma: the tile of A leaves shared memory",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         const Tile inside = make_tile<Swizzle::k32>(tile());
         mma<Operand::kE4m3>(d, make_tile<Swizzle::k32>(shared_memory() + 8064), inside, false);
         commit_mma();
         wait_mma<0>(d);
       }},
      {" disagrees on shape, tiles or accumulation",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         multiply(d, lane_index() == 5);
       }},
      {"mma: warps 0 and 2 of one warpgroup disagree on shape, tiles or accumulation",
       [](const void*) {
         Mma d = {};
         begin_mma(d);
         multiply(d, warp_index() == 2);
         commit_mma();
         wait_mma<0>(d);
       }},
  };
  for (Misuse row : rows) {
    row.launch = one_block(128);
    check(row);
  }
  check({"mma: the warp is not in a warpgroup of four whole warps",
         [](const void*) {
           Mma d = {};
           begin_mma(d);
           multiply(d);
         },
         one_block(64)});
}

// --- the host ---

void nothing(const PrimitiveParameters& /*unused*/) {}

TEST(EmulatedDevice, ChecksWhatTheHostAsksFor) {
  Rig rig;
  KernelSource source = emulated<nothing>("nothing");
  source.threads = 32;
  struct Row {
    Launch launch;
    const char* said;
  };
  const Row rows[] = {
      {{.grid = {0}, .block = {32}, .cluster = {}}, "nothing: the grid has no block"},
      {{.grid = {}, .block = {64}, .cluster = {}}, "64 threads per block; it must be 32"},
      {{.grid = {3}, .block = {32}, .cluster = {2}}, "clusters of 2 blocks"},
      {{.grid = {8}, .block = {32}, .cluster = {8}}, "clusters of 8 blocks; it must be 1 to 4"},
      {one_block(32, 232449), "232449 bytes of shared memory; it must be 232448 at most"},
  };
  for (const Row& row : rows) {
    const Result<> launched = rig.launch(source, {}, row.launch);
    ASSERT_FALSE(launched) << row.said;
    EXPECT_EQ(launched.error().code, Code::kInvalidArgument);
    EXPECT_NE(launched.error().message.find(row.said), std::string::npos)
        << launched.error().message;
  }
  Device& device = rig.device();
  const Address buffer = rig.zeros<uint8_t>(64);
  EXPECT_TRUE(device.fill(buffer, 1, 64, nullptr));
  EXPECT_FALSE(device.fill(buffer + 1, 1, 64, nullptr));
  EXPECT_FALSE(device.fill(buffer, 1, 64, reinterpret_cast<Stream>(1)));
  EXPECT_FALSE(device.encode({buffer, Element::kU8, 2, {32, 3}, {32}, {16, 1}, Swizzle::kNone}));
  EXPECT_EQ(device.load(KernelSource{}).error().code, Code::kUnsupported);
  EXPECT_EQ(device.load(emulated<test::token>("nothing")).error().code, Code::kAlreadyExists);
  EXPECT_EQ(emulate({.memory_bytes = 100})->allocate(101).error().code, Code::kNoSpace);
}

void bad(const PrimitiveParameters& p) {
  if (thread_index().x % 2 == 0) store_global(p.out, uint8_t{1});
  sync_block();
}

TEST(EmulatedDevice, AFaultStaysUntilSynchronizeHasSaidIt) {
  Rig rig;
  std::vector<std::byte> byte(1);
  const Address buffer = rig.zeros<uint8_t>(1);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(rig.launch(emulated<bad>("bad"), {}, one_block(64)));
    EXPECT_FALSE(rig.device().copy_out(byte, buffer, nullptr));
    EXPECT_FALSE(rig.device().copy_out(byte, buffer, nullptr));
    EXPECT_FALSE(rig.device().synchronize(nullptr));
    EXPECT_TRUE(rig.device().copy_out(byte, buffer, nullptr));
    PrimitiveParameters good = {};
    good.out = pointer(buffer);
    EXPECT_TRUE(rig.run(emulated<bad>("bad"), good, one_block(64)));
  }
}

/// The order in which warps take tickets.
void tickets(const PrimitiveParameters& p) {
  const uint32_t warp = block_index().x * block_size().x / kWarpSize + warp_index();
  if (elect_one()) store_global(p.out + warp, static_cast<uint8_t>(atomic_add(p.flag, 1u)));
}

TEST(EmulatedDevice, ASeedIsAnOrder) {
  const auto order = [](uint64_t seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.flag = reinterpret_cast<uint32_t*>(rig.zeros<uint32_t>(1));
    p.out = pointer(rig.zeros<uint8_t>(16));
    Launch launch = one_block(128);
    launch.grid.x = 4;
    EXPECT_TRUE(rig.run(emulated<tickets>("tickets"), p, launch));
    return rig.download<uint8_t>(reinterpret_cast<Address>(p.out), 16);
  };
  std::set<std::vector<uint8_t>> orders;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::vector<uint8_t> once = order(seed);
    EXPECT_EQ(order(seed), once);
    orders.insert(once);
  }
  EXPECT_EQ(orders.size(), kSeeds);
}

}  // namespace
}  // namespace hadal::gpu
