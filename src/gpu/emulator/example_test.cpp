// The example of docs/gpu-emulator.md: a kernel, its test, and what is said of a mistake in it.
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "gpu/device/device.cuh"
#include "gpu/device/entry.h"
#include "gpu/emulator/emulator.h"

namespace hadal::gpu {
namespace {

struct TwiceParameters {
  const float* in;
  float* out;
};

template <bool kWaits>
struct TwiceConfig {
  static constexpr uint32_t kBytes = 4096;
  static constexpr bool kWait = kWaits;
};

/// out = 2 in, by one block.
template <typename Config>
HADAL_DEVICE void twice(const TwiceParameters& p) {
  using namespace device;
  const SharedAddress tile = shared_memory();
  const Barrier full{tile + Config::kBytes};
  if (thread_index().x == 0) {
    full.init(1);
    fence_barrier_init();
    full.arrive_expect(Config::kBytes);
    load_bytes(tile, p.in, Config::kBytes, full);
  }
  sync_block();
  if constexpr (Config::kWait) full.wait(0);
  for (uint32_t i = 4 * thread_index().x; i < Config::kBytes; i += 4 * block_size().x) {
    store_shared(tile + i, 2 * load_shared<float>(tile + i));
  }
  fence_async_shared();
  sync_block();
  if (thread_index().x == 0) {
    store_bytes(p.out, tile, Config::kBytes);
    commit_stores();
    wait_stores_read<0>();
  }
}

template <typename Config>
Result<std::vector<float>> run_twice(const std::vector<float>& in, uint64_t seed) {
  const std::unique_ptr<Device> device = emulate({.seed = seed});
  const Buffer from = TRY(device->allocate(Config::kBytes));
  const Buffer to = TRY(device->allocate(Config::kBytes));
  TRY(device->copy_in(from.address(), std::as_bytes(std::span(in)), nullptr));
  KernelSource source;
  source.name = "twice";
  source.parameter_bytes = sizeof(TwiceParameters);
  source.emulated = &run_thread<TwiceParameters, twice<Config>>;
  const Kernel* kernel = TRY(device->load(source));
  const TwiceParameters parameters = {reinterpret_cast<const float*>(from.address()),
                                      reinterpret_cast<float*>(to.address())};
  const Launch launch = {
      .grid = {1}, .block = {128}, .cluster = {}, .shared_bytes = Config::kBytes + 8};
  TRY(device->launch(*kernel, launch, std::as_bytes(std::span(&parameters, 1)), nullptr));
  TRY(device->synchronize(nullptr));
  std::vector<float> out(in.size());
  TRY(device->copy_out(std::as_writable_bytes(std::span(out)), to.address(), nullptr));
  return out;
}

TEST(Twice, IsRightUnderManySeeds) {
  const std::vector<float> in(1024, 1.5f), expected(1024, 3.0f);
  for (uint64_t seed = 0; seed < 32; ++seed) {
    const Result<std::vector<float>> out = run_twice<TwiceConfig<true>>(in, seed);
    ASSERT_TRUE(out) << "seed " << seed << ": " << out.error().message;
    ASSERT_EQ(*out, expected) << "seed " << seed;
  }
}

TEST(Twice, NeedsItsWait) {
  const auto out = run_twice<TwiceConfig<false>>(std::vector<float>(1024, 1.5f), 0);
  ASSERT_FALSE(out);
  EXPECT_EQ(
      out.error().message,
      "kernel twice, block (0,0,0), warp 3, lane 9: load_shared: nobody has written the 4 bytes "
      "at 0x5a4");
}

}  // namespace
}  // namespace hadal::gpu
