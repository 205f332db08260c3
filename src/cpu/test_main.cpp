// main() of test programs that test code per instruction set: GoogleTest's, with `--isa=NAME`.
#include <cstdio>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "cpu/isa_flag.h"

int main(int argc, char** argv) {
  const auto isa = hadal::cpu::take_isa_flag(&argc, argv);
  if (!isa) {
    fmt::print(stderr, "{}: --isa: {}\n", argv[0], isa.error().message);
    return hadal::exit_code(isa.error());
  }
  testing::InitGoogleTest(&argc, argv);
  if (*isa) GTEST_FLAG_SET(filter, hadal::cpu::test_filter(GTEST_FLAG_GET(filter), **isa));
  return RUN_ALL_TESTS();
}
