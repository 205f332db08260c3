// The part of NVIDIA's driver API and of NVRTC that hadal calls, declared by itself.
//
// Neither CUDA's headers nor its libraries are needed to build or to start hadal: the libraries are
// opened with dlopen and each function is looked up by its exact symbol, version suffix included,
// so that a program built once works with every driver from CUDA 12 on. Types are those of CUDA's C
// interface with our names: handles are pointers to types that nobody defines, enums are integers.
// cuda_api_test.cpp holds every constant and layout against cuda.h and nvrtc.h where they are
// installed, and every symbol against the toolkit's stub library.
//
// A library stays open until the last shared_ptr to its table is gone; then it is not unloaded,
// because drivers start threads that would not survive it. Tables are constant and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gpu/gpu.h"

namespace hadal::gpu::cuda {

// --- the driver -----------------------------------------------------------------------------

using Status = int;  // CUresult
inline constexpr Status kSuccess = 0;
inline constexpr Status kInvalidValue = 1;
inline constexpr Status kOutOfMemory = 2;
inline constexpr Status kNotInitialized = 3;
inline constexpr Status kNoDevice = 100;
inline constexpr Status kNoBinaryForGpu = 209;
inline constexpr Status kNotFound = 500;

using DeviceId = int;  // CUdevice
using Context = struct ContextHandle*;
using Library = struct LibraryHandle*;
using KernelHandle = struct KernelHandleType*;  // CUkernel; a launch takes it for a CUfunction
using Event = struct EventHandle*;

// CUdevice_attribute
inline constexpr int kAttributeClockKhz = 13;
inline constexpr int kAttributeSms = 16;
inline constexpr int kAttributeMemoryClockKhz = 36;
inline constexpr int kAttributeMemoryBusBits = 37;
inline constexpr int kAttributeL2Bytes = 38;
inline constexpr int kAttributeMajor = 75;
inline constexpr int kAttributeMinor = 76;
inline constexpr int kAttributeSharedBytesOptin = 97;

// CUfunction_attribute
inline constexpr int kFunctionDynamicSharedBytes = 8;

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDefault = 0;

// CUtensorMapDataType, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion
inline constexpr int kTensorU8 = 0, kTensorI32 = 3, kTensorF16 = 6, kTensorF32 = 7, kTensorBf16 = 9;
inline constexpr int kInterleaveNone = 0;
inline constexpr int kSwizzleNone = 0, kSwizzle32 = 1, kSwizzle64 = 2, kSwizzle128 = 3;
inline constexpr int kPromotionL2256 = 3;
inline constexpr int kFillZero = 0;

// CUlaunchAttributeID
inline constexpr int kLaunchCluster = 4;
inline constexpr int kLaunchProgrammaticSerialization = 6;

struct LaunchAttribute {  // CUlaunchAttribute
  int id;
  char pad[4];
  union {
    char bytes[64];
    Dim3 cluster;
    int allowed;
  };
};

struct LaunchConfig {  // CUlaunchConfig
  Dim3 grid;
  Dim3 block;
  uint32_t shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  uint32_t num_attributes;
};

/// Functions of libcuda, named after it without the prefix cu.
struct Driver {
  Status (*init)(unsigned flags);
  Status (*driver_version)(int* version);
  Status (*error_name)(Status, const char** name);
  Status (*error_string)(Status, const char** text);

  Status (*device_count)(int* count);
  Status (*device_get)(DeviceId*, int ordinal);
  Status (*device_name)(char* name, int length, DeviceId);
  Status (*device_uuid)(void* uuid, DeviceId);  // 16 bytes
  Status (*device_total_mem)(size_t* bytes, DeviceId);
  Status (*device_attribute)(int* value, int attribute, DeviceId);

  Status (*primary_context_retain)(Context*, DeviceId);
  Status (*primary_context_release)(DeviceId);
  Status (*context_push)(Context);
  Status (*context_pop)(Context*);

  Status (*library_load_data)(Library*, const void* code, void* jit_options, void** jit_values,
                              unsigned num_jit, void* options, void** values, unsigned num);
  Status (*library_get_kernel)(KernelHandle*, Library, const char* name);
  Status (*library_unload)(Library);
  Status (*kernel_set_attribute)(int attribute, int value, KernelHandle, DeviceId);
  Status (*launch_kernel_ex)(const LaunchConfig*, KernelHandle, void** parameters, void** extra);

  Status (*mem_alloc)(Address*, size_t bytes);
  Status (*mem_free)(Address);
  Status (*mem_get_info)(size_t* free, size_t* total);
  Status (*memcpy_htod_async)(Address to, const void* from, size_t bytes, Stream);
  Status (*memcpy_dtoh_async)(void* to, Address from, size_t bytes, Stream);
  Status (*memset_d8_async)(Address to, unsigned char value, size_t bytes, Stream);

  Status (*stream_create)(Stream*, unsigned flags);
  Status (*stream_destroy)(Stream);
  Status (*stream_synchronize)(Stream);

  Status (*event_create)(Event*, unsigned flags);
  Status (*event_destroy)(Event);
  Status (*event_record)(Event, Stream);
  Status (*event_synchronize)(Event);
  Status (*event_elapsed_time)(float* ms, Event start, Event end);

  Status (*tensor_map_encode_tiled)(TensorMap*, int type, uint32_t rank, void* address,
                                    const uint64_t* dims, const uint64_t* strides_bytes,
                                    const uint32_t* box, const uint32_t* element_strides,
                                    int interleave, int swizzle, int promotion, int fill);
};

/// "libcuda.so.1".
std::vector<std::string> driver_candidates();

/// The first of these libraries that opens, with all functions found. kUnavailable with what was
/// tried, or with the symbol that is missing. Does not call cuInit.
Result<std::shared_ptr<const Driver>> open_driver(std::span<const std::string> candidates);

/// "CUDA_ERROR_INVALID_VALUE (invalid argument)".
std::string describe(const Driver& driver, Status status);

// --- NVRTC ----------------------------------------------------------------------------------

using Program = struct ProgramHandle*;
inline constexpr int kNvrtcSuccess = 0;
inline constexpr int kNvrtcErrorCompilation = 6;

struct Nvrtc {
  int (*get_version)(int* major, int* minor);
  const char* (*error_string)(int status);
  int (*create_program)(Program*, const char* text, const char* name, int num_headers,
                        const char* const* headers, const char* const* include_names);
  int (*destroy_program)(Program*);
  int (*compile_program)(Program, int num_options, const char* const* options);
  int (*cubin_size)(Program, size_t*);
  int (*cubin)(Program, char*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);

  int version = 0;   // 13000 is 13.0, as drivers count
  std::string path;  // the name under which it was found
};

/// Libraries of CUDA's toolkit by these names: where the loader looks, then in $CUDA_HOME/lib64,
/// then in /usr/local/cuda/lib64.
std::vector<std::string> toolkit_candidates(std::span<const char* const> names);

/// libnvrtc.so.13, .12 and libnvrtc.so, as toolkit_candidates().
std::vector<std::string> nvrtc_candidates();

/// As open_driver().
Result<std::shared_ptr<const Nvrtc>> open_nvrtc(std::span<const std::string> candidates);

/// "13.0" for 13000, as NVRTC and drivers count.
std::string version_text(int version);

// --- for tests ------------------------------------------------------------------------------

/// The symbol behind each member of the table, in order.
std::vector<std::string> driver_symbols();
std::vector<std::string> nvrtc_symbols();

}  // namespace hadal::gpu::cuda
