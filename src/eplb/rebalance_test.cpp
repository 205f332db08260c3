// rebalance() as its callers meet it: errors that name the field, the policy chosen by default, and
// memory that is kept between calls. Counting allocations needs operator new, so this is a program
// of few tests that replaces it.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include <gtest/gtest.h>

#include "eplb/bench_loads.h"
#include "eplb/eplb.h"

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !HAS_FEATURE(address_sanitizer) && !HAS_FEATURE(thread_sanitizer)
#define COUNT_ALLOCATIONS
#endif

namespace hadal::eplb {
namespace {

struct Fixture {
  std::vector<double> load = std::vector<double>(2 * 8, 1.0);
  Problem problem;
  Options options;

  Fixture() {
    problem.num_layers = 2;
    problem.num_experts = 8;
    problem.num_replicas = 16;
    problem.num_groups = 4;
    problem.num_nodes = 2;
    problem.num_gpus = 4;
    problem.load = load;
  }
  std::string error(const Plan* previous = nullptr) {
    const Result<Plan> plan = rebalance(problem, options, previous);
    EXPECT_FALSE(plan.has_value());
    if (plan) return "";
    EXPECT_EQ(plan.error().code, Code::kInvalidArgument);
    EXPECT_EQ(plan.error().message.find('\n'), std::string::npos);
    return plan.error().message;
  }
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(BadInput, Loads) {
  Fixture f;
  f.load[9] = std::nan("");
  EXPECT_SAYS(f.error(), "load of layer 1, expert 1 is nan");
  f.load[9] = -1;
  EXPECT_SAYS(f.error(), "load of layer 1, expert 1 is -1");
  f.load[9] = std::numeric_limits<double>::infinity();
  EXPECT_SAYS(f.error(), "is inf");
  f.problem.load = std::span(f.load).first(15);
  EXPECT_SAYS(f.error(), "load has 15 values; num_layers 2 x num_experts 8 needs 16");
}

TEST(BadInput, Sizes) {
  const auto with = [](auto change) {
    Fixture f;
    change(f.problem);
    return f.error();
  };
  EXPECT_SAYS(with([](Problem& p) { p.num_layers = 0; }), "num_layers is 0");
  EXPECT_SAYS(with([](Problem& p) { p.num_experts = 0; }), "num_experts is 0");
  EXPECT_SAYS(with([](Problem& p) { p.num_replicas = 7; }), "num_replicas is 7");
  EXPECT_SAYS(with([](Problem& p) { p.num_replicas = 33; }), "num_replicas is 33");
  EXPECT_SAYS(with([](Problem& p) { p.num_gpus = 3; }), "num_gpus is 3");
  EXPECT_SAYS(with([](Problem& p) { p.num_nodes = 0; }), "num_nodes is 0");
  EXPECT_SAYS(with([](Problem& p) { p.num_groups = 6; }), "num_groups is 6");
  EXPECT_SAYS(with([](Problem& p) { p.num_replicas = -16; }), "num_replicas is -16");
  EXPECT_SAYS(with([](Problem& p) { p.num_layers = 1 << 30; }), "num_layers is");
}

TEST(BadInput, Options) {
  Fixture f;
  f.options.scope = Scope::kHierarchical;
  f.problem.num_groups = 1;
  EXPECT_SAYS(f.error(), "num_groups is 1; hierarchical scope needs a multiple of num_nodes 2");
  Fixture g;
  g.options.policy = Policy::kIncremental;
  EXPECT_SAYS(g.error(), "needs a previous plan");
  Fixture h;
  h.options.policy = Policy::kReference;
  h.problem.num_replicas = 15;
  EXPECT_SAYS(h.error(), "num_replicas is 15; the reference policy needs a multiple of num_gpus 4");
  h.problem.num_replicas = 16;
  h.problem.max_replicas_per_expert = 3;
  EXPECT_SAYS(h.error(), "use the optimal policy");
  Fixture i;
  i.options.threads = 0;
  EXPECT_SAYS(i.error(), "threads is 0");
  i.options.threads = 1;
  i.options.budget_ms = -1;
  EXPECT_SAYS(i.error(), "budget_ms is -1");
}

TEST(BadInput, Constraints) {
  Fixture f;
  const std::vector<int> capacity{4, 4, 4, 3};
  f.problem.gpu_capacity = capacity;
  EXPECT_SAYS(f.error(), "gpu_capacity sums to 15");
  Fixture g;
  const std::vector<double> speed{1, 1, 0, 1};
  g.problem.gpu_speed = speed;
  EXPECT_SAYS(g.error(), "gpu_speed[2] is 0");
  Fixture h;
  const std::vector<int> failed{1, 2, 3};
  h.problem.failed_gpus = failed;
  EXPECT_SAYS(h.error(), "the live GPUs have 4 slots; num_experts is 8");
  const std::vector<int> wrong{4};
  h.problem.failed_gpus = wrong;
  EXPECT_SAYS(h.error(), "failed_gpus names GPU 4");
  Fixture i;
  i.problem.min_nodes_per_expert = 2;
  i.options.scope = Scope::kHierarchical;
  EXPECT_SAYS(i.error(), "use the global scope");
  i.options.scope = Scope::kGlobal;
  i.problem.min_nodes_per_expert = 3;
  EXPECT_SAYS(i.error(), "min_nodes_per_expert is 3");
  Fixture j;
  j.problem.max_replicas_per_expert = 1;
  EXPECT_SAYS(j.error(), "max_replicas_per_expert is 1");
  Fixture k;
  k.options.scope = Scope::kGlobal;
  const std::vector<Pin> pins{{2, 0, 0}};
  k.problem.pins = pins;
  EXPECT_SAYS(k.error(), "a pin names layer 2");
  std::vector<Pin> many;
  for (int e = 0; e < 5; ++e) many.push_back({0, e, 0});
  k.problem.pins = many;
  EXPECT_SAYS(k.error(), "layer 0: pins ask for more");
}

TEST(BadInput, PreviousPlanOfAnotherShape) {
  Fixture f;
  const Plan other = *rebalance(f.problem, f.options);
  f.problem.num_replicas = 20;
  EXPECT_SAYS(f.error(&other), "the previous plan has slots 16; the problem has 20");
}

TEST(Rebalance, DefaultPolicyIsTheBestForTheInput) {
  Fixture f;
  const Plan plan = *rebalance(f.problem);
  EXPECT_EQ(plan.policy, Policy::kOptimal);
  EXPECT_EQ(plan.scope, Scope::kHierarchical);
  EXPECT_EQ(rebalance(f.problem, {}, &plan)->policy, Policy::kIncremental);
  f.problem.num_groups = 1;
  EXPECT_EQ(rebalance(f.problem)->scope, Scope::kGlobal);
}

TEST(Rebalance, AutoScopeGivesWayToConstraints) {
  Fixture f;
  const std::vector<Pin> pins{{-1, 0, 3}};
  f.problem.pins = pins;
  EXPECT_EQ(rebalance(f.problem)->scope, Scope::kGlobal);
  f.problem.pins = {};
  f.problem.min_nodes_per_expert = 2;
  EXPECT_EQ(rebalance(f.problem)->scope, Scope::kGlobal);
  f.problem.min_nodes_per_expert = 1;
  f.problem.num_replicas = 12;  // six slots a node; three when a GPU fails, for four experts
  EXPECT_EQ(rebalance(f.problem)->scope, Scope::kHierarchical);
  const std::vector<int> failed{0};
  f.problem.failed_gpus = failed;
  EXPECT_EQ(rebalance(f.problem)->scope, Scope::kGlobal);
  f.options.scope = Scope::kHierarchical;
  EXPECT_SAYS(f.error(), "do not fit the slots of 2 live nodes whole");
}

TEST(Rebalance, TheReferenceIsBoundedToo) {
  Fixture f;
  for (size_t i = 0; i < f.load.size(); ++i) f.load[i] = static_cast<double>(1 + i * i % 7);
  f.options.policy = Policy::kReference;
  const Plan published = *rebalance(f.problem, f.options);
  f.options.policy = Policy::kOptimal;
  const Plan optimal = *rebalance(f.problem, f.options);
  for (int layer = 0; layer < 2; ++layer) {
    EXPECT_GT(published.quality[layer].lower_bound, 0);
    EXPECT_LE(published.quality[layer].lower_bound, optimal.quality[layer].max * (1 + 1e-12));
  }
}

TEST(Rebalance, AllZeroLoadIsBalanced) {
  Fixture f;
  std::fill(f.load.begin(), f.load.end(), 0);
  for (const Policy policy : {Policy::kReference, Policy::kOptimal}) {
    f.options.policy = policy;
    const Plan plan = *rebalance(f.problem, f.options);
    EXPECT_TRUE(validate(plan).has_value());
    EXPECT_EQ(plan.quality[0].imbalance, 1);
    EXPECT_EQ(plan.quality[0].gap, 0);
  }
}

TEST(Rebalance, LargeShapesWork) {
  const auto load = torch_lognormal(3, 1, 4096);
  Problem p;
  p.num_layers = 1;
  p.num_experts = 4096;
  p.num_replicas = 8192;
  p.num_groups = 64;
  p.num_nodes = 16;
  p.num_gpus = 1024;
  p.load = load;
  Options options;
  options.steps_max = 200;
  const Plan plan = *rebalance(p, options);
  EXPECT_TRUE(validate(plan).has_value());
  EXPECT_LT(plan.quality[0].imbalance, 1.2);
}

std::atomic<int64_t> allocations = 0;

TEST(Rebalance, ReferenceAllocatesNothingAfterTheFirstCall) {
#ifndef COUNT_ALLOCATIONS
  GTEST_SKIP() << "a sanitizer brings its own operator new, which must not be replaced";
#endif
  const auto load = torch_lognormal(123, 58, 256);
  Problem p;
  p.num_layers = 58;
  p.num_experts = 256;
  p.num_replicas = 288;
  p.num_groups = 8;
  p.num_nodes = 4;
  p.num_gpus = 32;
  p.load = load;
  for (const Ties ties : {Ties::kStable, Ties::kTorch}) {
    Options options;
    options.policy = Policy::kReference;
    options.ties = ties;
    options.bounds = false;
    Plan plan;
    Workspace workspace;
    ASSERT_TRUE(rebalance_into(plan, workspace, p, options).has_value());
    const int64_t before = allocations;
    ASSERT_TRUE(rebalance_into(plan, workspace, p, options).has_value());
    EXPECT_EQ(allocations - before, 0);
  }
}

}  // namespace
}  // namespace hadal::eplb

#ifdef COUNT_ALLOCATIONS
// Not inlined, or the compiler pairs malloc with delete and warns.
[[gnu::noinline]] void* operator new(std::size_t size) {
  hadal::eplb::allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
#endif
