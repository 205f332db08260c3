#include "cli/corpus.h"

// The assembler copies the file that CMake puts together (src/cli/CMakeLists.txt) into the program;
// a string literal of this size would take the compiler minutes.
asm(R"(
.section .rodata
.global hadal_corpus_begin
.global hadal_corpus_end
hadal_corpus_begin:
.incbin ")" HADAL_CORPUS R"("
hadal_corpus_end:
.byte 0
.previous
)");

extern "C" {
extern const char hadal_corpus_begin[];
extern const char hadal_corpus_end[];
}

namespace hadal::cli {

std::string_view corpus() {
  return {hadal_corpus_begin, static_cast<size_t>(hadal_corpus_end - hadal_corpus_begin)};
}

}  // namespace hadal::cli
