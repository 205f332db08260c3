// All 2^32 floats through every narrowing kernel, bit for bit against the scalar table (which is
// tensor/dtype.h in a loop, and itself proven by tensor_slow_test).
#include <bit>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "cpu/isa_test.h"

namespace hadal::cpu {
namespace {

constexpr uint32_t kChunk = 1 << 14;  // inputs and outputs stay in the L2 cache

class ConvertSlow : public IsaTest {
 protected:
  void SetUp() override {
    IsaTest::SetUp();
    if (GetParam() == Isa::kScalar) GTEST_SKIP() << "the scalar table is the reference here";
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, ConvertSlow, testing::ValuesIn(kAllIsas), IsaName());

template <typename Out>
void check_all(void (*reference)(const float*, Out*, size_t),
               void (*kernel)(const float*, Out*, size_t)) {
  std::vector<float> in(kChunk);
  std::vector<Out> wanted(kChunk);
  std::vector<Out> seen(kChunk);
  for (uint64_t begin = 0; begin < uint64_t{1} << 32; begin += kChunk) {
    for (uint32_t i = 0; i < kChunk; ++i) {
      in[i] = std::bit_cast<float>(static_cast<uint32_t>(begin) + i);
    }
    reference(in.data(), wanted.data(), kChunk);
    kernel(in.data(), seen.data(), kChunk);
    for (uint32_t i = 0; i < kChunk; ++i) {
      ASSERT_EQ(seen[i].bits, wanted[i].bits) << std::hex << "0x" << begin + i;
    }
  }
}

TEST_P(ConvertSlow, AllFloatsToBf16) {
  check_all(kScalarKernels.f32_to_bf16, kernels().f32_to_bf16);
}
TEST_P(ConvertSlow, AllFloatsToF16) {
  check_all(kScalarKernels.f32_to_f16, kernels().f32_to_f16);
}
TEST_P(ConvertSlow, AllFloatsToE4m3) {
  check_all(kScalarKernels.f32_to_e4m3, kernels().f32_to_e4m3);
}
TEST_P(ConvertSlow, AllFloatsToE5m2) {
  check_all(kScalarKernels.f32_to_e5m2, kernels().f32_to_e5m2);
}

}  // namespace
}  // namespace hadal::cpu
