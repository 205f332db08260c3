// hadal's own documentation and sources as one text, built into the program, so that the demo has
// real input wherever it runs.
#pragma once

#include <string_view>

namespace hadal::cli {

std::string_view corpus();

}  // namespace hadal::cli
