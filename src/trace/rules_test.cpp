#include "trace/rules.h"

#include <string>

#include <gtest/gtest.h>

namespace hadal::trace {
namespace {

TEST(Rules, GlobsMatchSomewhereAndCaseDoesNotMatter) {
  EXPECT_TRUE(matches("nccl", "void ncclKernel_AllReduce()"));
  EXPECT_TRUE(matches("NCCL*allreduce", "void ncclDevKernel_AllReduce_Sum"));
  EXPECT_FALSE(matches("^nccl", "void ncclKernel()"));
  EXPECT_TRUE(matches("^void", "void ncclKernel()"));
  EXPECT_TRUE(matches("kernel()$", "void ncclKernel()"));
  EXPECT_FALSE(matches("nccl$", "void ncclKernel()"));
  EXPECT_TRUE(matches("^a?c*f$", "abcdef"));
  EXPECT_FALSE(matches("^a?c*f$", "abdcef"));
  EXPECT_TRUE(matches("a*b*c", "xxa1b2b3cxx"));
  EXPECT_TRUE(matches("", "anything"));
  EXPECT_FALSE(matches("x", ""));
}

TEST(Rules, LongNamesAndManyStarsTakeNoExponentialTime) {
  const std::string name(1'000'000, 'a');
  EXPECT_FALSE(matches("a*a*a*a*a*a*b", name));
  EXPECT_TRUE(matches("a*a*a*a$", name));
}

struct Case {
  const char* name;
  Class kind;
  Role role;
};

TEST(Rules, KnowCommunicationUnderAllItsNames) {
  constexpr auto kComm = Class::kCommunication;
  const Case cases[] = {
      {"void dpsk::ep::internode::dispatch<false, 8>(int4*)", kComm, Role::kTransfer},
      {"void deep_ep::intranode::combine<__nv_bfloat16>(int)", kComm, Role::kTransfer},
      {"void deep_ep::internode_ll::dispatch<true>(void*)", kComm, Role::kTransfer},
      {"void dpsk::ep::internode::notify_dispatch<false, 8>(int)", kComm, Role::kBarrier},
      {"void deep_ep::intranode::cached_notify_combine<8>(void**)", kComm, Role::kBarrier},
      {"void dpsk::ep::cuda::get_dispatch_layout<256>(long)", Class::kCompute, Role::kLayout},
      {"ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs)", kComm, Role::kTransfer},
      {"ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t", kComm, Role::kTransfer},
      {"nvshmemi_barrier_all_kernel", kComm, Role::kBarrier},
      {"void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>", kComm, Role::kTransfer},
      {"void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel", kComm, Role::kTransfer},
      {"void cutlass::device_kernel<GemmKernel>", Class::kCompute, Role::kNone},
      {"void at::native::reduce_kernel<512, 1>", Class::kCompute, Role::kNone},
  };
  const Rules rules;
  for (const Case& c : cases) {
    const Classified got = rules.classify(c.name);
    EXPECT_EQ(got.kind, c.kind) << c.name;
    EXPECT_EQ(got.role, c.role) << c.name;
  }
}

TEST(Rules, RulesOfAFileComeFirst) {
  const auto rules = Rules::parse(
      "transfer = [\"my_all_to_all\"]\nbarrier = [\"wait_for_all\"]\ncompute = "
      "[\"^nccl_like_gemm\"]\n",
      "rules.toml");
  ASSERT_TRUE(rules) << rules.error().message;
  EXPECT_EQ(rules->classify("void my_all_to_all()").role, Role::kTransfer);
  EXPECT_EQ(rules->classify("void my_all_to_all()").library, "custom");
  EXPECT_EQ(rules->classify("wait_for_all").role, Role::kBarrier);
  EXPECT_EQ(rules->classify("nccl_like_gemm").kind, Class::kCompute);
  EXPECT_EQ(rules->classify("ncclKernel").role, Role::kTransfer);
}

TEST(Rules, ARuleForEverythingIsRefused) {
  const auto rules = Rules::parse("transfer = [\"*\"]\n", "rules.toml");
  ASSERT_FALSE(rules);
  EXPECT_EQ(rules.error().code, Code::kInvalidArgument);
  EXPECT_NE(rules.error().message.find("rules.toml"), std::string::npos);
  EXPECT_FALSE(Rules::parse("transfr = [\"x\"]\n", "rules.toml"));
}

}  // namespace
}  // namespace hadal::trace
