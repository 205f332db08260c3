// One compiled kernel as a file: the format of the cache's entries (docs/formats/cubin-cache.md).
//
// A reader trusts nothing in it: length, checksum, architecture and key must all fit. Pure
// functions, safe from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

namespace hadal::gpu {

inline constexpr std::string_view kCubinFileMagic = "hadalcub";
inline constexpr uint32_t kCubinFileVersion = 1;
inline constexpr size_t kCubinFileHeaderBytes = 64;
inline constexpr size_t kCubinFileTrailerBytes = 4;
inline constexpr size_t kCubinArchitectureBytes = 16;
/// Of a whole file. A kernel is 15 to 50 KB.
inline constexpr int64_t kCubinFileBytesMax = int64_t{64} << 20;

/// What a kernel is known by: what was compiled, and by which NVRTC.
struct CubinKey {
  Hash128 content;   // content_hash() in compiler.h
  int compiler = 0;  // 13000 is NVRTC 13.0
  friend bool operator==(const CubinKey&, const CubinKey&) = default;
};

struct CubinFile {
  CubinKey key;
  std::string architecture;  // "sm_90a"; 15 bytes at most
  std::string name;          // of the kernel, for people
  std::string log;           // what the compiler said
  std::vector<std::byte> cubin;
};

std::vector<std::byte> encode_cubin_file(const CubinFile& file);

/// kCorrupt with the first rule that the bytes break.
Result<CubinFile> decode_cubin_file(Bytes bytes);

}  // namespace hadal::gpu
