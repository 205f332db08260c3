// Where the cubin of a kernel comes from: the cache, or the compiler and then the cache.
//
//   KernelStore store(options);
//   StoredKernel kernel = TRY(store.get(source));   // 0.1 to 0.3 s the first time, 0.1 ms later
//
// Of many processes and threads that ask for one kernel that nobody has, one compiles and the
// others wait for it (cubin_cache.h). Kernels that differ compile at the same time.
//
// NVRTC is opened by the constructor, if kernels may be compiled at all: loading it costs some 20
// ms, and a process that serves from a warm cache need not have it. Threads: any number.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "gpu/compiler.h"
#include "gpu/cubin_cache.h"
#include "gpu/gpu.h"

namespace hadal::gpu {

struct StoredKernel {
  std::vector<std::byte> cubin;
  CompileReport report;
  bool cached = false;  // found, and not compiled just now
};

class KernelStore {
 public:
  /// A missing NVRTC is no error before a kernel has to be compiled.
  explicit KernelStore(const DeviceOptions& options,
                       std::span<const std::string> nvrtc = cuda::nvrtc_candidates());

  /// Errors: those of Compiler::compile(); kUnavailable if it is not in the cache and there is no
  /// NVRTC; kNotFound if it is not in the cache and may not be compiled; kInvalidArgument if the
  /// text has no entry of the source's name.
  Result<StoredKernel> get(const KernelSource& source);

  CubinCache& cache() { return cache_; }
  /// The compiler, or why there is none.
  const Result<Compiler>& compiler() const { return compiler_; }

 private:
  const Result<Compiler> compiler_;
  CubinCache cache_;
};

struct Warmed {
  std::string name;
  size_t shared_bytes = 0;  // dynamic
  bool cached = false;      // was there before
  CompileReport report;
  std::optional<Error> error;
};

/// Gets every kernel, on all threads of the pool; results in the order of the kernels. `done`, if
/// given, is told of each when it is there, by one thread at a time.
std::vector<Warmed> warm(KernelStore& store, std::span<const KernelSource> kernels,
                         ThreadPool& pool, const std::function<void(const Warmed&)>& done = {});

}  // namespace hadal::gpu
