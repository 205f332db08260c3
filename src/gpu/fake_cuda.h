// A libcuda and a libnvrtc for tests: a shared library with the entry points that hadal uses.
//
// Device memory is the process's own, so copies really copy; work of a stream is done when it is
// enqueued; a launch is written down and nothing runs. The compiler knows a few words: it makes a
// cubin of any text, with one entry for each `extern "C" __global__ void NAME(`, and fails on
// `#error`. Tests reach what was recorded, and what shall fail, through fake_cuda() of the same
// library, found by dlsym. Tests in Python, which cannot read the struct, call
// fake_cuda_launches(): a line "device stream kernel" for each launch. Thread-safe, but for the
// settings, which are made before threads start, and that text, which the next call overwrites.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "gpu/cuda_api.h"

namespace hadal::gpu {

struct FakeLaunch {
  std::string kernel;
  Dim3 grid, block;
  uint32_t shared_bytes;
  Stream stream;
  std::vector<int> attributes;  // ids
  Dim3 cluster;
  std::string parameters;  // the first fake_cuda().parameter_bytes of them
  int device;              // whose context was current
};

struct FakeCudaState {
  // What the machine has.
  int num_devices = 2;
  int major = 9, minor = 0;
  size_t memory_bytes = size_t{1} << 30;  // of each device
  size_t parameter_bytes = 0;             // to copy from a launch
  int compile_ms = 0;                     // how long a compile takes
  std::string compile_count_file;         // gets a byte for each compile, of all processes

  /// What functions return from now on, by symbol.
  std::map<std::string, cuda::Status> fail;

  // What happened.
  std::map<std::string, int> calls;
  std::vector<FakeLaunch> launches;
  std::vector<std::array<int, 3>> kernel_attributes;  // attribute, value, device
  std::map<uint64_t, size_t> memory;                  // address to size
  int contexts_retained = 0, libraries_loaded = 0, streams = 0, events = 0;
  int contexts_pushed = 0;      // less those popped, over all threads
  std::string unbalanced;       // the first call made without a context that needs one
  std::vector<int> tensor_map;  // type, rank, swizzle of the last
};

struct FakeCuda : FakeCudaState {
  std::mutex mutex;
};

/// The function fake_cuda().
using FakeCudaFunction = FakeCuda*();

}  // namespace hadal::gpu
