#include "gpu/cuda_api.h"

#include <cstdlib>

#include <dlfcn.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

namespace hadal::gpu::cuda {
namespace {

/// One row per function: f(symbol, member of `table`).
template <typename Table, typename Fn>
void each_driver_function(Table& table, Fn&& f) {
  f("cuInit", table.init);
  f("cuDriverGetVersion", table.driver_version);
  f("cuGetErrorName", table.error_name);
  f("cuGetErrorString", table.error_string);
  f("cuDeviceGetCount", table.device_count);
  f("cuDeviceGet", table.device_get);
  f("cuDeviceGetName", table.device_name);
  f("cuDeviceGetUuid_v2", table.device_uuid);
  f("cuDeviceTotalMem_v2", table.device_total_mem);
  f("cuDeviceGetAttribute", table.device_attribute);
  f("cuDevicePrimaryCtxRetain", table.primary_context_retain);
  f("cuDevicePrimaryCtxRelease_v2", table.primary_context_release);
  f("cuCtxPushCurrent_v2", table.context_push);
  f("cuCtxPopCurrent_v2", table.context_pop);
  f("cuLibraryLoadData", table.library_load_data);
  f("cuLibraryGetKernel", table.library_get_kernel);
  f("cuLibraryUnload", table.library_unload);
  f("cuKernelSetAttribute", table.kernel_set_attribute);
  f("cuLaunchKernelEx", table.launch_kernel_ex);
  f("cuMemAlloc_v2", table.mem_alloc);
  f("cuMemFree_v2", table.mem_free);
  f("cuMemGetInfo_v2", table.mem_get_info);
  f("cuMemcpyHtoDAsync_v2", table.memcpy_htod_async);
  f("cuMemcpyDtoHAsync_v2", table.memcpy_dtoh_async);
  f("cuMemsetD8Async", table.memset_d8_async);
  f("cuStreamCreate", table.stream_create);
  f("cuStreamDestroy_v2", table.stream_destroy);
  f("cuStreamSynchronize", table.stream_synchronize);
  f("cuEventCreate", table.event_create);
  f("cuEventDestroy_v2", table.event_destroy);
  f("cuEventRecord", table.event_record);
  f("cuEventSynchronize", table.event_synchronize);
  f("cuEventElapsedTime", table.event_elapsed_time);
  f("cuTensorMapEncodeTiled", table.tensor_map_encode_tiled);
}

template <typename Table, typename Fn>
void each_nvrtc_function(Table& table, Fn&& f) {
  f("nvrtcVersion", table.get_version);
  f("nvrtcGetErrorString", table.error_string);
  f("nvrtcCreateProgram", table.create_program);
  f("nvrtcDestroyProgram", table.destroy_program);
  f("nvrtcCompileProgram", table.compile_program);
  f("nvrtcGetCUBINSize", table.cubin_size);
  f("nvrtcGetCUBIN", table.cubin);
  f("nvrtcGetProgramLogSize", table.log_size);
  f("nvrtcGetProgramLog", table.log);
}

struct Opened {
  void* handle;
  std::string path;
};

/// Why a candidate that exists did not open, where one exists; else what was tried.
Error nothing_opened(const char* what, std::span<const std::string> candidates,
                     const std::vector<std::string>& reasons) {
  for (const std::string& reason : reasons) {
    if (reason.find("No such file") == std::string::npos) {
      return {Code::kUnavailable, fmt::format("{} does not open: {}", what, reason)};
    }
  }
  return {Code::kUnavailable, fmt::format("no {}; tried {}", what,
                                          fmt::join(candidates.begin(), candidates.end(), ", "))};
}

Result<Opened> open_first(const char* what, std::span<const std::string> candidates) {
  std::vector<std::string> reasons;
  for (const std::string& path : candidates) {
    // Never closed: see the chapter in cuda_api.h.
    if (void* handle = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL)) return Opened{handle, path};
    const char* reason = ::dlerror();
    reasons.emplace_back(reason == nullptr ? path : reason);
  }
  return std::unexpected(nothing_opened(what, candidates, reasons));
}

/// For each_*_function(): looks symbols up, and remembers the first that is missing.
struct Finder {
  void* handle;
  const char* missing = nullptr;

  template <typename Function>
  void operator()(const char* symbol, Function*& member) {
    member = reinterpret_cast<Function*>(::dlsym(handle, symbol));
    if (member == nullptr && missing == nullptr) missing = symbol;
  }
};

struct Namer {
  std::vector<std::string>& names;
  template <typename Function>
  void operator()(const char* symbol, Function*& /*member*/) {
    names.emplace_back(symbol);
  }
};

}  // namespace

std::vector<std::string> driver_candidates() {
  return {"libcuda.so.1"};
}

Result<std::shared_ptr<const Driver>> open_driver(std::span<const std::string> candidates) {
  const Opened library = TRY(open_first("CUDA driver", candidates));
  auto driver = std::make_shared<Driver>();
  Finder finder{library.handle};
  each_driver_function(*driver, finder);
  if (finder.missing != nullptr) {
    return fail(
        Code::kUnavailable,
        fmt::format("the CUDA driver {} has no {}; hadal needs a driver for CUDA 12 or later",
                    library.path, finder.missing));
  }
  return driver;
}

std::string describe(const Driver& driver, Status status) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (driver.error_name(status, &name) != kSuccess || name == nullptr) {
    return fmt::format("CUDA error {}", status);
  }
  driver.error_string(status, &text);
  return text == nullptr ? name : fmt::format("{} ({})", name, text);
}

std::vector<std::string> toolkit_candidates(std::span<const char* const> names) {
  std::vector<std::string> folders = {""};
  if (const char* home = std::getenv("CUDA_HOME"); home != nullptr && *home != '\0') {
    folders.push_back(std::string(home) + "/lib64/");
  }
  folders.emplace_back("/usr/local/cuda/lib64/");
  std::vector<std::string> candidates;
  for (const std::string& folder : folders) {
    for (const char* name : names) candidates.push_back(folder + name);
  }
  return candidates;
}

std::vector<std::string> nvrtc_candidates() {
  constexpr const char* kNames[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  return toolkit_candidates(kNames);
}

Result<std::shared_ptr<const Nvrtc>> open_nvrtc(std::span<const std::string> candidates) {
  const Opened library = TRY(open_first("NVRTC", candidates));
  auto nvrtc = std::make_shared<Nvrtc>();
  Finder finder{library.handle};
  each_nvrtc_function(*nvrtc, finder);
  if (finder.missing != nullptr) {
    return fail(Code::kUnavailable, fmt::format("NVRTC {} has no {}; hadal needs NVRTC 12 or later",
                                                library.path, finder.missing));
  }
  int major = 0, minor = 0;
  if (const int status = nvrtc->get_version(&major, &minor); status != kNvrtcSuccess) {
    return fail(Code::kUnavailable, fmt::format("NVRTC {} does not tell its version: {}",
                                                library.path, nvrtc->error_string(status)));
  }
  nvrtc->version = 1000 * major + 10 * minor;
  nvrtc->path = library.path;
  return nvrtc;
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::vector<std::string> driver_symbols() {
  std::vector<std::string> names;
  Driver driver = {};
  each_driver_function(driver, Namer{names});
  return names;
}

std::vector<std::string> nvrtc_symbols() {
  std::vector<std::string> names;
  Nvrtc nvrtc = {};
  each_nvrtc_function(nvrtc, Namer{names});
  return names;
}

}  // namespace hadal::gpu::cuda
