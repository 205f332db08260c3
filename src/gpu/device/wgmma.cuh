// The instruction wgmma for every number of columns; part of mma.cuh.
//
// The instruction names each accumulator register, so every width needs a text and a list of
// operands of its own. Lists are built from the one before: HADAL_TEXT_n names the registers of the
// first n quads, HADAL_REGISTERS_n lists them. Operand type, depth and transposition are strings
// that the compiler puts in ("C" is NVIDIA's constraint for a constant string), so that 32 cases
// cover all kinds. A kernel pays for the cases that it instantiates.
#pragma once

#include "gpu/device/types.cuh"

#if defined(__CUDACC__)

#define HADAL_TEXT_1 "%0, %1, %2, %3"
#define HADAL_TEXT_2 HADAL_TEXT_1 ", %4, %5, %6, %7"
#define HADAL_TEXT_3 HADAL_TEXT_2 ", %8, %9, %10, %11"
#define HADAL_TEXT_4 HADAL_TEXT_3 ", %12, %13, %14, %15"
#define HADAL_TEXT_5 HADAL_TEXT_4 ", %16, %17, %18, %19"
#define HADAL_TEXT_6 HADAL_TEXT_5 ", %20, %21, %22, %23"
#define HADAL_TEXT_7 HADAL_TEXT_6 ", %24, %25, %26, %27"
#define HADAL_TEXT_8 HADAL_TEXT_7 ", %28, %29, %30, %31"
#define HADAL_TEXT_9 HADAL_TEXT_8 ", %32, %33, %34, %35"
#define HADAL_TEXT_10 HADAL_TEXT_9 ", %36, %37, %38, %39"
#define HADAL_TEXT_11 HADAL_TEXT_10 ", %40, %41, %42, %43"
#define HADAL_TEXT_12 HADAL_TEXT_11 ", %44, %45, %46, %47"
#define HADAL_TEXT_13 HADAL_TEXT_12 ", %48, %49, %50, %51"
#define HADAL_TEXT_14 HADAL_TEXT_13 ", %52, %53, %54, %55"
#define HADAL_TEXT_15 HADAL_TEXT_14 ", %56, %57, %58, %59"
#define HADAL_TEXT_16 HADAL_TEXT_15 ", %60, %61, %62, %63"
#define HADAL_TEXT_17 HADAL_TEXT_16 ", %64, %65, %66, %67"
#define HADAL_TEXT_18 HADAL_TEXT_17 ", %68, %69, %70, %71"
#define HADAL_TEXT_19 HADAL_TEXT_18 ", %72, %73, %74, %75"
#define HADAL_TEXT_20 HADAL_TEXT_19 ", %76, %77, %78, %79"
#define HADAL_TEXT_21 HADAL_TEXT_20 ", %80, %81, %82, %83"
#define HADAL_TEXT_22 HADAL_TEXT_21 ", %84, %85, %86, %87"
#define HADAL_TEXT_23 HADAL_TEXT_22 ", %88, %89, %90, %91"
#define HADAL_TEXT_24 HADAL_TEXT_23 ", %92, %93, %94, %95"
#define HADAL_TEXT_25 HADAL_TEXT_24 ", %96, %97, %98, %99"
#define HADAL_TEXT_26 HADAL_TEXT_25 ", %100, %101, %102, %103"
#define HADAL_TEXT_27 HADAL_TEXT_26 ", %104, %105, %106, %107"
#define HADAL_TEXT_28 HADAL_TEXT_27 ", %108, %109, %110, %111"
#define HADAL_TEXT_29 HADAL_TEXT_28 ", %112, %113, %114, %115"
#define HADAL_TEXT_30 HADAL_TEXT_29 ", %116, %117, %118, %119"
#define HADAL_TEXT_31 HADAL_TEXT_30 ", %120, %121, %122, %123"
#define HADAL_TEXT_32 HADAL_TEXT_31 ", %124, %125, %126, %127"

#define HADAL_QUAD(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define HADAL_REGISTERS_1 HADAL_QUAD(0)
#define HADAL_REGISTERS_2 HADAL_REGISTERS_1, HADAL_QUAD(4)
#define HADAL_REGISTERS_3 HADAL_REGISTERS_2, HADAL_QUAD(8)
#define HADAL_REGISTERS_4 HADAL_REGISTERS_3, HADAL_QUAD(12)
#define HADAL_REGISTERS_5 HADAL_REGISTERS_4, HADAL_QUAD(16)
#define HADAL_REGISTERS_6 HADAL_REGISTERS_5, HADAL_QUAD(20)
#define HADAL_REGISTERS_7 HADAL_REGISTERS_6, HADAL_QUAD(24)
#define HADAL_REGISTERS_8 HADAL_REGISTERS_7, HADAL_QUAD(28)
#define HADAL_REGISTERS_9 HADAL_REGISTERS_8, HADAL_QUAD(32)
#define HADAL_REGISTERS_10 HADAL_REGISTERS_9, HADAL_QUAD(36)
#define HADAL_REGISTERS_11 HADAL_REGISTERS_10, HADAL_QUAD(40)
#define HADAL_REGISTERS_12 HADAL_REGISTERS_11, HADAL_QUAD(44)
#define HADAL_REGISTERS_13 HADAL_REGISTERS_12, HADAL_QUAD(48)
#define HADAL_REGISTERS_14 HADAL_REGISTERS_13, HADAL_QUAD(52)
#define HADAL_REGISTERS_15 HADAL_REGISTERS_14, HADAL_QUAD(56)
#define HADAL_REGISTERS_16 HADAL_REGISTERS_15, HADAL_QUAD(60)
#define HADAL_REGISTERS_17 HADAL_REGISTERS_16, HADAL_QUAD(64)
#define HADAL_REGISTERS_18 HADAL_REGISTERS_17, HADAL_QUAD(68)
#define HADAL_REGISTERS_19 HADAL_REGISTERS_18, HADAL_QUAD(72)
#define HADAL_REGISTERS_20 HADAL_REGISTERS_19, HADAL_QUAD(76)
#define HADAL_REGISTERS_21 HADAL_REGISTERS_20, HADAL_QUAD(80)
#define HADAL_REGISTERS_22 HADAL_REGISTERS_21, HADAL_QUAD(84)
#define HADAL_REGISTERS_23 HADAL_REGISTERS_22, HADAL_QUAD(88)
#define HADAL_REGISTERS_24 HADAL_REGISTERS_23, HADAL_QUAD(92)
#define HADAL_REGISTERS_25 HADAL_REGISTERS_24, HADAL_QUAD(96)
#define HADAL_REGISTERS_26 HADAL_REGISTERS_25, HADAL_QUAD(100)
#define HADAL_REGISTERS_27 HADAL_REGISTERS_26, HADAL_QUAD(104)
#define HADAL_REGISTERS_28 HADAL_REGISTERS_27, HADAL_QUAD(108)
#define HADAL_REGISTERS_29 HADAL_REGISTERS_28, HADAL_QUAD(112)
#define HADAL_REGISTERS_30 HADAL_REGISTERS_29, HADAL_QUAD(116)
#define HADAL_REGISTERS_31 HADAL_REGISTERS_30, HADAL_QUAD(120)
#define HADAL_REGISTERS_32 HADAL_REGISTERS_31, HADAL_QUAD(124)

// Widths in quads and columns, then the numbers of the ten operands behind the accumulators.
#define HADAL_WGMMA_CASES(CASE)                                   \
  CASE(1, 8, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)                    \
  CASE(2, 16, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)               \
  CASE(3, 24, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)             \
  CASE(4, 32, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)             \
  CASE(5, 40, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29)             \
  CASE(6, 48, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33)             \
  CASE(7, 56, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37)             \
  CASE(8, 64, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41)             \
  CASE(9, 72, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45)             \
  CASE(10, 80, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49)            \
  CASE(11, 88, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53)            \
  CASE(12, 96, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57)            \
  CASE(13, 104, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61)           \
  CASE(14, 112, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65)           \
  CASE(15, 120, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69)           \
  CASE(16, 128, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73)           \
  CASE(17, 136, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77)           \
  CASE(18, 144, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81)           \
  CASE(19, 152, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85)           \
  CASE(20, 160, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89)           \
  CASE(21, 168, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93)           \
  CASE(22, 176, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97)           \
  CASE(23, 184, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101)         \
  CASE(24, 192, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105)     \
  CASE(25, 200, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109) \
  CASE(26, 208, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113) \
  CASE(27, 216, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117) \
  CASE(28, 224, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121) \
  CASE(29, 232, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125) \
  CASE(30, 240, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129) \
  CASE(31, 248, 124, 125, 126, 127, 128, 129, 130, 131, 132, 133) \
  CASE(32, 256, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137)

namespace hadal::gpu::device {

/// Both operands from shared memory.
template <typename A, typename B, typename Majors, int kRegisters>
HADAL_DEVICE void wgmma_shared(float (&d)[kRegisters], uint64_t a, uint64_t b,
                               uint32_t accumulate) {
#define HADAL_CASE(quads, columns, o0, o1, o2, o3, o4, o5, o6, o7, o8, o9)                        \
  if constexpr (kRegisters == 4 * quads) {                                                        \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #o2                                         \
                 ", 0;\n"                                                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "%" #o3 ".f32%" #o4 "%" #o5         \
                 " {" HADAL_TEXT_##quads "}, %" #o0 ", %" #o1 ", p, 1, 1%" #o6 ";\n}"             \
                 : HADAL_REGISTERS_##quads                                                        \
                 : "l"(a), "l"(b), "r"(accumulate), "C"(A::kDepth), "C"(A::kType), "C"(B::kType), \
                   "C"(Majors::kShared));                                                         \
  }
  HADAL_WGMMA_CASES(HADAL_CASE)
#undef HADAL_CASE
}

/// A from registers, B from shared memory.
template <typename A, typename B, typename Majors, int kRegisters>
HADAL_DEVICE void wgmma_registers(float (&d)[kRegisters], const uint32_t (&a)[4], uint64_t b,
                                  uint32_t accumulate) {
#define HADAL_CASE(quads, columns, o0, o1, o2, o3, o4, o5, o6, o7, o8, o9)                    \
  if constexpr (kRegisters == 4 * quads) {                                                    \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #o5                                     \
                 ", 0;\n"                                                                     \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "%" #o6 ".f32%" #o7 "%" #o8     \
                 " {" HADAL_TEXT_##quads "}, {%" #o0 ", %" #o1 ", %" #o2 ", %" #o3 "}, %" #o4 \
                                         ", p, 1, 1%" #o9 ";\n}"                              \
                 : HADAL_REGISTERS_##quads                                                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate),       \
                   "C"(A::kDepth), "C"(A::kType), "C"(B::kType), "C"(Majors::kRegisters));    \
  }
  HADAL_WGMMA_CASES(HADAL_CASE)
#undef HADAL_CASE
}

}  // namespace hadal::gpu::device

#undef HADAL_WGMMA_CASES
#undef HADAL_QUAD
#undef HADAL_TEXT_1
#undef HADAL_TEXT_2
#undef HADAL_TEXT_3
#undef HADAL_TEXT_4
#undef HADAL_TEXT_5
#undef HADAL_TEXT_6
#undef HADAL_TEXT_7
#undef HADAL_TEXT_8
#undef HADAL_TEXT_9
#undef HADAL_TEXT_10
#undef HADAL_TEXT_11
#undef HADAL_TEXT_12
#undef HADAL_TEXT_13
#undef HADAL_TEXT_14
#undef HADAL_TEXT_15
#undef HADAL_TEXT_16
#undef HADAL_TEXT_17
#undef HADAL_TEXT_18
#undef HADAL_TEXT_19
#undef HADAL_TEXT_20
#undef HADAL_TEXT_21
#undef HADAL_TEXT_22
#undef HADAL_TEXT_23
#undef HADAL_TEXT_24
#undef HADAL_TEXT_25
#undef HADAL_TEXT_26
#undef HADAL_TEXT_27
#undef HADAL_TEXT_28
#undef HADAL_TEXT_29
#undef HADAL_TEXT_30
#undef HADAL_TEXT_31
#undef HADAL_TEXT_32
#undef HADAL_REGISTERS_1
#undef HADAL_REGISTERS_2
#undef HADAL_REGISTERS_3
#undef HADAL_REGISTERS_4
#undef HADAL_REGISTERS_5
#undef HADAL_REGISTERS_6
#undef HADAL_REGISTERS_7
#undef HADAL_REGISTERS_8
#undef HADAL_REGISTERS_9
#undef HADAL_REGISTERS_10
#undef HADAL_REGISTERS_11
#undef HADAL_REGISTERS_12
#undef HADAL_REGISTERS_13
#undef HADAL_REGISTERS_14
#undef HADAL_REGISTERS_15
#undef HADAL_REGISTERS_16
#undef HADAL_REGISTERS_17
#undef HADAL_REGISTERS_18
#undef HADAL_REGISTERS_19
#undef HADAL_REGISTERS_20
#undef HADAL_REGISTERS_21
#undef HADAL_REGISTERS_22
#undef HADAL_REGISTERS_23
#undef HADAL_REGISTERS_24
#undef HADAL_REGISTERS_25
#undef HADAL_REGISTERS_26
#undef HADAL_REGISTERS_27
#undef HADAL_REGISTERS_28
#undef HADAL_REGISTERS_29
#undef HADAL_REGISTERS_30
#undef HADAL_REGISTERS_31
#undef HADAL_REGISTERS_32

#endif
