#include "gpu/kernel_store.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace hadal::gpu {
namespace {

Result<Compiler> open_compiler(bool may_compile, std::span<const std::string> nvrtc) {
  if (may_compile) return Compiler::open(nvrtc);
  return fail(Code::kNotFound,
              "compiling is not allowed here; `hadal gpu warm` does it beforehand");
}

StoredKernel from_file(CubinFile file) {
  StoredKernel kernel;
  kernel.cubin = std::move(file.cubin);
  kernel.report = parse_compile_log(file.log);
  kernel.cached = true;
  return kernel;
}

/// A launch looks the entry up by the source's name.
Result<> check_entry(const KernelSource& source, const CompileReport& report) {
  std::vector<std::string> names;
  for (const EntryUsage& entry : report.entries) names.push_back(entry.name);
  if (std::find(names.begin(), names.end(), source.name) != names.end()) return {};
  return fail(
      Code::kInvalidArgument,
      fmt::format("kernel {}: its text has no extern \"C\" __global__ function of that "
                  "name; it has {}",
                  source.name, names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
}

}  // namespace

KernelStore::KernelStore(const DeviceOptions& options, std::span<const std::string> nvrtc)
    : compiler_(open_compiler(options.may_compile, nvrtc)),
      cache_(options.cache_path.empty() ? default_cache_path() : options.cache_path,
             options.cache_bytes, options.log == nullptr ? Log() : options.log->named("gpu")) {}

Result<StoredKernel> KernelStore::get(const KernelSource& source) {
  // Without a compiler any version's code will do; else only what this one would make.
  const CubinKey key{content_hash(source), compiler_ ? compiler_->version() : 0};
  if (std::optional<CubinFile> file = cache_.find(key, kArchitecture)) {
    return from_file(*std::move(file));
  }
  if (!compiler_) {
    Error why = compiler_.error();
    return std::unexpected(std::move(why).in(
        fmt::format("kernel {} is not in the cache {}", source.name, cache_.path())));
  }
  const CubinCache::Lock lock = cache_.lock(key);
  if (std::optional<CubinFile> file = cache_.find(key, kArchitecture)) {
    return from_file(*std::move(file));  // somebody else has just compiled it
  }
  Compiled compiled = TRY(compiler_->compile(source));
  TRY(check_entry(source, compiled.report));
  cache_.store({.key = key,
                .architecture = std::string(kArchitecture),
                .name = source.name,
                .log = compiled.report.log,
                .cubin = compiled.cubin});
  StoredKernel kernel;
  kernel.cubin = std::move(compiled.cubin);
  kernel.report = std::move(compiled.report);
  return kernel;
}

std::vector<Warmed> warm(KernelStore& store, std::span<const KernelSource> kernels,
                         ThreadPool& pool, const std::function<void(const Warmed&)>& done) {
  std::vector<Warmed> results(kernels.size());
  std::mutex mutex;
  pool.parallel_for_dynamic(static_cast<int64_t>(kernels.size()), 1,
                            [&](int64_t begin, int64_t end, int) {
                              for (int64_t i = begin; i < end; ++i) {
                                Warmed& result = results[i];
                                result.name = kernels[i].name;
                                result.shared_bytes = kernels[i].shared_bytes;
                                Result<StoredKernel> kernel = store.get(kernels[i]);
                                if (kernel) {
                                  result.cached = kernel->cached;
                                  result.report = std::move(kernel->report);
                                } else {
                                  result.error = std::move(kernel.error());
                                }
                                if (!done) continue;
                                const std::lock_guard guard(mutex);
                                done(result);
                              }
                            });
  return results;
}

}  // namespace hadal::gpu
