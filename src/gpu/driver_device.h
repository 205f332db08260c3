// A GPU through the driver API: the Device that open_device() returns.
//
// Contexts. The device's primary context is retained, the one that CUDA's runtime API and PyTorch
// use, so that their streams and memory may be mixed with ours. Each call pushes it and pops it
// again, which costs some 100 ns and leaves the caller's thread as it was: several devices and
// threads need no rule about who made what current.
//
// Kernels are loaded as libraries (context-independent, CUDA 12), one map per device. Threads that
// load one kernel at the same time compile it once; different kernels compile in parallel.
//
// Memory is cuMemAlloc and cuMemFree, whose implicit wait is what Buffer promises. Copies wait for
// their stream, because the driver returns early where the host's memory is pinned.
//
// After fork() nothing of the driver works in the child: every call there returns kUnavailable, and
// destructors do nothing.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "gpu/cuda_api.h"
#include "gpu/gpu.h"

namespace hadal::gpu {

/// Where the shared libraries are looked for.
struct DriverLibraries {
  std::vector<std::string> driver = cuda::driver_candidates();
  std::vector<std::string> nvrtc = cuda::nvrtc_candidates();
};

/// As open_device(). Tests give libraries of their own.
Result<std::unique_ptr<Device>> open_driver_device(int ordinal, const DeviceOptions& options,
                                                   const DriverLibraries& libraries);

/// What the driver shows, for `hadal gpu info`. Makes no context. kUnavailable if there is no
/// driver, or if it does not start.
struct DriverState {
  int version = 0;  // 13000 is CUDA 13.0
  std::vector<DeviceInfo> devices;
};
Result<DriverState> driver_state(const DriverLibraries& libraries = {});

}  // namespace hadal::gpu
