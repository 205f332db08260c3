// The device headers, src/*/**.cuh, as text inside of the program.
//
// CMake writes their source when one of them changes (cmake/embed_text.cmake), so a program that is
// installed alone can compile its kernels. Constant data, safe from any thread.
#pragma once

#include <span>
#include <string_view>

namespace hadal::gpu {

struct EmbeddedHeader {
  std::string_view name;  // as an #include says it: "gpu/device/mma.cuh"
  std::string_view text;  // ends with a NUL that it does not count
};

/// All of them, sorted by name.
std::span<const EmbeddedHeader> embedded_headers();

}  // namespace hadal::gpu
