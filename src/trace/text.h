// Strings of a trace made fit to show: valid UTF-8 without control characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::trace {

/// The value of a JSON string, given what stands between its quotes. Escapes are decoded, surrogate
/// pairs joined. Control characters (U+0000 to U+001F, U+007F to U+009F) become a blank where they
/// are tab, line feed or carriage return, else U+FFFD; so do bytes that are not UTF-8, lone
/// surrogates and unknown escapes. `replaced` grows by one for each that a correct writer could not
/// have written: raw control characters, invalid bytes and surrogates, unknown escapes.
std::string clean_text(std::string_view raw, uint64_t& replaced);

}  // namespace hadal::trace
