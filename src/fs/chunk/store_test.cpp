#include "fs/chunk/store.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "fs/chunk/checkpoint.h"
#include "io/sim_disk.h"

namespace hadal::fs {
namespace {

constexpr ChunkId kChunk = {.target = 1, .file = 0x1f, .index = 3};
constexpr ChunkStoreShape kShape = {.capacity_bytes = int64_t{8} << 20,
                                    .segment_pages = kSegmentPagesMin};
constexpr uint64_t kChunkMax = kSegmentPagesMin * kPageBytes;

using Content = std::vector<std::byte>;

Content random_bytes(size_t bytes, uint64_t seed) {
  Rng rng(seed);
  Content content(bytes);
  for (std::byte& byte : content) byte = static_cast<std::byte>(rng.below(256));
  return content;
}

/// A store on a disk of its own, which may lose its power.
class Fixture {
 public:
  explicit Fixture(const io::SimDiskOptions& options = {}, const ChunkStoreShape& shape = kShape)
      : disk(options, Rng(1)) {
    EXPECT_TRUE(ChunkStore::create(disk, "store", shape, {7, 8}, 0));
    open();
  }

  void open() {
    store.reset();
    auto opened = ChunkStore::open(disk, "store", options);
    ASSERT_TRUE(opened) << opened.error().message;
    store = std::move(*opened);
    EXPECT_EQ(store->check(), "");
  }

  void crash() {
    store.reset();
    disk.lose_power();
    open();
  }

  Result<ChunkUpdated> write(uint64_t offset, Bytes data, const ChunkId& id = kChunk) {
    return store->update(
        id, {.kind = UpdateKind::kWrite, .offset = offset, .data = data, .commit = true});
  }

  Content read(const ChunkId& id = kChunk) {
    auto reader = store->read(id);
    EXPECT_TRUE(reader);
    if (!reader) return {};
    Content content(reader->state().length);
    const auto got = reader->read(0, content);
    EXPECT_TRUE(got) << got.error().message;
    return content;
  }

  ChunkStoreOptions options = {};
  io::SimDisk disk;
  std::unique_ptr<ChunkStore> store;
};

#define EXPECT_CODE(expected, ...)                                        \
  do {                                                                    \
    const auto& result_ = (__VA_ARGS__);                                  \
    ASSERT_FALSE(result_);                                                \
    EXPECT_EQ(result_.error().code, expected) << result_.error().message; \
  } while (0)

TEST(ChunkStore, WritesAnyRangeAndReadsAnyRange) {
  Fixture fixture;
  Content model;
  Rng rng(3);
  for (int i = 0; i < 200; ++i) {
    const uint64_t offset = rng.below(100'000);
    const Content data = random_bytes(1 + rng.below(30'000), rng.next());
    const auto updated = fixture.write(offset, data);
    ASSERT_TRUE(updated) << updated.error().message;
    model.resize(std::max<size_t>(model.size(), offset + data.size()));
    std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(offset));
    EXPECT_EQ(updated->version, static_cast<uint64_t>(i) + 1);
    EXPECT_EQ(updated->length, model.size());
    const auto reader = fixture.store->read(kChunk);
    ASSERT_TRUE(reader);
    Content part(rng.below(model.size() + 100));
    const uint64_t from = rng.below(model.size() + 100);
    const auto got = reader->read(from, part);
    ASSERT_TRUE(got);
    EXPECT_EQ(*got, from >= model.size() ? 0 : std::min(part.size(), model.size() - from));
    EXPECT_TRUE(
        std::equal(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*got),
                   model.begin() + static_cast<std::ptrdiff_t>(std::min(from, model.size()))));
  }
  EXPECT_EQ(fixture.read(), model);
  fixture.crash();
  EXPECT_EQ(fixture.read(), model);
}

TEST(ChunkStore, ManySmallWritesKeepExtentsFew) {
  Fixture fixture({}, {.capacity_bytes = int64_t{32} << 20, .segment_pages = kSegmentPagesMin});
  Content model(kChunkMax);
  Rng rng(4);
  for (int i = 0; i < 600; ++i) {
    const uint64_t page = rng.below(kSegmentPagesMin);
    const Content data = random_bytes(kPageBytes, rng.next());
    ASSERT_TRUE(fixture.write(page * kPageBytes, data));
    std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(page * kPageBytes));
    ASSERT_EQ(fixture.store->check(), "");
  }
  model.resize(fixture.read().size());
  EXPECT_EQ(fixture.read(), model);
}

TEST(ChunkStore, WhatIsCutOffComesBackAsZeros) {
  Fixture fixture;
  Content model = random_bytes(50'000, 5);
  ASSERT_TRUE(fixture.write(0, model));
  ASSERT_TRUE(fixture.store->update(
      kChunk, {.kind = UpdateKind::kTruncate, .length = 10'001, .commit = true}));
  model.resize(10'001);
  EXPECT_EQ(fixture.read(), model);
  ASSERT_TRUE(fixture.store->update(
      kChunk, {.kind = UpdateKind::kExtend, .length = 60'000, .commit = true}));
  model.resize(60'000);
  EXPECT_EQ(fixture.read(), model);
  ASSERT_TRUE(fixture.store->update(
      kChunk, {.kind = UpdateKind::kPunch, .offset = 100, .length = 9000, .commit = true}));
  std::fill(model.begin() + 100, model.begin() + 9100, std::byte{0});
  EXPECT_EQ(fixture.read(), model);
  EXPECT_CODE(Code::kInvalidArgument,
              fixture.store->update(kChunk, {.kind = UpdateKind::kTruncate, .length = 60'001}));
  EXPECT_CODE(Code::kInvalidArgument,
              fixture.store->update(kChunk, {.kind = UpdateKind::kExtend, .length = 59'999}));
}

TEST(ChunkStore, PendingVersionsAreSeenByNobodyUntilTheyAreCommitted) {
  Fixture fixture;
  const Content first = random_bytes(9000, 6), second = random_bytes(9000, 7);
  ASSERT_TRUE(fixture.write(0, first));
  const auto pending = fixture.store->update(kChunk, {.data = second, .chain_version = 4});
  ASSERT_TRUE(pending);
  EXPECT_FALSE(pending->committed);
  EXPECT_EQ(fixture.read(), first);
  EXPECT_CODE(Code::kConflict, fixture.write(0, first));  // one at a time
  fixture.crash();
  EXPECT_EQ(fixture.read(), first);
  const auto reader = fixture.store->read_pending(kChunk);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->state().version, 2U);
  EXPECT_CODE(Code::kConflict, fixture.store->commit(kChunk, 3, 4));
  EXPECT_CODE(Code::kConflict, fixture.store->commit(kChunk, 2, 3));  // of an older chain
  ASSERT_TRUE(fixture.store->commit(kChunk, 2, 5));
  EXPECT_EQ(fixture.read(), second);
  const auto again = fixture.store->commit(kChunk, 2, 5);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_CODE(Code::kConflict, fixture.write(0, first));  // chain version 0; the chunk is at 5
  EXPECT_CODE(Code::kNotFound, fixture.store->read_pending(kChunk));
}

TEST(ChunkStore, AnUpdateThatIsSentAgainIsMadeOnce) {
  Fixture fixture;
  const Content first = random_bytes(5000, 8), second = random_bytes(5000, 9);
  const ChunkUpdate one = {
      .data = first, .writer = {.client = 5, .channel = 1, .sequence = 10}, .commit = true};
  ASSERT_TRUE(fixture.store->update(kChunk, one));
  ASSERT_TRUE(fixture.write(0, second));  // somebody else's
  for (int i = 0; i < 3; ++i) {
    const auto again = fixture.store->update(kChunk, one);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_TRUE(again->repeated);
    EXPECT_EQ(again->version, 1U);
    EXPECT_EQ(fixture.read(), second);
    if (i == 0) {
      ASSERT_TRUE(fixture.store->checkpoint());
    }
    fixture.crash();
  }
  ChunkUpdate older = one;
  older.writer.sequence = 9;
  EXPECT_CODE(Code::kConflict, fixture.store->update(kChunk, older));
  ASSERT_TRUE(fixture.store->forget_client(5));
  fixture.crash();
  EXPECT_FALSE(fixture.store->update(kChunk, older)->repeated);
}

TEST(ChunkStore, RemovedIsRemoved) {
  Fixture fixture;
  ASSERT_TRUE(fixture.write(0, random_bytes(200'000, 10)));
  const ChunkUpdate removal = {.kind = UpdateKind::kRemove,
                               .writer = {.client = 5, .channel = 1, .sequence = 1},
                               .commit = true};
  ASSERT_TRUE(fixture.store->update(kChunk, removal));
  EXPECT_CODE(Code::kNotFound, fixture.store->read(kChunk));
  EXPECT_EQ(fixture.store->space().used_pages, 0U);
  fixture.crash();
  EXPECT_CODE(Code::kNotFound, fixture.store->read(kChunk));
  EXPECT_TRUE(fixture.store->update(kChunk, removal)->repeated);
  EXPECT_CODE(Code::kNotFound,
              fixture.store->update(kChunk, {.kind = UpdateKind::kRemove, .commit = true}));
}

TEST(ChunkStore, ReadersKeepTheirVersionAndItsPages) {
  Fixture fixture;
  const Content first = random_bytes(300'000, 11);
  ASSERT_TRUE(fixture.write(0, first));
  auto reader = fixture.store->read(kChunk);
  ASSERT_TRUE(reader);
  const uint64_t used = fixture.store->space().used_pages;
  for (uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(fixture.write(0, random_bytes(300'000, 100 + i)));
  ASSERT_TRUE(fixture.store->update(kChunk, {.kind = UpdateKind::kRemove, .commit = true}));
  EXPECT_EQ(fixture.store->space().used_pages, used);
  Content content(first.size());
  ASSERT_TRUE(reader->read(0, content));
  EXPECT_EQ(content, first);
  reader = std::unexpected(Error{Code::kCancelled, ""});
  EXPECT_EQ(fixture.store->space().used_pages, 0U);
}

TEST(ChunkStore, RefusesWhatCannotBe) {
  Fixture fixture;
  const Content data = random_bytes(4096, 12);
  EXPECT_CODE(Code::kInvalidArgument, fixture.write(kChunkMax - 1, data));
  EXPECT_CODE(Code::kInvalidArgument, fixture.write(~uint64_t{0}, data));
  EXPECT_CODE(Code::kInvalidArgument, fixture.store->update(kChunk, {.kind = UpdateKind::kExtend,
                                                                     .length = kChunkMax + 1}));
  EXPECT_CODE(Code::kInvalidArgument,
              fixture.store->update(kChunk, {.kind = UpdateKind::kRemove, .data = data}));
  EXPECT_CODE(Code::kCorrupt,
              fixture.store->update(kChunk, {.data = data, .checksum = crc32c::value(data) + 1}));
  EXPECT_TRUE(fixture.store->update(
      kChunk, {.data = data, .checksum = crc32c::value(data), .commit = true}));
  EXPECT_CODE(Code::kConflict, fixture.store->update(kChunk, {.data = data, .version = 7}));
  EXPECT_CODE(Code::kNotFound, fixture.store->commit({.target = 9}, 1, 1));
  EXPECT_CODE(Code::kAlreadyExists, ChunkStore::create(fixture.disk, "store", kShape, {1, 1}, 0));
  EXPECT_CODE(Code::kInvalidArgument,
              ChunkStore::create(fixture.disk, "other",
                                 {.capacity_bytes = 1 << 20, .segment_pages = 256}, {1, 1}, 0));
  EXPECT_CODE(Code::kInvalidArgument,
              ChunkStore::create(fixture.disk, "other",
                                 {.capacity_bytes = 1 << 30, .segment_pages = 300}, {1, 1}, 0));
  EXPECT_CODE(Code::kNotFound, ChunkStore::open(fixture.disk, "other", {}));
}

TEST(ChunkStore, AFullStoreSaysSoAndRecovers) {
  Fixture fixture;
  const Content data = random_bytes(kPageBytes, 13);
  uint32_t chunks = 0;
  Result<ChunkUpdated> last = fixture.write(0, data, {.file = chunks});
  for (; last; last = fixture.write(0, data, {.file = chunks})) ++chunks;
  EXPECT_EQ(last.error().code, Code::kNoSpace) << last.error().message;
  EXPECT_EQ(chunks, 6 * kSegmentPagesMin);  // of eight segments two are in reserve
  EXPECT_EQ(fixture.store->check(), "");
  // Every fourth one stays: no segment is free, though three quarters of all are.
  for (uint32_t i = 0; i < chunks; ++i) {
    if (i % 4 == 0) continue;
    ASSERT_TRUE(fixture.store->update({.file = i}, {.kind = UpdateKind::kRemove, .commit = true}));
  }
  const Content large = random_bytes(kChunkMax, 14);
  EXPECT_CODE(Code::kNoSpace, fixture.write(0, large, {.target = 2}));
  ASSERT_EQ(fixture.store->compact(4).value_or(0), 4U);
  EXPECT_EQ(fixture.store->check(), "");
  ASSERT_TRUE(fixture.write(0, large, {.target = 2}));
  ASSERT_TRUE(fixture.store->maintain());
  fixture.crash();
  EXPECT_EQ(fixture.read({.target = 2}), large);
  for (uint32_t i = 0; i < chunks; i += 4) ASSERT_EQ(fixture.read({.file = i}), data);
}

TEST(ChunkStore, IsOpenOnce) {
  Fixture fixture;
  EXPECT_CODE(Code::kUnavailable, ChunkStore::open(fixture.disk, "store", {}));
  fixture.store.reset();
  EXPECT_TRUE(ChunkStore::open(fixture.disk, "store", {}));
}

TEST(ChunkStore, ListsInOrder) {
  Fixture fixture;
  for (const uint32_t i : {5U, 1U, 3U})
    for (const uint64_t file : {uint64_t{2}, uint64_t{1}})
      ASSERT_TRUE(fixture.write(0, random_bytes(10, i), {.target = 1, .file = file, .index = i}));
  const auto all = fixture.store->list({.target = 1, .file = 1, .index = 2}, 4);
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(to_string(all[0].id), "1/1/3");
  EXPECT_EQ(to_string(all[3].id), "1/2/3");
}

TEST(ChunkStore, ChecksumsOfEqualBytesAreEqual) {
  Fixture fixture;
  const ChunkId other = {.target = 2};
  const Content data = random_bytes(100'000, 15);
  ASSERT_TRUE(fixture.write(0, data));
  for (size_t at = 0; at < data.size(); at += 3000)
    ASSERT_TRUE(fixture.write(at, Bytes(data).subspan(at, std::min<size_t>(3000, data.size() - at)),
                              other));
  const auto sum = [&](const ChunkId& id) {
    return fixture.store->read(id)->content_checksum().value();
  };
  EXPECT_EQ(sum(kChunk), sum(other));
  // A hole and zeros are the same bytes.
  const Content zeros(8192);
  ASSERT_TRUE(fixture.write(16384, zeros));
  ASSERT_TRUE(fixture.store->update(
      other, {.kind = UpdateKind::kPunch, .offset = 16384, .length = 8192, .commit = true}));
  EXPECT_EQ(sum(kChunk), sum(other));
  ASSERT_TRUE(fixture.write(5, Bytes(zeros).first(1), other));
  EXPECT_NE(sum(kChunk), sum(other));
}

TEST(ChunkStore, APageThatRottedIsNeverReturned) {
  Fixture fixture;
  const Content data = random_bytes(40 * kPageBytes, 16);
  ASSERT_TRUE(fixture.write(0, data));
  ASSERT_TRUE(fixture.store->checkpoint());
  const auto file = fixture.disk.open("store/data", io::Open::kExisting);
  ASSERT_TRUE(file);
  const uint64_t page = fixture.store->find(kChunk)->committed->extents[0].data_page() + 2;
  ASSERT_TRUE((*file)->write(static_cast<int64_t>(page) * kPageBytes + 77, random_bytes(1, 17)));
  const auto reader = fixture.store->read(kChunk);
  ASSERT_TRUE(reader);
  Content content(data.size());
  EXPECT_CODE(Code::kCorrupt, reader->read(0, content));
  EXPECT_EQ(reader->read(3 * kPageBytes, std::span(content).first(kPageBytes)).value_or(0),
            kPageBytes);
  EXPECT_CODE(Code::kCorrupt,
              fixture.write(2 * kPageBytes + 5, Bytes(data).first(10)));  // needs it
  int told = 0;
  const auto scrubbed = fixture.store->scrub([&](const ChunkId& id, const Error& error) {
    EXPECT_EQ(id, kChunk);
    EXPECT_NE(error.message.find("page 2 "), std::string::npos) << error.message;
    ++told;
  });
  ASSERT_TRUE(scrubbed);
  EXPECT_EQ(scrubbed->bad, std::vector<ChunkId>{kChunk});
  EXPECT_EQ(told, 1);
  ASSERT_TRUE(fixture.store->update(kChunk, {.kind = UpdateKind::kReplace, .data = data}));
  EXPECT_TRUE(fixture.store->scrub({})->bad.empty());
}

TEST(ChunkStore, ADamagedBatchBeforeAGoodOneIsRotNotATornTail) {
  Fixture fixture;
  for (uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(fixture.write(0, random_bytes(100, i)));
  fixture.store.reset();
  const std::vector<std::string> names = fixture.disk.list("store/log").value();
  const auto log = fixture.disk.open("store/log/" + names.back(), io::Open::kExisting);
  ASSERT_TRUE((*log)->write(4 * kPageBytes + 40, random_bytes(4, 18)));  // the last of five
  fixture.open();
  EXPECT_TRUE(fixture.store->replayed().dropped_tail);
  EXPECT_EQ(fixture.store->find(kChunk)->committed->version, 4U);
  fixture.store.reset();
  ASSERT_TRUE((*log)->write(2 * kPageBytes + 40, random_bytes(4, 19)));
  const auto opened = ChunkStore::open(fixture.disk, "store", {});
  EXPECT_CODE(Code::kCorrupt, opened);
  EXPECT_NE(opened.error().message.find("later ones follow"), std::string::npos);
}

TEST(ChunkStore, TwoChunksInOneBlockAreCorrupt) {
  Fixture fixture;
  ASSERT_TRUE(fixture.write(0, random_bytes(10'000, 20)));
  ASSERT_TRUE(fixture.store->checkpoint());
  const ChunkInfo info = *fixture.store->find(kChunk);
  const uint64_t sequence = fixture.store->log().sequence();
  fixture.store.reset();
  auto index = CheckpointWriter::begin(fixture.disk, "store/index");
  ASSERT_TRUE(index);
  for (const uint32_t target : {1U, 2U})
    ASSERT_TRUE(index->add(ChunkRecord{.id = {.target = target}, .committed = info.committed}));
  ASSERT_TRUE(index->finish(sequence));
  const auto opened = ChunkStore::open(fixture.disk, "store", {});
  EXPECT_CODE(Code::kCorrupt, opened);
  EXPECT_NE(opened.error().message.find("belongs to chunk"), std::string::npos)
      << opened.error().message;
}

/// A session, crashed after each change that it made to the disk.
TEST(ChunkStore, ASessionSurvivesACrashAtEveryChange) {
  Fixture fixture({.record = true});
  struct Moment {
    size_t changes;  // of the disk, when it was acknowledged
    std::optional<Content> content;
  };
  std::vector<Moment> moments = {{fixture.disk.recording().size(), {}}};
  Rng rng(21);
  Content model;
  for (int i = 0; i < 40; ++i) {
    const Content data = random_bytes(1 + rng.below(20'000), rng.next());
    const uint64_t offset = rng.below(30'000);
    ASSERT_TRUE(fixture.write(offset, data));
    model.resize(std::max<size_t>(model.size(), offset + data.size()));
    std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(offset));
    moments.push_back({fixture.disk.recording().size(), model});
    if (i % 15 == 14) {
      ASSERT_TRUE(fixture.store->checkpoint());
    }
  }
  const auto& recording = fixture.disk.recording();
  const auto read_all = [](ChunkStore& store) -> std::optional<Content> {
    const auto reader = store.read(kChunk);
    if (!reader) return {};
    Content content(reader->state().length);
    EXPECT_TRUE(reader->read(0, content));
    return content;
  };
  size_t moment = 0;
  for (size_t n = moments[0].changes; n <= recording.size(); ++n) {
    while (moment + 1 < moments.size() && moments[moment + 1].changes <= n) ++moment;
    for (uint64_t seed = 0; seed < 3; ++seed) {
      io::SimDisk crashed = io::SimDisk::replay(recording, n, Rng(seed));
      auto store = ChunkStore::open(crashed, "store", {});
      ASSERT_TRUE(store) << "change " << n << ", seed " << seed << ": " << store.error().message;
      ASSERT_EQ((*store)->check(), "");
      const std::optional<Content> now = read_all(**store);
      const bool last = moment + 1 == moments.size();
      ASSERT_TRUE(now == moments[moment].content || (!last && now == moments[moment + 1].content))
          << "change " << n << ", seed " << seed;
    }
  }
}

}  // namespace
}  // namespace hadal::fs
