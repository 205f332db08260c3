#include "trace/report_page.h"

#include "base/check.h"

// The assembler copies the page that CMake puts together (cmake/web_page.cmake) into the program.
asm(R"(
.section .rodata
.global kHadalReportPageBegin
.global kHadalReportPageEnd
kHadalReportPageBegin:
.incbin ")" HADAL_REPORT_PAGE R"("
kHadalReportPageEnd:
.byte 0
.previous
)");

extern "C" {
extern const char kHadalReportPageBegin[];
extern const char kHadalReportPageEnd[];
}

namespace hadal::trace {

ReportPage report_page() {
  const std::string_view page(kHadalReportPageBegin,
                              static_cast<size_t>(kHadalReportPageEnd - kHadalReportPageBegin));
  constexpr std::string_view kMark = "<!--DATA-->";
  const size_t at = page.find(kMark);
  CHECK(at != std::string_view::npos);
  return {page.substr(0, at), page.substr(at + kMark.size())};
}

}  // namespace hadal::trace
