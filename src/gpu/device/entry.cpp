#include "gpu/device/entry.h"

#include <fmt/core.h>

namespace hadal::gpu {

std::string entry_text(const Entry& entry) {
  return fmt::format(
      "#include \"{}\"\n"
      "extern \"C\" __global__ void __launch_bounds__({}, 1)\n"
      "{}(const __grid_constant__ {} parameters) {{\n"
      "  {}(parameters);\n"
      "}}\n",
      entry.header, entry.threads, entry.name, entry.parameters, entry.kernel);
}

}  // namespace hadal::gpu
