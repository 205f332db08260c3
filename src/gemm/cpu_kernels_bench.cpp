// The inner loops of every instruction set against what the core can do.
//
//   tile          GFLOP/s against a loop of the same multiply-add on registers alone
//   tile_e4m3     clocks per 64 B of codes from the L2 cache, GB/s from memory against plain reads
//   widen, packs  clocks per 64 B of codes, or bytes read per clock
//   finish        elements per clock
//
// One thread. Each turn of a kernel, a fraction of a millisecond, is followed by one of its limit,
// so that both see the same state of a shared machine, and the best turns count. Results are
// compared with the scalar table's on integers, where all instruction sets agree.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include "base/rng.h"
#include "cpu/cpu.h"
#include "cpu/isa_flag.h"
#include "gemm/cpu_kernels.h"
#include "tensor/tensor.h"

namespace hadal::gemm {
namespace {

using cpu::Isa;

const CpuKernels& table(Isa isa) {
  switch (isa) {
#ifdef __x86_64__
    case Isa::kAvx2: return kAvx2CpuKernels;
    case Isa::kAvx512: return kAvx512CpuKernels;
    case Isa::kAvx512Bf16: return kAvx512Bf16CpuKernels;
#endif
    default: return kScalarCpuKernels;
  }
}

// -------------------------------------------------------------------------------- time and limits

template <typename F>
double time_of(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  benchmark::ClobberMemory();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

constexpr int kLimitLoops = 4000;

#ifdef __x86_64__
/// kLimitLoops times an instruction on 12 accumulators, enough to hide its latency. Returns the
/// floating-point operations.
double multiply_add_loop(Isa isa) {
  for (int i = 0; i < kLimitLoops; ++i) {
    switch (isa) {
      case Isa::kAvx512Bf16:
        asm volatile(
            ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
            "vdpbf16ps %%zmm12, %%zmm13, %%zmm\\i\n"
            ".endr" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                  "xmm10", "xmm11", "xmm12", "xmm13");
        break;
      case Isa::kAvx512:
        asm volatile(
            ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
            "vfmadd231ps %%zmm12, %%zmm13, %%zmm\\i\n"
            ".endr" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                  "xmm10", "xmm11", "xmm12", "xmm13");
        break;
      case Isa::kAvx2:
        asm volatile(
            ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
            "vfmadd231ps %%ymm12, %%ymm13, %%ymm\\i\n"
            ".endr" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                  "xmm10", "xmm11", "xmm12", "xmm13");
        break;
      case Isa::kScalar:  // twelve multiplications and twelve additions of SSE
        asm volatile(
            ".rept 2\n"
            ".irp i,0,1,2,3,4,5\n"
            "mulps %%xmm12, %%xmm\\i\n"
            ".endr\n"
            ".irp i,6,7,8,9,10,11\n"
            "addps %%xmm13, %%xmm\\i\n"
            ".endr\n"
            ".endr" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                  "xmm10", "xmm11", "xmm12", "xmm13");
    }
  }
  const double flops = isa == Isa::kAvx512Bf16 ? 64 : isa == Isa::kAvx512 ? 32 : 16;
  return 12.0 * kLimitLoops * (isa == Isa::kScalar ? 8 : flops);
}

/// Zeroes what multiply_add_loop() works on: subnormal numbers and NaN may be slow.
void clear_registers(Isa isa) {
  if (isa != Isa::kScalar) asm volatile("vzeroall" :::);
  asm volatile(
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n"
      "xorps %%xmm\\i, %%xmm\\i\n"
      ".endr" ::
          : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
            "xmm11", "xmm12", "xmm13");
}

/// 16 * kLimitLoops additions that wait for each other: as many clocks.
double clock_loop() {
  uint64_t x = 0;
  for (int i = 0; i < kLimitLoops; ++i) {
    asm volatile(
        ".rept 16\n"
        "add $1, %0\n"
        ".endr"
        : "+r"(x));
  }
  return 16.0 * kLimitLoops;
}
#else
double multiply_add_loop(Isa) {
  return 0;
}
void clear_registers(Isa) {}
double clock_loop() {
  return 0;
}
#endif

/// Reads all of it.
uint64_t read_all(const uint8_t* p, int64_t bytes) {
  typedef uint64_t Words __attribute__((vector_size(64)));
  Words sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 256) {
    for (int j = 0; j < 4; ++j) sum[j] |= *reinterpret_cast<const Words*>(p + i + 64 * j);
  }
  sum[0] |= sum[1] | sum[2] | sum[3];
  return sum[0][0] ^ sum[0][1] ^ sum[0][2] ^ sum[0][3];
}

/// The best rate of something that is done again and again: units per second.
struct BestRate {
  double rate = 0;

  template <typename F>
  double turn(double units, F&& f) {
    const double seconds = time_of(f);
    rate = std::max(rate, units / seconds);
    return seconds;
  }
};

// -------------------------------------------------------------------------------- the problem

/// Zeroed memory in huge pages, where the system gives them.
class Pages {
 public:
  explicit Pages(int64_t bytes) : bytes_(static_cast<size_t>(bytes + kHuge)) {
    memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::madvise(memory_, bytes_, MADV_HUGEPAGE);
  }
  ~Pages() { ::munmap(memory_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  uint8_t* data() const {
    const auto address = reinterpret_cast<uintptr_t>(memory_);
    return reinterpret_cast<uint8_t*>((address + kHuge - 1) / kHuge * kHuge);
  }

 private:
  static constexpr int64_t kHuge = 2 << 20;
  size_t bytes_;
  void* memory_;
};

/// Rows of A, panels of B and all that a table makes of them. Codes are those of small integers.
struct Problem {
  const CpuKernels& kernels;
  int64_t k;
  int tiles;   // of kTileRows rows of A
  int panels;  // of B
  Pages a{3 * k * tiles}, b{kPanel * k * panels}, codes{kPanel * k * panels};
  Pages wide_a{4 * 3 * k * tiles}, wide_b{4 * kPanel * k};
  Tensor<float, 1> a_scale{{k / kBlock * 3}}, b_scale{{k / kBlock * kPanel}};
  Pages sums{4 * kTileRows * kPanel * int64_t{tiles} * panels};

  Problem(const CpuKernels& table, int64_t depth, int num_tiles, int num_panels)
      : kernels(table), k(depth), tiles(num_tiles), panels(num_panels) {
    Rng rng(1);
    const auto code = [&] {
      return to_e4m3(static_cast<float>(static_cast<int>(rng.below(9)) - 4)).bits;
    };
    for (int64_t i = 0; i < 3 * k * tiles; ++i) a.data()[i] = code();
    for (int64_t i = 0; i < kPanel * k * panels; ++i) b.data()[i] = code();
    for (float& x : a_scale.span()) x = 0.5f * static_cast<float>(1 + rng.below(2));
    for (float& x : b_scale.span()) x = 0.5f * static_cast<float>(1 + rng.below(2));
    for (int panel = 0; panel < panels; ++panel) pack_b(panel);
    for (int tile = 0; tile < tiles; ++tile) pack_a(tile);
    widen();
  }

  void pack_b(int panel) {
    kernels.pack_b(b.data() + panel * kPanel * k, k, kPanel, k, panel_codes(panel));
  }
  void pack_a(int tile) {
    const uint8_t* from = a.data() + tile * 3 * k;
    const uint8_t* rows[kTileRows] = {from, from + k, from + 2 * k};
    kernels.pack_a_e4m3(rows, k, tile_a(tile));
  }
  void widen() { kernels.widen_e4m3(codes.data(), k, wide_b.data()); }

  uint8_t* panel_codes(int panel) { return codes.data() + panel * kPanel * k; }
  uint8_t* tile_a(int tile) { return wide_a.data() + tile * 3 * k * kernels.wide_bytes; }
  float* tile_sums(int tile, int panel) {
    return reinterpret_cast<float*>(sums.data()) +
           (int64_t{panel} * tiles + tile) * kTileRows * kPanel;
  }

  TileArgs args(int tile, int panel, int rows) {
    TileArgs args;
    args.a = tile_a(tile);
    args.b = wide_b.data();
    args.rows = rows;
    args.k = k;
    args.a_scale = a_scale.data();
    args.a_scale_step = 3;
    args.b_scale = b_scale.data();
    args.b_scale_step = kPanel;
    args.sums = tile_sums(tile, panel);
    args.first = true;
    return args;
  }

  /// All tiles of the first panel, from wide B.
  void run_tiles() {
    for (int tile = 0; tile < tiles; ++tile) kernels.tile(args(tile, 0, kTileRows));
  }
  /// The first tile with `count` panels, from codes.
  void run_codes(int rows, int first, int count) {
    for (int panel = first; panel < first + count; ++panel) {
      TileArgs with = args(0, panel, rows);
      with.b = panel_codes(panel);
      kernels.tile_e4m3(with);
    }
  }

  /// Whether the sums of a tile, as they stand, are what the scalar table makes of A and B.
  bool right(int tile, int panel, int rows) {
    Tensor<uint8_t, 1> scalar_a({4 * 3 * k}), scalar_codes({kPanel * k});
    Tensor<float, 1> wanted({kTileRows * kPanel});
    const uint8_t* from = a.data() + tile * 3 * k;
    const uint8_t* a_rows[kTileRows] = {from, from + k, from + 2 * k};
    kScalarCpuKernels.pack_a_e4m3(a_rows, k, scalar_a.data());
    kScalarCpuKernels.pack_b(b.data() + panel * kPanel * k, k, kPanel, k, scalar_codes.data());
    TileArgs with = args(tile, panel, rows);
    with.a = scalar_a.data();
    with.b = scalar_codes.data();
    with.sums = wanted.data();
    kScalarCpuKernels.tile_e4m3(with);
    return std::equal(wanted.data(), wanted.data() + rows * kPanel, tile_sums(tile, panel));
  }
};

void require(benchmark::State& state, bool right) {
  if (!right) state.SkipWithError("the result differs from the scalar table's");
}

// -------------------------------------------------------------------------------- benchmarks

/// 96 rows of A with one panel of B, which is in the L2 cache.
void run_tile(benchmark::State& state, Isa isa, int64_t k) {
  Problem problem(table(isa), k, 32, 1);
  BestRate best, limit;
  clear_registers(isa);
  const double loop_flops = multiply_add_loop(isa);
  for (auto _ : state) {
    const double flops = 2.0 * kTileRows * problem.tiles * kPanel * static_cast<double>(k);
    state.SetIterationTime(best.turn(flops, [&] { problem.run_tiles(); }));
    clear_registers(isa);
    for (int i = 0; i < 8; ++i) limit.turn(loop_flops, [&] { multiply_add_loop(isa); });
  }
  state.counters["GFLOP_per_s"] = best.rate / 1e9;
  state.counters["peak_GFLOP_per_s"] = limit.rate / 1e9;
  state.counters["of_peak"] = best.rate / limit.rate;
  require(state, problem.right(0, 0, 3) && problem.right(problem.tiles - 1, 0, 3));
}

/// Few rows of A with a panel that stays in the L2 cache.
void run_codes_cached(benchmark::State& state, Isa isa, int rows) {
  constexpr int64_t kK = 4096;
  Problem problem(table(isa), kK, 1, 1);
  BestRate best, clock;
  for (auto _ : state) {
    state.SetIterationTime(best.turn(kPanel * kK, [&] { problem.run_codes(rows, 0, 1); }));
    clock.turn(16.0 * kLimitLoops, clock_loop);
  }
  state.counters["clk_per_64B"] = clock.rate / (best.rate / 64);
  state.counters["GB_per_s"] = best.rate / 1e9;
  require(state, problem.right(0, 0, rows));
}

/// Few rows of A with 256 MiB of B, 4 MiB in a turn.
void run_codes_memory(benchmark::State& state, Isa isa, int rows) {
  constexpr int64_t kPanelBytes = kPanel * 4096;
  constexpr int kPanels = 1024, kTurn = 16;
  Problem problem(table(isa), 4096, 1, kPanels);
  BestRate best, limit;
  for (auto _ : state) {
    double seconds = 0;
    for (int panel = 0; panel < kPanels; panel += 2 * kTurn) {
      constexpr double kBytes = kPanelBytes * kTurn;
      seconds += best.turn(kBytes, [&] { problem.run_codes(rows, panel, kTurn); });
      limit.turn(kBytes, [&] {
        const uint8_t* from = problem.panel_codes(panel + kTurn);
        benchmark::DoNotOptimize(read_all(from, kPanelBytes * kTurn));
      });
    }
    state.SetIterationTime(seconds);
  }
  state.counters["GB_per_s"] = best.rate / 1e9;
  state.counters["read_GB_per_s"] = limit.rate / 1e9;
  state.counters["of_read"] = best.rate / limit.rate;
  require(state, problem.right(0, kPanels - 2 * kTurn, rows));
}

void run_widen(benchmark::State& state, Isa isa, int64_t k) {
  Problem problem(table(isa), k, 1, 1);
  BestRate best, clock;
  const auto repeats = static_cast<int>(4096 / k);
  const auto widen = [&] {
    for (int i = 0; i < repeats; ++i) problem.widen();
  };
  for (auto _ : state) {
    state.SetIterationTime(best.turn(static_cast<double>(kPanel * k) * repeats, widen));
    clock.turn(16.0 * kLimitLoops, clock_loop);
  }
  state.counters["clk_per_64B"] = clock.rate / (best.rate / 64);
  state.counters["GB_per_s"] = best.rate / 1e9;
  problem.run_tiles();
  require(state, problem.right(0, 0, 3));
}

/// pack_b of 4096 codes per row, a panel in a turn.
void run_pack_b(benchmark::State& state, Isa isa, int panels) {
  Problem problem(table(isa), 4096, 1, panels);
  BestRate best, clock;
  for (auto _ : state) {
    double seconds = 0;
    for (int panel = 0; panel < panels; ++panel) {
      seconds += best.turn(double{kPanel} * 4096, [&] { problem.pack_b(panel); });
      clock.turn(16.0 * kLimitLoops, clock_loop);
    }
    state.SetIterationTime(seconds);
  }
  state.counters["B_per_clk"] = best.rate / clock.rate;
  state.counters["GB_per_s"] = best.rate / 1e9;
  problem.run_codes(3, panels - 1, 1);
  require(state, problem.right(0, panels - 1, 3));
}

/// pack_a of 96 rows, and the share it has of a product with 512 columns.
void run_pack_a(benchmark::State& state, Isa isa) {
  constexpr int64_t kK = 2048;
  Problem problem(table(isa), kK, 32, 1);
  BestRate best, tile;
  const double elements = 3.0 * problem.tiles * kK;
  const auto pack = [&] {
    for (int i = 0; i < problem.tiles; ++i) problem.pack_a(i);
  };
  for (auto _ : state) {
    state.SetIterationTime(best.turn(elements, pack));
    tile.turn(elements, [&] { problem.run_tiles(); });
  }
  state.counters["GB_per_s"] = best.rate / 1e9;
  state.counters["of_tiles_n512"] = tile.rate / (best.rate * 512 / kPanel);
  require(state, problem.right(problem.tiles - 1, 0, 3));
}

/// Rows of 128 columns to bf16, plain or with SwiGLU.
void run_finish(benchmark::State& state, Isa isa, bool swiglu) {
  constexpr int kRows = 64;
  Tensor<float, 1> sums({2 * 128});
  Tensor<Bf16, 1> out({kRows * 128});
  Tensor<Bf16, 1> wanted({128});
  Rng rng(1);
  for (float& x : sums.span()) x = static_cast<float>(static_cast<int>(rng.below(64)));
  FinishArgs args;
  args.sums = sums.data();
  args.columns = 128;
  args.alpha = 0.5f;
  if (swiglu) args.up_sums = sums.data() + 128;
  args.type = DType::kBf16;
  BestRate best, clock;
  const auto finish = [&] {
    for (int repeat = 0; repeat < 16; ++repeat) {
      for (int row = 0; row < kRows; ++row) {
        args.d = out.data() + row * 128;
        table(isa).finish(args);
      }
    }
  };
  for (auto _ : state) {
    state.SetIterationTime(best.turn(16.0 * kRows * 128, finish));
    clock.turn(16.0 * kLimitLoops, clock_loop);
  }
  state.counters["elements_per_clk"] = best.rate / clock.rate;
  args.d = wanted.data();
  kScalarCpuKernels.finish(args);
  const auto close = [](Bf16 a, Bf16 b) { return a.bits - b.bits + 1u <= 2; };
  require(state, std::equal(wanted.data(), wanted.data() + 128, out.data(), close));
}

template <typename F, typename... Args>
void add(const std::string& name, F run, Args... args) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    run(state, args...);
  })->UseManualTime();
}

void add_all(Isa isa) {
  const auto name = [isa](const char* kernel, const std::string& variant) {
    return fmt::format("{}/{}/{}", kernel, cpu::name(isa), variant);
  };
  for (const int64_t k : {512, 2048, 4096}) {
    add(name("tile", fmt::format("k{}", k)), run_tile, isa, k);
  }
  for (const int rows : {1, 2, 3}) {
    add(name("tile_e4m3", fmt::format("l2/m{}", rows)), run_codes_cached, isa, rows);
    add(name("tile_e4m3", fmt::format("dram/m{}", rows)), run_codes_memory, isa, rows);
  }
  add(name("widen", "l1"), run_widen, isa, int64_t{128});
  add(name("widen", "l2"), run_widen, isa, int64_t{4096});
  add(name("pack_b", "l2"), run_pack_b, isa, 1);
  add(name("pack_b", "dram"), run_pack_b, isa, 256);
  add(name("pack_a", "l2"), run_pack_a, isa);
  add(name("finish", "bf16"), run_finish, isa, false);
  add(name("finish", "swiglu"), run_finish, isa, true);
}

}  // namespace
}  // namespace hadal::gemm

void hadal::cpu::add_benchmarks(Isa isa) {
  hadal::gemm::add_all(isa);
}
