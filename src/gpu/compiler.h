// CUDA C++ text to a cubin for sm_90a, by NVRTC.
//
// A kernel's text includes embedded headers only (embedded.h) and nothing of CUDA's, so a compile
// reads no file and takes 0.1 to 0.3 s; nvcc, which reads the toolkit's headers, takes 0.9 s for
// the same text, and seconds where templates of CUTLASS are involved. The cubin is final machine
// code: the driver compiles nothing when it loads it. The same text, headers, options and NVRTC
// give the same bytes.
//
// content_hash() names what is compiled by everything that decides the result but the version of
// NVRTC, which stands beside it in the cache (cubin_cache.h): so a machine without NVRTC finds what
// another has compiled.
//
// Threads: all functions may run at the same time; NVRTC compiles different programs in parallel.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "gpu/compile_report.h"
#include "gpu/cuda_api.h"
#include "gpu/embedded.h"
#include "gpu/gpu.h"

namespace hadal::gpu {

/// Of every kernel. The "a" gives wgmma and setmaxnreg; such code runs on compute capability 9.0
/// and on no other.
inline constexpr std::string_view kArchitecture = "sm_90a";

/// What NVRTC is told.
std::span<const char* const> compile_options();

/// The embedded headers that `text` includes, and those that they include, each once, sorted by
/// name. Conditions of the preprocessor are not looked at; a name that is not embedded is left out,
/// and NVRTC complains if it needs it.
std::vector<EmbeddedHeader> headers_of(std::string_view text,
                                       std::span<const EmbeddedHeader> headers);

/// XXH3-128 of the name, the text, headers_of(text), the options and a version of this rule.
Hash128 content_hash(const KernelSource& source,
                     std::span<const EmbeddedHeader> headers = embedded_headers());

struct Compiled {
  std::vector<std::byte> cubin;
  CompileReport report;
};

class Compiler {
 public:
  explicit Compiler(std::shared_ptr<const cuda::Nvrtc> nvrtc) : nvrtc_(std::move(nvrtc)) {}

  /// kUnavailable with what was tried.
  static Result<Compiler> open(std::span<const std::string> candidates = cuda::nvrtc_candidates());

  int version() const { return nvrtc_->version; }  // 13000 is 13.0
  const std::string& path() const { return nvrtc_->path; }

  /// kInvalidArgument with the first error of the text. If `log` is given it gets everything that
  /// the compiler said, also on failure.
  Result<Compiled> compile(const KernelSource& source, std::string* log = nullptr) const;

 private:
  std::shared_ptr<const cuda::Nvrtc> nvrtc_;
};

}  // namespace hadal::gpu
