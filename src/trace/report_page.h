// The page of a report as text, built into the program from web/trace.
#pragma once

#include <string_view>

namespace hadal::trace {

/// The page without its data: HTML up to where the data goes, and the rest.
struct ReportPage {
  std::string_view head, tail;
};
ReportPage report_page();

}  // namespace hadal::trace
