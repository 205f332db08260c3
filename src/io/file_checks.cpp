#include "io/file_checks.h"

#include <algorithm>

#include <fmt/core.h>

#include "io/file_system.h"

namespace hadal::io {
namespace {

bool is_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= kNameBytesMax &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace

std::string_view parent_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

Result<> check_path(std::string_view path) {
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (!is_name(path.substr(begin, end - begin))) {
      return fail(Code::kInvalidArgument, fmt::format("\"{}\" is no path", path));
    }
    begin = end + 1;
  }
  return {};
}

Result<> check_range(std::string_view path, int64_t offset, int64_t bytes) {
  if (offset >= 0 && bytes >= 0 && offset <= kFileBytesMax - bytes) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{}: {} bytes at {} are no range", path, bytes, offset));
}

Result<> check_direct(std::string_view path, int64_t offset, std::span<const std::byte> memory) {
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  const uint64_t all = static_cast<uint64_t>(offset) | memory.size() | address;
  if (all % kBlockBytes == 0) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{}: direct access to {} bytes at {} of the file and {:#x} of memory; "
                          "all must be multiples of {}",
                          path, memory.size(), offset, address, kBlockBytes));
}

}  // namespace hadal::io
