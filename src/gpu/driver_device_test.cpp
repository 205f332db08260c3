#include "gpu/driver_device.h"

#include <atomic>
#include <cstring>
#include <thread>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "gpu/gpu_testing.h"

namespace hadal::gpu {
namespace {

class DriverDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    reset_fake();
    options_.cache_path = folder_ / "cache";
  }
  /// Every context that a call made current it put back.
  void TearDown() override {
    EXPECT_EQ(fake().contexts_pushed, 0);
    EXPECT_EQ(fake().unbalanced, "") << "was called without a context";
    EXPECT_EQ(fake().contexts_retained, 0);
    EXPECT_EQ(fake().libraries_loaded, 0);
    EXPECT_EQ(fake().streams, 0);
    EXPECT_EQ(fake().events, 0);
    EXPECT_TRUE(fake().memory.empty());
  }

  Result<std::unique_ptr<Device>> open(int ordinal = 0) {
    return open_driver_device(ordinal, options_, fake_libraries());
  }
  std::string open_error(int ordinal = 0) {
    const auto device = open(ordinal);
    return device ? "" : device.error().message;
  }

  TemporaryFolder folder_;
  DeviceOptions options_;
};

template <typename T>
std::string message(const Result<T>& result) {
  return result ? "" : result.error().message;
}

Launch good_launch() {
  return {.grid = {132, 1, 1}, .block = {128, 1, 1}, .cluster = {}, .shared_bytes = 65536};
}

std::vector<std::byte> parameters_of(std::string_view text) {
  std::vector<std::byte> bytes(bytes_of(text).begin(), bytes_of(text).end());
  bytes.resize(16);
  return bytes;
}

TEST_F(DriverDeviceTest, SaysWhatItIs) {
  const auto device = open(1);
  ASSERT_TRUE(device) << device.error().message;
  const DeviceInfo& info = (*device)->info();
  EXPECT_EQ(info.name, "Fake H200 #1");
  EXPECT_EQ(info.ordinal, 1);
  EXPECT_EQ(info.major, 9);
  EXPECT_EQ(info.minor, 0);
  EXPECT_EQ(info.num_sms, 132);
  EXPECT_EQ(info.memory_bytes, 1 << 30);
  EXPECT_EQ(info.shared_bytes_per_block, 232448);
  EXPECT_EQ(info.memory_bytes_per_s, 4'916'736'000'000);
  EXPECT_EQ(info.driver_version, 13000);
  EXPECT_EQ(info.uuid[15], 11);
  EXPECT_FALSE(info.emulated);
}

TEST_F(DriverDeviceTest, SaysWhyThereIsNone) {
  EXPECT_EQ(open_error(2), "device ordinal is 2; it must be 0 to 1");
  EXPECT_EQ(open_error(-1), "device ordinal is -1; it must be 0 to 1");
  fake().num_devices = 0;
  EXPECT_EQ(open_error(), "the CUDA driver shows no GPU");
  fake().num_devices = 2;
  fake().fail["cuInit"] = 719;
  EXPECT_EQ(open_error(),
            "the CUDA driver does not start: CUDA_ERROR_LAUNCH_FAILED (unspecified "
            "launch failure)");
  fake().fail["cuInit"] = cuda::kNotInitialized;
  EXPECT_EQ(open_error(),
            "the CUDA driver does not start: CUDA_ERROR_NOT_INITIALIZED; a process "
            "forked from one that has used the GPU cannot use it");
  fake().fail = {{"cuDevicePrimaryCtxRetain", 4711}};
  EXPECT_EQ(open_error(), "open device 0: CUDA error 4711");
  const auto none = open_driver_device(0, options_, {.driver = {"libabsent.so"}, .nvrtc = {}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kUnavailable);
  EXPECT_EQ(none.error().message, "no CUDA driver; tried libabsent.so");
}

TEST_F(DriverDeviceTest, TheStateNeedsNoContext) {
  const auto state = driver_state(fake_libraries());
  ASSERT_TRUE(state);
  EXPECT_EQ(state->version, 13000);
  ASSERT_EQ(state->devices.size(), 2u);
  EXPECT_EQ(state->devices[1].name, "Fake H200 #1");
  EXPECT_EQ(fake().calls["cuDevicePrimaryCtxRetain"], 0);
}

TEST_F(DriverDeviceTest, MemoryIsCopiedAndFreed) {
  const auto device = open();
  ASSERT_TRUE(device);
  Buffer buffer = *(*device)->allocate(1000);
  EXPECT_EQ(buffer.address() % 256, 0u);
  ASSERT_TRUE((*device)->fill(buffer.address(), 7, 1000, nullptr));
  ASSERT_TRUE((*device)->copy_in(buffer.address() + 2, bytes_of("hopper"), nullptr));
  std::string back(10, ' ');
  ASSERT_TRUE(
      (*device)->copy_out(std::as_writable_bytes(std::span(back)), buffer.address(), nullptr));
  EXPECT_EQ(back, "\7\7hopper\7\7");
  EXPECT_EQ(fake().calls["cuStreamSynchronize"], 2);
  Buffer moved = std::move(buffer);
  EXPECT_EQ(fake().memory.size(), 1u);
  moved = Buffer();
  EXPECT_TRUE((*device)->allocate(0));
  EXPECT_TRUE((*device)->copy_in(0, {}, nullptr));
}

TEST_F(DriverDeviceTest, MemoryThatIsNotThereIsSaidWithWhatIs) {
  const auto device = open();
  ASSERT_TRUE(device);
  const Result<Buffer> some = (*device)->allocate(1 << 20);
  const Result<Buffer> more = (*device)->allocate(1 << 30);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, Code::kNoSpace);
  EXPECT_EQ(more.error().message,
            "allocate on device 0 (Fake H200 #0): 1073741824 bytes were asked "
            "for; 1072693248 of 1073741824 are free");
}

TEST_F(DriverDeviceTest, LaunchesWithTheAttributesAsked) {
  fake().parameter_bytes = 5;
  const auto device = open();
  ASSERT_TRUE(device);
  const Result<const Kernel*> kernel = (*device)->load(fake_kernel("gemm"));
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ((*kernel)->name(), "gemm");
  const Stream stream = *(*device)->make_stream();
  Launch launch = good_launch();
  ASSERT_TRUE((*device)->launch(**kernel, launch, parameters_of("first"), stream));
  launch.cluster = {2, 1, 1};
  ASSERT_TRUE((*device)->launch(**kernel, launch, parameters_of("second"), nullptr));
  launch.overlap_previous = true;
  launch.shared_bytes = 1024;
  ASSERT_TRUE((*device)->launch(**kernel, launch, parameters_of("third"), nullptr));
  ASSERT_TRUE((*device)->synchronize(stream));
  (*device)->free_stream(stream);

  const std::vector<FakeLaunch>& launches = fake().launches;
  ASSERT_EQ(launches.size(), 3u);
  EXPECT_EQ(launches[0].kernel, "gemm");
  EXPECT_EQ(launches[0].grid.x, 132u);
  EXPECT_EQ(launches[0].block.x, 128u);
  EXPECT_EQ(launches[0].shared_bytes, 65536u);
  EXPECT_EQ(launches[0].parameters, "first");
  EXPECT_EQ(launches[0].attributes, std::vector<int>());
  EXPECT_NE(launches[0].stream, nullptr);
  EXPECT_EQ(launches[1].attributes, std::vector<int>{cuda::kLaunchCluster});
  EXPECT_EQ(launches[1].cluster.x, 2u);
  EXPECT_EQ(launches[1].stream, nullptr);
  EXPECT_EQ(launches[2].attributes,
            (std::vector<int>{cuda::kLaunchCluster, cuda::kLaunchProgrammaticSerialization}));
  EXPECT_EQ(launches[2].shared_bytes, 1024u);
}

TEST_F(DriverDeviceTest, ALaunchThatCannotBeIsRefused) {
  const auto device = open();
  ASSERT_TRUE(device);
  const Kernel& kernel = **(*device)->load(fake_kernel("f"));
  const auto refused = [&](auto change, size_t bytes = 16) {
    Launch launch = good_launch();
    change(launch);
    return message((*device)->launch(kernel, launch, std::vector<std::byte>(bytes), nullptr));
  };
  EXPECT_EQ(refused([](Launch&) {}, 15), "kernel f: parameters have 15 bytes; it takes 16");
  EXPECT_EQ(refused([](Launch& l) { l.block = {64, 3, 1}; }),
            "kernel f: block is 64 x 3 x 1; it takes 128 threads");
  EXPECT_EQ(refused([](Launch& l) { l.shared_bytes = 65537; }),
            "kernel f: shared_bytes is 65537; it takes 65536 at most");
  EXPECT_EQ(refused([](Launch& l) { l.cluster = {4, 4, 1}; }),
            "kernel f: cluster is 4 x 4 x 1; it must have 1 to 8 blocks");
  EXPECT_EQ(refused([](Launch& l) { l.cluster = {0, 1, 1}; }),
            "kernel f: cluster is 0 x 1 x 1; it must have 1 to 8 blocks");
  EXPECT_EQ(refused([](Launch& l) { l.cluster = {5, 1, 1}; }),
            "kernel f: grid is 132 x 1 x 1; it must be a multiple, and not 0, of the cluster 5 x 1 "
            "x 1");
  EXPECT_NE(refused([](Launch& l) { l.grid = {1, 0, 1}; }), "");
  EXPECT_EQ(refused([](Launch& l) { l.block = {2, 8, 8}; }), "");
  EXPECT_EQ(fake().launches.size(), 1u);
}

TEST_F(DriverDeviceTest, TheDriversWordsComeBack) {
  const auto device = open();
  ASSERT_TRUE(device);
  const Kernel& kernel = **(*device)->load(fake_kernel("f"));
  fake().fail = {{"cuLaunchKernelEx", 1}, {"cuStreamSynchronize", 719}};
  const Result<> launched = (*device)->launch(kernel, good_launch(), parameters_of(""), nullptr);
  EXPECT_EQ(message(launched),
            "launch of kernel f on device 0 (Fake H200 #0): CUDA_ERROR_INVALID_VALUE");
  const Result<> done = (*device)->synchronize(nullptr);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kInternal);
  EXPECT_EQ(done.error().message,
            "synchronize on device 0 (Fake H200 #0): CUDA_ERROR_LAUNCH_FAILED "
            "(unspecified launch failure)");
  fake().fail = {{"cuCtxPushCurrent_v2", 719}};
  EXPECT_FALSE((*device)->synchronize(nullptr));
  EXPECT_FALSE((*device)->allocate(16));
  EXPECT_FALSE((*device)->load(fake_kernel("g")));
  fake().fail = {};
}

TEST_F(DriverDeviceTest, AKernelIsLoadedOncePerDevice) {
  const auto first = open(0), second = open(1);
  ASSERT_TRUE(first && second);
  const KernelSource source = fake_kernel("f");
  const Kernel* kernel = *(*first)->load(source);
  EXPECT_EQ(*(*first)->load(source), kernel);
  EXPECT_NE(*(*first)->load(fake_kernel("f", "// changed")), kernel);
  const Kernel* other = *(*second)->load(source);
  EXPECT_NE(other, kernel);
  EXPECT_EQ(fake().calls["nvrtcCompileProgram"], 2) << "the second device finds it in the cache";
  EXPECT_EQ(fake().calls["cuLibraryLoadData"], 3);
  EXPECT_EQ(fake().kernel_attributes,
            (std::vector<std::array<int, 3>>{{cuda::kFunctionDynamicSharedBytes, 65536, 0},
                                             {cuda::kFunctionDynamicSharedBytes, 65536, 0},
                                             {cuda::kFunctionDynamicSharedBytes, 65536, 1}}));
  ASSERT_TRUE((*second)->launch(*other, good_launch(), parameters_of(""), nullptr));
  EXPECT_EQ(fake().launches.back().device, 1);
  EXPECT_EQ(message((*second)->launch(*kernel, good_launch(), parameters_of(""), nullptr)),
            "launch on device 1 (Fake H200 #1): kernel f was loaded on another device");
}

TEST_F(DriverDeviceTest, AKernelThatDoesNotLoadMayLoadLater) {
  const auto device = open();
  ASSERT_TRUE(device);
  for (const char* function : {"cuLibraryLoadData", "cuLibraryGetKernel", "cuKernelSetAttribute"}) {
    fake().fail = {{function, cuda::kNotFound}};
    EXPECT_EQ(message((*device)->load(fake_kernel("f"))),
              "load of kernel f on device 0 (Fake H200 #0): CUDA_ERROR_NOT_FOUND");
    EXPECT_EQ(fake().libraries_loaded, 0);
  }
  fake().fail = {};
  EXPECT_TRUE((*device)->load(fake_kernel("f")));
  EXPECT_FALSE((*device)->load(fake_kernel("g", "#error no")));
}

TEST_F(DriverDeviceTest, KernelsAreForHopper) {
  KernelSource large = fake_kernel("f");
  large.shared_bytes = 232449;
  {
    const auto device = open();
    ASSERT_TRUE(device);
    EXPECT_EQ(message((*device)->load(large)),
              "load on device 0 (Fake H200 #0): kernel f wants 232449 bytes of shared memory; a "
              "block has 232448 at most");
  }
  fake().major = 10;
  const auto device = open();
  ASSERT_TRUE(device) << "memory and copies work on any device";
  const auto kernel = (*device)->load(fake_kernel("f"));
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, Code::kUnsupported);
  EXPECT_EQ(kernel.error().message,
            "load on device 0 (Fake H200 #0): it has compute capability 10.0; kernels are for "
            "sm_90a, which is 9.0");
}

TEST_F(DriverDeviceTest, TensorMapsAreEncodedOrRefused) {
  const auto device = open();
  ASSERT_TRUE(device);
  TensorMapSpec spec;
  spec.address = 0x12340;
  spec.element = Element::kBf16;
  spec.rank = 3;
  spec.dims = {64, 64, 2};
  spec.strides_bytes = {128, 8192};
  spec.box = {32, 64, 1};
  spec.swizzle = Swizzle::k64;
  const Result<TensorMap> map = (*device)->encode(spec);
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(load_le<uint64_t>(map->bytes.data()), 0x12340u);
  EXPECT_EQ(fake().tensor_map, (std::vector<int>{cuda::kTensorBf16, 3, cuda::kSwizzle64}));
  spec.box[0] = 64;
  EXPECT_EQ(
      message((*device)->encode(spec)),
      "tensor map: box[0] is 64 elements of 2 bytes; with a swizzle of 64 bytes it must be 32 "
      "at most");
  EXPECT_EQ(fake().calls["cuTensorMapEncodeTiled"], 1);
}

TEST_F(DriverDeviceTest, TimesWorkByEvents) {
  const auto device = open();
  ASSERT_TRUE(device);
  struct Context {
    Device* device;
    const Kernel* kernel;
  } context{device->get(), *(*device)->load(fake_kernel("f"))};
  const auto work = [](void* p) {
    const auto* c = static_cast<Context*>(p);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(c->device->launch(*c->kernel, good_launch(), parameters_of(""), nullptr));
    }
  };
  EXPECT_EQ((*device)->time_ms(nullptr, work, &context), 3.0);
  fake().fail = {{"cuEventSynchronize", 719}};
  EXPECT_FALSE((*device)->time_ms(nullptr, work, &context));
  fake().fail = {};
}

TEST_F(DriverDeviceTest, ManyThreadsUseTwoDevices) {
  fake().compile_ms = 5;
  const auto first = open(0), second = open(1);
  ASSERT_TRUE(first && second);
  Device* const devices[] = {first->get(), second->get()};
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 12; ++i) {
        Device& device = *devices[(t + i) % 2];
        const auto kernel = device.load(fake_kernel(fmt::format("kernel_{}", i % 3)));
        const Result<Buffer> buffer = device.allocate(64);
        if (!kernel || !buffer) continue;
        int value = t * 100 + i, back = 0;
        good += device.copy_in(buffer->address(), std::as_bytes(std::span(&value, 1)), nullptr) &&
                device.launch(**kernel, good_launch(), parameters_of(""), nullptr) &&
                device.copy_out(std::as_writable_bytes(std::span(&back, 1)), buffer->address(),
                                nullptr) &&
                back == value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 96);
  EXPECT_EQ(fake().calls["cuLibraryLoadData"], 6) << "three kernels on two devices";
  EXPECT_EQ(fake().calls["nvrtcCompileProgram"], 3);
}

TEST_F(DriverDeviceTest, AForkedChildIsToldAndHarmsNothing) {
  auto device = open();
  ASSERT_TRUE(device);
  const Kernel& kernel = **(*device)->load(fake_kernel("f"));
  Result<Buffer> buffer = (*device)->allocate(64);
  ASSERT_TRUE(buffer);
  const int code = in_child([&] {
    const std::map<std::string, int> before = fake().calls;
    const Result<> launched = (*device)->launch(kernel, good_launch(), parameters_of(""), nullptr);
    if (launched || launched.error().code != Code::kUnavailable) return 1;
    if (launched.error().message.find("before a fork") == std::string::npos) return 2;
    std::byte byte{};
    if ((*device)->copy_out({&byte, 1}, buffer->address(), nullptr)) return 3;
    if ((*device)->allocate(1) || (*device)->load(fake_kernel("f")) || (*device)->make_stream() ||
        (*device)->synchronize(nullptr)) {
      return 4;
    }
    *buffer = Buffer();
    device->reset();
    return fake().calls == before ? 0 : 5;
  });
  EXPECT_EQ(code, 0);
  EXPECT_TRUE((*device)->launch(kernel, good_launch(), parameters_of(""), nullptr));
}

TEST_F(DriverDeviceTest, WithoutADriverThereAreNoDevices) {
  if (cuda::open_driver(cuda::driver_candidates())) GTEST_SKIP() << "there is a driver here";
  EXPECT_EQ(num_devices(), 0);
  const auto device = open_device(0);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, Code::kUnavailable);
  EXPECT_EQ(device.error().message, "no CUDA driver; tried libcuda.so.1");
}

}  // namespace
}  // namespace hadal::gpu
