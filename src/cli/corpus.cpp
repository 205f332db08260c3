#include "cli/corpus.h"

// The assembler copies the file that CMake puts together (src/cli/CMakeLists.txt) into the program;
// a string literal of this size would take the compiler minutes.
asm(R"(
.section .rodata
.global kHadalCorpusBegin
.global kHadalCorpusEnd
kHadalCorpusBegin:
.incbin ")" HADAL_CORPUS R"("
kHadalCorpusEnd:
.byte 0
.previous
)");

extern "C" {
extern const char kHadalCorpusBegin[];
extern const char kHadalCorpusEnd[];
}

namespace hadal::cli {

std::string_view corpus() {
  return {kHadalCorpusBegin, static_cast<size_t>(kHadalCorpusEnd - kHadalCorpusBegin)};
}

}  // namespace hadal::cli
