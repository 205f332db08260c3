// What file_system.h promises, held against every FileSystem that there is; all but what happens
// when the power goes.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "io/event_loop.h"
#include "io/native_files.h"
#include "io/sim_disk.h"
#include "sim/world.h"

namespace hadal::io {
namespace {

using Memory = std::vector<std::byte>;

Memory memory_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// All of a file, or the error in <>.
std::string text_of(File& file) {
  Memory memory(100'000);
  const Result<size_t> count = file.read(0, memory);
  if (!count) return "<" + count.error().message + ">";
  return {reinterpret_cast<const char*>(memory.data()), *count};
}

std::string text_of(FileSystem& files, std::string_view path) {
  const auto file = files.open(path, Open::kExisting);
  return file ? text_of(**file) : "<" + file.error().message + ">";
}

template <typename T>
Code code_of(const Result<T>& result) {
  EXPECT_FALSE(result);
  return result ? Code::kInternal : result.error().code;
}

/// A folder on a disk (the build's, as /tmp may be in memory), which goes at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::current_path() / "conformance-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

using Body = std::function<void(FileSystem&, Executor&)>;

/// Runs the body in a fiber of a loop, over files in the folder.
void run_native(const std::filesystem::path& folder, const NativeOptions& options,
                const std::function<void(NativeFiles&, EventLoop&)>& body) {
  EventLoop loop;
  loop.run([&] {
    auto files = NativeFiles::open(loop, folder.string(), options);
    ASSERT_TRUE(files) << files.error().message;
    body(**files, loop);
  });
}

enum class Kind { kSim, kIoUring, kThreads };

class Conformance : public testing::TestWithParam<Kind> {
 protected:
  static void run(const Body& body, int depth = 256) {
    if (GetParam() == Kind::kSim) return run_sim(body);
    const bool ring = GetParam() == Kind::kIoUring;
    const Folder folder;
    EventLoop probe;
    const NativeOptions options{.engine = ring ? Engine::kIoUring : Engine::kThreads,
                                .depth = depth};
    if (ring && !NativeFiles::open(probe, folder.path().string(), options))
      GTEST_SKIP() << "the system refuses io_uring";
    run_native(folder.path(), options, [&](NativeFiles& files, EventLoop& loop) {
      EXPECT_EQ(files.engine(), ring ? "io_uring" : "threads");
      body(files, loop);
    });
  }

 private:
  static void run_sim(const Body& body) {
    sim::World world({.seed = 1});
    SimDisk disk({.latency_ns_max = kMillisecond, .sync_ns_max = kMillisecond}, Rng(1));
    bool done = false;
    world.add_process("test", [&](sim::Process& process) {
      body(disk, process);
      done = true;
    });
    EXPECT_TRUE(world.run_until([&] { return done; }, 1000 * kSecond));
  }
};

std::string name_of(const testing::TestParamInfo<Kind>& info) {
  if (info.param == Kind::kSim) return "Sim";
  return info.param == Kind::kIoUring ? "IoUring" : "Threads";
}

INSTANTIATE_TEST_SUITE_P(Files, Conformance,
                         testing::Values(Kind::kSim, Kind::kIoUring, Kind::kThreads), name_of);

TEST_P(Conformance, ReadsWhatWasWritten) {
  run([](FileSystem& files, Executor&) {
    const auto file = *files.open("f", Open::kCreateNew);
    EXPECT_EQ(text_of(*file), "");
    EXPECT_TRUE(file->write(0, memory_of("hello")));
    EXPECT_TRUE(file->write(3, memory_of("p, world")));
    EXPECT_EQ(text_of(*file), "help, world");
    EXPECT_EQ(*file->size(), 11);
    Memory three(3);
    EXPECT_EQ(*file->read(9, three), 2U);
    EXPECT_EQ(*file->read(11, three), 0U);
    EXPECT_EQ(*file->read(kFileBytesMax - 3, three), 0U);
    EXPECT_EQ(*file->read(0, {}), 0U);
    EXPECT_TRUE(file->sync());
    EXPECT_TRUE(files.sync_folder(""));
    EXPECT_EQ(text_of(files, "f"), "help, world");
  });
}

TEST_P(Conformance, HolesAreZeros) {
  run([](FileSystem& files, Executor&) {
    const auto file = *files.open("f", Open::kCreateNew);
    EXPECT_TRUE(file->write(20'000, memory_of("end")));
    EXPECT_EQ(text_of(*file), std::string(20'000, '\0') + "end");
    // Nothing that is written grows nothing.
    EXPECT_TRUE(file->write(50'000, {}));
    EXPECT_EQ(*file->size(), 20'003);

    const std::string full(20'000, 'x');
    EXPECT_TRUE(file->write(0, memory_of(full)));
    EXPECT_TRUE(file->punch_hole(5000, 10'000));
    const std::string punched =
        std::string(5000, 'x') + std::string(10'000, '\0') + std::string(5000, 'x');
    EXPECT_EQ(text_of(*file), punched + "end");
    EXPECT_TRUE(file->punch_hole(0, 0));
    EXPECT_TRUE(file->punch_hole(30'000, 5));
    EXPECT_TRUE(file->punch_hole(20'000, kFileBytesMax - 20'000));
    EXPECT_EQ(text_of(*file), punched + std::string(3, '\0'));
  });
}

TEST_P(Conformance, ResizeCutsAndGrowsByAHole) {
  run([](FileSystem& files, Executor&) {
    const auto file = *files.open("f", Open::kCreateNew);
    EXPECT_TRUE(file->write(0, memory_of(std::string(1000, 'x'))));
    EXPECT_TRUE(file->resize(10));
    EXPECT_TRUE(file->resize(20));
    EXPECT_EQ(text_of(*file), std::string(10, 'x') + std::string(10, '\0'));
    // A hole of 1 TiB takes no space.
    EXPECT_TRUE(file->resize(int64_t{1} << 40));
    EXPECT_EQ(*file->size(), int64_t{1} << 40);
    Memory four(4, std::byte{1});
    EXPECT_EQ(*file->read((int64_t{1} << 40) - 2, four), 2U);
    EXPECT_EQ(four[0], std::byte{0});
    EXPECT_TRUE(file->resize(0));
    EXPECT_EQ(text_of(*file), "");
  });
}

TEST_P(Conformance, RangesThatCannotBeAreRefused) {
  run([](FileSystem& files, Executor&) {
    const auto file = *files.open("f", Open::kCreateNew);
    Memory two(2);
    const auto refused = [](const auto& result) {
      EXPECT_EQ(code_of(result), Code::kInvalidArgument);
      EXPECT_TRUE(result.error().message.starts_with("f: ")) << result.error().message;
    };
    for (const int64_t offset : {int64_t{-1}, kFileBytesMax - 1, INT64_MAX, INT64_MIN}) {
      refused(file->read(offset, two));
      refused(file->write(offset, two));
      refused(file->punch_hole(offset, 2));
    }
    refused(file->punch_hole(0, -1));
    refused(file->punch_hole(1, INT64_MAX));
    refused(file->resize(-1));
    refused(file->resize(kFileBytesMax + 1));
    EXPECT_EQ(*file->size(), 0);
  });
}

TEST_P(Conformance, OpensAsAsked) {
  run([](FileSystem& files, Executor&) {
    EXPECT_EQ(code_of(files.open("f", Open::kExisting)), Code::kNotFound);
    EXPECT_TRUE((*files.open("f", Open::kCreate))->write(0, memory_of("1")));
    EXPECT_EQ(code_of(files.open("f", Open::kCreateNew)), Code::kAlreadyExists);
    EXPECT_EQ(text_of(**files.open("f", Open::kCreate)), "1");
    EXPECT_EQ(code_of(files.open("none/f", Open::kCreate)), Code::kNotFound);
    EXPECT_EQ(code_of(files.open("f/g", Open::kCreate)), Code::kNotFound);
    EXPECT_TRUE(files.make_folder("d"));
    EXPECT_EQ(code_of(files.open("d", Open::kExisting)), Code::kInvalidArgument);
    EXPECT_EQ(code_of(files.open("d", Open::kCreate)), Code::kInvalidArgument);
    EXPECT_EQ(code_of(files.open("d", Open::kCreateNew)), Code::kAlreadyExists);
    EXPECT_NE(files.open("d/g", Open::kExisting).error().message.find("d/g"), std::string::npos);
  });
}

TEST_P(Conformance, HostilePathsAreRefused) {
  run([](FileSystem& files, Executor&) {
    ASSERT_TRUE(files.make_folder("d"));
    ASSERT_TRUE(files.open("d/f", Open::kCreateNew));
    using std::string_literals::operator""s;
    for (const std::string& path :
         {""s, "/"s, "/etc/passwd"s, "."s, ".."s, "../x"s, "d/../../x"s, "d/.."s, "d/./f"s, "d//f"s,
          "d/"s, "/d/f"s, "d/f/"s, "d\0/f"s, std::string(256, 'n'), "d/" + std::string(256, 'n')}) {
      EXPECT_EQ(code_of(files.open(path, Open::kCreate)), Code::kInvalidArgument) << path;
      EXPECT_EQ(code_of(files.remove(path)), Code::kInvalidArgument) << path;
      EXPECT_EQ(code_of(files.make_folder(path)), Code::kInvalidArgument) << path;
      EXPECT_EQ(code_of(files.rename(path, "x")), Code::kInvalidArgument) << path;
      EXPECT_EQ(code_of(files.rename("d/f", path)), Code::kInvalidArgument) << path;
      if (path.empty()) continue;  // the root
      EXPECT_EQ(code_of(files.list(path)), Code::kInvalidArgument) << path;
      EXPECT_EQ(code_of(files.sync_folder(path)), Code::kInvalidArgument) << path;
    }
    for (const std::string& path : {"..."s, "~"s, "a b"s, "\n"s, "-rf"s, "*"s, "\xff\xfe"s, "%2e"s,
                                    "d/"s + std::string(255, 'n')}) {
      EXPECT_TRUE(files.open(path, Open::kCreateNew)) << path;
      EXPECT_TRUE(files.remove(path)) << path;
    }
    EXPECT_EQ(*files.list(""), std::vector<std::string>{"d"});
  });
}

TEST_P(Conformance, FoldersHoldNames) {
  run([](FileSystem& files, Executor&) {
    EXPECT_TRUE(files.make_folder("d"));
    EXPECT_TRUE(files.make_folder("d"));
    EXPECT_TRUE(files.make_folder("d/e"));
    EXPECT_EQ(code_of(files.make_folder("x/y")), Code::kNotFound);
    for (const char* path : {"d/b", "d/a", "d/e/c"}) EXPECT_TRUE(files.open(path, Open::kCreate));
    EXPECT_EQ(code_of(files.make_folder("d/a")), Code::kAlreadyExists);
    EXPECT_EQ(*files.list(""), std::vector<std::string>{"d"});
    EXPECT_EQ(*files.list("d"), (std::vector<std::string>{"a", "b", "e"}));
    EXPECT_EQ(code_of(files.list("none")), Code::kNotFound);
    EXPECT_EQ(code_of(files.list("d/a")), Code::kNotFound);
    EXPECT_EQ(code_of(files.sync_folder("none")), Code::kNotFound);
    EXPECT_TRUE(files.sync_folder("d/e"));
    EXPECT_EQ(code_of(files.remove("d/e")), Code::kInvalidArgument);
    EXPECT_TRUE(files.remove("d/e/c"));
    EXPECT_TRUE(files.remove("d/e"));
    EXPECT_EQ(code_of(files.remove("d/e")), Code::kNotFound);
    EXPECT_EQ(*files.list("d"), (std::vector<std::string>{"a", "b"}));
  });
}

TEST_P(Conformance, RenameReplacesAtOnce) {
  run([](FileSystem& files, Executor&) {
    ASSERT_TRUE((*files.open("old", Open::kCreate))->write(0, memory_of("old")));
    ASSERT_TRUE((*files.open("new", Open::kCreate))->write(0, memory_of("new")));
    const auto held = *files.open("old", Open::kExisting);
    const auto moved = *files.open("new", Open::kExisting);
    EXPECT_TRUE(files.rename("new", "old"));
    EXPECT_EQ(text_of(files, "old"), "new");
    EXPECT_EQ(*files.list(""), std::vector<std::string>{"old"});
    // Who has the one that was replaced still has it; the moved one goes by its new name.
    EXPECT_EQ(text_of(*held), "old");
    EXPECT_TRUE(held->write(0, memory_of("gone")));
    EXPECT_TRUE(held->sync());
    EXPECT_TRUE(moved->write(0, memory_of("NEW")));
    EXPECT_EQ(text_of(files, "old"), "NEW");

    EXPECT_TRUE(files.rename("old", "old"));
    ASSERT_TRUE(files.make_folder("d"));
    EXPECT_TRUE(files.rename("old", "d/f"));
    EXPECT_EQ(code_of(files.rename("old", "x")), Code::kNotFound);
    EXPECT_EQ(code_of(files.rename("d/f", "none/f")), Code::kNotFound);
    EXPECT_EQ(code_of(files.rename("d/f", "d")), Code::kInvalidArgument);
    EXPECT_EQ(code_of(files.rename("d", "e")), Code::kInvalidArgument);
    EXPECT_EQ(text_of(files, "d/f"), "NEW");
  });
}

TEST_P(Conformance, AFileThatIsOpenOutlivesItsName) {
  run([](FileSystem& files, Executor&) {
    const auto file = *files.open("f", Open::kCreate);
    EXPECT_TRUE(file->write(0, memory_of("kept")));
    EXPECT_TRUE(files.remove("f"));
    EXPECT_EQ(code_of(files.remove("f")), Code::kNotFound);
    EXPECT_EQ(text_of(*file), "kept");
    const auto other = *files.open("f", Open::kCreateNew);
    EXPECT_TRUE(file->write(4, memory_of(" on")));
    EXPECT_TRUE(file->sync());
    EXPECT_EQ(text_of(*file), "kept on");
    EXPECT_EQ(text_of(*other), "");
  });
}

TEST_P(Conformance, DirectAccessMovesWholeBlocks) {
  run([](FileSystem& files, Executor&) {
    auto opened = files.open("f", Open::kCreateNew, Access::kDirect);
    if (!opened && opened.error().code == Code::kUnsupported) {
      EXPECT_FALSE(files.open("f", Open::kExisting)) << "an empty file stays";
      GTEST_SKIP() << opened.error().message;
    }
    ASSERT_TRUE(opened) << opened.error().message;
    File& file = **opened;
    alignas(kBlockBytes) std::array<std::byte, 3 * kBlockBytes> memory;
    memory.fill(std::byte{7});
    const std::span<std::byte> all = memory;
    EXPECT_TRUE(file.write(kBlockBytes, all));
    EXPECT_EQ(*file.read(0, all), all.size());
    EXPECT_EQ(memory[kBlockBytes - 1], std::byte{0});
    EXPECT_EQ(memory[kBlockBytes], std::byte{7});
    // A file may end within a block.
    EXPECT_TRUE(file.resize(kBlockBytes + 100));
    EXPECT_EQ(*file.read(0, all), static_cast<size_t>(kBlockBytes + 100));
    EXPECT_EQ(*file.read(kBlockBytes, all), 100U);
    EXPECT_EQ(*file.read(2 * kBlockBytes, all), 0U);
    for (const Result<>& refused : {file.write(512, all), file.write(0, all.first(512)),
                                    file.write(0, all.subspan(512, kBlockBytes))}) {
      EXPECT_EQ(code_of(refused), Code::kInvalidArgument);
      EXPECT_NE(refused.error().message.find("multiples of 4096"), std::string::npos);
    }
    EXPECT_EQ(code_of(file.read(1, all)), Code::kInvalidArgument);
  });
}

TEST_P(Conformance, ALockIsHeldByOne) {
  run([](FileSystem& files, Executor&) {
    auto held = files.lock("lock");
    ASSERT_TRUE(held) << held.error().message;
    EXPECT_EQ(code_of(files.lock("lock")), Code::kUnavailable);
    EXPECT_TRUE(files.lock("another"));
    held->reset();
    EXPECT_TRUE(files.lock("lock"));
    EXPECT_EQ(code_of(files.lock("no folder/lock")), Code::kNotFound);
  });
}

TEST_P(Conformance, SpaceIsToldAndGivenBack) {
  run([](FileSystem& files, Executor&) {
    const Result<Space> space = files.space();
    ASSERT_TRUE(space);
    EXPECT_GT(space->total_bytes, 0);
    EXPECT_GE(space->free_bytes, 0);
    EXPECT_LE(space->free_bytes, space->total_bytes);
  });
}

/// Each fiber has its blocks of two files and checks that it reads what it wrote last.
TEST_P(Conformance, ThousandsOfOperationsAtOnce) {
  static constexpr int kFibers = 100, kOperations = 60, kBytes = 700;
  run(
      [](FileSystem& files, Executor& executor) {
        const std::array<std::unique_ptr<File>, 2> file = {*files.open("a", Open::kCreate),
                                                           *files.open("b", Open::kCreate)};
        int done = 0, wrong = 0;
        WaitList end;
        for (int fiber = 0; fiber < kFibers; ++fiber) {
          executor.spawn("worker", [&, fiber] {
            Rng rng(static_cast<uint64_t>(fiber));
            std::array<Memory, 2> last = {Memory(kBytes), Memory(kBytes)};
            Memory seen(kBytes);
            std::array<bool, 2> written = {};
            for (int i = 0; i < kOperations; ++i) {
              const size_t which = rng.below(2);
              const int64_t at = int64_t{fiber} * kBytes;
              switch (rng.below(8)) {
                case 0: wrong += !file[which]->sync(); break;
                case 1: wrong += !files.open(fmt::format("own{}", fiber), Open::kCreate); break;
                case 2:
                case 3:
                case 4:
                  for (std::byte& b : last[which]) b = static_cast<std::byte>(rng.next());
                  wrong += !file[which]->write(at, last[which]);
                  written[which] = true;
                  break;
                default:
                  if (!written[which]) break;
                  wrong += file[which]->read(at, seen).value_or(0) != kBytes;
                  wrong += seen != last[which];
              }
            }
            if (++done == kFibers) end.wake_all();
          });
        }
        end.wait();
        EXPECT_EQ(wrong, 0);
        EXPECT_EQ(done, int{kFibers});
      },
      8);
}

// --- what only the system's files have ----------------------------------------------------------

class Native : public testing::TestWithParam<Engine> {};

std::string engine_of(const testing::TestParamInfo<Engine>& info) {
  return info.param == Engine::kBest ? "Best" : "Threads";
}

INSTANTIATE_TEST_SUITE_P(Files, Native, testing::Values(Engine::kBest, Engine::kThreads),
                         engine_of);

TEST_P(Native, LinksLeadNowhere) {
  const Folder folder, outside;
  const auto& at = folder.path();
  std::filesystem::create_directory(at / "d");
  std::filesystem::create_symlink(outside.path(), at / "out");
  std::filesystem::create_symlink("d", at / "within");
  std::filesystem::create_symlink("/etc/passwd", at / "d" / "file");
  ASSERT_EQ(::mkfifo((at / "fifo").c_str(), 0600), 0);
  run_native(at, {.engine = GetParam()}, [&](NativeFiles& files, EventLoop&) {
    for (const char* path : {"out/f", "within/f"}) {
      EXPECT_EQ(code_of(files.open(path, Open::kCreate)), Code::kNotFound);
      EXPECT_EQ(code_of(files.make_folder(path)), Code::kNotFound);
      EXPECT_EQ(code_of(files.rename("d/file", path)), Code::kNotFound);
    }
    EXPECT_EQ(code_of(files.list("out")), Code::kNotFound);
    for (const char* path : {"d/file", "out", "fifo"}) {
      EXPECT_EQ(code_of(files.open(path, Open::kExisting)), Code::kInvalidArgument) << path;
      EXPECT_EQ(code_of(files.rename(path, "x")), Code::kInvalidArgument) << path;
      EXPECT_TRUE(files.remove(path)) << path;
    }
    EXPECT_EQ(*files.list(""), (std::vector<std::string>{"d", "within"}));
  });
  EXPECT_TRUE(std::filesystem::is_empty(outside.path()));
}

TEST_P(Native, ARootThatIsNoneIsAnError) {
  EventLoop loop;
  const auto files = NativeFiles::open(loop, "/nowhere", {.engine = GetParam()});
  EXPECT_EQ(code_of(files), Code::kNotFound);
  EXPECT_TRUE(files.error().message.starts_with("/nowhere: "));
  EXPECT_EQ(code_of(NativeFiles::open(loop, "/", {.depth = 0})), Code::kInvalidArgument);
}

/// A file system of a kind that is mounted for a test; only root may.
class Mount {
 public:
  Mount(const std::filesystem::path& at, const char* kind, const char* options) : at_(at) {
    mounted_ = ::mount("none", at.c_str(), kind, 0, options) == 0;
  }
  ~Mount() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;
  explicit operator bool() const { return mounted_; }

 private:
  std::filesystem::path at_;
  bool mounted_ = false;
};

TEST_P(Native, AFullDiskIsSaidAndCanBeEmptied) {
  const Folder folder;
  const Mount mount(folder.path(), "tmpfs", "size=1m");
  if (!mount) GTEST_SKIP() << "this user may mount nothing";
  run_native(folder.path(), {.engine = GetParam()}, [&](NativeFiles& files, EventLoop&) {
    EXPECT_EQ(files.space()->total_bytes, 1 << 20);
    auto file = *files.open("f", Open::kCreate);
    const Result<> written = file->write(0, Memory(2 << 20));
    EXPECT_EQ(code_of(written), Code::kNoSpace);
    EXPECT_TRUE(written.error().message.starts_with("f: write: ")) << written.error().message;
    EXPECT_EQ(files.space()->free_bytes, 0);
    EXPECT_TRUE(file->punch_hole(0, 1 << 19));
    EXPECT_GE(files.space()->free_bytes, 1 << 19);
    EXPECT_TRUE(files.remove("f"));
    file = nullptr;  // gives its space back soon, in a thread
    while (files.space()->free_bytes != 1 << 20) sleep_fiber(kMillisecond);
  });
}

TEST_P(Native, DirectAccessThatIsRefusedLeavesNoFile) {
  const Folder folder;
  const Mount mount(folder.path(), "ramfs", "");
  if (!mount) GTEST_SKIP() << "this user may mount nothing";
  run_native(folder.path(), {.engine = GetParam()}, [&](NativeFiles& files, EventLoop&) {
    const auto refused = files.open("f", Open::kCreate, Access::kDirect);
    ASSERT_EQ(code_of(refused), Code::kUnsupported);
    EXPECT_TRUE(refused.error().message.starts_with("f: the file system refuses direct access"));
    EXPECT_EQ(*files.list(""), std::vector<std::string>());
    ASSERT_TRUE(files.open("f", Open::kCreate));
    EXPECT_EQ(code_of(files.open("f", Open::kExisting, Access::kDirect)), Code::kUnsupported);
    EXPECT_EQ(*files.list(""), std::vector<std::string>{"f"});
  });
}

/// The kernel must be done with a fiber's memory before the fiber's stack is another's.
TEST_P(Native, AFiberThatIsUnwoundWaitsForTheKernel) {
  constexpr int kFibers = 64, kBytes = 32 << 10;
  const Folder folder;
  EventLoop loop;
  std::vector<Memory> memories(kFibers, Memory(kBytes));
  {
    auto opened =
        NativeFiles::open(loop, folder.path().string(), {.engine = GetParam(), .depth = 16});
    ASSERT_TRUE(opened);
    NativeFiles& files = **opened;
    std::unique_ptr<File> file;
    int waiting = 0;
    loop.run([&] {
      file = *files.open("f", Open::kCreate);
      ASSERT_TRUE(file->write(0, Memory(size_t{kFibers} * kBytes, std::byte{1})));
      for (int fiber = 0; fiber < kFibers; ++fiber) {
        loop.spawn("reader", [&, fiber] {
          ++waiting;
          while (file->sync() && file->read(int64_t{fiber} * kBytes, memories[fiber])) {
          }
        });
      }
      while (waiting < kFibers) yield_fiber();
    });
    loop.stop_fibers();
    for (Memory& memory : memories) std::ranges::fill(memory, std::byte{2});
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (const Memory& memory : memories)
      EXPECT_EQ(std::ranges::count(memory, std::byte{2}), kBytes);
  }
}

/// In a child: the system calls of io_uring are refused with that error from now on.
bool refuse_io_uring(int error) {
  std::array<sock_filter, 4> program = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(NativeFiles, ThreadsStepInWhereIoUringIsRefused) {
  for (const int error : {ENOSYS, EPERM}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      if (!refuse_io_uring(error)) std::_Exit(2);
      const Folder folder;
      std::string engine, written, refused;
      run_native(folder.path(), {}, [&](NativeFiles& files, EventLoop& loop) {
        engine = files.engine();
        if ((*files.open("f", Open::kCreate))->write(0, memory_of("x")))
          written = text_of(files, "f");
        const auto ring =
            NativeFiles::open(loop, folder.path().string(), {.engine = Engine::kIoUring});
        if (!ring && ring.error().code == Code::kUnsupported) refused = ring.error().message;
      });
      std::filesystem::remove_all(folder.path());
      const bool right = engine == "threads" && written == "x" &&
                         refused.starts_with("the system refuses io_uring: ");
      std::_Exit(right ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "seccomp is not available";
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

}  // namespace
}  // namespace hadal::io
