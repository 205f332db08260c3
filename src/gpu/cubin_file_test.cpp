#include "gpu/cubin_file.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"

namespace hadal::gpu {
namespace {

CubinFile example() {
  CubinFile file;
  file.key = {{0x1122334455667788, 0x99aabbccddeeff00}, 13000};
  file.architecture = "sm_90a";
  file.name = "gemm_128x128";
  file.log = "ptxas info    : Used 168 registers";
  file.cubin.resize(80);
  constexpr uint8_t kStart[] = {0x7f, 'E', 'L', 'F', 2, 1};
  for (size_t i = 0; i < sizeof kStart; ++i) file.cubin[i] = std::byte{kStart[i]};
  file.cubin[18] = std::byte{190};
  return file;
}

/// Makes the checksum right again after a change.
void seal(std::vector<std::byte>& bytes) {
  store_le<uint32_t>(bytes.data() + bytes.size() - 4,
                     crc32c::value(Bytes(bytes).first(bytes.size() - 4)));
}

std::string defect(Bytes bytes) {
  const Result<CubinFile> file = decode_cubin_file(bytes);
  if (file) return "";
  EXPECT_EQ(file.error().code, Code::kCorrupt);
  return file.error().message;
}

TEST(CubinFile, ComesBackAsItWas) {
  const CubinFile file = example();
  const std::vector<std::byte> bytes = encode_cubin_file(file);
  EXPECT_EQ(bytes.size(), 64 + file.name.size() + file.log.size() + file.cubin.size() + 4);
  const Result<CubinFile> back = decode_cubin_file(bytes);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->key, file.key);
  EXPECT_EQ(back->architecture, file.architecture);
  EXPECT_EQ(back->name, file.name);
  EXPECT_EQ(back->log, file.log);
  EXPECT_EQ(back->cubin, file.cubin);
}

/// The offsets of docs/formats/cubin-cache.md.
TEST(CubinFile, FieldsStandWhereThePageSays) {
  const std::vector<std::byte> bytes = encode_cubin_file(example());
  const std::byte* p = bytes.data();
  EXPECT_EQ(text_of(Bytes(p, 8)), "hadalcub");
  EXPECT_EQ(load_le<uint32_t>(p + 8), 1u);
  EXPECT_EQ(load_le<uint32_t>(p + 12), 13000u);
  EXPECT_EQ(text_of(Bytes(p + 16, 7)), std::string_view("sm_90a\0", 7));
  EXPECT_EQ(load_le<uint64_t>(p + 32), 0x1122334455667788u);
  EXPECT_EQ(load_le<uint64_t>(p + 40), 0x99aabbccddeeff00u);
  EXPECT_EQ(load_le<uint64_t>(p + 48), 80u);
  EXPECT_EQ(load_le<uint32_t>(p + 56), 12u);
  EXPECT_EQ(load_le<uint32_t>(p + 60), 34u);
  EXPECT_EQ(text_of(Bytes(p + 64, 12)), "gemm_128x128");
}

TEST(CubinFile, EveryTruncationIsFound) {
  const std::vector<std::byte> bytes = encode_cubin_file(example());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(defect(Bytes(bytes).first(size)), "") << size;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back({});
  EXPECT_NE(defect(longer), "");
}

TEST(CubinFile, EveryFlippedBitIsFound) {
  std::vector<std::byte> bytes = encode_cubin_file(example());
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const std::byte mask{static_cast<uint8_t>(1u << bit % 8)};
    bytes[bit / 8] ^= mask;
    EXPECT_NE(defect(bytes), "") << bit;
    bytes[bit / 8] ^= mask;
  }
}

TEST(CubinFile, SaysWhatIsWrong) {
  const std::vector<std::byte> good = encode_cubin_file(example());
  EXPECT_EQ(defect(Bytes(good).first(10)), "10 bytes are too few for a compiled kernel");
  std::vector<std::byte> bytes = good;
  bytes[0] = std::byte{'X'};
  EXPECT_EQ(defect(bytes), "it does not begin as a compiled kernel");
  bytes = good;
  bytes[8] = std::byte{2};
  EXPECT_EQ(defect(bytes), "version is 2; this program reads 1");
  bytes = good;
  store_le<uint32_t>(bytes.data() + 60, UINT32_MAX);
  seal(bytes);
  EXPECT_EQ(defect(bytes),
            "it is 194 bytes long; its header says 12 of name, 4294967295 of log "
            "and 80 of code");
  bytes = good;
  bytes.back() ^= std::byte{1};
  EXPECT_TRUE(defect(bytes).starts_with("the checksum is "));
  CubinFile other = example();
  other.cubin[18] = std::byte{62};  // x86-64
  EXPECT_EQ(defect(encode_cubin_file(other)), "the code is no CUDA ELF file");
}

}  // namespace
}  // namespace hadal::gpu
