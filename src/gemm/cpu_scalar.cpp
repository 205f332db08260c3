// The portable version: four lanes in the vector types of g++ and clang, which become SSE, NEON or
// plain registers. A multiplication and an addition round separately here, as these compilers have
// no fused operation for every machine.
#include "cpu/convert_generic.h"
#include "gemm/cpu_generic.h"
#include "gemm/cpu_kernels.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

struct Portable {
  typedef uint32_t V __attribute__((vector_size(16)));
  typedef int32_t Signed __attribute__((vector_size(16)));
  typedef float F __attribute__((vector_size(16)));
  typedef uint16_t H __attribute__((vector_size(8)));
  using Mask = V;
  static constexpr size_t kLanes = 4;
  static constexpr int kPerDword = 1;
  template <int kRows>
  static constexpr int kTileVectors = kRows == 1 ? 4 : 2;  // of 16 registers
  template <int kRows>
  static constexpr int kCodeVectors = 2;

  template <typename T>
  static T read(const void* p) {
    T x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  template <typename T>
  static void write(void* p, T x) {
    __builtin_memcpy(p, &x, sizeof(x));
  }
  static F f32(V x) { return reinterpret_cast<F>(x); }
  static V bits(F x) { return reinterpret_cast<V>(x); }

  static V splat(uint32_t x) { return V{x, x, x, x}; }
  static V splat_from(const void* p) { return splat(read<uint32_t>(p)); }
  static V load(const void* p) { return read<V>(p); }
  static V load_once(const void* p) { return load(p); }
  static void store(void* p, V x) { write(p, x); }
  static H load_half(const void* p) { return read<H>(p); }
  static V load_u16(const void* p) {
    const H x = load_half(p);
    return V{x[0], x[1], x[2], x[3]};
  }

  static V bit_and(V a, V b) { return a & b; }
  static V bit_or(V a, V b) { return a | b; }
  static V add(V a, V b) { return a + b; }
  static V sub(V a, V b) { return a - b; }
  template <int kBits>
  static V shift_right(V x) {
    return x >> kBits;
  }
  template <int kBits>
  static V shift_left(V x) {
    return x << kBits;
  }
  static Mask greater(V a, V b) {
    return reinterpret_cast<V>(reinterpret_cast<Signed>(a) > reinterpret_cast<Signed>(b));
  }
  static V select(Mask mask, V if_true, V if_false) {
    return (mask & if_true) | (~mask & if_false);
  }
  static V add_f32(V a, V b) { return bits(f32(a) + f32(b)); }
  static V mul_f32(V a, V b) { return bits(f32(a) * f32(b)); }
  static V div_f32(V a, V b) { return bits(f32(a) / f32(b)); }
  static V fma_f32(V a, V b, V c) { return bits(f32(a) * f32(b) + f32(c)); }
  static V i32_to_f32(V x) { return bits(__builtin_convertvector(reinterpret_cast<Signed>(x), F)); }
  static constexpr bool kHasDot = false;
  static V dot(V sum, V u, V s) {
    const Signed x = reinterpret_cast<Signed>(s);
    sum += (u & 0xff) * reinterpret_cast<V>(x << 24 >> 24);
    sum += (u >> 8 & 0xff) * reinterpret_cast<V>(x << 16 >> 24);
    sum += (u >> 16 & 0xff) * reinterpret_cast<V>(x << 8 >> 24);
    return sum + (u >> 24) * reinterpret_cast<V>(x >> 24);
  }
  static V multiply_add(V sum, V a, V b) { return fma_f32(a, b, sum); }
  static V max_f32_or_nan(V a, V b) { return select(reinterpret_cast<V>(f32(a) > f32(b)), a, b); }
  static V min_f32_or_nan(V a, V b) { return select(reinterpret_cast<V>(f32(a) < f32(b)), a, b); }

  static V f16_to_f32(H x) {
    return bits(
        F{to_float(F16{x[0]}), to_float(F16{x[1]}), to_float(F16{x[2]}), to_float(F16{x[3]})});
  }
  static void store_f16(void* p, V x) {
    const F y = f32(x);
    write(p, H{to_f16(y[0]).bits, to_f16(y[1]).bits, to_f16(y[2]).bits, to_f16(y[3]).bits});
  }
  static void store_low16(void* p, V a, V b) {
    uint16_t low[8];
    for (int i = 0; i < 4; ++i) {
      low[i] = static_cast<uint16_t>(a[i]);
      low[4 + i] = static_cast<uint16_t>(b[i]);
    }
    __builtin_memcpy(p, low, sizeof(low));
  }

  static void transpose(V (&x)[4]) {
    const V a = x[0], b = x[1], c = x[2], d = x[3];
    for (int i = 0; i < 4; ++i) x[i] = V{a[i], b[i], c[i], d[i]};
  }
  static V pairs_first(V x) {
    uint16_t in[8];
    __builtin_memcpy(in, &x, sizeof(in));
    const uint16_t out[8] = {in[0], in[2], in[4], in[6], in[1], in[3], in[5], in[7]};
    return load(out);
  }
  static void store_interleaved(void* p, V a, V b, V c) {
    uint8_t* to = static_cast<uint8_t*>(p);
    store(to, V{a[0], b[0], c[0], a[1]});
    store(to + 16, V{b[1], c[1], a[2], b[2]});
    store(to + 32, V{c[2], a[3], b[3], c[3]});
  }

  struct Table {
    float f32[256];
  };
  template <Format kFormat>
  static constexpr Table kTable = [] {
    Table table{};
    for (int code = 0; code < 256; ++code) {
      const auto byte = static_cast<uint8_t>(code);
      table.f32[code] = kFormat == Format::kE4m3 ? to_float(E4m3{byte}) : to_float(E5m2{byte});
    }
    return table;
  }();

  template <Format kFormat>
  static V look_up(const uint8_t* p, int step) {
    const float* table = kTable<kFormat>.f32;
    return bits(F{table[p[0]], table[p[step]], table[p[2 * step]], table[p[3 * step]]});
  }
  template <Format kFormat>
  static V load_steps(const uint8_t* p) {
    if constexpr (kFormat == Format::kBf16)
      return shift_left<16>(load_u16(p));
    else
      return look_up<kFormat>(p, 1);
  }
  template <Format kFormat>
  static void widen(const uint8_t* codes, V (&steps)[4]) {
    steps[0] = look_up<kFormat>(codes, 2);
    steps[1] = look_up<kFormat>(codes + 1, 2);
    steps[2] = look_up<kFormat>(codes + 8, 2);
    steps[3] = look_up<kFormat>(codes + 9, 2);
  }
};

}  // namespace

constinit const CpuKernels kScalarCpuKernels = CpuGeneric<Portable>::table();

}  // namespace hadal::gemm
