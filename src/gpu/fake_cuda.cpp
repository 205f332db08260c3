#include "gpu/fake_cuda.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include "base/bytes.h"

namespace hadal::gpu {

struct StreamHandle {
  int order;
};

namespace cuda {

// What the handles of the interface point to.
struct ContextHandle {
  int device;
};
struct KernelHandleType {
  std::string name;
};
struct LibraryHandle {
  std::vector<std::unique_ptr<KernelHandleType>> kernels;
};
struct EventHandle {
  double ms;
};
struct ProgramHandle {
  std::string text, name, log, cubin;
};

}  // namespace cuda

namespace {

using cuda::Status;
using Guard = std::lock_guard<std::mutex>;

FakeCuda& state() {
  static FakeCuda fake;
  return fake;
}

std::array<cuda::ContextHandle, 8>& contexts() {
  static std::array<cuda::ContextHandle, 8> all = {{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}}};
  return all;
}

std::vector<cuda::Context>& current() {
  thread_local std::vector<cuda::Context> stack;
  return stack;
}

/// Counts a call; what it shall return.
Status begin(const char* symbol, bool needs_context = false) {
  FakeCuda& fake = state();
  const Guard guard(fake.mutex);
  ++fake.calls[symbol];
  if (needs_context && current().empty() && fake.unbalanced.empty()) fake.unbalanced = symbol;
  const auto found = fake.fail.find(symbol);
  return found == fake.fail.end() ? cuda::kSuccess : found->second;
}

/// For the bodies of the entry points: counts, and returns if the call shall fail.
struct Call {
  explicit Call(const char* symbol, bool needs_context = false)
      : status(begin(symbol, needs_context)), guard(state().mutex) {}
  Status status;
  Guard guard;
};

void count_compile(const FakeCuda& fake) {
  if (fake.compile_count_file.empty()) return;
  const int fd = ::open(fake.compile_count_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd >= 0) {
    if (::write(fd, "c", 1) != 1) std::abort();
    ::close(fd);
  }
}

/// An ELF64 header of NVIDIA's machine, then the text.
std::string fake_cubin(const std::string& text) {
  std::string cubin(64, '\0');
  std::memcpy(cubin.data(),
              "\x7f"
              "ELF\x02\x01",
              6);
  store_le<uint16_t>(cubin.data() + 18, 190);
  return cubin + text;
}

/// What ptxas would say: each entry has as many registers as its name has letters.
std::string fake_log(const std::string& text) {
  constexpr std::string_view kEntry = "extern \"C\" __global__ void ";
  constexpr std::string_view kBounds = "__launch_bounds__(";
  std::string log;
  for (size_t at = text.find(kEntry); at != text.npos; at = text.find(kEntry, at + 1)) {
    size_t begin = at + kEntry.size();
    if (text.compare(begin, kBounds.size(), kBounds) == 0) {
      begin = text.find_first_not_of(" \n", text.find(')', begin) + 1);
    }
    const std::string name = text.substr(begin, text.find('(', begin) - begin);
    log += fmt::format(
        "ptxas info    : Compiling entry function '{}' for 'sm_90a'\n"
        "ptxas info    : Function properties for {}\n"
        "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used {} registers, used 0 barriers\n",
        name, name, name.size());
  }
  return log;
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): CUDA's names
extern "C" {

FakeCuda* fake_cuda() {
  return &state();
}

const char* fake_cuda_launches() {
  static std::string text;
  const Guard guard(state().mutex);
  text.clear();
  for (const FakeLaunch& launch : state().launches) {
    text += fmt::format("{} {} {}\n", launch.device, reinterpret_cast<uintptr_t>(launch.stream),
                        launch.kernel);
  }
  return text.c_str();
}

Status cuInit(unsigned) {
  return Call("cuInit").status;
}

Status cuDriverGetVersion(int* version) {
  const Call call("cuDriverGetVersion");
  *version = 13000;
  return call.status;
}

Status cuGetErrorName(Status status, const char** name) {
  switch (status) {
    case cuda::kInvalidValue: *name = "CUDA_ERROR_INVALID_VALUE"; return 0;
    case cuda::kOutOfMemory: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0;
    case cuda::kNotInitialized: *name = "CUDA_ERROR_NOT_INITIALIZED"; return 0;
    case cuda::kNotFound: *name = "CUDA_ERROR_NOT_FOUND"; return 0;
    case 719: *name = "CUDA_ERROR_LAUNCH_FAILED"; return 0;
    default: return cuda::kInvalidValue;
  }
}

Status cuGetErrorString(Status status, const char** text) {
  if (status == 719) *text = "unspecified launch failure";
  return 0;
}

Status cuDeviceGetCount(int* count) {
  const Call call("cuDeviceGetCount");
  *count = state().num_devices;
  return call.status;
}

Status cuDeviceGet(cuda::DeviceId* device, int ordinal) {
  const Call call("cuDeviceGet");
  *device = 10 + ordinal;
  return call.status;
}

Status cuDeviceGetName(char* name, int length, cuda::DeviceId device) {
  const Call call("cuDeviceGetName");
  const std::string text = fmt::format("Fake H200 #{}", device - 10);
  std::memcpy(name, text.c_str(), std::min<size_t>(text.size() + 1, length));
  return call.status;
}

Status cuDeviceGetUuid_v2(void* uuid, cuda::DeviceId device) {
  const Call call("cuDeviceGetUuid_v2");
  std::memset(uuid, device, 16);
  return call.status;
}

Status cuDeviceTotalMem_v2(size_t* bytes, cuda::DeviceId) {
  const Call call("cuDeviceTotalMem_v2");
  *bytes = state().memory_bytes;
  return call.status;
}

Status cuDeviceGetAttribute(int* value, int attribute, cuda::DeviceId) {
  const Call call("cuDeviceGetAttribute");
  switch (attribute) {
    case cuda::kAttributeMajor: *value = state().major; break;
    case cuda::kAttributeMinor: *value = state().minor; break;
    case cuda::kAttributeSms: *value = 132; break;
    case cuda::kAttributeClockKhz: *value = 1980000; break;
    case cuda::kAttributeMemoryClockKhz: *value = 3201000; break;
    case cuda::kAttributeMemoryBusBits: *value = 6144; break;
    case cuda::kAttributeL2Bytes: *value = 60 << 20; break;
    case cuda::kAttributeSharedBytesOptin: *value = 232448; break;
    default: return cuda::kInvalidValue;
  }
  return call.status;
}

Status cuDevicePrimaryCtxRetain(cuda::Context* context, cuda::DeviceId device) {
  const Call call("cuDevicePrimaryCtxRetain");
  if (call.status != 0) return call.status;
  *context = &contexts()[device - 10];
  ++state().contexts_retained;
  return 0;
}

Status cuDevicePrimaryCtxRelease_v2(cuda::DeviceId) {
  const Call call("cuDevicePrimaryCtxRelease_v2");
  --state().contexts_retained;
  return call.status;
}

Status cuCtxPushCurrent_v2(cuda::Context context) {
  const Call call("cuCtxPushCurrent_v2");
  if (call.status != 0) return call.status;
  current().push_back(context);
  ++state().contexts_pushed;
  return 0;
}

Status cuCtxPopCurrent_v2(cuda::Context* context) {
  const Call call("cuCtxPopCurrent_v2");
  if (current().empty()) return cuda::kInvalidValue;
  *context = current().back();
  current().pop_back();
  --state().contexts_pushed;
  return call.status;
}

Status cuLibraryLoadData(cuda::Library* library, const void* code, void*, void**, unsigned, void*,
                         void**, unsigned) {
  const Call call("cuLibraryLoadData");
  if (call.status != 0) return call.status;
  if (static_cast<const char*>(code)[0] != '\x7f') return cuda::kInvalidValue;
  *library = new cuda::LibraryHandle;
  ++state().libraries_loaded;
  return 0;
}

Status cuLibraryGetKernel(cuda::KernelHandle* kernel, cuda::Library library, const char* name) {
  const Call call("cuLibraryGetKernel");
  if (call.status != 0) return call.status;
  library->kernels.push_back(std::make_unique<cuda::KernelHandleType>(name));
  *kernel = library->kernels.back().get();
  return 0;
}

Status cuLibraryUnload(cuda::Library library) {
  const Call call("cuLibraryUnload");
  delete library;
  --state().libraries_loaded;
  return call.status;
}

Status cuKernelSetAttribute(int attribute, int value, cuda::KernelHandle, cuda::DeviceId device) {
  const Call call("cuKernelSetAttribute");
  state().kernel_attributes.push_back({attribute, value, device - 10});
  return call.status;
}

Status cuLaunchKernelEx(const cuda::LaunchConfig* config, cuda::KernelHandle kernel,
                        void** parameters, void**) {
  const Call call("cuLaunchKernelEx", true);
  if (call.status != 0) return call.status;
  FakeLaunch launch{
      kernel->name, config->grid, config->block,           config->shared_bytes, config->stream, {},
      {},           {},           current().back()->device};
  for (uint32_t i = 0; i < config->num_attributes; ++i) {
    const cuda::LaunchAttribute& attribute = config->attributes[i];
    launch.attributes.push_back(attribute.id);
    if (attribute.id == cuda::kLaunchCluster) launch.cluster = attribute.cluster;
  }
  launch.parameters.assign(static_cast<const char*>(parameters[0]), state().parameter_bytes);
  state().launches.push_back(std::move(launch));
  return 0;
}

Status cuMemAlloc_v2(Address* address, size_t bytes) {
  const Call call("cuMemAlloc_v2", true);
  if (call.status != 0) return call.status;
  size_t used = 0;
  for (const auto& [at, size] : state().memory) used += size;
  if (bytes > state().memory_bytes - used) return cuda::kOutOfMemory;
  *address = reinterpret_cast<Address>(std::aligned_alloc(256, (bytes + 255) & ~size_t{255}));
  state().memory[*address] = bytes;
  return 0;
}

Status cuMemFree_v2(Address address) {
  const Call call("cuMemFree_v2", true);
  if (state().memory.erase(address) == 0) return cuda::kInvalidValue;
  std::free(reinterpret_cast<void*>(address));
  return call.status;
}

Status cuMemGetInfo_v2(size_t* free, size_t* total) {
  const Call call("cuMemGetInfo_v2", true);
  *total = *free = state().memory_bytes;
  for (const auto& [at, size] : state().memory) *free -= size;
  return call.status;
}

Status cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Stream) {
  const Call call("cuMemcpyHtoDAsync_v2", true);
  if (call.status == 0) std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return call.status;
}

Status cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Stream) {
  const Call call("cuMemcpyDtoHAsync_v2", true);
  if (call.status == 0) std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return call.status;
}

Status cuMemsetD8Async(Address to, unsigned char value, size_t bytes, Stream) {
  const Call call("cuMemsetD8Async", true);
  if (call.status == 0) std::memset(reinterpret_cast<void*>(to), value, bytes);
  return call.status;
}

Status cuStreamCreate(Stream* stream, unsigned flags) {
  const Call call("cuStreamCreate", true);
  if (call.status != 0 || flags != cuda::kStreamNonBlocking) return cuda::kInvalidValue;
  *stream = new StreamHandle{++state().streams};
  return 0;
}

Status cuStreamDestroy_v2(Stream stream) {
  const Call call("cuStreamDestroy_v2", true);
  delete stream;
  --state().streams;
  return call.status;
}

Status cuStreamSynchronize(Stream) {
  return Call("cuStreamSynchronize", true).status;
}

Status cuEventCreate(cuda::Event* event, unsigned) {
  const Call call("cuEventCreate", true);
  if (call.status != 0) return call.status;
  *event = new cuda::EventHandle{0};
  ++state().events;
  return 0;
}

Status cuEventDestroy_v2(cuda::Event event) {
  const Call call("cuEventDestroy_v2", true);
  delete event;
  --state().events;
  return call.status;
}

/// Time is the number of launches so far.
Status cuEventRecord(cuda::Event event, Stream) {
  const Call call("cuEventRecord", true);
  event->ms = static_cast<double>(state().launches.size());
  return call.status;
}

Status cuEventSynchronize(cuda::Event) {
  return Call("cuEventSynchronize", true).status;
}

Status cuEventElapsedTime(float* ms, cuda::Event start, cuda::Event end) {
  const Call call("cuEventElapsedTime", true);
  *ms = static_cast<float>(end->ms - start->ms);
  return call.status;
}

Status cuTensorMapEncodeTiled(TensorMap* map, int type, uint32_t rank, void* address,
                              const uint64_t*, const uint64_t*, const uint32_t*, const uint32_t*,
                              int, int swizzle, int, int) {
  const Call call("cuTensorMapEncodeTiled", true);
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, static_cast<const void*>(&address), sizeof address);
  state().tensor_map = {type, static_cast<int>(rank), swizzle};
  return call.status;
}

int nvrtcVersion(int* major, int* minor) {
  *major = 99;
  *minor = 1;
  return Call("nvrtcVersion").status;
}

const char* nvrtcGetErrorString(int status) {
  return status == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_OTHER";
}

int nvrtcCreateProgram(cuda::Program* program, const char* text, const char* name, int num_headers,
                       const char* const* headers, const char* const* include_names) {
  const Call call("nvrtcCreateProgram");
  if (call.status != 0) return call.status;
  *program = new cuda::ProgramHandle{text, name, "", ""};
  for (int i = 0; i < num_headers; ++i) {
    (*program)->text += fmt::format("// {}: {}\n", include_names[i], headers[i]);
  }
  return 0;
}

int nvrtcDestroyProgram(cuda::Program* program) {
  const Call call("nvrtcDestroyProgram");
  delete *program;
  *program = nullptr;
  return 0;
}

int nvrtcCompileProgram(cuda::Program program, int, const char* const*) {
  int wait_ms = 0;
  {
    const Call call("nvrtcCompileProgram");
    if (call.status != 0) return call.status;
    count_compile(state());
    wait_ms = state().compile_ms;
  }
  if (wait_ms > 0) ::poll(nullptr, 0, wait_ms);
  if (const size_t at = program->text.find("#error"); at != std::string::npos) {
    program->log = fmt::format("{}(1): error: {}\n", program->name, program->text.substr(at));
    return cuda::kNvrtcErrorCompilation;
  }
  program->log = fake_log(program->text);
  program->cubin = fake_cubin(program->text);
  return 0;
}

int nvrtcGetCUBINSize(cuda::Program program, size_t* size) {
  *size = program->cubin.size();
  return Call("nvrtcGetCUBINSize").status;
}

int nvrtcGetCUBIN(cuda::Program program, char* cubin) {
  std::copy(program->cubin.begin(), program->cubin.end(), cubin);
  return Call("nvrtcGetCUBIN").status;
}

int nvrtcGetProgramLogSize(cuda::Program program, size_t* size) {
  *size = program->log.size() + 1;
  return Call("nvrtcGetProgramLogSize").status;
}

int nvrtcGetProgramLog(cuda::Program program, char* log) {
  std::memcpy(log, program->log.c_str(), program->log.size() + 1);
  return Call("nvrtcGetProgramLog").status;
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)

}  // namespace hadal::gpu
