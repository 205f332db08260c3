#include "cli/version.h"

#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"

namespace hadal::cli {

std::string_view version() {
  return HADAL_VERSION;
}

std::string compiler_name() {
#ifdef __clang__
  return fmt::format("clang++ {}.{}.{}, {}", __clang_major__, __clang_minor__, __clang_patchlevel__,
                     HADAL_BUILD_TYPE);
#else
  return fmt::format("g++ {}.{}.{}, {}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__,
                     HADAL_BUILD_TYPE);
#endif
}

void add_version(Command& root) {
  const auto json = std::make_shared<bool>(false);
  Command command = root.add("version", "Print the version");
  command.flag("--json", *json, "Print JSON");
  command.run([json](Terminal& terminal) -> Result<ExitCode> {
    if (*json) {
      nlohmann::ordered_json out;
      out["name"] = "hadal";
      out["version"] = version();
      out["compiler"] = compiler_name();
      terminal.print(out.dump(2) + "\n");
    } else {
      terminal.print(fmt::format("hadal {} ({})\n", version(), compiler_name()));
    }
    return 0;
  });
}

}  // namespace hadal::cli
