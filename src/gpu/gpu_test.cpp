#include "gpu/gpu.h"

#include <gtest/gtest.h>

namespace hadal::gpu {
namespace {

TEST(Gpu, ElementsHaveTheirSizes) {
  EXPECT_EQ(size_bytes(Element::kU8), 1u);
  EXPECT_EQ(size_bytes(Element::kBf16), 2u);
  EXPECT_EQ(size_bytes(Element::kF32), 4u);
}

}  // namespace
}  // namespace hadal::gpu
