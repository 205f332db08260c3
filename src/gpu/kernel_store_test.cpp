#include "gpu/kernel_store.h"

#include <atomic>
#include <csignal>
#include <thread>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/files.h"
#include "gpu/gpu_testing.h"
#include "gpu/test_kernel.h"

namespace hadal::gpu {
namespace {

const std::vector<std::string> kNoNvrtc = {"libabsent_nvrtc.so"};

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    reset_fake().compile_count_file = folder_ / "compiles";
    options_.cache_path = folder_ / "cache";
  }
  KernelStore open() { return KernelStore(options_, fake_libraries().nvrtc); }
  /// Of all processes.
  int64_t compiles() const {
    std::error_code error;
    const auto size = std::filesystem::file_size(folder_ / "compiles", error);
    return error ? 0 : static_cast<int64_t>(size);
  }

  TemporaryFolder folder_;
  DeviceOptions options_;
};

TEST_F(Store, CompilesOnceAndThenFinds) {
  const KernelSource source = fake_kernel("abc");
  KernelStore store = open();
  const Result<StoredKernel> first = store.get(source);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_FALSE(first->cached);
  const Result<StoredKernel> second = store.get(source);
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->cached);
  EXPECT_EQ(second->cubin, first->cubin);
  EXPECT_EQ(second->report.entries[0].registers, 3) << "the report is kept, too";
  EXPECT_EQ(second->report.time_ms, 0);
  KernelStore other = open();
  EXPECT_TRUE(other.get(source)->cached);
  EXPECT_FALSE(other.get(fake_kernel("abc", "// changed"))->cached);
  EXPECT_EQ(compiles(), 2);
}

TEST_F(Store, SixteenProcessesCompileAColdKernelOnce) {
  fake().compile_ms = 100;
  const KernelSource source = fake_kernel("cold");
  std::vector<pid_t> children;
  for (int i = 0; i < 16; ++i) {
    children.push_back(start_child([&] {
      KernelStore store = open();
      const Result<StoredKernel> kernel = store.get(source);
      return kernel && kernel->cubin.size() > 64 && !store.cache().trouble() ? 0 : 1;
    }));
  }
  for (const pid_t child : children) EXPECT_EQ(wait_child(child), 0);
  EXPECT_EQ(compiles(), 1);
}

TEST_F(Store, SixteenThreadsCompileAColdKernelOnce) {
  fake().compile_ms = 50;
  const KernelSource source = fake_kernel("cold");
  KernelStore store = open();
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] { good += store.get(source).has_value() ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16);
  EXPECT_EQ(compiles(), 1);
}

TEST_F(Store, ABadEntryIsCompiledAgain) {
  const KernelSource source = fake_kernel("f");
  KernelStore store = open();
  const std::vector<std::byte> good = store.get(source)->cubin;
  for (const auto& file : std::filesystem::directory_iterator(options_.cache_path)) {
    if (file.path().extension() == ".cubin") std::filesystem::resize_file(file.path(), 100);
  }
  const Result<StoredKernel> again = store.get(source);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->cached);
  EXPECT_EQ(again->cubin, good);
  EXPECT_TRUE(store.get(source)->cached);
}

TEST_F(Store, GoesOnWithoutACache) {
  ASSERT_TRUE(write_file_atomically(options_.cache_path, std::string_view("a file")));
  KernelStore store = open();
  EXPECT_FALSE(store.get(fake_kernel("f"))->cached);
  EXPECT_FALSE(store.get(fake_kernel("f"))->cached);
  EXPECT_TRUE(store.cache().trouble());
}

TEST_F(Store, GoesOnWithAFullDisk) {
  const int code = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {40, 40};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    KernelStore store = open();
    if (!store.get(fake_kernel("f")) || !store.get(fake_kernel("g"))) return 2;
    return store.cache().trouble() ? 0 : 3;
  });
  EXPECT_EQ(code, 0);
}

TEST_F(Store, WhatMayNotBeCompiledMustBeThere) {
  const KernelSource source = fake_kernel("f");
  options_.may_compile = false;
  KernelStore store = open();
  const Result<StoredKernel> missing = store.get(source);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_EQ(
      missing.error().message,
      fmt::format("kernel f is not in the cache {}: compiling is not allowed here; `hadal gpu "
                  "warm` does it beforehand",
                  options_.cache_path));
  options_.may_compile = true;
  ASSERT_TRUE(open().get(source));
  EXPECT_TRUE(store.get(source)->cached);
}

TEST_F(Store, WithoutNvrtcTheCacheServes) {
  const KernelSource source = fake_kernel("f");
  KernelStore without(options_, kNoNvrtc);
  const Result<StoredKernel> missing = without.get(source);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kUnavailable);
  EXPECT_EQ(missing.error().message,
            fmt::format("kernel f is not in the cache {}: no NVRTC; tried libabsent_nvrtc.so",
                        options_.cache_path));
  ASSERT_TRUE(open().get(source));
  EXPECT_TRUE(without.get(source)->cached);
}

TEST_F(Store, TheEntryMustBeThere) {
  KernelSource source = fake_kernel("f");
  source.name = "g";
  const Result<StoredKernel> kernel = open().get(source);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().message,
            "kernel g: its text has no extern \"C\" __global__ function of that name; it has f");
  EXPECT_TRUE(open().cache().list()->empty());
}

TEST_F(Store, WarmsManyKernels) {
  std::vector<KernelSource> kernels;
  for (int i = 0; i < 12; ++i) kernels.push_back(fake_kernel(fmt::format("kernel_{}", i)));
  kernels[5].text = "#error broken";
  ThreadPool pool({.threads = 4});
  KernelStore store = open();
  ASSERT_TRUE(store.get(kernels[3]));
  int done = 0;
  const std::vector<Warmed> results = warm(store, kernels, pool, [&](const Warmed&) { ++done; });
  EXPECT_EQ(done, 12);
  ASSERT_EQ(results.size(), 12u);
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].name, kernels[i].name);
    EXPECT_EQ(results[i].cached, i == 3);
    EXPECT_EQ(results[i].error.has_value(), i == 5);
  }
  EXPECT_TRUE(warm(store, {}, pool).empty());
  EXPECT_TRUE(warm(store, kernels, pool)[0].cached);
}

TEST_F(Store, NvrtcsOwnCubinIsKept) {
  KernelStore store(options_);
  if (!store.compiler()) GTEST_SKIP() << store.compiler().error().message;
  const Result<StoredKernel> first = store.get(wgmma_kernel());
  ASSERT_TRUE(first) << first.error().message;
  const Result<StoredKernel> second = store.get(wgmma_kernel());
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->cached);
  EXPECT_EQ(second->cubin, first->cubin);
  EXPECT_EQ(second->report.entries[0].registers, first->report.entries[0].registers);
}

}  // namespace
}  // namespace hadal::gpu
