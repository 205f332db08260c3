#include "gpu/cubin_file.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/check.h"
#include "base/crc32c.h"

namespace hadal::gpu {
namespace {

/// ELF64, little-endian, for NVIDIA's machine: what every cubin begins with.
bool is_cubin(Bytes bytes) {
  constexpr uint16_t kMachineCuda = 190;
  return bytes.size() >= 64 &&
         text_of(bytes.first(6)) ==
             "\x7f"
             "ELF\x02\x01" &&
         load_le<uint16_t>(bytes.data() + 18) == kMachineCuda;
}

}  // namespace

std::vector<std::byte> encode_cubin_file(const CubinFile& file) {
  CHECK(file.architecture.size() < kCubinArchitectureBytes);
  std::vector<std::byte> bytes;
  bytes.reserve(kCubinFileHeaderBytes + file.name.size() + file.log.size() + file.cubin.size() +
                kCubinFileTrailerBytes);
  std::string architecture = file.architecture;
  architecture.resize(kCubinArchitectureBytes);
  Writer out(bytes);
  out.bytes(bytes_of(kCubinFileMagic));
  out.u32(kCubinFileVersion);
  out.u32(static_cast<uint32_t>(file.key.compiler));
  out.bytes(bytes_of(architecture));
  out.u64(file.key.content.low);
  out.u64(file.key.content.high);
  out.u64(file.cubin.size());
  out.u32(static_cast<uint32_t>(file.name.size()));
  out.u32(static_cast<uint32_t>(file.log.size()));
  CHECK(bytes.size() == kCubinFileHeaderBytes);
  out.bytes(bytes_of(file.name));
  out.bytes(bytes_of(file.log));
  out.bytes(file.cubin);
  out.u32(crc32c::value(bytes));
  return bytes;
}

Result<CubinFile> decode_cubin_file(Bytes bytes) {
  const auto corrupt = [](std::string what) { return fail(Code::kCorrupt, std::move(what)); };
  if (bytes.size() < kCubinFileHeaderBytes + kCubinFileTrailerBytes) {
    return corrupt(fmt::format("{} bytes are too few for a compiled kernel", bytes.size()));
  }
  Reader in(bytes.first(kCubinFileHeaderBytes));
  if (text_of(in.bytes(kCubinFileMagic.size())) != kCubinFileMagic) {
    return corrupt("it does not begin as a compiled kernel");
  }
  if (const uint32_t version = in.u32(); version != kCubinFileVersion) {
    return corrupt(fmt::format("version is {}; this program reads {}", version, kCubinFileVersion));
  }
  CubinFile file;
  file.key.compiler = static_cast<int>(in.u32() & INT32_MAX);
  file.architecture = text_of(in.bytes(kCubinArchitectureBytes));
  file.architecture.erase(std::min(file.architecture.find('\0'), file.architecture.size()));
  file.key.content.low = in.u64();
  file.key.content.high = in.u64();
  const uint64_t cubin_bytes = in.u64();
  const uint32_t name_bytes = in.u32(), log_bytes = in.u32();
  TRY(in.finish("header"));

  const Bytes body = bytes.subspan(kCubinFileHeaderBytes,
                                   bytes.size() - kCubinFileHeaderBytes - kCubinFileTrailerBytes);
  const uint64_t texts = uint64_t{name_bytes} + log_bytes;
  if (texts > body.size() || cubin_bytes != body.size() - texts) {
    return corrupt(
        fmt::format("it is {} bytes long; its header says {} of name, {} of log and {} "
                    "of code",
                    bytes.size(), name_bytes, log_bytes, cubin_bytes));
  }
  const uint32_t stored = load_le<uint32_t>(bytes.data() + bytes.size() - kCubinFileTrailerBytes);
  const uint32_t actual = crc32c::value(bytes.first(bytes.size() - kCubinFileTrailerBytes));
  if (stored != actual) {
    return corrupt(fmt::format("the checksum is {:08x}; the content has {:08x}", stored, actual));
  }
  const Bytes cubin = body.subspan(texts);
  if (!is_cubin(cubin)) return corrupt("the code is no CUDA ELF file");
  file.name = text_of(body.first(name_bytes));
  file.log = text_of(body.subspan(name_bytes, log_bytes));
  file.cubin.assign(cubin.begin(), cubin.end());
  return file;
}

}  // namespace hadal::gpu
