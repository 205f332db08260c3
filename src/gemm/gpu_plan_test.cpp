// The Hopper backend on the emulator, against the oracle.
#include <map>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "gemm/cases.h"
#include "gemm/gpu_catalog.h"
#include "gemm/plan.h"
#include "gemm/spec.h"
#include "gpu/emulator/emulator.h"

namespace hadal::gemm {
namespace {

// The emulator's FP8 products are summed in float32.
constexpr double kAccumulateError = 0x1p-20;

/// A case's inputs on a device, and the way back of its output.
class OnDevice {
 public:
  OnDevice(gpu::Device& device, const Case& from, CaseData& data)
      : device_(device), from_(from), data_(data) {}

  Result<> run(std::string_view kernel) {
    const Plan plan(TRY(plan_gpu(data_.spec, &device_, kernel)));
    GemmArgs args = data_.args(from_);
    args.a = TRY(in(data_.a));
    args.a_scale = TRY(in(data_.a_scale));
    args.b = TRY(in(data_.b));
    args.b_scale = TRY(in(data_.b_scale));
    args.d = TRY(in(data_.d));
    args.d_scale = TRY(in(data_.d_scale));
    args.c = from_.in_place ? args.d : TRY(in(data_.c));
    args.bias = static_cast<float*>(TRY(in(data_.bias)));
    args.groups = static_cast<int32_t*>(TRY(in(data_.groups)));
    args.rows = static_cast<int32_t*>(TRY(in(data_.rows)));
    TRY(plan.run(args));
    TRY(device_.synchronize(nullptr));
    TRY(out(data_.d, args.d));
    return out(data_.d_scale, args.d_scale);
  }

 private:
  template <typename T>
  Result<void*> in(const std::vector<T>& values) {
    if (values.empty()) return nullptr;
    gpu::Buffer buffer = TRY(device_.allocate(values.size() * sizeof(T)));
    TRY(device_.copy_in(buffer.address(), std::as_bytes(std::span(values)), nullptr));
    buffers_.push_back(std::move(buffer));
    return reinterpret_cast<void*>(buffers_.back().address());
  }
  Result<> out(std::vector<std::byte>& values, const void* from) {
    if (values.empty()) return {};
    return device_.copy_out(values, reinterpret_cast<gpu::Address>(from), nullptr);
  }

  gpu::Device& device_;
  const Case& from_;
  CaseData& data_;
  std::vector<gpu::Buffer> buffers_;
};

/// What is wrong with a case on a kernel (empty: the one that the plan chooses); empty if nothing.
/// kUnsupported is returned as "unsupported: ...".
std::string problem_of(const Case& c, std::string_view kernel, uint64_t seed) {
  Result<CaseData> data = make_data(c, 1);
  if (!data) return data.error().message;
  const auto device = gpu::emulate({.seed = seed});
  const Result<> run = OnDevice(*device, c, *data).run(kernel);
  if (!run) {
    const bool limit = run.error().message.find("on a GPU") != std::string::npos;
    return (limit ? "limit: " : "") + run.error().message;
  }
  const Verdict verdict = judge(c, *data, kAccumulateError);
  return verdict.ok ? "" : verdict.problem;
}

TEST(GpuPlan, EveryCaseIsRight) {
  int ran = 0;
  std::map<std::string, int> limits;
  for (const Case& c : all_cases()) {
    const std::string problem = problem_of(c, "", 3);
    if (problem.starts_with("limit: ")) {
      ++limits[problem];
      continue;
    }
    EXPECT_EQ(problem, "") << c.name;
    ++ran;
  }
  fmt::print("{} cases\n", ran);
  for (const auto& [what, count] : limits) fmt::print("{} cases not for a GPU: {}\n", count, what);
  EXPECT_GT(ran, 200);
}

TEST(GpuPlan, EveryKernelIsRightWithAnySeed) {
  for (const GpuKernel& kernel : gpu_kernels()) {
    Case c = {.name = kernel.source.name,
              .spec = {.m = 260, .n = 400, .k = 400, .grouping = Grouping::kRowEnds,
                       .num_groups = 4}};
    if (kernel.swap) c.spec.m = 100;
    c.groups = {3, 3, static_cast<int32_t>(c.spec.m) - 9, static_cast<int32_t>(c.spec.m) - 1};
    c.spec.a.type = kernel.a_type;
    c.spec.b.type = kernel.b_type;
    if (kernel.fresh) c.spec.d.type = DType::kE4m3;
    if (!kernel.one_scale) c.spec.b.scale.block = kPer1x128;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      EXPECT_EQ(problem_of(c, kernel.source.name, seed), "") << kernel.source.name;
    }
  }
}

}  // namespace
}  // namespace hadal::gemm
