#include "gpu/cubin_cache.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/files.h"
#include "gpu/gpu_testing.h"

namespace hadal::gpu {
namespace {

constexpr int64_t kMiB = 1 << 20;

CubinFile entry(uint64_t number, size_t code_bytes = 100, int compiler = 13000) {
  CubinFile file;
  file.key = {{number, ~number}, compiler};
  file.architecture = "sm_90a";
  file.name = fmt::format("kernel_{}", number);
  file.log = "ptxas info";
  file.cubin.resize(std::max<size_t>(code_bytes, 64));
  constexpr uint8_t kStart[] = {0x7f, 'E', 'L', 'F', 2, 1};
  for (size_t i = 0; i < sizeof kStart; ++i) file.cubin[i] = std::byte{kStart[i]};
  file.cubin[18] = std::byte{190};
  file.cubin.back() = static_cast<std::byte>(number);
  return file;
}

bool has(CubinCache& cache, uint64_t number, int compiler = 13000) {
  const CubinFile wanted = entry(number, 100, compiler);
  const std::optional<CubinFile> found = cache.find(wanted.key, "sm_90a");
  return found && found->cubin.back() == wanted.cubin.back();
}

/// The only entry's path.
std::string only_file(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() == ".cubin") files.push_back(file.path().string());
  }
  EXPECT_EQ(files.size(), 1u);
  return files.empty() ? "" : files[0];
}

void set_age(const std::string& path, int64_t seconds) {
  timespec times[2];
  ::clock_gettime(CLOCK_REALTIME, &times[0]);
  times[0].tv_sec -= seconds;
  times[1] = times[0];
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST(CubinCache, FindsWhatWasStored) {
  const TemporaryFolder folder;
  CubinCache cache(folder / "deep/er", kMiB);
  EXPECT_FALSE(has(cache, 1));
  EXPECT_FALSE(cache.trouble()) << "a folder that does not exist yet is none";
  cache.store(entry(1));
  EXPECT_TRUE(has(cache, 1));
  EXPECT_FALSE(has(cache, 2));
  EXPECT_FALSE(has(cache, 1, 12090)) << "another compiler's";
  CubinCache other(folder / "deep/er", kMiB);
  EXPECT_TRUE(has(other, 1));
  struct stat status{};
  ASSERT_EQ(::stat((folder / "deep/er").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST(CubinCache, WithoutACompilerTheNewestCompilersCodeIsTaken) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  for (const int compiler : {12090, 13010, 13000}) cache.store(entry(1, 100, compiler));
  const auto found = cache.find({entry(1).key.content, 0}, "sm_90a");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->key.compiler, 13010);
  EXPECT_FALSE(cache.find({entry(2).key.content, 0}, "sm_90a"));
}

TEST(CubinCache, BadEntriesAreMissesAndGoAway) {
  const auto truncate = [](const std::string& path) { std::filesystem::resize_file(path, 90); };
  const auto empty = [](const std::string& path) { std::filesystem::resize_file(path, 0); };
  const auto flip = [](const std::string& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(120);
    file.put('!');
  };
  const auto foreign = [](const std::string& path) {
    CubinFile file = entry(1);
    file.architecture = "sm_100a";
    ASSERT_TRUE(write_file_atomically(path, encode_cubin_file(file)));
  };
  const auto other_key = [](const std::string& path) {
    ASSERT_TRUE(write_file_atomically(path, encode_cubin_file(entry(2))));
  };
  const std::function<void(const std::string&)> damages[] = {truncate, empty, flip, foreign,
                                                             other_key};
  for (const auto& damage : damages) {
    const TemporaryFolder folder;
    const auto capture = std::make_shared<LogCapture>();
    CubinCache cache(folder.path(), kMiB, *Log::open({.to_stderr = false, .capture = capture}));
    cache.store(entry(1));
    const std::string path = only_file(folder.path());
    damage(path);
    EXPECT_FALSE(has(cache, 1));
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_EQ(capture->lines().size(), 1u);
    EXPECT_NE(capture->lines()[0].message.find(path + " is removed: "), std::string::npos);
    EXPECT_FALSE(cache.trouble()) << "a bad entry is no trouble of the cache's";
    cache.store(entry(1));
    EXPECT_TRUE(has(cache, 1));
  }
}

TEST(CubinCache, TheOldestUseGoesFirst) {
  const TemporaryFolder folder;
  const auto bytes = static_cast<int64_t>(encode_cubin_file(entry(1, 1000)).size());
  CubinCache cache(folder.path(), 3 * bytes);
  for (uint64_t number : {1, 2, 3}) {
    cache.store(entry(number, 1000));
    set_age(fmt::format("{}/{:016x}{:016x}-13000.cubin", folder.path(), ~number, number),
            static_cast<int64_t>(100 - number));
  }
  EXPECT_TRUE(has(cache, 1)) << "and is used just now";
  cache.store(entry(4, 1000));
  EXPECT_TRUE(has(cache, 1));
  EXPECT_FALSE(has(cache, 2));
  EXPECT_TRUE(has(cache, 3));
  EXPECT_TRUE(has(cache, 4));
  cache.store(entry(5, 5000));
  EXPECT_FALSE(has(cache, 5)) << "larger than the cache";
  EXPECT_TRUE(has(cache, 4));
}

TEST(CubinCache, FilesOfDeadWritersGoAfterAnHour) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  for (const char* name : {"old.tmp", "new.tmp", "other.txt"}) {
    ASSERT_TRUE(write_file_atomically(folder / name, std::string_view("x")));
  }
  set_age(folder / "old.tmp", 3700);
  set_age(folder / "other.txt", 3700);
  cache.store(entry(1));
  EXPECT_FALSE(std::filesystem::exists(folder / "old.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "new.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "other.txt"));
}

TEST(CubinCache, ListsAndClears) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  EXPECT_TRUE(cache.list()->empty());
  cache.store(entry(2));
  cache.store(entry(1));
  ASSERT_TRUE(write_file_atomically(folder / "junk.cubin", std::string_view("junk")));
  const auto entries = cache.list();
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].file, "junk.cubin");
  EXPECT_TRUE((*entries)[0].defect);
  EXPECT_EQ((*entries)[1].name, "kernel_1");
  EXPECT_EQ((*entries)[1].key, entry(1).key);
  EXPECT_GT((*entries)[1].bytes, 100);
  EXPECT_GE((*entries)[1].age_s, 0);
  EXPECT_EQ((*entries)[2].name, "kernel_2");
  EXPECT_EQ(cache.clear(), 3);
  EXPECT_TRUE(cache.list()->empty());
  EXPECT_FALSE(has(cache, 1));
}

TEST(CubinCache, ALockExcludesThreadsAndProcesses) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  const CubinKey key = entry(1).key;
  {
    const CubinCache::Lock lock = cache.lock(key);
    ASSERT_TRUE(lock.held());
    EXPECT_FALSE(cache.lock(key, 10).held());
    EXPECT_TRUE(cache.lock(entry(100).key, 10).held()) << "another key";
    EXPECT_EQ(in_child([&] { return cache.lock(key, 10).held() ? 1 : 0; }), 0);
  }
  EXPECT_TRUE(cache.lock(key, 10).held());
}

TEST(CubinCache, ADeadHolderLetsGo) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  const CubinKey key = entry(1).key;
  const int held = in_child([&] {
    const CubinCache::Lock lock = cache.lock(key);
    ::_exit(lock.held() ? 7 : 8);  // no destructor runs
    return 9;
  });
  EXPECT_EQ(held, 7);
  EXPECT_TRUE(cache.lock(key, 1000).held());
}

TEST(CubinCache, AForkWhileTheLockIsHeldKeepsNothing) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  const CubinKey key = entry(1).key;
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  pid_t child = 0;
  {
    const CubinCache::Lock lock = cache.lock(key);
    ASSERT_TRUE(lock.held());
    child = start_child([&] {  // has the lock's file open, too
      char byte = 0;
      return ::read(pipe_fds[0], &byte, 1) == 1 ? 0 : 1;
    });
  }
  EXPECT_TRUE(cache.lock(key, 1000).held());
  ASSERT_EQ(::write(pipe_fds[1], "x", 1), 1);
  EXPECT_EQ(wait_child(child), 0);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
}

TEST(CubinCache, ParentAndChildBothGoOn) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  cache.store(entry(1));
  const int code = in_child([&] {
    if (!has(cache, 1)) return 1;
    cache.store(entry(2));
    return has(cache, 2) ? 0 : 2;
  });
  EXPECT_EQ(code, 0);
  EXPECT_TRUE(has(cache, 2));
  cache.store(entry(3));
  EXPECT_TRUE(has(cache, 3));
}

TEST(CubinCache, ManyThreadsUseOne) {
  const TemporaryFolder folder;
  CubinCache cache(folder.path(), kMiB);
  std::vector<std::thread> threads;
  std::atomic<int> missing = 0;
  for (uint64_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 10; ++i) {
        const uint64_t number = (t + i) % 5;
        const CubinCache::Lock lock = cache.lock(entry(number).key);
        cache.store(entry(number));
        if (!has(cache, number)) ++missing;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(missing, 0);
}

// --- disks that say no ----------------------------------------------------------------------

/// Stores and finds; the sentences logged, which there must be one of.
std::string warning_of(const std::string& path) {
  const auto capture = std::make_shared<LogCapture>();
  CubinCache cache(path, kMiB, *Log::open({.to_stderr = false, .capture = capture}));
  for (uint64_t number : {1, 2, 3}) {
    const CubinCache::Lock lock = cache.lock(entry(number).key, 10);
    cache.store(entry(number, 40'000));
    if (has(cache, number)) return "it was stored";
  }
  if (capture->lines().size() != 1) return fmt::format("{} warnings", capture->lines().size());
  if (!cache.trouble()) return "no trouble";
  return capture->lines()[0].message;
}

/// in_child() for what a child finds out: its sentence.
template <typename Body>
std::string sentence_of_child(const TemporaryFolder& folder, Body&& body) {
  const std::string file = folder / "sentence";
  const int code = in_child([&] {
    const std::string sentence = body();
    return write_file_atomically(file, sentence) ? 0 : 1;
  });
  EXPECT_EQ(code, 0);
  return read_file(file).value_or("");
}

TEST(CubinCache, AFolderThatCannotBeMadeIsSaidOnce) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "file", std::string_view("x")));
  EXPECT_EQ(warning_of(folder / "file/cache"),
            "the cache of compiled kernels does not work, hadal goes on without it: cannot make "
            "the folder " +
                (folder / "file/cache: Not a directory"));
}

TEST(CubinCache, AReadOnlyFolderIsReadAndSaidOnce) {
  const TemporaryFolder folder;
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  const std::string path = folder / "cache";
  {
    CubinCache cache(path, kMiB);
    cache.store(entry(9));
    ASSERT_EQ(::chmod(only_file(path).c_str(), 0444), 0);
  }
  ASSERT_EQ(::chmod(path.c_str(), 0555), 0);
  const TemporaryFolder answers;
  ASSERT_EQ(::chmod(answers.path().c_str(), 0777), 0);
  const std::string sentence = sentence_of_child(answers, [&]() -> std::string {
    // Nothing is read-only for root.
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return "skip";
    CubinCache cache(path, kMiB);
    if (!has(cache, 9)) return "an entry was not found";
    return warning_of(path);
  });
  ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
  if (sentence == "skip") GTEST_SKIP() << "this root may not become another user";
  EXPECT_NE(sentence.find("cannot open " + path + "/lock: Permission denied"), std::string::npos)
      << sentence;
}

TEST(CubinCache, AFileThatMayNotGrowIsSaidOnceAndLeavesNothing) {
  const TemporaryFolder folder, answers;
  const std::string sentence = sentence_of_child(answers, [&]() -> std::string {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {10'000, 10'000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    return warning_of(folder.path());
  });
  EXPECT_NE(sentence.find("File too large"), std::string::npos) << sentence;
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_EQ(file.path().filename(), "lock");
  }
}

TEST(CubinCache, AFullDiskIsSaidOnce) {
  const TemporaryFolder folder, answers;
  const std::string sentence = sentence_of_child(answers, [&]() -> std::string {
    // A tmpfs of our own, in a mount namespace that ends with this process.
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return "skip";
    ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("none", folder.path().c_str(), "tmpfs", 0, "size=16k") != 0) return "skip";
    return warning_of(folder.path());
  });
  if (sentence == "skip") GTEST_SKIP() << "this user may not mount a small file system";
  EXPECT_NE(sentence.find("No space left on device"), std::string::npos) << sentence;
}

TEST(CubinCache, WithoutAPlaceNothingIsKept) {
  CubinCache cache("", kMiB);
  cache.store(entry(1));
  EXPECT_FALSE(has(cache, 1));
  EXPECT_FALSE(cache.lock(entry(1).key, 10).held());
  EXPECT_TRUE(cache.list()->empty());
  ASSERT_TRUE(cache.trouble());
  EXPECT_EQ(cache.trouble()->message, "none of HADAL_GPU_CACHE, XDG_CACHE_HOME and HOME is set");
}

TEST(CubinCache, ThePlaceComesFromTheEnvironment) {
  const int code = in_child([] {
    ::unsetenv("HADAL_GPU_CACHE");
    ::unsetenv("XDG_CACHE_HOME");
    ::unsetenv("HOME");
    if (!default_cache_path().empty()) return 1;
    ::setenv("HOME", "/h", 1);
    if (default_cache_path() != "/h/.cache/hadal/gpu") return 2;
    ::setenv("XDG_CACHE_HOME", "relative", 1);
    if (default_cache_path() != "/h/.cache/hadal/gpu") return 3;
    ::setenv("XDG_CACHE_HOME", "/x", 1);
    if (default_cache_path() != "/x/hadal/gpu") return 4;
    ::setenv("HADAL_GPU_CACHE", "/c", 1);
    return default_cache_path() == "/c" ? 0 : 5;
  });
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace hadal::gpu
