// The inner loops of every instruction set against a plain oracle: packing and widening bit for
// bit, tiles exactly where every order of summation is exact and within bounds elsewhere.
#include "gemm/cpu_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "cpu/isa_test.h"
#include "tensor/tensor.h"

namespace hadal::gemm {
namespace {

class CpuKernelsTest : public cpu::IsaTest {
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
INSTANTIATE_TEST_SUITE_P(Isa, CpuKernelsTest, testing::ValuesIn(cpu::kAllIsas), cpu::IsaName());

using Bytes = Tensor<uint8_t, 1>;

constexpr int64_t kLengths[] = {1,  2,  3,  4,  5,  7,  8,   15,  16,  17,  31,
                                32, 33, 63, 64, 65, 66, 127, 128, 130, 191, 257};

int64_t filled_up(int64_t k) {
  return (k + kQuad - 1) / kQuad * kQuad;
}

uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}

/// Where codes of B have row `column`, element k.
int64_t code_index(int column, int64_t k) {
  const int64_t in_group = (k % 4) / 2 * 8 + column % 4 * 2 + k % 2;
  return k / 4 * 256 + column / 4 * 16 + in_group;
}

/// The bits, as a float's, of element k of x in a wide A or B with `width` x.
uint32_t wide_bits(const CpuKernels& kernels, const Bytes& wide, int width, int64_t k, int x) {
  if (kernels.wide_bytes == 4) {
    uint32_t bits;
    std::memcpy(&bits, wide.data() + 4 * (k * width + x), sizeof(bits));
    return bits;
  }
  uint16_t bits;
  std::memcpy(&bits, wide.data() + 2 * ((k / 2 * width + x) * 2 + k % 2), sizeof(bits));
  return uint32_t{bits} << 16;
}

constexpr int64_t kGuard = 64;

/// A buffer of `bytes` and a guard, all 0xa5.
Bytes guarded(int64_t bytes) {
  Bytes buffer({bytes + kGuard});
  std::memset(buffer.data(), 0xa5, static_cast<size_t>(buffer.size()));
  return buffer;
}

bool guard_untouched(const Bytes& buffer) {
  return std::all_of(buffer.data() + buffer.size() - kGuard, buffer.data() + buffer.size(),
                     [](uint8_t byte) { return byte == 0xa5; });
}

/// A matrix of `rows` rows that ends where its last row does.
template <typename T>
std::vector<T> random_matrix(int rows, int64_t stride, int64_t k, Rng& rng) {
  std::vector<T> matrix(static_cast<size_t>((rows - 1) * stride + k));
  for (T& x : matrix) {
    const uint64_t random = rng.next();
    std::memcpy(static_cast<void*>(&x), &random, sizeof(x));
  }
  return matrix;
}

TEST_P(CpuKernelsTest, PackBOrdersCodes) {
  Rng rng(1);
  for (const int64_t k : kLengths) {
    for (const int rows : {1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 63, 64}) {
      const int64_t stride = k + static_cast<int64_t>(rng.below(3));
      const auto b = random_matrix<uint8_t>(rows, stride, k, rng);
      Bytes codes = guarded(filled_up(k) * kPanel);
      table().pack_b(b.data(), stride, rows, k, codes.data());
      for (int64_t i = 0; i < filled_up(k); ++i) {
        for (int column = 0; column < kPanel; ++column) {
          const bool inside = column < rows && i < k;
          const int wanted = inside ? b[static_cast<size_t>(column * stride + i)] : 0;
          ASSERT_EQ(codes.data()[code_index(column, i)], wanted) << k << " " << rows << " " << i;
        }
      }
      ASSERT_TRUE(guard_untouched(codes));
    }
  }
}

TEST_P(CpuKernelsTest, PackBBf16Widens) {
  Rng rng(2);
  for (const int64_t k : kLengths) {
    for (const int rows : {1, 5, 8, 15, 16, 17, 63, 64}) {
      const int64_t stride = k + static_cast<int64_t>(rng.below(3));
      const auto b = random_matrix<Bf16>(rows, stride, k, rng);
      Bytes wide = guarded(filled_up(k) * kPanel * table().wide_bytes);
      table().pack_b_bf16(b.data(), stride, rows, k, wide.data());
      for (int64_t i = 0; i < filled_up(k); ++i) {
        for (int column = 0; column < kPanel; ++column) {
          const bool inside = column < rows && i < k;
          const uint32_t wanted =
              inside ? uint32_t{b[static_cast<size_t>(column * stride + i)].bits} << 16 : 0;
          ASSERT_EQ(wide_bits(table(), wide, kPanel, i, column), wanted) << k << " " << rows;
        }
      }
      ASSERT_TRUE(guard_untouched(wide));
    }
  }
}

TEST_P(CpuKernelsTest, WidenIsExactForEveryCode) {
  for (const int64_t k : {4, 8, 20, 128}) {
    Bytes codes({k * kPanel});
    for (int64_t i = 0; i < codes.size(); ++i) {
      codes.data()[i] = static_cast<uint8_t>(i * 5 + i / 256);  // every code in every kind of place
    }
    Bytes e4m3 = guarded(k * kPanel * table().wide_bytes);
    Bytes e5m2 = guarded(k * kPanel * table().wide_bytes);
    table().widen_e4m3(codes.data(), k, e4m3.data());
    table().widen_e5m2(codes.data(), k, e5m2.data());
    for (int64_t i = 0; i < k; ++i) {
      for (int column = 0; column < kPanel; ++column) {
        const uint8_t code = codes.data()[code_index(column, i)];
        ASSERT_EQ(wide_bits(table(), e4m3, kPanel, i, column), bits_of(to_float(E4m3{code})))
            << int{code};
        ASSERT_EQ(wide_bits(table(), e5m2, kPanel, i, column), bits_of(to_float(E5m2{code})))
            << int{code};
      }
    }
    ASSERT_TRUE(guard_untouched(e4m3));
    ASSERT_TRUE(guard_untouched(e5m2));
  }
}

/// pack_a of one format with every set of missing rows, against to_float().
template <typename T, typename Row>
void check_pack_a(const CpuKernels& kernels,
                  void (*pack)(const Row* const rows[kTileRows], int64_t k, void* wide)) {
  Rng rng(3);
  for (const int64_t k : kLengths) {
    for (unsigned missing = 0; missing < 8; ++missing) {
      const auto a = random_matrix<T>(kTileRows, k, k, rng);
      std::vector<T> parts[kTileRows];  // apart, so that a sanitizer sees a read beyond one
      const Row* rows[kTileRows];
      for (int r = 0; r < kTileRows; ++r) {
        parts[r].assign(a.begin() + r * k, a.begin() + (r + 1) * k);
        rows[r] = missing >> r & 1 ? nullptr : reinterpret_cast<const Row*>(parts[r].data());
      }
      Bytes wide = guarded(filled_up(k) * kTileRows * kernels.wide_bytes);
      pack(rows, k, wide.data());
      for (int64_t i = 0; i < filled_up(k); ++i) {
        for (int r = 0; r < kTileRows; ++r) {
          const bool inside = rows[r] != nullptr && i < k;
          const uint32_t wanted = inside ? bits_of(to_float(parts[r][static_cast<size_t>(i)])) : 0;
          ASSERT_EQ(wide_bits(kernels, wide, kTileRows, i, r), wanted) << k << " " << i << " " << r;
        }
      }
      ASSERT_TRUE(guard_untouched(wide));
    }
  }
}

TEST_P(CpuKernelsTest, PackAWidensAndInterleaves) {
  check_pack_a<E4m3>(table(), table().pack_a_e4m3);
  check_pack_a<E5m2>(table(), table().pack_a_e5m2);
  check_pack_a<Bf16>(table(), table().pack_a_bf16);
}

/// A problem of one tile and what the kernels need for it.
struct Problem {
  static constexpr int64_t kMaxBlocks = 8;

  int64_t k = 0;
  std::vector<uint8_t> a, b;  // codes, [3][k] and [64][k]
  Tensor<float, 1> a_scale = Tensor<float, 1>({kMaxBlocks * kTileRows});
  Tensor<float, 1> b_scale = Tensor<float, 1>({kMaxBlocks * kPanel});
  Bytes wide_a, codes, wide_b;
  Tensor<float, 1> sums = Tensor<float, 1>({kTileRows * kPanel});

  void pack(const CpuKernels& kernels, bool e5m2 = false) {
    const int64_t full = filled_up(k);
    wide_a = Bytes({full * kTileRows * kernels.wide_bytes});
    codes = Bytes({full * kPanel});
    wide_b = Bytes({full * kPanel * kernels.wide_bytes});
    const uint8_t* rows[kTileRows] = {a.data(), a.data() + k, a.data() + 2 * k};
    (e5m2 ? kernels.pack_a_e5m2 : kernels.pack_a_e4m3)(rows, k, wide_a.data());
    kernels.pack_b(b.data(), k, kPanel, k, codes.data());
    (e5m2 ? kernels.widen_e5m2 : kernels.widen_e4m3)(codes.data(), full, wide_b.data());
  }

  TileArgs args(int rows, bool per_column) {
    TileArgs args;
    args.a = wide_a.data();
    args.b = wide_b.data();
    args.rows = rows;
    args.k = filled_up(k);
    args.a_scale = a_scale.data();
    args.a_scale_step = kTileRows;
    args.b_scale = b_scale.data();
    args.b_scale_step = kPanel;
    args.b_scale_per_column = per_column;
    args.sums = sums.data();
    args.first = true;
    return args;
  }

  /// From `sums`, which are overwritten.
  std::vector<float> run(void (*tile)(const TileArgs&), const TileArgs& args) {
    tile(args);
    return {sums.data(), sums.data() + args.rows * kPanel};
  }

  std::vector<float> run_codes(void (*tile)(const TileArgs&), TileArgs args) {
    args.b = codes.data();
    return run(tile, args);
  }
};

/// Codes of integers of magnitude up to 8 and scales that are powers of two from 1/4 to 2: every
/// partial sum of up to 516 products is a float, whatever the order.
Problem exact_problem(int64_t k, uint64_t seed) {
  Problem problem;
  problem.k = k;
  Rng rng(seed);
  const auto code = [&] {
    const auto integer = static_cast<float>(static_cast<int>(rng.below(17)) - 8);
    return to_e4m3(integer).bits;
  };
  problem.a.resize(static_cast<size_t>(kTileRows * k));
  problem.b.resize(static_cast<size_t>(kPanel * k));
  for (uint8_t& x : problem.a) x = code();
  for (uint8_t& x : problem.b) x = code();
  const auto scale = [&] { return std::ldexp(1.0f, static_cast<int>(rng.below(4)) - 2); };
  for (float& x : problem.a_scale.span()) x = scale();
  for (float& x : problem.b_scale.span()) x = scale();
  return problem;
}

/// Any codes but NaN and infinity, or any at all, and any scales.
Problem random_problem(int64_t k, uint64_t seed, bool all_codes = false) {
  Problem problem;
  problem.k = k;
  Rng rng(seed);
  const auto code = [&] {
    const uint64_t magnitude = rng.below(all_codes ? 0x80 : 0x78);
    return static_cast<uint8_t>(magnitude | rng.below(2) << 7);
  };
  problem.a.resize(static_cast<size_t>(kTileRows * k));
  problem.b.resize(static_cast<size_t>(kPanel * k));
  for (uint8_t& x : problem.a) x = code();
  for (uint8_t& x : problem.b) x = code();
  for (float& x : problem.a_scale.span()) x = static_cast<float>(0.01 + rng.uniform());
  for (float& x : problem.b_scale.span()) x = static_cast<float>(0.01 + rng.uniform());
  return problem;
}

struct Expected {
  double sum = 0;
  double magnitude = 0;  // of the terms, added
};

Expected expected(const Problem& problem, const TileArgs& args, int row, int column,
                  bool e5m2 = false) {
  const auto value = [e5m2](uint8_t code) -> double {
    return e5m2 ? to_float(E5m2{code}) : to_float(E4m3{code});
  };
  Expected result;
  for (int64_t k = 0; k < problem.k; ++k) {
    const int64_t block = k / kBlock;
    const double term =
        value(problem.a[static_cast<size_t>(row * problem.k + k)]) *
        value(problem.b[static_cast<size_t>(column * problem.k + k)]) *
        static_cast<double>(args.a_scale[block * args.a_scale_step + row]) *
        args.b_scale[block * args.b_scale_step + (args.b_scale_per_column ? column : 0)];
    result.sum += term;
    result.magnitude += std::fabs(term);
  }
  return result;
}

constexpr int64_t kTileLengths[] = {1, 4, 7, 8, 64, 124, 127, 128, 129, 132, 256, 400, 513};

TEST_P(CpuKernelsTest, TilesOfIntegersAreExact) {
  for (const int64_t k : kTileLengths) {
    Problem problem = exact_problem(k, 10 + static_cast<uint64_t>(k));
    problem.pack(table());
    for (int rows = 1; rows <= kTileRows; ++rows) {
      for (int variant = 0; variant < 8; ++variant) {
        TileArgs args = problem.args(rows, variant & 1);
        if (variant & 2) args.a_scale_step = 0;
        if (variant & 4) args.b_scale_step = 0;
        std::fill(problem.sums.data(), problem.sums.data() + problem.sums.size(), NAN);
        const std::vector<float> sums = problem.run(table().tile, args);
        EXPECT_EQ(problem.run_codes(table().tile_e4m3, args), sums);
        for (int row = 0; row < rows; ++row) {
          for (int column = 0; column < kPanel; ++column) {
            ASSERT_EQ(sums[static_cast<size_t>(row * kPanel + column)],
                      expected(problem, args, row, column).sum)
                << "k " << k << " row " << row << " column " << column << " " << variant;
          }
        }
        for (int64_t i = rows * kPanel; i < problem.sums.size(); ++i) {
          ASSERT_TRUE(std::isnan(problem.sums.data()[i])) << "a row beyond `rows` was written";
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, RandomTilesAreWithinBounds) {
  for (const bool e5m2 : {false, true}) {
    for (const int64_t k : kTileLengths) {
      Problem problem = random_problem(k, 20 + static_cast<uint64_t>(k));
      problem.pack(table(), e5m2);
      const TileArgs args = problem.args(kTileRows, true);
      const std::vector<float> sums = problem.run(table().tile, args);
      for (int row = 0; row < kTileRows; ++row) {
        for (int column = 0; column < kPanel; ++column) {
          const Expected want = expected(problem, args, row, column, e5m2);
          // One rounding per addition in a block and per block, two of each scale; a term whose
          // magnitude falls below the normal floats may be lost whole.
          const double bound = (kBlock + 12) * 0x1p-24 * want.magnitude + 0x1p-120;
          ASSERT_NEAR(sums[static_cast<size_t>(row * kPanel + column)], want.sum, bound) << k;
        }
      }
    }
  }
}

/// Bits, with all NaN taken for one: which of two NaN operands survives is nobody's promise.
std::vector<uint32_t> comparable(const std::vector<float>& floats) {
  std::vector<uint32_t> bits;
  for (const float x : floats) bits.push_back(std::isnan(x) ? 0x7fc00000 : bits_of(x));
  return bits;
}

TEST_P(CpuKernelsTest, CodesInRegistersGiveTheBitsOfWidenAndTile) {
  for (const bool all_codes : {false, true}) {
    for (const int64_t k : kTileLengths) {
      for (const bool e5m2 : {false, true}) {
        Problem problem = random_problem(k, 30 + static_cast<uint64_t>(k), all_codes);
        problem.pack(table(), e5m2);
        for (int rows = 1; rows <= kTileRows; ++rows) {
          const TileArgs args = problem.args(rows, k % 2 == 0);
          const auto wide = problem.run(table().tile, args);
          const auto codes = problem.run_codes(e5m2 ? table().tile_e5m2 : table().tile_e4m3, args);
          ASSERT_EQ(comparable(codes), comparable(wide)) << k << " " << rows;
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, ScalesPerColumnThatAreEqualChangeNoBit) {
  Problem problem = random_problem(400, 40);
  for (int64_t i = 0; i < problem.b_scale.size(); ++i) {
    problem.b_scale.data()[i] = problem.b_scale.data()[i / kPanel * kPanel];
  }
  problem.pack(table());
  const auto uniform = problem.run(table().tile, problem.args(3, false));
  EXPECT_EQ(comparable(problem.run(table().tile, problem.args(3, true))), comparable(uniform));
}

TEST_P(CpuKernelsTest, RowsDoNotDependOnTheirTile) {
  Problem problem = random_problem(400, 50);
  problem.pack(table());
  const auto together = comparable(problem.run(table().tile, problem.args(3, false)));
  for (int row = 0; row < kTileRows; ++row) {
    for (int rows = 1; rows <= kTileRows; ++rows) {
      Problem other = random_problem(400, 51);
      other.b = problem.b;
      other.b_scale = Tensor<float, 1>(problem.b_scale.shape());
      std::copy_n(problem.b_scale.data(), problem.b_scale.size(), other.b_scale.data());
      const int place = rows - 1;
      std::copy_n(problem.a.data() + row * 400, 400, other.a.data() + place * 400);
      for (int64_t block = 0; block < Problem::kMaxBlocks; ++block) {
        other.a_scale.data()[block * kTileRows + place] =
            problem.a_scale.data()[block * kTileRows + row];
      }
      other.pack(table());
      for (const bool codes : {false, true}) {
        const TileArgs args = other.args(rows, false);
        const auto sums = comparable(codes ? other.run_codes(table().tile_e4m3, args)
                                           : other.run(table().tile, args));
        ASSERT_TRUE(std::equal(sums.begin() + place * kPanel, sums.begin() + rows * kPanel,
                               together.begin() + row * kPanel))
            << row << " " << rows;
      }
    }
  }
}

TEST_P(CpuKernelsTest, ARangeInPartsGivesTheBitsOfTheWhole) {
  Problem problem = random_problem(513, 60);
  problem.pack(table());
  for (const bool codes : {false, true}) {
    TileArgs args = problem.args(3, true);
    const auto tile = codes ? table().tile_e4m3 : table().tile;
    const int64_t b_bytes = codes ? 1 : table().wide_bytes;
    if (codes) args.b = problem.codes.data();
    const auto whole = comparable(problem.run(tile, args));
    for (const int64_t part : {128, 256, 384}) {
      TileArgs before = args;
      before.k = part;
      tile(before);
      TileArgs after = args;
      after.k -= part;
      after.a = problem.wide_a.data() + part * kTileRows * table().wide_bytes;
      after.b = static_cast<const uint8_t*>(args.b) + part * kPanel * b_bytes;
      after.a_scale += part / kBlock * args.a_scale_step;
      after.b_scale += part / kBlock * args.b_scale_step;
      after.first = false;
      ASSERT_EQ(comparable(problem.run(tile, after)), whole) << part;
    }
  }
}

TEST_P(CpuKernelsTest, NanReachesWhatItTouchesAndNothingElse) {
  for (const uint8_t nan : {0x7f, 0xff}) {
    for (const bool in_a : {false, true}) {
      for (const int64_t k : {0, 1, 2, 3, 100, 131}) {
        Problem problem = exact_problem(132, 70);
        const int touched = in_a ? 1 : 37;
        (in_a ? problem.a : problem.b)[static_cast<size_t>(touched * 132 + k)] = nan;
        problem.pack(table());
        const TileArgs args = problem.args(3, false);
        for (const auto& sums :
             {problem.run(table().tile, args), problem.run_codes(table().tile_e4m3, args)}) {
          for (int i = 0; i < kTileRows * kPanel; ++i) {
            const bool hit = (in_a ? i / kPanel : i % kPanel) == touched;
            ASSERT_EQ(std::isnan(sums[static_cast<size_t>(i)]), hit) << i;
          }
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, InfinitiesOfE5m2StayInfinite) {
  Problem problem = random_problem(8, 80);
  std::fill(problem.a.begin(), problem.a.end(), to_e5m2(2.0f).bits);
  std::fill(problem.b.begin(), problem.b.end(), to_e5m2(1.0f).bits);
  problem.b[5 * 8 + 3] = 0xfc;
  problem.b[6 * 8 + 2] = 0x7d;
  problem.pack(table(), true);
  const TileArgs args = problem.args(2, false);
  for (const auto& sums :
       {problem.run(table().tile, args), problem.run_codes(table().tile_e5m2, args)}) {
    EXPECT_EQ(sums[kPanel + 5], -std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isnan(sums[kPanel + 6]));
    EXPECT_TRUE(std::isfinite(sums[kPanel + 7]));
  }
}

TEST_P(CpuKernelsTest, TilesOfBf16) {
  constexpr int64_t kK = 131;
  Rng rng(90);
  const auto values = [&](int64_t n) {
    std::vector<Bf16> items(static_cast<size_t>(n));
    for (Bf16& x : items) x = to_bf16(static_cast<float>(rng.uniform() - 0.5));
    return items;
  };
  const auto a = values(kTileRows * kK);
  const auto b = values(kPanel * kK);
  Bytes wide_a({filled_up(kK) * kTileRows * table().wide_bytes});
  Bytes wide_b({filled_up(kK) * kPanel * table().wide_bytes});
  const Bf16* rows[kTileRows] = {a.data(), a.data() + kK, a.data() + 2 * kK};
  table().pack_a_bf16(rows, kK, wide_a.data());
  table().pack_b_bf16(b.data(), kK, kPanel, kK, wide_b.data());
  const float one[kTileRows] = {1, 1, 1};
  Tensor<float, 1> sums({kTileRows * kPanel});
  TileArgs args;
  args.a = wide_a.data();
  args.b = wide_b.data();
  args.rows = kTileRows;
  args.k = filled_up(kK);
  args.a_scale = one;
  args.b_scale = one;
  args.sums = sums.data();
  args.first = true;
  table().tile(args);
  for (int row = 0; row < kTileRows; ++row) {
    for (int column = 0; column < kPanel; ++column) {
      double sum = 0;
      for (int64_t k = 0; k < kK; ++k) {
        sum += static_cast<double>(to_float(a[static_cast<size_t>(row * kK + k)])) *
               to_float(b[static_cast<size_t>(column * kK + k)]);
      }
      ASSERT_NEAR(sums.data()[row * kPanel + column], sum, 1e-5);
    }
  }
}

// -------------------------------------------------------------------------------- finish

/// Small integers: alpha, beta and bias leave them exact in every format.
template <typename T>
std::vector<T> integers(int n, Rng& rng) {
  std::vector<T> items(static_cast<size_t>(n));
  for (T& x : items) {
    const auto integer = static_cast<float>(static_cast<int>(rng.below(31)) - 15);
    if constexpr (std::is_same_v<T, float>)
      x = integer;
    else if constexpr (std::is_same_v<T, Bf16>)
      x = to_bf16(integer);
    else
      x = to_f16(integer);
  }
  return items;
}

struct FinishCase {
  int columns = 0;
  DType type = DType::kF32;
  int c = 0;  // 0: none, else 1 + an index into the types
  bool bias = false;
  int activation = 0;  // 0 none, 1 silu, 2 swiglu
};

double silu(double x) {
  return x / (1 + std::exp(-x));
}

/// Distance in units of the last place of the float nearest to `want`.
double ulps(float x, double want) {
  const auto nearest = static_cast<float>(want);
  if (bits_of(nearest) == bits_of(x)) return 0;
  int exponent = 0;
  std::frexp(want, &exponent);
  return std::fabs(x - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

void check_finish(const CpuKernels& kernels, const FinishCase& test, Rng& rng) {
  static constexpr DType kTypes[] = {DType::kF32, DType::kBf16, DType::kF16};
  const int n = test.columns;
  const auto aligned = [&] {
    Tensor<float, 1> sums({n});
    const auto values = integers<float>(n, rng);
    std::copy(values.begin(), values.end(), sums.data());
    return sums;
  };
  const auto sums = aligned(), up_sums = aligned();
  const auto bias = integers<float>(n, rng), up_bias = integers<float>(n, rng);
  const auto c_f32 = integers<float>(n, rng);
  std::vector<Bf16> c_bf16;
  std::vector<F16> c_f16;
  for (const float x : c_f32) c_bf16.push_back(to_bf16(x)), c_f16.push_back(to_f16(x));

  FinishArgs args;
  args.sums = sums.data();
  args.columns = n;
  args.alpha = 0.5f;
  args.beta = -2;
  args.silu = test.activation == 1;
  if (test.activation == 2) args.up_sums = up_sums.data();
  if (test.bias) args.bias = bias.data(), args.up_bias = up_bias.data();
  if (test.c != 0) {
    args.c_type = kTypes[test.c - 1];
    const void* cs[] = {c_f32.data(), c_bf16.data(), c_f16.data()};
    args.c = cs[test.c - 1];
  }
  args.type = test.type;
  const auto size = static_cast<int64_t>(size_bytes(test.type));
  Bytes out = guarded(kGuard + size + n * size);
  args.d = out.data() + kGuard + size;  // one element off any alignment
  kernels.finish(args);

  for (int64_t i = 0; i < kGuard + size; ++i) ASSERT_EQ(out.data()[i], 0xa5);
  ASSERT_TRUE(guard_untouched(out));
  for (int i = 0; i < n; ++i) {
    const auto at = static_cast<size_t>(i);
    const auto affine = [&](float sum, float b) { return 0.5 * sum + (test.bias ? b : 0.0f); };
    double want = affine(sums.data()[i], bias[at]) + (test.c != 0 ? -2.0 * c_f32[at] : 0.0);
    if (test.activation != 0) want = silu(want);
    if (test.activation == 2) want *= affine(up_sums.data()[i], up_bias[at]);
    const uint8_t* d = static_cast<const uint8_t*>(args.d) + i * size;
    float got;
    if (test.type == DType::kF32) {
      std::memcpy(&got, d, sizeof(got));
    } else {
      uint16_t bits;
      std::memcpy(&bits, d, sizeof(bits));
      got = test.type == DType::kBf16 ? to_float(Bf16{bits}) : to_float(F16{bits});
    }
    // Without an activation all is exact but for the last rounding, which is right. With one, the
    // float before it is off by a few units.
    const double off = test.activation == 0 ? 0 : 4 * 0x1p-23 * std::fabs(want);
    const auto rounded = [&](double x) {
      const auto f32 = static_cast<float>(x);
      if (test.type == DType::kBf16) return to_float(to_bf16(f32));
      return test.type == DType::kF16 ? to_float(to_f16(f32)) : f32;
    };
    ASSERT_GE(got, rounded(want - off)) << "column " << i << " of " << n << ", want " << want;
    ASSERT_LE(got, rounded(want + off)) << "column " << i << " of " << n << ", want " << want;
  }
}

TEST_P(CpuKernelsTest, FinishInEveryCombination) {
  Rng rng(100);
  FinishCase test;
  for (const DType type : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (test.c = 0; test.c <= 3; ++test.c) {
      for (test.activation = 0; test.activation <= 2; ++test.activation) {
        if (test.c != 0 && test.activation == 2) continue;  // C has no place among gates
        for (const bool bias : {false, true}) {
          for (const int columns : {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 100, 127, 128}) {
            test.type = type;
            test.bias = bias;
            test.columns = columns;
            ASSERT_NO_FATAL_FAILURE(check_finish(table(), test, rng));
          }
        }
      }
    }
  }
}

/// finish() of 16 columns at a time, all else neutral.
template <typename T>
std::vector<T> finish_all(const CpuKernels& kernels, const std::vector<float>& sums, DType type,
                          bool silu) {
  Tensor<float, 1> in({128});
  std::vector<T> out(sums.size());
  for (size_t i = 0; i < sums.size(); i += 128) {
    const size_t n = std::min<size_t>(128, sums.size() - i);
    std::copy_n(sums.data() + i, n, in.data());
    FinishArgs args;
    args.sums = in.data();
    args.columns = static_cast<int>(n);
    args.silu = silu;
    args.type = type;
    args.d = out.data() + i;
    kernels.finish(args);
  }
  return out;
}

/// Every upper half of a float with the lower halves that decide a rounding.
std::vector<float> dense_floats() {
  std::vector<float> floats;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      floats.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  return floats;
}

TEST_P(CpuKernelsTest, FinishRoundsToNearestEvenAndKeepsNan) {
  const std::vector<float> floats = dense_floats();
  const auto f32 = finish_all<float>(table(), floats, DType::kF32, false);
  const auto bf16 = finish_all<Bf16>(table(), floats, DType::kBf16, false);
  const auto f16 = finish_all<F16>(table(), floats, DType::kF16, false);
  for (size_t i = 0; i < floats.size(); ++i) {
    if (std::isnan(floats[i])) {
      ASSERT_TRUE(std::isnan(f32[i]));
      ASSERT_TRUE(std::isnan(to_float(bf16[i])));
      ASSERT_TRUE(std::isnan(to_float(f16[i])));
      continue;
    }
    ASSERT_EQ(bits_of(f32[i]), bits_of(floats[i]));
    ASSERT_EQ(bf16[i].bits, to_bf16(floats[i]).bits) << floats[i];
    ASSERT_EQ(f16[i].bits, to_f16(floats[i]).bits) << floats[i];
  }
}

TEST_P(CpuKernelsTest, SiluIsAccurateForEveryMagnitude) {
  const std::vector<float> floats = dense_floats();
  const auto results = finish_all<float>(table(), floats, DType::kF32, true);
  double worst = 0;
  for (size_t i = 0; i < floats.size(); ++i) {
    const float x = floats[i];
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(results[i]));
    } else if (x < -110) {
      ASSERT_EQ(bits_of(results[i]), 0x80000000) << x;
    } else if (std::isinf(x)) {
      ASSERT_EQ(results[i], x);
    } else {
      ASSERT_LE(ulps(results[i], silu(x)), 3) << x << " " << results[i];
      worst = std::max(worst, ulps(results[i], silu(x)));
    }
  }
  RecordProperty("worst_ulps", std::to_string(worst));
}

}  // namespace
}  // namespace hadal::gemm
