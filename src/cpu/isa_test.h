// For tests parameterized over instruction sets:
//
//   class Convert : public cpu::IsaTest {};
//   TEST_P(Convert, Something) { kernels().f32_to_bf16(...); }
//   INSTANTIATE_TEST_SUITE_P(Isa, Convert, testing::ValuesIn(cpu::kAllIsas), cpu::IsaName());
//
// Those that this machine lacks are skipped with the reason.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "cpu/cpu.h"

namespace hadal::cpu {

class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    const Result<> have = need(GetParam());
    if (!have) GTEST_SKIP() << have.error().message;
  }
  static const Kernels& kernels() { return **cpu::kernels(GetParam()); }
};

struct IsaName {
  std::string operator()(const testing::TestParamInfo<Isa>& info) const {
    return std::string(name(info.param));
  }
};

}  // namespace hadal::cpu
