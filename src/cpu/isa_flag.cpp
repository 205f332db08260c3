#include "cpu/isa_flag.h"

#include <string_view>

namespace hadal::cpu {

Result<std::optional<Isa>> take_isa_flag(int* argc, char** argv) {
  constexpr std::string_view kFlag = "--isa=";
  std::optional<Isa> isa;
  int kept = 0;
  for (int i = 0; i < *argc; ++i) {
    const std::string_view argument = argv[i];
    if (i > 0 && argument.starts_with(kFlag)) {
      isa = TRY(parse_isa(argument.substr(kFlag.size())));
    } else {
      argv[kept++] = argv[i];
    }
  }
  argv[kept] = nullptr;
  *argc = kept;
  return isa;
}

Result<std::vector<Isa>> isas_to_run(std::optional<Isa> flag) {
  if (flag) {
    TRY(need(*flag));
    return std::vector{*flag};
  }
  std::vector<Isa> isas;
  for (const Isa isa : kAllIsas) {
    if (has(isa)) isas.push_back(isa);
  }
  return isas;
}

std::string test_filter(const std::string& filter, Isa isa) {
  // "positive:patterns-negative:patterns"; either part may be missing.
  std::string result = filter;
  char separator = filter.find('-') == std::string::npos ? '-' : ':';
  for (const Isa other : kAllIsas) {
    if (other == isa) continue;
    result.append(1, separator).append("*/").append(name(other));
    separator = ':';
  }
  return result;
}

}  // namespace hadal::cpu
