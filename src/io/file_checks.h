// What every FileSystem refuses, and in the same words: the arguments of file_system.h that cannot
// be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"

namespace hadal::io {

/// A name in front of the last slash; "" where there is none: the root.
std::string_view parent_of(std::string_view path);

/// "folder/name": no name is empty, "." or "..", longer than kNameBytesMax or has a zero byte.
Result<> check_path(std::string_view path);

/// The file `path` may have such a range: not negative, and not beyond kFileBytesMax.
Result<> check_range(std::string_view path, int64_t offset, int64_t bytes);

/// Offset, length and memory are what direct access moves.
Result<> check_direct(std::string_view path, int64_t offset, std::span<const std::byte> memory);

}  // namespace hadal::io
