// wgmma in the emulator: every type, major and swizzle, with tiles that TMA has brought.
#include "gpu/emulator/mma.h"

#include <bit>
#include <cstring>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "gpu/emulator/emulator_testing.h"
#include "tensor/dtype.h"

namespace hadal::gpu {
namespace {

using device::Major;
using device::Operand;
using test::MmaConfig;

/// The code of a small integer, and its bytes.
uint32_t encode(Operand type, int value) {
  const auto x = static_cast<float>(value);
  switch (type) {
    case Operand::kE4m3: return to_e4m3(x).bits;
    case Operand::kE5m2: return to_e5m2(x).bits;
    case Operand::kBf16: return to_bf16(x).bits;
    case Operand::kF16: return to_f16(x).bits;
    case Operand::kTf32: return std::bit_cast<uint32_t>(x);
  }
  return 0;
}

struct Matrix {
  int rows, k;
  std::vector<int> values;  // [rows, k]
};

Matrix random_matrix(Rng& rng, int rows, int k) {
  Matrix matrix = {rows, k, {}};
  for (int i = 0; i < rows * k; ++i) {
    matrix.values.push_back(static_cast<int>(rng.below(7)) - 3);
  }
  return matrix;
}

/// The matrix as global memory has it: [rows, k], or [k, rows] where it is MN-major.
std::vector<uint8_t> bytes_of(const Matrix& matrix, Operand type, size_t element, Major major) {
  std::vector<uint8_t> bytes(matrix.values.size() * element);
  for (int row = 0; row < matrix.rows; ++row) {
    for (int k = 0; k < matrix.k; ++k) {
      const size_t at =
          major == Major::kMn ? size_t(k) * matrix.rows + row : size_t(row) * matrix.k + k;
      const uint32_t code = encode(type, matrix.values[row * matrix.k + k]);
      std::memcpy(&bytes[at * element], &code, element);
    }
  }
  return bytes;
}

template <typename Config>
TensorMap tile_map(Rig& rig, Address at, int rows, Major major) {
  const auto contiguous = static_cast<uint64_t>(major == Major::kMn ? rows : Config::kK);
  const auto other = static_cast<uint64_t>(major == Major::kMn ? Config::kK : rows);
  constexpr Element kElement = Config::kElement == 1   ? Element::kU8
                               : Config::kElement == 2 ? Element::kBf16
                                                       : Element::kF32;
  return rig.map({at,
                  kElement,
                  2,
                  {contiguous, other},
                  {contiguous * Config::kElement},
                  {Config::kWidth / Config::kElement, static_cast<uint32_t>(other)},
                  Config::kSwizzle});
}

template <typename Config>
void check_product(uint64_t seed) {
  Rng rng(seed);
  const Matrix a = random_matrix(rng, 64, Config::kK);
  const Matrix b = random_matrix(rng, Config::kColumns, Config::kK);
  Rig rig({.seed = seed});
  PrimitiveParameters p = {};
  const Address at_a = rig.upload(bytes_of(a, Config::kTypeA, Config::kElement, Config::kMajorOfA));
  const Address at_b = rig.upload(bytes_of(b, Config::kTypeB, Config::kElement, Config::kMajorOfB));
  p.map_a = tile_map<Config>(rig, at_a, 64, Config::kMajorOfA);
  p.map_b = tile_map<Config>(rig, at_b, Config::kColumns, Config::kMajorOfB);
  p.in = reinterpret_cast<const uint32_t*>(at_a);
  const size_t size = size_t{64} * Config::kColumns;
  p.sums = reinterpret_cast<float*>(rig.zeros<float>(size));
  const Result<> ran = rig.run(emulated<test::mma_product<Config>>("product"), p,
                               one_block(128, 2 * Config::kTileB + 64));
  ASSERT_TRUE(ran) << ran.error().message;
  const auto d = rig.download<float>(reinterpret_cast<Address>(p.sums), size);
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < Config::kColumns; ++column) {
      int sum = 0;
      for (int k = 0; k < static_cast<int>(Config::kK); ++k) {
        sum += a.values[row * a.k + k] * b.values[column * b.k + k];
      }
      ASSERT_EQ(d[row * Config::kColumns + column], static_cast<float>(sum))
          << "row " << row << ", column " << column;
    }
  }
}

template <typename Config>
class Product : public testing::Test {};

constexpr Operand kE4 = Operand::kE4m3, kE5 = Operand::kE5m2, kB = Operand::kBf16,
                  kF = Operand::kF16, kT = Operand::kTf32;
constexpr Major kK = Major::kK, kMn = Major::kMn;
constexpr Swizzle k0 = Swizzle::kNone, k32 = Swizzle::k32, k64 = Swizzle::k64, k128 = Swizzle::k128;

using Configs = testing::Types<
    MmaConfig<kE4, kE4, kK, kK, k128, 128, 4>, MmaConfig<kE4, kE5, kK, kK, k64, 24, 4>,
    MmaConfig<kE5, kE4, kK, kK, k32, 256, 2>, MmaConfig<kE5, kE5, kK, kK, k0, 8, 3>,
    MmaConfig<kB, kB, kK, kK, k128, 64, 8>, MmaConfig<kB, kB, kK, kK, k64, 40, 3>,
    MmaConfig<kB, kB, kK, kK, k0, 16, 2>, MmaConfig<kB, kB, kK, kMn, k128, 128, 4>,
    MmaConfig<kB, kB, kMn, kK, k64, 64, 2>, MmaConfig<kB, kB, kMn, kMn, k32, 32, 3>,
    MmaConfig<kF, kF, kMn, kMn, k128, 192, 4>, MmaConfig<kB, kB, kMn, kMn, k0, 24, 2>,
    MmaConfig<kT, kT, kK, kK, k128, 32, 4>, MmaConfig<kE4, kE4, kK, kK, k128, 136, 4, true>,
    MmaConfig<kE4, kE5, kK, kK, k64, 16, 2, true>, MmaConfig<kB, kB, kK, kK, k128, 64, 4, true>,
    MmaConfig<kB, kB, kK, kMn, k128, 64, 4, true>, MmaConfig<kF, kF, kK, kMn, k64, 32, 2, true>,
    MmaConfig<kT, kT, kK, kK, k32, 8, 2, true>>;
TYPED_TEST_SUITE(Product, Configs);

TYPED_TEST(Product, IsExact) {
  for (uint64_t seed = 0; seed < 3; ++seed) check_product<TypeParam>(seed);
}

// --- arithmetic ---

TEST(MmaArithmetic, DescriptorsAreDecodedByTheirBits) {
  const emulator::Descriptor d =
      emulator::decode_descriptor(uint64_t{0x1234} | uint64_t{0x40} << 16 | uint64_t{0x3fff} << 32 |
                                  uint64_t{5} << 49 | uint64_t{2} << 62);
  EXPECT_EQ(d.start, 0x12340u);
  EXPECT_EQ(d.leading, 0x400u);
  EXPECT_EQ(d.stride, 0x3fff0u);
  EXPECT_EQ(d.base_offset, 5u);
  EXPECT_EQ(d.width, 64u);
}

TEST(MmaArithmetic, TheBaseOffsetMovesThePhaseOfTheSwizzle) {
  // An atom that starts at 128 mod 1024, laid out from its own start, is read with base offset 1.
  std::vector<uint8_t> shared(4096, 0xff);
  const uint32_t start = 2048 + 128;
  for (uint32_t row = 0; row < 8; ++row) {
    for (uint32_t k = 0; k < 32; ++k) {
      const uint32_t address = start + row * 128 + k;
      const uint32_t phase = (address / 128 - 1) % 8;
      shared[address ^ phase << 4] = to_e4m3(static_cast<float>(row + 1)).bits;
    }
  }
  const uint64_t descriptor =
      start >> 4 | uint64_t{64} << 32 | uint64_t{1} << 49 | uint64_t{1} << 62;
  const auto values = emulator::gather(shared, descriptor, 8, 0, false);
  ASSERT_TRUE(values);
  for (size_t i = 0; i < values->size(); ++i) {
    const size_t row = i / 32;
    EXPECT_EQ((*values)[i], static_cast<float>(row + 1));
  }
}

TEST(MmaArithmetic, TruncationKeepsFourteenBits) {
  std::vector<float> a(size_t{64} * 32, 0), b(size_t{8} * 32, 0);
  a[0] = 16;
  a[1] = 1;
  b[0] = 16;  // column 0: 256 + 2^-6 needs 15 bits
  b[1] = 1.0f / 64;
  b[32] = 16;  // column 1: 256 + 2^-5 needs 14
  b[33] = 1.0f / 32;
  std::vector<float> exact(size_t{64} * 8, 0), truncated = exact;
  emulator::multiply(exact, a, b, 8, 32, false);
  emulator::multiply(truncated, a, b, 8, 32, true);
  EXPECT_EQ(exact[0], 256 + 1.0f / 64);
  EXPECT_EQ(truncated[0], 256);
  EXPECT_EQ(truncated[1], 256 + 1.0f / 32);
  EXPECT_EQ(truncated[2], 0);
}

}  // namespace
}  // namespace hadal::gpu
