#include "io/sim_disk.h"

#include <array>
#include <cstring>
#include <set>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/hash.h"
#include "sim/world.h"

namespace hadal::io {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string text_of(FileSystem& disk, std::string_view path) {
  const auto file = disk.open(path, Open::kExisting);
  if (!file) return "(" + file.error().message + ")";
  std::vector<std::byte> data((*file)->size().value());
  EXPECT_EQ((*file)->read(0, data), data.size());
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

Result<> write_text(FileSystem& disk, std::string_view path, std::string_view text) {
  const auto file = TRY(disk.open(path, Open::kCreate));
  return file->write(0, bytes_of(text));
}

TEST(SimDisk, IsAFileSystem) {
  SimDisk disk({}, Rng(1));
  EXPECT_TRUE(disk.make_folder("d"));
  EXPECT_TRUE(disk.make_folder("d"));
  EXPECT_TRUE(write_text(disk, "d/a", "hello"));
  EXPECT_EQ(text_of(disk, "d/a"), "hello");
  EXPECT_TRUE(disk.rename("d/a", "d/b"));
  EXPECT_EQ(disk.list("d"), std::vector<std::string>{"b"});
  EXPECT_EQ(disk.list(""), std::vector<std::string>{"d"});
  EXPECT_EQ(disk.open("d/b", Open::kCreateNew).error().code, Code::kAlreadyExists);
  EXPECT_EQ(disk.open("d/a", Open::kExisting).error().code, Code::kNotFound);
  EXPECT_EQ(disk.open("e/a", Open::kCreate).error().message, "e/a: there is no folder e");
  EXPECT_EQ(disk.open("d/../b", Open::kCreate).error().message, "\"d/../b\" is no path");
  EXPECT_EQ(disk.remove("d").error().message, "d: the folder is not empty");
  EXPECT_TRUE(disk.remove("d/b"));
  EXPECT_TRUE(disk.remove("d"));
  EXPECT_TRUE(disk.list("")->empty());
}

TEST(SimDisk, HolesAreZeros) {
  SimDisk disk({}, Rng(1));
  const auto file = *disk.open("f", Open::kCreate);
  EXPECT_TRUE(file->write(5000, bytes_of("end")));
  std::vector<std::byte> data(6000);
  EXPECT_EQ(file->read(4998, data), 5U);
  EXPECT_EQ(data[1], std::byte{0});
  EXPECT_EQ(data[2], std::byte{'e'});
  EXPECT_TRUE(file->punch_hole(5001, 1));
  EXPECT_EQ(file->read(5000, data), 3U);
  EXPECT_EQ(data[1], std::byte{0});
  EXPECT_EQ(data[2], std::byte{'d'});
  // What was cut off does not come back when the file grows again.
  EXPECT_TRUE(file->resize(5001));
  EXPECT_TRUE(file->resize(5003));
  EXPECT_EQ(file->read(5000, data), 3U);
  EXPECT_EQ(data[2], std::byte{0});
  EXPECT_EQ(file->write(-1, bytes_of("x")).error().code, Code::kInvalidArgument);
}

TEST(SimDisk, PowerTakesWhatWasNotSynced) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk({}, Rng(seed));
    const auto file = *disk.open("f", Open::kCreate);
    ASSERT_TRUE(file->write(0, bytes_of(std::string(1024, 'a'))));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(disk.sync_folder(""));
    ASSERT_TRUE(file->write(0, bytes_of(std::string(1024, 'b'))));
    disk.lose_power();
    const std::string text = text_of(disk, "f");
    ASSERT_EQ(text.size(), 1024U);
    for (const size_t sector : {0, 512}) {
      EXPECT_EQ(text.substr(sector, 512), std::string(512, text[sector])) << "a sector is torn";
    }
    seen.insert(std::string{text[0], text[512]});
  }
  EXPECT_EQ(seen, (std::set<std::string>{"aa", "ab", "ba", "bb"}));
}

TEST(SimDisk, OrderedAppendsHaveNoGaps) {
  std::set<size_t> sizes;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk({.ordered_appends = true}, Rng(seed));
    const auto file = *disk.open("f", Open::kCreate);
    ASSERT_TRUE(file->write(0, bytes_of(std::string(100, 'a'))));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(disk.sync_folder(""));
    ASSERT_TRUE(file->write(100, bytes_of(std::string(3000, 'b'))));
    disk.lose_power();
    const std::string text = text_of(disk, "f");
    ASSERT_GE(text.size(), 100U);
    ASSERT_EQ(text, std::string(100, 'a') + std::string(text.size() - 100, 'b'));
    sizes.insert(text.size());
  }
  EXPECT_GT(sizes.size(), 50U);
}

TEST(SimDisk, NamesAreLostInOrder) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk({}, Rng(seed));
    ASSERT_TRUE(write_text(disk, "new", "2"));
    ASSERT_TRUE((*disk.open("new", Open::kExisting))->sync());
    ASSERT_TRUE(write_text(disk, "current", "1"));
    ASSERT_TRUE((*disk.open("current", Open::kExisting))->sync());
    ASSERT_TRUE(disk.sync_folder(""));
    ASSERT_TRUE(disk.rename("new", "current"));
    ASSERT_TRUE(write_text(disk, "later", ""));
    disk.lose_power();
    std::string names;
    const std::vector<std::string> listed = *disk.list("");
    for (const std::string& name : listed) names += name + " ";
    seen.insert(names + text_of(disk, "current"));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"current 2", "current later 2", "current new 1"}));
}

TEST(SimDisk, AKilledProcessLosesNothingThatReturned) {
  sim::World world({.seed = 2});
  SimDisk disk({.latency_ns_max = kMillisecond, .sync_ns_max = 5 * kMillisecond},
               world.rng().fork(1));
  int written = 0;
  sim::Process& p = world.add_process("writer", [&](sim::Process&) {
    const auto file = *disk.open("f", Open::kCreate);
    while (true) {
      ASSERT_TRUE(file->write(written, bytes_of("x")));
      ++written;
      if (written % 10 == 0) {
        ASSERT_TRUE(file->sync());
      }
    }
  });
  world.run_for(100 * kMillisecond);
  p.kill();
  EXPECT_GT(written, 20);
  const auto size = static_cast<int>(text_of(disk, "f").size());
  EXPECT_GE(size, written);
  EXPECT_LE(size, written + 1);
}

TEST(SimDisk, FaultsAreThoseOfTheOptions) {
  SimDisk disk({.capacity_bytes = 4096}, Rng(1));
  const auto file = *disk.open("f", Open::kCreate);
  EXPECT_EQ(file->write(0, bytes_of(std::string(5000, 'x'))).error().message,
            "f: the disk is full");
  EXPECT_TRUE(file->write(0, bytes_of(std::string(4096, 'x'))));
  EXPECT_EQ(disk.space()->free_bytes, 0);
  disk.options.read_error_rate = 1;
  std::vector<std::byte> data(10);
  EXPECT_EQ(file->read(0, data).error().message, "f: read: the device fails");
  disk.options.read_error_rate = 0;
  EXPECT_FALSE(disk.rot());
  ASSERT_TRUE(file->sync());
  EXPECT_TRUE(disk.rot());
  EXPECT_NE(text_of(disk, "f"), std::string(4096, 'x'));
}

// --- a crash at every point -------------------------------------------------------------------

/// A toy journal: entries of 600 bytes, each with its hash, of which only the last may be torn.
/// `careful` is whether it syncs before it says that an entry is there.
struct Journal {
  static constexpr size_t kEntry = 600;

  static std::vector<std::byte> entry(int i) {
    std::vector<std::byte> data(kEntry, static_cast<std::byte>(i));
    const uint64_t hash = hash_bytes(std::span(data).subspan(8));
    std::memcpy(data.data(), &hash, 8);
    return data;
  }

  /// Entries up to the first that is not whole.
  static int count(SimDisk& disk) {
    const auto file = disk.open("journal", Open::kExisting);
    if (!file) return 0;
    std::vector<std::byte> data(kEntry);
    int found = 0;
    while ((*file)->read(static_cast<int64_t>(kEntry) * found, data) == kEntry &&
           data == entry(found)) {
      ++found;
    }
    return found;
  }
};

/// Writes ten entries, then crashes after every change, `tries` times each; how often an entry that
/// had been acknowledged was lost.
int losses(bool careful, int tries) {
  SimDisk disk({.record = true}, Rng(1));
  std::vector<size_t> acknowledged;  // changes that there were
  const auto file = *disk.open("journal", Open::kCreate);
  EXPECT_TRUE(disk.sync_folder(""));
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(file->write(static_cast<int64_t>(Journal::kEntry) * i, Journal::entry(i)));
    if (careful) {
      EXPECT_TRUE(file->sync());
    }
    acknowledged.push_back(disk.recording().size());
  }
  int lost = 0;
  for (size_t n = 0; n <= disk.recording().size(); ++n) {
    int expected = 0;
    for (const size_t at : acknowledged) expected += at <= n ? 1 : 0;
    for (int t = 0; t < tries; ++t) {
      SimDisk crashed = SimDisk::replay(disk.recording(), n, Rng(100 * n + t));
      lost += Journal::count(crashed) < expected ? 1 : 0;
    }
  }
  return lost;
}

TEST(CrashExplorer, FindsASyncThatIsMissing) {
  EXPECT_EQ(losses(true, 20), 0);
  EXPECT_GT(losses(false, 20), 50);
}

TEST(SimDisk, DirectAccessMovesWholeBlocks) {
  SimDisk disk({}, Rng(1));
  auto file = disk.open("direct", Open::kCreateNew, Access::kDirect);
  ASSERT_TRUE(file);
  alignas(kBlockBytes) std::array<std::byte, 2 * kBlockBytes> memory = {};
  const std::span<std::byte> all = memory;
  EXPECT_TRUE((*file)->write(0, all));
  EXPECT_TRUE((*file)->read(kBlockBytes, all));
  for (const Result<>& refused : {(*file)->write(512, all), (*file)->write(0, all.first(512)),
                                  (*file)->write(0, all.subspan(512, kBlockBytes))}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_NE(refused.error().message.find("multiples of 4096"), std::string::npos);
  }
  EXPECT_FALSE((*file)->read(512, all));
}

}  // namespace
}  // namespace hadal::io
