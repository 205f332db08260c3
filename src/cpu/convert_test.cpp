// Bulk conversions against tensor/dtype.h, bit for bit, for every instruction set.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "cpu/isa_test.h"
#include "tensor/tensor.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace hadal::cpu {
namespace {

class Convert : public IsaTest {};
INSTANTIATE_TEST_SUITE_P(Isa, Convert, testing::ValuesIn(kAllIsas), IsaName());

uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}
template <typename T>
uint32_t bits_of(T x) {
  return x.bits;
}

/// Every upper half of a float with the lower halves that decide a rounding, and random ones.
std::vector<float> dense_floats() {
  std::vector<float> floats;
  Rng rng(1);
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xfffeu, 0xffffu,
                               static_cast<uint32_t>(rng.below(0x10000))}) {
      floats.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  return floats;
}

/// All codes of a 1- or 2-byte format.
template <typename T>
std::vector<T> all_codes() {
  std::vector<T> codes(size_t{1} << (8 * sizeof(T)));
  for (size_t i = 0; i < codes.size(); ++i) codes[i].bits = static_cast<decltype(T::bits)>(i);
  return codes;
}

template <typename In, typename Out, typename Scalar>
void expect_same(const std::vector<In>& in, void (*kernel)(const In*, Out*, size_t),
                 Scalar scalar) {
  std::vector<Out> out(in.size());
  kernel(in.data(), out.data(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    ASSERT_EQ(bits_of(out[i]), bits_of(scalar(in[i])))
        << "element " << i << std::hex << ", input 0x" << bits_of(in[i]);
  }
}

void expect_all_same(const Kernels& k, const std::vector<float>& floats) {
  expect_same(floats, k.f32_to_bf16, [](float x) { return to_bf16(x); });
  expect_same(floats, k.f32_to_f16, [](float x) { return to_f16(x); });
  expect_same(floats, k.f32_to_e4m3, [](float x) { return to_e4m3(x); });
  expect_same(floats, k.f32_to_e5m2, [](float x) { return to_e5m2(x); });
  expect_same(all_codes<Bf16>(), k.bf16_to_f32, [](Bf16 x) { return to_float(x); });
  expect_same(all_codes<F16>(), k.f16_to_f32, [](F16 x) { return to_float(x); });
  expect_same(all_codes<E4m3>(), k.e4m3_to_f32, [](E4m3 x) { return to_float(x); });
  expect_same(all_codes<E5m2>(), k.e5m2_to_f32, [](E5m2 x) { return to_float(x); });
  expect_same(all_codes<E4m3>(), k.e4m3_to_bf16, [](E4m3 x) { return to_bf16(x); });
}

TEST_P(Convert, EqualsTheScalarDefinition) {
  expect_all_same(kernels(), dense_floats());
}

TEST_P(Convert, RandomOrderHasTheSameBits) {
  // In dense_floats() a vector holds neighbours; here normal, subnormal and NaN lanes stand
  // together.
  std::vector<float> floats = dense_floats();
  Rng rng(2);
  shuffle(std::span(floats), rng);
  expect_all_same(kernels(), floats);
}

#ifdef __x86_64__
/// Sets flush-to-zero and denormals-are-zero for a scope.
class FlushToZero {
 public:
  FlushToZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushToZero() { _mm_setcsr(saved_); }
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;

 private:
  unsigned saved_;
};

TEST_P(Convert, FlushToZeroChangesNothing) {
  const FlushToZero flush;
  expect_all_same(kernels(), dense_floats());
}
#endif

/// Every length up to three blocks and some, at every misalignment of both arrays, and not a byte
/// beyond the end.
template <typename In, typename Out, typename Scalar>
void check_lengths(void (*kernel)(const In*, Out*, size_t), Scalar scalar, uint64_t seed) {
  constexpr size_t kMaxLength = 210;
  constexpr size_t kMaxOffset = 64;
  constexpr size_t kGuard = 64;
  std::vector<In> in(kMaxOffset + kMaxLength);
  Rng rng(seed);
  for (In& x : in) {
    const uint64_t random = rng.next();
    std::memcpy(static_cast<void*>(&x), &random, sizeof(x));
  }
  std::vector<Out> out(kGuard + kMaxOffset + kMaxLength + kGuard);
  for (size_t n = 0; n <= kMaxLength; ++n) {
    const size_t in_offset = rng.below(kMaxOffset);
    const size_t out_offset = kGuard + rng.below(kMaxOffset);
    std::memset(static_cast<void*>(out.data()), 0xa5, out.size() * sizeof(Out));
    // A copy that ends where the buffer does, so that AddressSanitizer sees a read beyond it.
    const std::vector<In> exact(in.begin() + in_offset, in.begin() + in_offset + n);
    kernel(exact.data(), out.data() + out_offset, n);
    for (size_t i = 0; i < n; ++i) {
      ASSERT_EQ(bits_of(out[out_offset + i]), bits_of(scalar(exact[i]))) << n << " " << i;
    }
    const auto* bytes = reinterpret_cast<const unsigned char*>(out.data());
    const auto untouched = [](unsigned char byte) { return byte == 0xa5; };
    ASSERT_TRUE(std::all_of(bytes, bytes + out_offset * sizeof(Out), untouched)) << n;
    ASSERT_TRUE(std::all_of(bytes + (out_offset + n) * sizeof(Out),
                            bytes + out.size() * sizeof(Out), untouched))
        << n;
    kernel(in.data() + in_offset, out.data() + out_offset, n);
    for (size_t i = 0; i < n; ++i) {
      ASSERT_EQ(bits_of(out[out_offset + i]), bits_of(scalar(exact[i]))) << n << " " << i;
    }
  }
}

TEST_P(Convert, AnyLengthAndAlignment) {
  const Kernels& k = kernels();
  for (uint64_t seed = 0; seed < 4; ++seed) {
    check_lengths(k.f32_to_bf16, [](float x) { return to_bf16(x); }, seed);
    check_lengths(k.f32_to_f16, [](float x) { return to_f16(x); }, seed);
    check_lengths(k.f32_to_e4m3, [](float x) { return to_e4m3(x); }, seed);
    check_lengths(k.f32_to_e5m2, [](float x) { return to_e5m2(x); }, seed);
    check_lengths(k.bf16_to_f32, [](Bf16 x) { return to_float(x); }, seed);
    check_lengths(k.f16_to_f32, [](F16 x) { return to_float(x); }, seed);
    check_lengths(k.e4m3_to_f32, [](E4m3 x) { return to_float(x); }, seed);
    check_lengths(k.e5m2_to_f32, [](E5m2 x) { return to_float(x); }, seed);
    check_lengths(k.e4m3_to_bf16, [](E4m3 x) { return to_bf16(x); }, seed);
  }
}

}  // namespace
}  // namespace hadal::cpu
