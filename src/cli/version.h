// What this program is.
#pragma once

#include <string>
#include <string_view>

namespace hadal::cli {

std::string_view version();   // "0.1.0"
std::string compiler_name();  // "g++ 12.2.0, Release"

}  // namespace hadal::cli
