#include "gpu/tensor_map.h"

#include <functional>
#include <string>

#include <gtest/gtest.h>

namespace hadal::gpu {
namespace {

/// 64 rows of 128 bytes out of a [4096, 7168] matrix of FP8.
TensorMapSpec good() {
  TensorMapSpec spec;
  spec.address = 0x7f0000000400;
  spec.element = Element::kU8;
  spec.rank = 2;
  spec.dims = {7168, 4096};
  spec.strides_bytes = {7168};
  spec.box = {128, 64};
  spec.swizzle = Swizzle::k128;
  return spec;
}

/// The sentence that a change of good() gets; "" if it is allowed.
std::string verdict(const std::function<void(TensorMapSpec&)>& change) {
  TensorMapSpec spec = good();
  change(spec);
  const Result<> result = validate(spec);
  if (result) return "";
  EXPECT_EQ(result.error().code, Code::kInvalidArgument);
  return result.error().message;
}

TEST(TensorMap, AGoodOneIsAllowed) {
  EXPECT_EQ(verdict([](TensorMapSpec&) {}), "");
}

TEST(TensorMap, TheAddressIsAligned) {
  EXPECT_EQ(verdict([](auto& s) { s.address += 8; }),
            "tensor map: address is 0x7f0000000408; it must be a multiple of 16 and not 0");
  EXPECT_EQ(verdict([](auto& s) { s.address += 16; }), "");
  EXPECT_NE(verdict([](auto& s) { s.address = 0; }), "");
}

TEST(TensorMap, RanksAreOneToFive) {
  EXPECT_EQ(verdict([](auto& s) { s.rank = 0; }), "tensor map: rank is 0; it must be 1 to 5");
  EXPECT_EQ(verdict([](auto& s) { s.rank = 6; }), "tensor map: rank is 6; it must be 1 to 5");
  EXPECT_EQ(verdict([](auto& s) { s.rank = 1; }), "");
  EXPECT_EQ(verdict([](auto& s) {
              s.rank = 5;
              s.dims = {128, 2, 2, 2, 2};
              s.strides_bytes = {128, 256, 512, 1024};
              s.box = {128, 1, 1, 1, 2};
            }),
            "");
}

TEST(TensorMap, DimensionsAreOneToTwoToThe32) {
  EXPECT_EQ(verdict([](auto& s) { s.dims[1] = 0; }),
            "tensor map: dims[1] is 0; it must be 1 to 2^32");
  EXPECT_EQ(verdict([](auto& s) { s.dims[0] = uint64_t{1} << 32; }), "");
  EXPECT_EQ(verdict([](auto& s) { s.dims[0] = (uint64_t{1} << 32) + 1; }),
            "tensor map: dims[0] is 4294967297; it must be 1 to 2^32");
  EXPECT_EQ(verdict([](auto& s) { s.dims[2] = 0; }), "") << "beyond the rank";
}

TEST(TensorMap, StridesAreMultiplesOf16Below2ToThe40) {
  EXPECT_EQ(verdict([](auto& s) { s.strides_bytes[0] = 7176; }),
            "tensor map: strides_bytes[0] is 7176; it must be a multiple of 16 below 2^40");
  EXPECT_NE(verdict([](auto& s) { s.strides_bytes[0] = uint64_t{1} << 40; }), "");
  EXPECT_EQ(verdict([](auto& s) { s.strides_bytes[0] = (uint64_t{1} << 40) - 16; }), "");
  EXPECT_EQ(verdict([](auto& s) { s.strides_bytes[0] = 0; }), "") << "rows may be repeated";
  EXPECT_EQ(verdict([](auto& s) { s.strides_bytes[1] = 7; }), "") << "beyond the rank";
}

TEST(TensorMap, BoxesAreOneTo256) {
  EXPECT_EQ(verdict([](auto& s) { s.box[1] = 0; }), "tensor map: box[1] is 0; it must be 1 to 256");
  EXPECT_EQ(verdict([](auto& s) { s.box[1] = 257; }),
            "tensor map: box[1] is 257; it must be 1 to 256");
  EXPECT_EQ(verdict([](auto& s) { s.box[1] = 256; }), "");
}

TEST(TensorMap, TheRowOfABoxIsAMultipleOf16Bytes) {
  EXPECT_EQ(verdict([](auto& s) { s.box[0] = 120; }),
            "tensor map: box[0] is 120 elements of 1 bytes; it must be a multiple of 16 bytes");
  EXPECT_NE(verdict([](auto& s) {
              s.element = Element::kBf16;
              s.box[0] = 4;
            }),
            "");
  EXPECT_EQ(verdict([](auto& s) {
              s.element = Element::kF32;
              s.box[0] = 4;
            }),
            "");
}

TEST(TensorMap, TheRowOfABoxFitsTheSwizzle) {
  for (const auto& [swizzle, width] :
       {std::pair{Swizzle::k32, 32u}, {Swizzle::k64, 64u}, {Swizzle::k128, 128u}}) {
    EXPECT_EQ(width_bytes(swizzle), width);
    const auto with = [swizzle = swizzle](uint32_t elements) {
      return verdict([&](auto& s) {
        s.element = Element::kBf16;
        s.swizzle = swizzle;
        s.box[0] = elements;
      });
    };
    EXPECT_EQ(with(width / 2), "");
    EXPECT_NE(with(width / 2 + 8), "");
  }
  EXPECT_EQ(verdict([](auto& s) {
              s.element = Element::kF32;
              s.box[0] = 36;
            }),
            "tensor map: box[0] is 36 elements of 4 bytes; with a swizzle of 128 bytes it must be "
            "32 at most");
  EXPECT_EQ(verdict([](auto& s) {
              s.swizzle = Swizzle::kNone;
              s.box[0] = 256;
            }),
            "");
}

TEST(TensorMap, AnElementOutsideOfTheEnumIsRefused) {
  EXPECT_EQ(verdict([](auto& s) { s.element = static_cast<Element>(9); }),
            "tensor map: element is 9; it must be one of the enum's");
}

}  // namespace
}  // namespace hadal::gpu
