// Each primitive in the emulator against a known answer, under several seeds.
#include <algorithm>
#include <bit>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "gpu/emulator/emulator_testing.h"
#include "tensor/dtype.h"

namespace hadal::gpu {
namespace {

constexpr uint64_t kSeeds = 8;

// --- TMA ---

/// A [rows, columns] matrix of bytes, each unlike its neighbours, none zero.
std::vector<uint8_t> pattern(size_t rows, size_t columns) {
  std::vector<uint8_t> values(rows * columns);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<uint8_t>(1 + (i / columns * 37 + i % columns * 5) % 255);
  }
  return values;
}

struct BoxCase {
  Swizzle swizzle;
  uint32_t width, rows;  // of the box, bytes
  int32_t x, y;
};

/// Where byte x of row y of a box lies: gpu.h's words, not the emulator's code.
uint32_t place(const BoxCase& box, uint32_t y, uint32_t x) {
  const uint32_t unit = x / 16;
  switch (box.swizzle) {
    case Swizzle::kNone: return y * box.width + x;
    case Swizzle::k128: return y * 128 + (unit ^ y % 8) * 16 + x % 16;
    case Swizzle::k64: return y * 64 + (unit ^ y / 2 % 4) * 16 + x % 16;
    case Swizzle::k32: return y * 32 + (unit ^ y / 4 % 2) * 16 + x % 16;
  }
  return 0;
}

class Boxes : public testing::TestWithParam<BoxCase> {};

TEST_P(Boxes, AreLoadedWithTheirSwizzleAndZerosOutside) {
  const BoxCase& box = GetParam();
  constexpr uint32_t kRows = 40, kColumns = 160;
  const std::vector<uint8_t> matrix = pattern(kRows, kColumns);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.map_a = rig.map({rig.upload(matrix),
                       Element::kU8,
                       2,
                       {kColumns, kRows},
                       {kColumns},
                       {box.width, box.rows},
                       box.swizzle});
    p.bytes = box.width * box.rows;
    p.out = pointer(rig.zeros<uint8_t>(p.bytes));
    p.x = box.x;
    p.y = box.y;
    const Result<> ran = rig.run(emulated<test::load_box<2>>("load_box"), p, one_block(64, 16384));
    ASSERT_TRUE(ran) << ran.error().message;
    const auto out = rig.download<uint8_t>(reinterpret_cast<Address>(p.out), p.bytes);
    for (uint32_t i = 0; i < p.bytes; ++i) {
      const uint32_t row = i / box.width, column = i % box.width;
      const int64_t y = box.y + int64_t{row}, x = box.x + int64_t{column};
      const bool inside = y >= 0 && y < kRows && x >= 0 && x < kColumns;
      ASSERT_EQ(out[place(box, row, column)], inside ? matrix[y * kColumns + x] : 0)
          << "row " << row << ", byte " << column;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Boxes,
    testing::Values(BoxCase{Swizzle::kNone, 48, 8, 16, 3}, BoxCase{Swizzle::kNone, 160, 40, 0, 0},
                    BoxCase{Swizzle::k32, 32, 16, 64, 8}, BoxCase{Swizzle::k64, 64, 24, 32, 5},
                    BoxCase{Swizzle::k128, 128, 32, 16, 7},
                    BoxCase{Swizzle::k128, 128, 16, 100, 30},
                    BoxCase{Swizzle::k64, 64, 16, -24, -7}, BoxCase{Swizzle::k32, 32, 8, 500, 0},
                    BoxCase{Swizzle::k128, 128, 8, 0, -100}));

TEST(Tma, BoxesOfOneAndThreeDimensions) {
  std::vector<uint32_t> values(5 * 6 * 8);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint32_t>(i + 1);
  Rig rig;
  const Address in = rig.upload(values);
  PrimitiveParameters p = {};
  p.map_a = rig.map({in, Element::kF32, 3, {8, 6, 5}, {32, 192}, {4, 2, 3}, Swizzle::kNone});
  p.bytes = 4 * 2 * 3 * 4;
  p.out = pointer(rig.zeros<uint8_t>(p.bytes));
  p.x = 2;
  p.y = 5;
  p.z = 3;
  ASSERT_TRUE(rig.run(emulated<test::load_box<3>>("load_box_3"), p, one_block(32)));
  auto out = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 24);
  for (uint32_t i = 0; i < 24; ++i) {
    const uint32_t x = 2 + i % 4, y = 5 + i / 4 % 2, z = 3 + i / 8;
    EXPECT_EQ(out[i], y < 6 && z < 5 ? 1 + x + 8 * y + 48 * z : 0) << i;
  }
  p.map_a = rig.map({in, Element::kF32, 1, {10}, {}, {16}, Swizzle::kNone});
  p.bytes = 64;
  p.x = -3;
  ASSERT_TRUE(rig.run(emulated<test::load_box<1>>("load_box_1"), p, one_block(32)));
  out = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 16);
  for (uint32_t i = 0; i < 16; ++i) EXPECT_EQ(out[i], i >= 3 && i < 13 ? i - 2 : 0) << i;
}

TEST_P(Boxes, AreStoredWithinTheTensorOnly) {
  const BoxCase& box = GetParam();
  constexpr uint32_t kRows = 40, kColumns = 160;
  const std::vector<uint8_t> tile = pattern(box.rows, box.width);
  std::vector<uint8_t> shared(tile.size());
  for (uint32_t i = 0; i < tile.size(); ++i) {
    shared[place(box, i / box.width, i % box.width)] = tile[i];
  }
  Rig rig({.seed = 3});
  // The matrix lies within a larger one, whose other bytes must stay.
  const Address all = rig.zeros<uint8_t>((kRows + 4) * (kColumns + 32));
  const uint64_t stride = kColumns + 32;
  const Address first = all + 2 * stride + 16;
  PrimitiveParameters p = {};
  p.map_a = rig.map(
      {first, Element::kU8, 2, {kColumns, kRows}, {stride}, {box.width, box.rows}, box.swizzle});
  p.in = reinterpret_cast<const uint32_t*>(rig.upload(shared));
  p.bytes = static_cast<uint32_t>(tile.size());
  p.x = box.x;
  p.y = box.y;
  const auto source = emulated<test::store_box<false>>("store_box");
  const Result<> ran = rig.run(source, p, one_block(64, 16384));
  ASSERT_TRUE(ran) << ran.error().message;
  const auto out = rig.download<uint8_t>(all, (kRows + 4) * stride);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto y = static_cast<int64_t>(i / stride) - 2, x = static_cast<int64_t>(i % stride) - 16;
    const int64_t row = y - box.y, column = x - box.x;
    const bool inside = y >= 0 && y < kRows && x >= 0 && x < kColumns && row >= 0 &&
                        row < box.rows && column >= 0 && column < box.width;
    ASSERT_EQ(out[i], inside ? tile[row * box.width + column] : 0) << "row " << y << ", byte " << x;
  }
}

/// Four bytes of a tensor: x, or the pair x and -x.
uint32_t word(Element element, int32_t x) {
  const auto value = static_cast<float>(x);
  switch (element) {
    case Element::kF32: return std::bit_cast<uint32_t>(value);
    case Element::kF16: return device::pack_f16(value, -value);
    case Element::kBf16: return device::pack_bf16(value, -value);
    default: return static_cast<uint32_t>(x);
  }
}

TEST(Tma, AddsInEveryElementType) {
  for (const Element element : {Element::kF32, Element::kF16, Element::kBf16, Element::kI32}) {
    const auto columns = static_cast<uint32_t>(64 / size_bytes(element));
    std::vector<uint32_t> tile(16 * 4);
    for (size_t i = 0; i < tile.size(); ++i) tile[i] = word(element, static_cast<int32_t>(i) - 20);
    Rig rig;
    const Address out = rig.upload(std::vector<uint32_t>(tile.size(), word(element, 1)));
    PrimitiveParameters p = {};
    p.map_a = rig.map({out, element, 2, {columns, 4}, {64}, {columns, 4}, Swizzle::kNone});
    p.in = reinterpret_cast<const uint32_t*>(rig.upload(tile));
    p.bytes = 256;
    const auto source = emulated<test::store_box<true>>("add_box");
    ASSERT_TRUE(rig.run(source, p, one_block(32)));
    ASSERT_TRUE(rig.run(source, p, one_block(32)));
    const auto result = rig.download<uint32_t>(out, tile.size());
    for (size_t i = 0; i < tile.size(); ++i) {
      EXPECT_EQ(result[i], word(element, 1 + 2 * (static_cast<int32_t>(i) - 20))) << i;
    }
  }
}

TEST(Tma, BytesGoBothWays) {
  std::vector<float> values(64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 20;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.in = reinterpret_cast<const uint32_t*>(rig.upload(values));
    p.bytes = 256;
    p.out = pointer(rig.zeros<float>(64));
    p.sums = reinterpret_cast<float*>(rig.upload(std::vector<float>(64, 100)));
    p.flag = reinterpret_cast<uint32_t*>(rig.zeros<float>(1));
    ASSERT_TRUE(rig.run(emulated<test::copy_bytes>("copy_bytes"), p, one_block(64)));
    EXPECT_EQ(rig.download<float>(reinterpret_cast<Address>(p.flag), 1)[0], 2 * values[0]);
    const auto out = rig.download<float>(reinterpret_cast<Address>(p.out), 64);
    const auto sums = rig.download<float>(reinterpret_cast<Address>(p.sums), 64);
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_EQ(out[i], 2 * values[i]);
      EXPECT_EQ(sums[i], 100 + 2 * values[i]);
    }
  }
}

// --- 8x8 matrices ---

template <int kCount, bool kTranspose>
void check_matrices() {
  Rig rig;
  PrimitiveParameters p = {};
  p.out = pointer(rig.zeros<uint32_t>(128 + 32 * kCount));
  const auto source = emulated<test::matrices<kCount, kTranspose>>("matrices");
  const Result<> ran = rig.run(source, p, one_block(32));
  ASSERT_TRUE(ran) << ran.error().message;
  const Address out = reinterpret_cast<Address>(p.out);
  const auto rows = rig.download<uint16_t>(out, 256);
  for (int matrix = 0; matrix < kCount; ++matrix) {
    for (int row = 0; row < 8; ++row) {
      for (int column = 0; column < 8; ++column) {
        const int r = kTranspose ? column : row, c = kTranspose ? row : column;
        const int lane = r * 4 + c / 2;
        EXPECT_EQ(rows[(matrix * 8 + row) * 8 + column], lane * 8 + matrix * 2 + c % 2);
      }
    }
  }
  const auto back = rig.download<uint32_t>(out + 512, 32 * kCount);
  for (uint32_t i = 0; i < back.size(); ++i) {
    const uint32_t first = i / kCount * 8 + i % kCount * 2;
    EXPECT_EQ(back[i], first | (first + 1) << 16);
  }
}

TEST(Matrices, AreStoredAndLoadedByTheirRows) {
  check_matrices<1, false>();
  check_matrices<2, false>();
  check_matrices<4, false>();
  check_matrices<1, true>();
  check_matrices<2, true>();
  check_matrices<4, true>();
}

// --- threads ---

TEST(Threads, NamedBarriersOrderTwoWarps) {
  for (uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.out = pointer(rig.zeros<uint32_t>(96));
    const Result<> ran = rig.run(emulated<test::named_barriers>("named"), p, one_block(64));
    ASSERT_TRUE(ran) << ran.error().message;
    const auto out = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 96);
    for (uint32_t i = 0; i < 96; ++i) ASSERT_EQ(out[i], i / 32 * 100 + i % 32);
  }
}

TEST(Threads, RegistersAreTakenAfterTheyAreGiven) {
  for (uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.flag = reinterpret_cast<uint32_t*>(rig.zeros<uint32_t>(1));
    p.out = pointer(rig.zeros<uint32_t>(12));
    const Result<> ran = rig.run(emulated<test::register_roles>("roles"), p, one_block(384));
    ASSERT_TRUE(ran) << ran.error().message;
    auto tickets = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 12);
    std::sort(tickets.begin(), tickets.begin() + 8);
    std::sort(tickets.begin() + 8, tickets.end());
    // 384 threads begin with 168 each: a warp that goes down to 40 lets two go up to 232.
    for (size_t i = 0; i < 8; ++i) ASSERT_LT(tickets[8 + i / 2], tickets[i]) << "seed " << seed;
  }
}

TEST(Threads, WarpFunctions) {
  Rig rig({.seed = 5});
  PrimitiveParameters p = {};
  p.out = pointer(rig.zeros<uint32_t>(200));
  const Result<> ran = rig.run(emulated<test::warp_functions>("warp"), p, one_block(32));
  ASSERT_TRUE(ran) << ran.error().message;
  const auto out = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 200);
  for (uint32_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(out[lane], 50u);
    EXPECT_EQ(out[32 + lane], lane ^ 3);
    EXPECT_EQ(out[64 + lane], lane < 2 ? lane : lane - 2);
    EXPECT_EQ(out[96 + lane], 0x49249249u);
    EXPECT_EQ(std::popcount(out[128 + lane]), 1);
    EXPECT_EQ(out[128 + lane], out[128]);
    EXPECT_EQ(out[160 + lane], std::bit_cast<uint32_t>(static_cast<float>(31 - lane)));
    if (lane < 8) {
      EXPECT_EQ(out[192 + lane], lane ^ 1);
    }
  }
}

TEST(Threads, BarrierPhasesAndBytes) {
  std::vector<uint32_t> values(16);
  for (uint32_t i = 0; i < 16; ++i) values[i] = 1000 + i;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.in = reinterpret_cast<const uint32_t*>(rig.upload(values));
    p.out = pointer(rig.zeros<uint32_t>(7));
    const Result<> ran = rig.run(emulated<test::barrier_phases>("phases"), p, one_block(32));
    ASSERT_TRUE(ran) << ran.error().message;
    const auto out = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 7);
    EXPECT_EQ(out, (std::vector<uint32_t>{1, 0, 0, 1, 0, 1015, 1000}));
  }
}

TEST(Threads, ClusterOfTwo) {
  std::vector<uint32_t> values(512);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 512; ++i) sum += values[i] = i * i;
  for (uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.map_a =
        rig.map({rig.upload(values), Element::kI32, 2, {32, 16}, {128}, {32, 8}, Swizzle::kNone});
    p.out = pointer(rig.zeros<uint32_t>(11));
    const Launch launch = {.grid = {2}, .block = {32}, .cluster = {2}, .shared_bytes = 8192};
    const Result<> ran = rig.run(emulated<test::cluster_pair>("pair"), p, launch);
    ASSERT_TRUE(ran) << "seed " << seed << ": " << ran.error().message;
    const auto out = rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 11);
    EXPECT_EQ(out, (std::vector<uint32_t>{sum, sum, sum + 1, sum + 2, sum + 3, 7, 8, 9, sum,
                                          2 * sum, 0}));
  }
}

TEST(Threads, BlocksThatRunAtOnceCanWaitForEachOther) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Rig rig({.seed = seed});
    PrimitiveParameters p = {};
    p.flag = reinterpret_cast<uint32_t*>(rig.zeros<uint32_t>(2));
    p.out = pointer(rig.zeros<uint32_t>(1));
    Launch launch = one_block(32);
    launch.grid.x = 4;
    const Result<> ran = rig.run(emulated<test::token>("token"), p, launch);
    ASSERT_TRUE(ran) << ran.error().message;
    EXPECT_EQ(rig.download<uint32_t>(reinterpret_cast<Address>(p.out), 1)[0], 30u);
    EXPECT_EQ(rig.download<uint32_t>(reinterpret_cast<Address>(p.flag), 2)[1], 42u);
  }
}

/// How many of kSeeds runs give the right answer where a second kernel reads what a first writes.
template <bool kWaits>
int right_answers(bool overlap) {
  int right = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Rig rig({.seed = seed, .num_sms = 2});
    PrimitiveParameters p = {};
    p.out = pointer(rig.zeros<uint32_t>(2));
    p.sums = reinterpret_cast<float*>(rig.zeros<uint32_t>(2));
    Launch launch = one_block(32);
    launch.grid.x = 2;
    EXPECT_TRUE(rig.launch(emulated<test::dependent<false, true>>("first"), p, launch));
    launch.overlap_previous = overlap;
    EXPECT_TRUE(rig.run(emulated<test::dependent<true, kWaits>>("second"), p, launch));
    const auto out = rig.download<uint32_t>(reinterpret_cast<Address>(p.sums), 2);
    right += out == std::vector<uint32_t>{1, 2} ? 1 : 0;
  }
  return right;
}

TEST(Threads, ADependentKernelWaitsForTheOneInFront) {
  EXPECT_EQ(right_answers<true>(/*overlap=*/true), static_cast<int>(kSeeds));
  EXPECT_LT(right_answers<false>(/*overlap=*/true), static_cast<int>(kSeeds));
  EXPECT_EQ(right_answers<false>(/*overlap=*/false), static_cast<int>(kSeeds));
}

}  // namespace
}  // namespace hadal::gpu
