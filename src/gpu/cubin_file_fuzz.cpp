// Whatever the bytes: an error, or a file that is written again as it was read.
#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "gpu/compile_report.h"
#include "gpu/cubin_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;
  const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  gpu::parse_compile_log(text_of(bytes));
  gpu::first_error(text_of(bytes));
  const Result<gpu::CubinFile> file = gpu::decode_cubin_file(bytes);
  if (!file) return 0;
  if (file->architecture.size() >= gpu::kCubinArchitectureBytes) return 0;
  const Result<gpu::CubinFile> again = gpu::decode_cubin_file(gpu::encode_cubin_file(*file));
  CHECK(again && again->cubin == file->cubin && again->name == file->name);
  return 0;
}
