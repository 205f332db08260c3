#include "gemm/cublaslt.h"

#include <utility>

#include <dlfcn.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "gpu/cuda_api.h"

namespace hadal::gemm {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;

/// Functions of libcublasLt, named after it without the prefix cublasLt. Handles and descriptors
/// are pointers to what nobody outside looks into.
struct Api {
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  const char* (*status_string)(int status);
  int (*desc_create)(void** desc, int compute_type, int scale_type);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  int (*layout_create)(void** layout, int type, uint64_t rows, uint64_t cols, int64_t stride);
  int (*layout_destroy)(void* layout);
  int (*preference_create)(void** preference);
  int (*preference_destroy)(void* preference);
  int (*preference_set)(void* preference, int attribute, const void* value, size_t bytes);
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference,
                   int wanted, cublaslt::Algorithm* results, int* found);
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout,
                const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                void* d, void* d_layout, const uint64_t* algorithm, void* workspace,
                size_t workspace_bytes, gpu::Stream stream);
};

Result<Api> open_api(std::span<const std::string> candidates) {
  void* library = nullptr;
  for (const std::string& path : candidates) {
    // Never closed: it may have started threads.
    library = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (library != nullptr) break;
  }
  if (library == nullptr) {
    return fail(Code::kUnavailable,
                fmt::format("no cuBLASLt; tried {}",
                            fmt::join(candidates.begin(), candidates.end(), ", ")));
  }
  const char* missing = nullptr;
  const auto find = [&]<typename Function>(const char* symbol, Function*& member) {
    member = reinterpret_cast<Function*>(::dlsym(library, symbol));
    if (member == nullptr && missing == nullptr) missing = symbol;
  };
  Api api = {};
  find("cublasLtCreate", api.create);
  find("cublasLtDestroy", api.destroy);
  find("cublasLtGetStatusString", api.status_string);
  find("cublasLtMatmulDescCreate", api.desc_create);
  find("cublasLtMatmulDescDestroy", api.desc_destroy);
  find("cublasLtMatmulDescSetAttribute", api.desc_set);
  find("cublasLtMatrixLayoutCreate", api.layout_create);
  find("cublasLtMatrixLayoutDestroy", api.layout_destroy);
  find("cublasLtMatmulPreferenceCreate", api.preference_create);
  find("cublasLtMatmulPreferenceDestroy", api.preference_destroy);
  find("cublasLtMatmulPreferenceSetAttribute", api.preference_set);
  find("cublasLtMatmulAlgoGetHeuristic", api.heuristic);
  find("cublasLtMatmul", api.matmul);
  if (missing != nullptr) {
    return fail(Code::kUnavailable, fmt::format("cuBLASLt has no {}", missing));
  }
  return api;
}

}  // namespace

struct CublasltProduct::Impl {
  explicit Impl(const Api& functions) : api(functions) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (preference != nullptr) api.preference_destroy(preference);
    for (void* layout : {a_layout, b_layout, d_layout}) {
      if (layout != nullptr) api.layout_destroy(layout);
    }
    if (desc != nullptr) api.desc_destroy(desc);
    if (handle != nullptr) api.destroy(handle);
  }

  Result<> check(int status, const char* what) const {
    if (status == cublaslt::kSuccess) return {};
    return fail(status == cublaslt::kNotSupported ? Code::kUnsupported : Code::kInternal,
                fmt::format("cuBLASLt: {}: {}", what, api.status_string(status)));
  }

  /// The library's matrices are column by column: D^T [n][m] = B [n][k] A^T [k][m], where B is
  /// its first operand, transposed.
  Result<> describe(int64_t m, int64_t n, int64_t k) {
    TRY(check(api.create(&handle), "create"));
    TRY(check(api.desc_create(&desc, cublaslt::kCompute32, cublaslt::kReal32), "describe"));
    TRY(set(cublaslt::kTransA, int32_t{cublaslt::kTransposed}));
    TRY(set(cublaslt::kAScaleMode, int32_t{cublaslt::kScalePer128x128}));
    TRY(set(cublaslt::kBScaleMode, int32_t{cublaslt::kScalePer128}));
    TRY(set(cublaslt::kAScalePointer, operands.b_scale));
    TRY(set(cublaslt::kBScalePointer, operands.a_scale));
    TRY(check(api.layout_create(&a_layout, cublaslt::kReal8E4m3, k, n, k), "layout of B"));
    TRY(check(api.layout_create(&b_layout, cublaslt::kReal8E4m3, k, m, k), "layout of A"));
    TRY(check(api.layout_create(&d_layout, cublaslt::kReal16Bf, n, m, n), "layout of D"));
    return {};
  }

  Result<> choose() {
    TRY(check(api.preference_create(&preference), "preference"));
    const uint64_t bytes = kWorkspaceBytes;
    TRY(check(
        api.preference_set(preference, cublaslt::kPreferenceWorkspaceBytes, &bytes, sizeof(bytes)),
        "preference"));
    int found = 0;
    TRY(check(api.heuristic(handle, desc, a_layout, b_layout, d_layout, d_layout, preference, 1,
                            &algorithm, &found),
              "choice of an algorithm"));
    if (found == 0) return fail(Code::kUnsupported, "cuBLASLt: no algorithm for this shape");
    return check(algorithm.state, "choice of an algorithm");
  }

  template <typename T>
  Result<> set(int attribute, const T& value) {
    return check(api.desc_set(desc, attribute, &value, sizeof(value)), "describe");
  }

  const Api api;
  void* handle = nullptr;
  void* desc = nullptr;
  void* a_layout = nullptr;
  void* b_layout = nullptr;
  void* d_layout = nullptr;
  void* preference = nullptr;
  cublaslt::Algorithm algorithm = {};
  Operands operands;
  gpu::Buffer workspace;
};

std::vector<std::string> cublaslt_candidates() {
  constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
  return gpu::cuda::toolkit_candidates(kNames);
}

CublasltProduct::CublasltProduct(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CublasltProduct::CublasltProduct(CublasltProduct&&) noexcept = default;
CublasltProduct::~CublasltProduct() = default;

Result<CublasltProduct> CublasltProduct::make(gpu::Device& device, int64_t m, int64_t n, int64_t k,
                                              const Operands& operands,
                                              std::span<const std::string> candidates) {
  const Api api = TRY(open_api(candidates));
  auto impl = std::make_unique<Impl>(api);
  impl->operands = operands;
  impl->workspace = TRY(device.allocate(kWorkspaceBytes));
  TRY(impl->describe(m, n, k));
  TRY(impl->choose());
  return CublasltProduct(std::move(impl));
}

Result<> CublasltProduct::run(gpu::Stream stream) {
  const auto at = [](gpu::Address address) { return reinterpret_cast<void*>(address); };
  const float one = 1, zero = 0;
  Impl& p = *impl_;
  return p.check(
      p.api.matmul(p.handle, p.desc, &one, at(p.operands.b), p.a_layout, at(p.operands.a),
                   p.b_layout, &zero, at(p.operands.d), p.d_layout, at(p.operands.d), p.d_layout,
                   p.algorithm.algorithm, at(p.workspace.address()), kWorkspaceBytes, stream),
      "product");
}

}  // namespace hadal::gemm
