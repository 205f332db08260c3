// The inner loops of int8 mode against the definition in gemm/cpu_kernels.h, written out here once
// more: every instruction set must give its bits.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "cpu/isa_test.h"
#include "gemm/cpu_kernels.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace hadal::gemm {
namespace {

class CpuInt8Test : public cpu::IsaTest {
 protected:
  static const CpuKernels& table() {
    switch (GetParam()) {
#ifdef __x86_64__
      case cpu::Isa::kAvx2: return kAvx2CpuKernels;
      case cpu::Isa::kAvx512: return kAvx512CpuKernels;
      case cpu::Isa::kAvx512Bf16: return kAvx512Bf16CpuKernels;
#endif
      default: return kScalarCpuKernels;
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, CpuInt8Test, testing::ValuesIn(cpu::kAllIsas), cpu::IsaName());

constexpr int64_t kLengths[] = {1, 3, 4, 31, 64, 65, 127, 128, 129, 132, 256, 300, 513};
constexpr uint8_t kGuard = 0xa5;

float value_of(uint8_t code, bool e5m2) {
  return e5m2 ? to_float(E5m2{code}) : to_float(E4m3{code});
}

/// A row of codes, requantized.
struct Row {
  std::vector<int> q;       // zeros fill the last block
  std::vector<float> step;  // of blocks
};

Row requantize(const std::vector<uint8_t>& codes, bool e5m2) {
  Row row;
  for (size_t begin = 0; begin < codes.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, codes.size());
    float largest = 0;
    bool finite = true;
    for (size_t i = begin; i < end; ++i) {
      finite = finite && std::isfinite(value_of(codes[i], e5m2));
      largest = std::max(largest, std::abs(value_of(codes[i], e5m2)));
    }
    for (size_t i = begin; i < begin + kBlock; ++i) {
      const bool counts = finite && largest > 0 && i < end;
      const double exact = counts ? 127.0 * value_of(codes[i], e5m2) / largest : 0;
      row.q.push_back(static_cast<int>(std::round(exact)));  // ties away from zero
    }
    row.step.push_back(finite ? largest / 127 : NAN);
  }
  return row;
}

/// Random rows whose blocks have magnitudes of their own, so that each line of the table is met.
std::vector<std::vector<uint8_t>> random_rows(int rows, int64_t k, bool e5m2, Rng& rng) {
  std::vector<std::vector<uint8_t>> out(rows);
  for (auto& row : out) {
    uint64_t limit = 1;
    for (int64_t i = 0; i < k; ++i) {
      if (i % kBlock == 0) limit = 1 + rng.below(e5m2 ? 0x7c : 0x7f);
      row.push_back(static_cast<uint8_t>(rng.below(limit) | rng.below(2) << 7));
    }
  }
  return out;
}

struct Problem {
  int64_t k = 0, quads = 0, blocks = 0;
  std::vector<std::vector<uint8_t>> a, b;
  Tensor<uint8_t, 1> a_int8, b_int8;
  Tensor<float, 1> a_scale, b_scale, sums{{kTileRows * kPanel}};
  std::vector<int32_t> starts;

  Problem(const CpuKernels& kernels, int64_t depth, bool e5m2, uint64_t seed) : k(depth) {
    Rng rng(seed);
    a = random_rows(kTileRows, k, e5m2, rng);
    b = random_rows(kPanel, k, e5m2, rng);
    pack(kernels, e5m2);
  }

  void pack(const CpuKernels& kernels, bool e5m2) {
    const Int8Table& table = e5m2 ? kInt8OfE5m2 : kInt8OfE4m3;
    quads = (k + kQuad - 1) / kQuad;
    blocks = (k + kBlock - 1) / kBlock;
    a_int8 = Tensor<uint8_t, 1>({quads * kQuad * kTileRows + 64});
    b_int8 = Tensor<uint8_t, 1>({quads * kQuad * kPanel + 64});
    for (auto* bytes : {&a_int8, &b_int8}) {
      std::memset(bytes->data(), kGuard, static_cast<size_t>(bytes->size()));
    }
    a_scale = Tensor<float, 1>({blocks * kTileRows});
    b_scale = Tensor<float, 1>({blocks * kPanel});
    starts.assign(static_cast<size_t>(blocks * kTileRows), 0);
    const uint8_t* rows[kTileRows] = {a[0].data(), a[1].data(), a[2].data()};
    kernels.int8_pack_a(rows, k, table, a_int8.data(), a_scale.data(), starts.data());
    std::vector<uint8_t> flat;
    for (const auto& row : b) flat.insert(flat.end(), row.begin(), row.end());
    kernels.int8_pack_b(flat.data(), k, kPanel, k, table, b_int8.data(), b_scale.data());
  }

  TileArgs args(int rows) {
    TileArgs args;
    args.a = a_int8.data();
    args.b = b_int8.data();
    args.rows = rows;
    args.k = quads * kQuad;
    args.a_scale = a_scale.data();
    args.a_scale_step = kTileRows;
    args.a_start = starts.data();
    args.b_scale = b_scale.data();
    args.b_scale_step = kPanel;
    args.b_scale_per_column = true;
    args.sums = sums.data();
    args.first = true;
    return args;
  }
};

/// The definition.
float expected(const Row& a, const Row& b) {
  float sum = 0;
  for (size_t block = 0; block < a.step.size(); ++block) {
    int s = 0;
    for (size_t i = block * kBlock; i < (block + 1) * kBlock; ++i) s += a.q[i] * b.q[i];
    const float scale = a.step[block] * b.step[block];
    const float product = static_cast<float>(s) * scale;
    sum = sum + product;
  }
  return sum;
}

TEST_P(CpuInt8Test, PacksTheIntegersOfTheDefinition) {
  for (const bool e5m2 : {false, true}) {
    for (const int64_t k : kLengths) {
      const Problem p(table(), k, e5m2, 100 + static_cast<uint64_t>(k));
      for (int x = 0; x < kTileRows + kPanel; ++x) {
        const bool is_a = x < kTileRows;
        const int column = x - kTileRows;
        const Row want = requantize(is_a ? p.a[x] : p.b[column], e5m2);
        for (int64_t i = 0; i < p.quads * kQuad; ++i) {
          const int got =
              is_a ? static_cast<int8_t>(
                         p.a_int8.data()[(i / kQuad * kTileRows + x) * kQuad + i % kQuad])
                   : p.b_int8.data()[(i / kQuad * kPanel + column) * kQuad + i % kQuad] - 128;
          ASSERT_EQ(got, want.q[static_cast<size_t>(i)]) << k << " " << i;
        }
        for (int64_t block = 0; block < p.blocks; ++block) {
          const float got = is_a ? p.a_scale.data()[block * kTileRows + x]
                                 : p.b_scale.data()[block * kPanel + column];
          ASSERT_EQ(got, want.step[static_cast<size_t>(block)]);
        }
      }
      for (const auto* bytes : {&p.a_int8, &p.b_int8}) {
        ASSERT_TRUE(std::all_of(bytes->data() + bytes->size() - 64, bytes->data() + bytes->size(),
                                [](uint8_t byte) { return byte == kGuard; }));
      }
    }
  }
}

TEST_P(CpuInt8Test, SumsAreTheDefinitionBitForBit) {
  for (const bool e5m2 : {false, true}) {
    for (const int64_t k : kLengths) {
      Problem p(table(), k, e5m2, 200 + static_cast<uint64_t>(k));
      for (int rows = 1; rows <= kTileRows; ++rows) {
        for (const auto tile : {table().int8_tile, table().int8_stream}) {
          std::fill(p.sums.data(), p.sums.data() + p.sums.size(), NAN);
          tile(p.args(rows));
          for (int i = 0; i < kTileRows * kPanel; ++i) {
            const float got = p.sums.data()[i];
            if (i >= rows * kPanel) {
              ASSERT_TRUE(std::isnan(got)) << "a row beyond `rows` was written";
              continue;
            }
            const float want =
                expected(requantize(p.a[i / kPanel], e5m2), requantize(p.b[i % kPanel], e5m2));
            ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(want)) << k << " " << i;
          }
        }
      }
    }
  }
}

TEST_P(CpuInt8Test, ARangeInPartsGivesTheBitsOfTheWhole) {
  Problem p(table(), 513, false, 300);
  table().int8_tile(p.args(3));
  const std::vector<float> whole(p.sums.data(), p.sums.data() + p.sums.size());
  for (const int64_t part : {128, 256, 384}) {
    TileArgs args = p.args(3);
    args.k = part;
    table().int8_tile(args);
    const int64_t block = part / kBlock;
    args.k = p.quads * kQuad - part;
    args.a = p.a_int8.data() + part * kTileRows;
    args.b = p.b_int8.data() + part * kPanel;
    args.a_scale += block * kTileRows;
    args.a_start += block * kTileRows;
    args.b_scale += block * kPanel;
    args.first = false;
    table().int8_tile(args);
    EXPECT_TRUE(std::equal(whole.begin(), whole.end(), p.sums.data())) << part;
  }
}

// The largest sums there are, of 127 * 127 and of either sign: 2^21 of 2^24 that float32 counts.
TEST_P(CpuInt8Test, TheLargestSumsFit) {
  Problem p(table(), 256, false, 400);
  for (auto& row : p.a) std::ranges::fill(row, to_e4m3(448).bits);
  for (size_t i = 0; i < p.b.size(); ++i) {
    std::ranges::fill(p.b[i], to_e4m3(i % 2 == 0 ? 448.0f : -448.0f).bits);
  }
  p.pack(table(), false);
  table().int8_tile(p.args(3));
  for (int i = 0; i < kTileRows * kPanel; ++i) {
    const double exact = (i % 2 == 0 ? 256 : -256) * 448.0 * 448.0;
    EXPECT_NEAR(p.sums.data()[i], exact, 1e-6 * std::abs(exact));
  }
}

TEST_P(CpuInt8Test, CodesThatAreNoNumbersPoisonTheirRowOrColumn) {
  struct Poison {
    uint8_t code;
    bool e5m2;
  };
  for (const auto& [code, e5m2] :
       {Poison{0x7f, false}, Poison{0xff, false}, Poison{0x7c, true}, Poison{0xfe, true}}) {
    for (const bool in_a : {false, true}) {
      for (const int64_t k : {0, 64, 127, 128, 131}) {
        Problem p(table(), 132, e5m2, 500);
        const int touched = in_a ? 1 : 37;
        (in_a ? p.a : p.b)[touched][static_cast<size_t>(k)] = code;
        p.pack(table(), e5m2);
        for (const auto tile : {table().int8_tile, table().int8_stream}) {
          tile(p.args(3));
          for (int i = 0; i < kTileRows * kPanel; ++i) {
            const bool hit = (in_a ? i / kPanel : i % kPanel) == touched;
            ASSERT_EQ(std::isnan(p.sums.data()[i]), hit) << k << " " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal::gemm
